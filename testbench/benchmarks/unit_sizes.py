"""Sizes of the accelerator's units for DeiT-T at W4/A4: multipliers, registers, memories, LUTs.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/unit_sizes.py [--sizes 8 16] [--units NAME ...] [--no-dsp] \\
        [--json FILE]

Prints a markdown table per size. Each unit is synthesized by itself, flat, with all its ports:
first to generic cells (multipliers, bits of registers and memories), then to ECP5, where all
multipliers but the array's become DSP blocks; `--no-dsp` maps those to LUTs as well, which takes
several times as long. What is counted how: `hw/synthesis/families.py`. The few gates of `hw/top.py`
between the units are not counted.
"""

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.hdl import UnusedElaboratable
from amaranth.lib import wiring
from open_synthesis import parts, synthesize, version

from rootshift.config import AcceleratorConfig
from rootshift.hw.csr import CsrBank
from rootshift.hw.run_controller import RunController
from rootshift.hw.top import Accelerator

FAMILY = "ecp5"
NARROW = 8
"""A multiplication takes a DSP block where its wider operand has more bits."""


def main() -> None:
    """Synthesize everything and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--units", nargs="+", help="these alone")
    parser.add_argument("--no-dsp", action="store_true", help="also without DSP blocks")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    found = {}
    for size in options.sizes:
        units = units_of(deit_tiny(size))
        names = options.units or list(units)
        found[size] = {name: measure(name, units[name], options.no_dsp) for name in names}
    yosys = version()
    if options.json:
        options.json.write_text(json.dumps({"yosys": yosys, "sizes": found}, indent=1) + "\n")
    print(f"{yosys}.")
    for size, rows in found.items():
        print(f"\n{table(size, rows)}")


def deit_tiny(size: int) -> AcceleratorConfig:
    """What `AcceleratorConfig.for_artifact` gives for DeiT-T at W4/A4."""
    return AcceleratorConfig(
        rows=size,
        cols=size,
        token_depth=197,
        channel_depth=1000,
        embedding_depth=192,
        code_depth=11832 * 16 // size,
        residual_depth=4728,
        lanes=8,
        bus_width=64,
    )


def units_of(config: AcceleratorConfig) -> dict[str, wiring.Component]:
    """Every unit of the accelerator, `Gemm` in its parts."""
    # Elaborated for the units that it makes on the way; nothing is made of the whole.
    warnings.simplefilter("ignore", UnusedElaboratable)
    top = Accelerator(config=config)
    top.elaborate(None)
    gemm, attention = top.gemm, top.attention_unit
    return {
        "fetch": top.fetch_unit,
        "patchify": top.patchify_unit,
        "weights": top.weight_unit,
        "gemm (vectors)": top.gemm_unit,
        "array": gemm.array,
        "accumulators": gemm.accumulators,
        "total queue": gemm.queue,
        "requantizer": gemm.requantizer,
        "store": top.store_unit,
        "layernorm": top.layernorm_unit,
        "log2 softmax": top.log2_softmax,
        "attention": attention,
        "code buffer": top.code_buffer,
        "residual buffer": top.residual_buffer,
        "sequencer": top.sequencer,
        "controller": RunController(),
        "CSR": CsrBank(config=config),
        "read arbiter": top.arbiter,
        "write DMA": top.write_dma,
    }


def measure(name: str, unit: wiring.Component, no_dsp: bool) -> dict[str, Any]:
    """All figures of a unit; one line of progress."""
    generic = parts(unit)
    wide = [key for key in generic.multipliers if int(key.split(" x ")[0]) > NARROW]
    area = synthesize(unit, FAMILY, dsp=bool(wide))
    row = {**generic._asdict(), "ecp5": asdict(area)}
    if no_dsp:
        row["ecp5_no_dsp"] = asdict(synthesize(unit, FAMILY) if wide else area)
    print(f"{name}: {row}", file=sys.stderr, flush=True)
    return row


def table(size: int, rows: dict[str, dict[str, Any]]) -> str:
    """Units and their sum, and LUTs per multiply-accumulate of the array."""
    no_dsp = all("ecp5_no_dsp" in row for row in rows.values())
    lines = [
        f"| {size} x {size} | multipliers | register bits | RAM bits | ROM bits "
        f"| ECP5 LUT | DSP | block RAM |{' LUT without DSP |' if no_dsp else ''}",
        "|" + "---|" * (9 if no_dsp else 8),
    ]
    whole = [0] * 8
    for name, row in rows.items():
        area = row["ecp5"]
        count = sum(row["multipliers"].values())
        figures = [count, row["registers"], row["ram"], row["rom"]]
        figures += [area["lut"], area["dsp"], area["block_ram"]]
        figures += [row["ecp5_no_dsp"]["lut"]] if no_dsp else [0]
        whole = [a + b for a, b in zip(whole, figures, strict=True)]
        kinds = ", ".join(f"{n} of {width}" for width, n in row["multipliers"].items())
        lines.append(_line(name, [kinds or "-", *figures[1 : 8 if no_dsp else 7]]))
    lines.append(_line("**all**", whole[: 8 if no_dsp else 7]))
    per_mac = [f"{whole[4] / size**2:.0f}", "", ""] + [f"{whole[7] / size**2:.0f}"] * no_dsp
    return "\n".join([*lines, _line("per MAC of the array", ["", "", "", "", *per_mac])])


def _line(name: str, cells: list[Any]) -> str:
    shown = (f"{cell:,}".replace(",", " ") if isinstance(cell, int) else cell for cell in cells)
    return f"| {name} | {' | '.join(shown)} |"


if __name__ == "__main__":
    main()
