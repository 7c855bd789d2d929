"""A model on the RTL of the accelerator: equality with golden, utilization, stalls and traffic.

    python testbench/benchmarks/accelerator.py ARTIFACT [--array 16x16] [--images 4] [--page FILE]

Runs evaluation images of the real data beside the checkout, each from start bit to interrupt, and
compares every tensor. Prints one JSON object; `--page` writes the table of layers as Markdown.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.images import ImageSet
from rootshift.program import Program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.layers import Layer, exposed, layers
from rootshift.sim.native.memory import MemoryTiming
from rootshift.sim.rtl.inference import compare, design, run_program, timeline
from rootshift.sim.rtl.result import RunResult

LABELS = Path(__file__).resolve().parents[3] / "shared/data/imagenet_samples/labels.csv"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact")
    parser.add_argument("--array", default="16x16")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--bus-width", type=int, default=64)
    parser.add_argument("--lanes", type=int)
    parser.add_argument("--norm-bands", type=int)
    parser.add_argument("--per-run", type=int, default=1, help="images of one run")
    parser.add_argument("--batch", type=int, default=1, help="images that share the weights")
    parser.add_argument("--room", type=int, default=1, help="images that the buffers hold")
    parser.add_argument("--latency", type=int, default=1, help="cycles of a read")
    parser.add_argument("--bandwidth", type=float, default=1.0, help="beats per cycle")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    artifact = Artifact.load(options.artifact)
    room = max(options.room, options.batch)
    config = AcceleratorConfig.for_artifact(artifact, options.array, room)
    config = replace(config, bus_width=options.bus_width, lanes=options.lanes or config.lanes)
    program = compile_program(
        artifact, config, options.per_run, norm_bands=options.norm_bands, batch=options.batch
    )
    begin = time.perf_counter()
    design(config)
    built = time.perf_counter() - begin
    names = [operator.name for operator in artifact.operators]
    golden, runs = GoldenModel(artifact), []
    shown = ImageSet.from_csv(LABELS, artifact.preprocessing, split="evaluation")
    for first in range(0, options.images, options.per_run):
        numbers = range(first, first + options.per_run)
        pixels = np.stack([shown.pixels(number) for number in numbers])
        expected = golden.run(pixels, names)
        timing = MemoryTiming(read_latency=options.latency, bandwidth=options.bandwidth)
        run = run_program(program, pixels, memory=timing)
        found = compare(artifact, program, run, expected)
        runs.append(
            {
                "files": [shown.names[number] for number in numbers],
                "compared": found.compared,
                "mismatches": found.mismatches,
                "saturated_equal": all(a == b for a, b in found.saturated.values()),
                "labels": program.logits(run.memory).argmax(1).tolist(),
                "golden_labels": expected.logits.argmax(1).tolist(),
                "cycles": run.cycles,
                "cycles_per_second": round(run.cycles_per_second),
            }
        )
    table = layers(artifact, program, timeline(program, run))
    print(json.dumps(summary(artifact, program, run, table, runs, built), indent=1))
    if options.page:
        model = f"{artifact.source['model']} {artifact.bits}"
        options.page.write_text(page(model, config, table, run))


def summary(
    artifact: Artifact,
    program: Program,
    run: RunResult,
    table: Sequence[Layer],
    runs: list[dict[str, Any]],
    built: float,
) -> dict[str, Any]:
    """The figures of the last run, and what was compared in all."""
    config = program.config
    constants = sum(
        size
        for name, (_, size) in program.segments.items()
        if name not in ("program", "input", "output")
    )
    least = constants + program.images * (program.input.bytes + program.output.bytes)
    traffic = run.traffic.read_bytes + run.traffic.write_bytes
    return {
        "cores": os.cpu_count(),
        "array": f"{config.rows}x{config.cols}",
        "lanes": config.lanes,
        "bus_width": config.bus_width,
        "build_seconds": round(built, 1),
        "images": program.images,
        "runs": runs,
        "compared": sum(each["compared"] for each in runs),
        "mismatches": sum(each["mismatches"] for each in runs),
        "cycles": run.cycles,
        "mac_utilization": artifact.macs()
        * program.images
        / (run.cycles * config.rows * config.cols),
        "array_busy": sum(layer.busy for layer in table) / run.cycles,
        "stalled": {
            name: sum(getattr(layer, name) for layer in table)
            for name in ("weights", "activations", "output", "idle")
        },
        "exposed": {
            name: exposed(table, name)
            for name in ("layernorm", "attention", "requantizer", "image", "end")
        },
        "read_bytes": run.traffic.read_bytes,
        "traffic_bytes": traffic,
        "least_traffic_bytes": least,
        "program_bytes": program.segments["program"][1],
    }


PAGE = """\
# Where the cycles of the array go

{model} on a {rows} x {cols} array, {lanes} lanes, {bus} bits of bus, memory that answers at once,
one image: counted on the RTL from start bit to interrupt by
`python testbench/benchmarks/accelerator.py`, which writes this page (`--page`).

*Busy* are cycles in which the array took a vector; then those in which it had a vector and waited
for weights, had none (activations), or had no room behind the requantizer (output). *Idle* are
those before the layer in which it had no command, and what it waited for: LayerNorm, attention
(softmax and shift attention, behind the scores), the image, or what the requantizer still had of
the layer before. Multiplications of shift attention, which has an array of its own, count with the
scores. Pixels of 8 bits take four passes on an array of 4 bits.

"""


def page(model: str, config: AcceleratorConfig, table: Sequence[Layer], run: RunResult) -> str:
    """The table of layers, with an explanation."""
    array = config.rows * config.cols
    text = PAGE.format(
        model=model,
        rows=config.rows,
        cols=config.cols,
        lanes=config.lanes,
        bus=config.bus_width,
    )
    head = ["layer", "cycles", "busy", "weights", "activations", "output", "idle", "idle for"]
    lines = [f"| {' | '.join([*head, 'MACs per cycle and cell'])} |", "|---" * 9 + "|"]
    for layer in table:
        use = layer.macs / (layer.cycles * array) if layer.cycles else 0
        cells = [layer.name, layer.cycles, layer.busy, layer.weights, layer.activations]
        cells += [layer.output, layer.idle, layer.waits_for if layer.idle else "", f"{use:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    names = "busy", "weights", "activations", "output", "idle"
    totals = [sum(getattr(layer, name) for layer in table) for name in names]
    use = sum(layer.macs for layer in table) / (run.cycles * array)
    cells = ["**all**", run.cycles, *totals, "", f"{use:.3f}"]
    lines.append(f"| {' | '.join(map(str, cells))} |")
    return text + "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
