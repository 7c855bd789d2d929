"""`rootshift simulate`: one image through an engine."""

import argparse
import time
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..output import write_file
from ..sim.golden.model import GoldenModel
from .sources import one_image, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument("--image", required=True, type=place, metavar="FILE")
    parser.add_argument("--engine", choices=["golden"], default="golden")
    parser.add_argument(
        "--tensors",
        type=place,
        metavar="FILE.npz",
        help="write every intermediate tensor, integers, by name",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: engine, label (class number), logits (real values), seconds, saturated, tensors."""
    artifact = Artifact.load(options.artifact)
    pixels = one_image(options.image, artifact.preprocessing)
    keep = list(artifact.shapes()) if options.tensors else []
    start = time.perf_counter()
    inference = GoldenModel(artifact).run(pixels, keep)
    seconds = time.perf_counter() - start
    if options.tensors:
        write_file(
            options.tensors,
            lambda file: np.savez(file, **{k: v[0] for k, v in inference.tensors.items()}),
        )
    logits = inference.logits[0] * artifact.operators[-1].scale
    return {
        "engine": options.engine,
        "label": int(logits.argmax()),
        "logits": [round(float(value), 6) for value in logits],
        "seconds": round(seconds, 4),
        "saturated": dict(inference.saturated),
        "tensors": len(inference.tensors),
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    top = sorted(enumerate(result["logits"]), key=lambda item: -item[1])[:5]
    lines = [f"label {result['label']}   ({result['engine']}, {result['seconds']:.3f} s)"]
    lines += [f"  class {index:4d}   logit {value:9.4f}" for index, value in top]
    total = sum(result["saturated"].values())
    lines.append(f"saturated values: {total} in {len(result['saturated'])} operators")
    return "\n".join(lines)
