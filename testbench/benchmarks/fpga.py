"""Figures of a model's accelerator on FPGAs: cells, clock, rate, and both beside one another.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/fpga.py ARTIFACT [--designs TARGET/ROWSxCOLS/KIND[/LANES] ...]
        [--no-route] [--seed 1] [--jobs N] --file FILE

KIND is lut or dsp, what multiplies in the array; LANES those beside it, if not as many as
`rootshift generate` takes. Each design is synthesized whole, as `rootshift
synthesize` does, also where it does not fit its target; those of ECP5 are placed and routed too, if
they fit. Appends a line of JSON for each to FILE, in which what is there already is not made again,
and prints the tables of docs/results.md. Clocks of devices that are not routed are assumed
(`ASSUMED_MHZ`). An operation is a multiplication or an addition of the model, two for each of its
multiply-accumulates: GOPS are those of images per second, not of the array's peak.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import Any

from rootshift.artifact import Artifact
from rootshift.buffers import residual_words
from rootshift.cli.pace import pace_of
from rootshift.config import AcceleratorConfig
from rootshift.errors import ToolError
from rootshift.hw.synthesis.accelerator import synthesize_accelerator
from rootshift.hw.synthesis.routing import TimingPath, place_and_route
from rootshift.sim.area.model import Resources, fits
from rootshift.targets import ROUTED, target

SIZES = {"ecp5-85k": (4, 8, 16), "xc7z020": (8, 16, 32), "xczu9eg": (8, 16, 32)}
KINDS = {"ecp5-85k": ("lut",), "xc7z020": ("lut", "dsp"), "xczu9eg": ("lut", "dsp")}
DESIGNS = [
    f"{device}/{size}x{size}/{kind}"
    for device, sizes in SIZES.items()
    for size in sizes
    for kind in KINDS[device]
]
ASSUMED_MHZ = {"xc7z020": 100.0, "xczu9eg": 150.0}


def main() -> None:
    """Make what lacks, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--designs", nargs="+", default=DESIGNS)
    parser.add_argument("--no-route", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    artifact, lock = Artifact.load(options.artifact), Lock()
    found = {row["design"]: row for row in read(options.file)}

    def work(design: str) -> None:
        try:
            row = measure(artifact, design, not options.no_route, options.seed)
        except ToolError as error:
            print(f"{design}: {error}", file=sys.stderr, flush=True)
            return
        with lock, options.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            found[design] = row
        print(row, file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, (design for design in options.designs if design not in found)))
    print("\n".join(table([found[name] for name in options.designs if name in found])))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the file, none where there is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config_of(artifact: Artifact, design: str) -> AcceleratorConfig:
    """The configuration that the name of a design stands for."""
    _, array, kind, *lanes = design.split("/")
    config = AcceleratorConfig.for_artifact(artifact, array)
    config = replace(config, array_multiplier=kind)
    if not lanes:
        return config
    depth = residual_words(artifact, int(lanes[0]))
    return replace(config, lanes=int(lanes[0]), residual_depth=depth)


def measure(artifact: Artifact, design: str, routes: bool, seed: int) -> dict[str, Any]:
    """All figures of a design."""
    goal, config = target(design.split("/")[0]), config_of(artifact, design)
    pace, start = pace_of(artifact, config), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        synthesis = synthesize_accelerator(config, goal.family, Path(folder))
        total = synthesis.total
        excess = fits(Resources(total.lut, total.ff, total.dsp, total.block_ram), goal)
        routing = None
        if routes and goal.family in ROUTED and excess is None:
            routing = place_and_route(goal.part, Path(folder), synthesis.paths, seed=seed)
    clock = routing.fmax_mhz if routing else ASSUMED_MHZ.get(goal.name)
    return {
        "design": design,
        **asdict(total),
        "excess": excess,
        "routed": dict(routing.used) if routing else None,
        "fmax_mhz": routing and routing.fmax_mhz,
        "slowest": routing and longest(routing.slowest),
        "clock_mhz": clock,
        "macs": artifact.macs(),
        "cycles": pace.cycles,
        **(pace.at(clock) if clock else {}),
        "seconds": round(time.monotonic() - start),
    }


def longest(path: TimingPath) -> dict[str, Any]:
    """A path, without its steps."""
    names = ("unit", "begin", "end", "logic_ns", "route_ns")
    return {name: getattr(path, name) for name in names}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One row for each design."""
    lines = [
        "| device, array, products | LUT | of a MAC | FF | DSP | block RAM | MHz | images/s | ms "
        "| memory, MB/s | GOPS | per DSP | per kLUT |",
        "|" + "---|" * 13,
    ]
    for row in rows:
        device, array, kind, *lanes = row["design"].split("/")
        size, kind = config_size(array), ", ".join([kind, *(f"{n} lanes" for n in lanes)])
        cells = [f"{device}, {array}, {kind}" + (", does not fit" if row["excess"] else "")]
        cells += [f"{row['lut']}", f"{row['lut'] / size:.0f}", f"{row['ff']}"]
        cells += [f"{row['dsp']}", f"{row['block_ram']}"]
        if row["clock_mhz"]:
            gops = 2 * row["macs"] * row["frames_per_second"] / 1e9
            routed = "" if row["fmax_mhz"] else " (assumed)"
            cells += [f"{row['clock_mhz']:.1f}{routed}", f"{row['frames_per_second']:.2f}"]
            cells += [f"{row['latency_ms']:.1f}", f"{row['memory_mb_per_s']:.1f}", f"{gops:.2f}"]
            cells += [f"{gops / row['dsp']:.3f}", f"{1e3 * gops / row['lut']:.3f}"]
        else:
            cells += ["-"] * 7
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def config_size(array: str) -> int:
    """Multiply-accumulates of an array, such as 8x8."""
    rows, cols = map(int, array.split("x"))
    return rows * cols


if __name__ == "__main__":
    main()
