"""`rootshift simulate`: one image through an engine."""

import argparse
import time
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..output import write_file
from ..sim.golden.model import GoldenModel
from .progress import progress_bar
from .sources import accelerator_config, add_config_arguments, one_image, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument("--image", required=True, type=place, metavar="FILE")
    parser.add_argument("--engine", choices=["golden", "rtl"], default="golden")
    add_config_arguments(parser)
    parser.add_argument(
        "--tensors",
        type=place,
        metavar="FILE.npz",
        help="write every intermediate tensor, integers, by name",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: engine, label (class number), logits (real values), seconds, saturated, tensors.

    With the engine rtl also array, cycles, mac_utilization, cycles_per_second, compared and
    mismatches against golden, and first, where the first mismatch is.
    """
    artifact = Artifact.load(options.artifact)
    pixels = one_image(options.image, artifact.preprocessing)
    rtl = options.engine == "rtl"
    keep = list(artifact.shapes()) if options.tensors or rtl else []
    start = time.perf_counter()
    inference = GoldenModel(artifact).run(pixels, keep)
    seconds = time.perf_counter() - start
    logits, found = inference.logits, {"saturated": dict(inference.saturated)}
    if rtl:
        found = _run_rtl(options, artifact, pixels, inference)
        logits, seconds = found.pop("logits"), found.pop("seconds")
    if options.tensors:
        write_file(
            options.tensors,
            lambda file: np.savez(file, **{k: v[0] for k, v in inference.tensors.items()}),
        )
    values = logits[0] * artifact.operators[-1].scale
    return {
        "engine": options.engine,
        "label": int(values.argmax()),
        "logits": [round(float(value), 6) for value in values],
        "seconds": round(seconds, 4),
        "tensors": len(inference.tensors) if options.tensors else 0,
        **found,
    }


def _run_rtl(
    options: argparse.Namespace, artifact: Artifact, pixels: np.ndarray, golden: Any
) -> dict[str, Any]:
    """The figures of a run on the generated design; its seconds are those after the build."""
    from ..hw.compiler import compile_program
    from ..sim.rtl.inference import design, infer

    config = accelerator_config(options, artifact)
    program = compile_program(artifact, config)
    with progress_bar("simulate") as progress:
        progress(0, 2, "compile the design")
        design(config)
        progress(1, 2, "run the program")
        start = time.perf_counter()
        found = infer(artifact, program, pixels, golden)
        found["seconds"] = time.perf_counter() - start
    return {"array": f"{config.rows}x{config.cols}", **found}


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    top = sorted(enumerate(result["logits"]), key=lambda item: -item[1])[:5]
    lines = [f"label {result['label']}   ({result['engine']}, {result['seconds']:.3f} s)"]
    lines += [f"  class {index:4d}   logit {value:9.4f}" for index, value in top]
    total = sum(result["saturated"].values())
    what = "units" if result["engine"] == "rtl" else "operators"
    lines.append(f"saturated values: {total} in {len(result['saturated'])} {what}")
    if result["engine"] == "rtl":
        lines += [
            f"{result['cycles']} cycles on a {result['array']} array, "
            f"{result['mac_utilization']:.1%} of the multipliers' time, "
            f"{result['cycles_per_second']} cycles/s",
            f"{result['compared']} values compared with golden, {result['mismatches']} mismatches",
        ]
        lines += [f"first mismatch: {result['first']}"] if result["first"] else []
    return "\n".join(lines)
