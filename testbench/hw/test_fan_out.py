"""Copies of registers that drive much: who has which, and that none else is copied."""

from collections import Counter

import pytest

from rootshift.hw.synthesis.fan_out import split_fan_out
from rootshift.hw.synthesis.netlist import TOP
from rootshift.testbench.hw.netlists import CLOCK, RESET, Netlist


@pytest.mark.parametrize(("inputs", "copies"), [(4, 0), (5, 1), (8, 1), (9, 2), (30, 7)])
def test_each_copy_drives_its_part(inputs: int, copies: int) -> None:
    netlist = Netlist()
    (source,) = netlist.bits(1)
    (driver,) = netlist.register([source], LSR=RESET)
    netlist.outputs = netlist.register([driver] * inputs)
    assert split_fan_out(netlist.written(), TOP, most=4) == copies
    made = [cell["connections"] for cell in netlist.cells.values()]
    drivers = [nets["Q"][0] for nets in made if nets["DI"] == [source]]
    assert len(set(drivers)) == 1 + copies
    shares = Counter(nets["DI"][0] for nets in made if nets["DI"] != [source])
    assert set(shares) == set(drivers)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert sum(shares.values()) == inputs
    assert {nets["LSR"][0] for nets in made if nets["DI"] == [source]} == {RESET}
    assert {bit for name in netlist.names.values() for bit in name["bits"]} < set(drivers)
    assert len(netlist.names) == copies


def test_an_output_of_the_design_keeps_the_first() -> None:
    netlist = Netlist()
    (driver,) = netlist.register(netlist.bits(1))
    netlist.register([driver] * 6)
    netlist.outputs = [driver]
    split_fan_out(netlist.written(), TOP, most=4)
    assert driver in [cell["connections"]["Q"][0] for cell in netlist.cells.values()]


def test_addresses_of_lut_ram_are_not_copied() -> None:
    netlist = Netlist()
    (driver,) = netlist.register(netlist.bits(1))
    netlist.outputs = netlist.register([driver] * 6)
    netlist.cell("TRELLIS_DPR16X4", {}, {"WAD0": driver})
    assert split_fan_out(netlist.written(), TOP, most=4) == 0


def test_the_clock_is_nobodys_copy() -> None:
    """What no flip-flop drives is left as it is."""
    netlist = Netlist()
    netlist.register(netlist.bits(40))
    assert split_fan_out(netlist.written(), TOP, most=4) == 0
    assert {cell["connections"]["CLK"][0] for cell in netlist.cells.values()} == {CLOCK}
