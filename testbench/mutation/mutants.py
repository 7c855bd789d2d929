"""Mutants of a unit's netlist, all in one Verilog module that an argument chooses among."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from rootshift.hw.synthesis.tools import yosys
from rootshift.hw.verilog import HEADER

from ..hw.sources import with_sources

ROOT = Path(__file__).resolve().parents[2]
SELECT = "mutant"
"""Name of the argument, as in `+mutant=7`, and of the wire; 0 is the unit as it is."""
WIDTH = 16

NETLIST = """\
read_rtlil unit.il
proc
flatten
opt
opt_dff
wreduce
opt
memory_collect
opt_clean
write_rtlil netlist.il
"""
"""The steps of the plain Verilog, without which many mutants would be dead logic."""

# Logic of a bench around its unit is left as it is.
CHOOSE = """\
read_rtlil netlist.il
select -set bench a:src=*{bench}/*
mutate -list {count} -seed {seed} -o list {only} c:* @bench %d
"""
APPLY = """\
read_rtlil netlist.il
add -wire {select} {width}
script script
write_verilog -noattr -norename mutants.v
"""

_NO_LOGIC = re.compile(r"-port (\w*CLK|RD_[AS]RST) ")
"""Pins that no logic drives: the clock, and a reset of memories that none of a unit has."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one bit in a netlist, as Yosys' `mutate` makes it.

    Attributes
    ----------
    number : int
        Value of the argument that chooses it, from 1.
    command : str
        The command of Yosys, without its choice and with sources relative to the repository.
    """

    number: int
    command: str

    @property
    def chosen(self) -> str:
        """The command with its choice."""
        return self.command.replace("mutate", f"mutate -ctrl {SELECT} {WIDTH} {self.number}", 1)


@dataclass(frozen=True, kw_only=True)
class Mutants:
    """A unit and its mutants.

    Attributes
    ----------
    verilog : str
        A module of the unit's name and ports; `+mutant=<number>` on the command line of the
        simulator chooses.
    netlist : str
        The unit's own netlist, RTLIL of one module.
    mutants : tuple of Mutant
        At most as many as were asked for.
    """

    verilog: str
    netlist: str
    mutants: tuple[Mutant, ...]

    @classmethod
    def of(cls, component: wiring.Component, *, count: int, seed: int, only: str = "") -> "Mutants":
        """Choose `count` mutants of the unit, evenly over its sources, wires and cells.

        `only` holds options of `mutate -list` that they must match, such as `-mode inv`.
        """
        name = type(component).__name__
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "unit.il").write_text(with_sources(component))
            yosys(NETLIST, folder)
            choice = {"count": count, "seed": seed, "only": only}
            yosys(CHOOSE.format(bench=ROOT / "testbench", **choice), folder)
            lines = [line.strip() for line in (folder / "list").read_text().splitlines()]
            kept = [line for line in lines if line and not _NO_LOGIC.search(line)]
            mutants = tuple(
                Mutant(number=number, command=line.replace(f"{ROOT}/", ""))
                for number, line in enumerate(kept, 1)
            )
            (folder / "script").write_text("".join(f"{each.chosen}\n" for each in mutants))
            yosys(APPLY.format(select=SELECT, width=WIDTH), folder)
            return cls(
                verilog=HEADER.format(name=name, version="mutants")
                + _chosen_by_argument((folder / "mutants.v").read_text()),
                netlist=(folder / "netlist.il").read_text(),
                mutants=mutants,
            )


def _chosen_by_argument(verilog: str) -> str:
    wire = f"  wire [{WIDTH - 1}:0] {SELECT};\n"
    if verilog.count(wire) != 1:
        raise ValueError(f"Yosys must write {wire.strip()!r} once, not {verilog.count(wire)} times")
    choice = f'if (!$value$plusargs("{SELECT}=%d", {SELECT})) {SELECT} = 0;'
    return verilog.replace(wire, f"  reg [{WIDTH - 1}:0] {SELECT};\n  initial {choice}\n")
