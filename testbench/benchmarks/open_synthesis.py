"""Open synthesis of a component: its area on FPGA families, and its parts in generic cells.

Yosys and nextpnr, and what is counted how: `hw/synthesis` (extra `synthesis`; the first call of a
tool compiles it for a minute or two).

- delay: on 7-series and UltraScale+ the latest arrival that Yosys' `sta` finds with the cells' own
  delays, of logic alone; on ECP5 the critical path of nextpnr, placed and routed on an LFE5U-85F of
  speed grade 6 with registers between two pins at its ports (`PortChain`), which its area is
  without.
- generic: register bits are those of flip-flops (a memory's own output register is part of the
  memory), memory bits those of arrays that are read by address, whatever they are built of later;
  multipliers by constants are adders and left out.
"""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.lib import wiring

from rootshift.hw.synthesis.accelerator import NETLIST
from rootshift.hw.synthesis.families import Cells, family
from rootshift.hw.synthesis.netlist import SOURCE, TOP, read, rtlil_text
from rootshift.hw.synthesis.port_chain import PortChain
from rootshift.hw.synthesis.routing import place_and_route
from rootshift.hw.synthesis.tools import YOSYS, run_tool, yosys
from rootshift.targets import ROUTED

PART = "LFE5U-85F"
STA = "read_verilog -lib -specify +/xilinx/cells_sim.v; tee -q -o sta.txt sta"
GENERIC = (
    "proc; flatten; opt_expr; opt_clean; opt -nodffe -nosdff; opt; wreduce; peepopt; opt_clean; "
    "opt; memory -nomap; opt_clean"
)
_OUT = "out.json"


class Delay(NamedTuple):
    """The longest path, ns; `route` is None where nothing was placed."""

    logic: float
    route: float | None


class Parts(NamedTuple):
    """Multipliers (number of each "A x B" bits), register bits, bits of RAM and of ROM."""

    multipliers: dict[str, int]
    registers: int
    ram: int
    rom: int


def synthesize(component: wiring.Component, name: str, *, dsp: bool = False) -> Cells:
    """Map `component` to the family of that name, flat; raises ToolError with what Yosys says."""
    return implement(component, name, dsp=dsp)[0]


def implement(
    component: wiring.Component,
    name: str,
    *,
    dsp: bool = False,
    soft: str = "",
    delay: bool = False,
) -> tuple[Cells, Delay | None]:
    """Map `component` to a family, and with `delay` find its longest path.

    Parameters: `soft`, a pattern of modules whose multipliers become LUTs whatever `dsp` says.
    Raises: ToolError with what Yosys or nextpnr says.
    """
    goal = family(name)
    routed = goal.name in ROUTED
    mapped = [
        read((), [soft] if dsp and soft else []),
        goal.command.format(dsp="" if dsp else "-nodsp", top=TOP),
        f"tee -q -o {_OUT} stat -json",
    ]
    found = None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        statistics = _run(component, [*mapped, *([STA] if delay and not routed else [])], place)
        if delay and routed:
            _run(PortChain(component), [*mapped, f"write_json {NETLIST}"], place)
            path = place_and_route(PART, place, {}).slowest
            found = Delay(path.logic_ns, path.route_ns) if path else Delay(0.0, 0.0)
        elif delay:
            found = Delay(_arrival(place / "sta.txt"), None)
    return goal.cells(statistics["design"]["num_cells_by_type"]), found


def parts(component: wiring.Component) -> Parts:
    """Count the generic cells of `component`, flat; raises ToolError with what Yosys says."""
    with tempfile.TemporaryDirectory() as folder:
        design = _run(component, [read(()), GENERIC, f"write_json {_OUT}"], Path(folder))
    cells = design["modules"]["top"]["cells"].values()
    multipliers: Counter[str] = Counter()
    registers, memories = 0, [0, 0]
    for cell in cells:
        kind = cell["type"]
        sizes = {
            name: int(text, 2)
            for name, text in cell["parameters"].items()
            if name.endswith(("WIDTH", "SIZE", "PORTS"))
        }
        if kind == "$mul":
            wires = (cell["connections"][operand] for operand in "AB")
            if all(any(isinstance(bit, int) for bit in wire) for wire in wires):
                widths = sorted((sizes["A_WIDTH"], sizes["B_WIDTH"]), reverse=True)
                multipliers[" x ".join(map(str, widths))] += 1
        elif "dff" in kind:
            registers += sizes["WIDTH"]
        elif kind == "$mem_v2":
            memories[sizes["WR_PORTS"] == 0] += sizes["SIZE"] * sizes["WIDTH"]
    return Parts(dict(sorted(multipliers.items())), registers, *memories)


def version() -> str:
    """Name and version of the Yosys in use."""
    return run_tool(YOSYS, ["-V"], Path.cwd()).split(" (")[0].strip()


def _run(component: wiring.Component, commands: list[str], place: Path) -> dict[str, Any]:
    """The JSON object that `commands` write to `_OUT` in `place`, the component being the top."""
    (place / SOURCE).write_text(rtlil_text(component), encoding="utf-8")
    yosys("; ".join(commands), place)
    return json.loads((place / _OUT).read_text())


def _arrival(report: Path) -> float:
    """The latest arrival that `sta` reports, ns."""
    found = re.search(r"Latest arrival time in 'top' is (\d+)", report.read_text())
    return int(found[1]) / 1000 if found else 0.0
