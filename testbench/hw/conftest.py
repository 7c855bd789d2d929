"""What all hardware tests need: benches by import name, and refused units that warn of nothing."""

import sys
from pathlib import Path

from amaranth.hdl import Elaboratable

# The simulator's Python imports a bench as `testbench.hw.<module>`.
ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

# Tests make units that are never elaborated, such as those whose constructor raises. Amaranth warns
# when they are collected, too late for pytest's filters, and its own switch is one line per file.
Elaboratable._MustUse__silence = True
