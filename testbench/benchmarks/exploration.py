"""Explorations of DeiT-T on real images: how long they take, and what they find.

    python testbench/benchmarks/exploration.py hardware
    python testbench/benchmarks/exploration.py quantizations
    python testbench/benchmarks/exploration.py front --out DIR [--pictures FOLDER --picked N ...]

`hardware`: 12 288 points of hardware for one quantization, which is made before the clock starts.
`quantizations`: 24 quantizations with a grid of hardware, 128 images, from an empty cache, with and
without pruning; beside it the plain loop, which makes everything anew for each point: the time of
some of its points, drawn with a seed, times their number. `front`: accuracy, latency and LUTs of
W3 to W8 on arrays of 4 x 4 to 32 x 32 for two devices, all 468 images; DIR has its report, FOLDER
gets its pictures, in which picked points are marked.

Each prints one JSON object. Needs the real data beside the checkout (see `docs/results.md`).
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from deit_tiny import LABELS, MODEL, WEIGHTS

from rootshift.accuracy import evaluate
from rootshift.hw.compiler import compile_program
from rootshift.images import ImageSet
from rootshift.quant.quantize import quantize
from rootshift.sim.costs import costs
from rootshift.sim.cycles.model import model_cycles
from rootshift.sim.energy import energy
from rootshift.sim.explore import Exploration, Space, explore
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.report import front_svg
from rootshift.sim.golden.pool import GoldenPool

FILES = {
    "model": {"name": MODEL, "weights": str(WEIGHTS)},
    "images": {"calibration": str(LABELS), "labels": str(LABELS)},
}
HARDWARE = FILES | {
    "images": FILES["images"] | {"first": 32},
    "quantization": {"bits": "W4A4", "method": "repq+gptq"},
    "hardware": {
        "rows": [8, 16, 24, 32],
        "cols": [8, 16, 24, 32],
        "lanes": [4, 8],
        "bus_width": [32, 64, 128],
        "channel_depth": ["least", 4096],
        "embedding_depth": ["least", 768],
    },
    "memory": {"read_latency": [1, 30], "bandwidth": [0.5, 1.0]},
    "fpga": {"target": ["ecp5-85k", "xc7z045"], "clock_mhz": [25, 40, 50, "fmax"]},
    "constraints": {"fits": False},
    "objectives": {"minimize": ["latency_ms", "lut", "energy_uj"]},
}
QUANTIZATIONS = FILES | {
    "images": FILES["images"] | {"first": 128},
    "quantization": {
        "weights": [3, 4, 6, 8],
        "activations": [4, 6, 8],
        "method": ["repq", "repq+gptq"],
    },
    "hardware": {"array": ["8x8", "8x16", "16x16", "32x16"], "bus_width": [32, 64]},
    "fpga": {"target": "xc7z045"},
    "objectives": {"maximize": ["top1"], "minimize": ["latency_ms", "lut"]},
}
FRONT = FILES | {
    "quantization": {
        "weights": [3, 4, 5, 6, 7, 8],
        "activations": [4, 6, 8],
        "method": "repq+gptq",
    },
    "hardware": {
        "rows": [4, 8, 16, 32],
        "cols": [4, 8, 16, 32],
        "lanes": [2, 4, 8],
        "bus_width": [32, 64],
    },
    "fpga": {"target": ["ecp5-85k", "xc7z020"]},
    "objectives": {"maximize": ["top1"], "minimize": ["latency_ms", "lut"]},
}
PLAIN_POINTS = 6


def main() -> None:
    """Explore and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["hardware", "quantizations", "front"])
    parser.add_argument("--out", type=Path, help="folder of the results of `front`")
    parser.add_argument("--pictures", type=Path, help="folder of the pictures of `front`")
    parser.add_argument("--picked", type=int, nargs="+", default=[], help="points to mark there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "hardware":
            result = hardware(Path(folder))
        elif options.what == "quantizations":
            result = quantizations(Path(folder))
        else:
            found = explore(FRONT, options.out or Path(folder), progress=report)
            result = outcome(found)
            if options.pictures is not None:
                pictures(found, options.pictures, options.picked)
    print(json.dumps({"cores": os.cpu_count(), **result}, indent=1))


def hardware(folder: Path) -> dict[str, Any]:
    """Points of hardware alone: the second exploration finds artifact and accuracy in the cache."""
    one = HARDWARE | {"hardware": {"array": "8x8"}, "memory": {}, "fpga": {"target": "ecp5-85k"}}
    explore(one, folder / "one", cache=folder / "cache")
    began = time.perf_counter()
    found = explore(HARDWARE, folder / "all", cache=folder / "cache", progress=report)
    seconds = time.perf_counter() - began
    again = time.perf_counter()
    explore(HARDWARE, folder / "again", cache=folder / "cache")
    return outcome(found) | {
        "seconds with files": seconds,
        "seconds again": time.perf_counter() - again,
    }


def quantizations(folder: Path) -> dict[str, Any]:
    """The same space pruned and whole, each from an empty cache, and points of the plain loop."""
    pruned = explore(
        QUANTIZATIONS | {"search": {"prune": True}}, folder / "pruned", cache=folder / "cache",
        progress=report,
    )  # fmt: skip
    whole = explore(QUANTIZATIONS, folder / "whole", cache=folder / "other", progress=report)
    points = list(Space.from_table(QUANTIZATIONS).points())
    seconds = [plain(point) for point in random.Random(0).sample(points, PLAIN_POINTS)]
    same = {r.number for r in pruned.front()} == {r.number for r in whole.front()}
    return {
        "pruned": outcome(pruned),
        "whole": outcome(whole),
        "the same front": same,
        "plain, seconds per point": seconds,
        "plain, seconds of all": float(np.mean(seconds)) * len(points),
    }


def plain(point: Point) -> float:
    """Seconds of one point with nothing shared: both cores quantize and infer."""
    began = time.perf_counter()
    chosen, machine = point.quantization, point.hardware
    artifact = quantize(
        MODEL, WEIGHTS, lambda p: ImageSet.from_csv(LABELS, p, split="calibration"), chosen.bits,
        method=chosen.method, base=chosen.base,
    )  # fmt: skip
    config = machine.config(artifact)
    program = compile_program(artifact, config)
    model_cycles(program, memory=machine.memory)
    energy(costs(artifact, program), config, 1)
    images = ImageSet.from_csv(LABELS, artifact.preprocessing, split="evaluation").take(range(128))
    with GoldenPool(artifact) as pool:
        evaluate({"integer": lambda pixels: pool.run(pixels).logits}, images)
    return time.perf_counter() - began


def pictures(found: Exploration, folder: Path, picked: list[int]) -> None:
    """Two views of the fronts, as SVG."""
    accuracy = front_svg(found, "latency_ms", "top1", picked=picked, x_log=True)
    space = front_svg(found, "lut", "latency_ms", picked=picked, y_log=True)
    (folder / "exploration-accuracy.svg").write_text(accuracy, encoding="utf-8")
    (folder / "exploration-area.svg").write_text(space, encoding="utf-8")


def outcome(found: Exploration) -> dict[str, Any]:
    """Figures of an exploration."""
    rows = found.rows()
    status = [row["status"] for row in rows]
    return {
        "points": len(rows),
        "status": {name: status.count(name) for name in sorted(set(status))},
        "front": len(found.front()),
        **{name: found.made[name] for name in ("seconds", "workers", "counts")},
    }


def report(done: int, total: int, what: str) -> None:
    """Progress on standard error."""
    print(f"\r{done}/{total} {what}   ", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    main()
