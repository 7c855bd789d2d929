"""Units of a run with a mutant are not elaborated: their simulator has been built before."""

from amaranth.hdl import Elaboratable

# As in `testbench/hw/conftest.py`.
Elaboratable._MustUse__silence = True
