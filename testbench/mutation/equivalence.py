"""Proof that a mutant cannot be told from the unit, by induction over pairs of wires.

Both are put side by side, and Yosys proves that wires of the same name stay equal: registers, and
the outputs, where payloads count only with their `valid`. Wires that are found to differ are left
out of the hypothesis, until all that is left is proved or an output is not.
"""

import re
import tempfile
from pathlib import Path

from rootshift.errors import ToolError
from rootshift.hw.synthesis.tools import YOSYS, run_tool

from .constants import sets_what_is

ROUNDS = 4
STEPS = 2
"""Cycles of the hypothesis, and one less than those checked from reset on."""
MEMORY_MAX = 1 << 12
CELLS_MAX = 1500
"""Bits of memory, and cells: a proof over more is not tried."""
PROOF = "proved equal on every output, payloads where valid, by induction with Yosys"
CONSTANT = "sets a bit to the constant that it is, or may be"

_PORT = re.compile(r"^  wire (?:width (\d+) )?(input|output) \d+ \\(\w+)$", re.MULTILINE)
_MEMORY = re.compile(r"parameter \\WIDTH (\d+)\s+parameter \\OFFSET \d+\s+parameter \\SIZE (\d+)")
_CHANNEL = re.compile(r"(.*__)(ar|aw|w|b|r)(?!valid|ready)\w+")
_UNPROVED = re.compile(r"Unproven \$equiv \S+: \\(\S+?)_gold(?: \[\d+\])? ")

PREPARE = """\
read_rtlil netlist.il
rename {name} unit
read_verilog gold.v
hierarchy -top gold
flatten
memory_map
opt -keepdc
rename gold kept
design -stash gold
read_rtlil netlist.il
{mutant}
rename {name} unit
read_verilog gold.v
hierarchy -top gold
flatten
memory_map
opt -keepdc
rename gold changed
design -stash changed
design -copy-from gold -as gold kept
design -copy-from changed -as changed changed
"""
PROVE = """\
equiv_make -blacklist differ gold changed both
hierarchy -top both
clean
equiv_induct -seq {steps}
equiv_status
"""
BEGIN = """\
miter -equiv -flatten -make_outputs gold changed pair
hierarchy -top pair
sat -verify -tempinduct-baseonly -maxsteps {steps} -timeout 20 -prove trigger 0 pair
"""


def prove(netlist: str, mutant: str) -> str:
    """Say why the mutant cannot be told from the unit; nothing where no proof is found.

    Parameters
    ----------
    netlist : str
        RTLIL of the unit, as `Mutants.netlist`.
    mutant : str
        Command of Yosys that changes it, as `Mutant.command`.
    """
    if sets_what_is(netlist, mutant):
        return CONSTANT
    name = re.findall(r"^module \\(\w+)$", netlist, re.MULTILINE)[0]
    if _memory_bits(netlist) > MEMORY_MAX or netlist.count("\n  cell ") > CELLS_MAX:
        return ""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "netlist.il").write_text(netlist)
        (folder / "gold.v").write_text(_outside(netlist))
        prepare = PREPARE.format(name=name, mutant=mutant)
        differ: set[str] = set()
        outputs = {port for _, way, port in _PORT.findall(netlist) if way == "output"}
        try:
            for _ in range(ROUNDS):
                (folder / "differ").write_text("".join(f"\\{wire}\n" for wire in sorted(differ)))
                said = run_tool(YOSYS, ["-p", prepare + PROVE.format(steps=STEPS)], folder)
                found = set(_UNPROVED.findall(said))
                if not found:
                    run_tool(YOSYS, ["-p", prepare + BEGIN.format(steps=STEPS + 1)], folder)
                    return PROOF
                if found & outputs or found <= differ:
                    return ""
                differ |= found
        except ToolError:
            return ""
    return ""


def _outside(netlist: str) -> str:
    """Verilog around the unit that hides payloads which are not valid."""
    ports = _PORT.findall(netlist)
    names = {port for _, _, port in ports}
    declared, wired, assigned = [], [], []
    for width, way, port in ports:
        span = f"[{int(width or 1) - 1}:0]"
        declared.append(f"{way} {span} {port}")
        inside = port
        valid = _valid_of(port)
        if way == "output" and valid in names:
            inside = f"inside_{port}"
            assigned.append(f"wire {span} {inside}; assign {port} = {valid} ? {inside} : 0;")
        wired.append(f".{port}({inside})")
    return (
        f"module gold({', '.join(declared)});\n"
        + "\n".join(assigned)
        + f"\nunit unit({', '.join(wired)});\nendmodule\n"
    )


def _valid_of(port: str) -> str:
    if port.endswith("__payload"):
        return port.removesuffix("payload") + "valid"
    if found := _CHANNEL.fullmatch(port):
        return f"{found[1]}{found[2]}valid"
    return ""


def _memory_bits(netlist: str) -> int:
    return sum(int(width) * int(size) for width, size in _MEMORY.findall(netlist))
