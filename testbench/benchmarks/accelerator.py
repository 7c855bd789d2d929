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

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.images import ImageSet
from rootshift.program import Program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.rtl.inference import compare, design, run_program
from rootshift.sim.rtl.layers import Layer, exposed, layers
from rootshift.sim.rtl.memory import MemoryTiming
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
    parser.add_argument("--latency", type=int, default=1, help="cycles of a read")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    artifact = Artifact.load(options.artifact)
    config = AcceleratorConfig.for_artifact(artifact, options.array)
    config = replace(config, bus_width=options.bus_width, lanes=options.lanes or config.lanes)
    program = compile_program(artifact, config, norm_bands=options.norm_bands)
    begin = time.perf_counter()
    design(config)
    built = time.perf_counter() - begin
    names = [operator.name for operator in artifact.operators]
    golden, images = GoldenModel(artifact), []
    shown = ImageSet.from_csv(LABELS, artifact.preprocessing, split="evaluation")
    for number in range(options.images):
        image, file = shown.pixels(number), shown.names[number]
        expected = golden.run(image[None], names)
        timing = MemoryTiming(read_latency=options.latency)
        run = run_program(program, image[None], memory=timing)
        found = compare(artifact, program, run, expected)
        images.append(
            {
                "file": file,
                "compared": found.compared,
                "mismatches": found.mismatches,
                "saturated_equal": all(a == b for a, b in found.saturated.values()),
                "label": int(program.logits(run.memory)[0].argmax()),
                "golden_label": int(expected.logits[0].argmax()),
                "cycles": run.cycles,
                "cycles_per_second": round(run.cycles_per_second),
            }
        )
    table = layers(artifact, program, run)
    print(json.dumps(summary(artifact, program, run, table, images, built), indent=1))
    if options.page:
        model = f"{artifact.source['model']} {artifact.bits}"
        options.page.write_text(page(model, config, table, run))


def summary(
    artifact: Artifact,
    program: Program,
    run: RunResult,
    table: Sequence[Layer],
    images: list[dict[str, Any]],
    built: float,
) -> dict[str, Any]:
    """The figures of the last image, and what was compared of all."""
    config = program.config
    constants = sum(
        size
        for name, (_, size) in program.segments.items()
        if name not in ("program", "input", "output")
    )
    least = constants + program.input.bytes + program.output.bytes
    traffic = run.traffic.read_bytes + run.traffic.write_bytes
    return {
        "cores": os.cpu_count(),
        "array": f"{config.rows}x{config.cols}",
        "lanes": config.lanes,
        "bus_width": config.bus_width,
        "build_seconds": round(built, 1),
        "images": images,
        "compared": sum(image["compared"] for image in images),
        "mismatches": sum(image["mismatches"] for image in images),
        "cycles": run.cycles,
        "mac_utilization": artifact.macs() / (run.cycles * config.rows * config.cols),
        "array_busy": sum(layer.busy for layer in table) / run.cycles,
        "stalled": {
            name: sum(getattr(layer, name) for layer in table)
            for name in ("weights", "activations", "output", "idle")
        },
        "exposed": {
            name: exposed(table, name)
            for name in ("layernorm", "attention", "requantizer", "image", "end")
        },
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
