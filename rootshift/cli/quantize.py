"""`rootshift quantize`: a pretrained ViT to an artifact."""

import argparse
import time
from typing import Any

from ..artifact import check_replaceable
from ..bits import Bits
from ..errors import ConfigError
from .progress import progress_bar
from .sources import calibration_images, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help="a timm name, or digits")
    parser.add_argument("--weights", default="timm", type=place, metavar="FILE|timm")
    parser.add_argument(
        "--calibration",
        type=place,
        metavar="DIR|CSV",
        help="a folder of images, or a CSV whose rows say calibration in the column split",
    )
    parser.add_argument("--bits", default="W4A4", help="such as W4A4 or W4A8L5")
    parser.add_argument("--out", required=True, type=place, metavar="ARTIFACT")
    parser.add_argument("--base", choices=["sqrt2", "2"], default="sqrt2", help="softmax base")
    parser.add_argument(
        "--rounding",
        choices=["second-moment", "nearest"],
        default="second-moment",
        help="how weights are rounded",
    )
    parser.add_argument(
        "--limit", type=int, default=32, metavar="N", help="calibration images to use"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the images where there are more")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: artifact, model, bits, operators, weight_bytes, images, seconds."""
    bits = Bits.parse(options.bits)
    if options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}")
    if options.seed < 0:
        raise ConfigError(f"--seed must be at least 0, not {options.seed}")
    check_replaceable(options.out)  # before minutes of work, not after
    from ..quant.quantize import quantize

    start = time.perf_counter()
    with progress_bar("calibrate") as progress:
        artifact = quantize(
            options.model,
            options.weights,
            lambda preprocessing: calibration_images(
                options.model, options.calibration, preprocessing
            ),
            bits,
            base=options.base,
            rounding=options.rounding,
            limit=options.limit,
            seed=options.seed,
            progress=progress,
        )
    artifact.save(options.out)
    weight_bits = sum(
        operator.weight.size * operator.weight_width
        for operator in artifact.operators
        if operator.kind == "gemm"
    )
    return {
        "artifact": options.out,
        "model": options.model,
        "bits": str(bits),
        "operators": len(artifact.operators),
        "weight_bytes": (weight_bits + 7) // 8,
        "images": len(artifact.source["calibration"]),
        "seconds": round(time.perf_counter() - start, 2),
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"{result['model']} {result['bits']}: {result['operators']} integer operators, "
        f"{result['weight_bytes'] / 1e6:.2f} MB of weights, calibrated on {result['images']} "
        f"images in {result['seconds']:.1f} s -> {result['artifact']}"
    )
