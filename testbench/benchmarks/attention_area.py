"""Area of the cells of shift attention beside multiplier arrays, by open synthesis.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/attention_area.py [--sizes 8 16] [--values 4 5] [--json FILE]

Yosys maps each design to ECP5 and to 7-series without DSP blocks; prints markdown tables. What is
counted how: `hw/synthesis/families.py`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.lib import wiring
from multiplier_array import MultiplierArray
from open_synthesis import synthesize, version

from rootshift.errors import ToolError
from rootshift.hw.attention_buckets import AttentionBuckets
from rootshift.hw.log_codes import LogCodes

DEPTH = 256
"""Keys of a tile that all sums are wide enough for."""

FAMILIES = "ecp5", "xc7"


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
    yosys = version()
    if options.json:
        options.json.write_text(json.dumps({"yosys": yosys, "arrays": found}, indent=1) + "\n")
    print(f"{yosys}, without DSP blocks.\n\n{array_table(found)}")


def arrays(sizes: list[int], values: list[int]) -> Iterator[Design]:
    """Buckets and their peers, `size` x `size` cells each."""
    for size in sizes:
        for value_width in values:
            for target in FAMILIES:
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
        except ToolError as error:
            raise ToolError(f"{design.name} for {design.target}: {error}") from error
        print(f"{design.name} {design.size} {design.target}: {area}", file=sys.stderr, flush=True)
        cells = design.size**2
        return {
            "name": design.name,
            "target": design.target,
            "size": design.size,
            "value_width": design.value_width,
            **asdict(area),
            "lut_per_cell": round(area.lut / cells, 2),
            "ff_per_cell": round(area.ff / cells, 2),
        }

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, designs))


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
