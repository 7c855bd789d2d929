"""What all hardware tests need: benches by import name."""

import sys
from pathlib import Path

# The simulator's Python imports a bench as `testbench.hw.<module>`.
ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
