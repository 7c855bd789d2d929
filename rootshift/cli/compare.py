"""`rootshift compare`: every method on the same images, level by level."""

import argparse
import time
from typing import Any

from ..bit_table import read_bits
from ..errors import ConfigError
from ..methods import METHODS
from .evaluate import measured
from .progress import progress_bar
from .quantize import add_calibration_arguments, loaded
from .sources import evaluation_images, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_calibration_arguments(parser)
    parser.add_argument(
        "--bits", nargs="+", default=["W4A4"], metavar="BITS", help="such as W4A4 W6A6 or a TOML"
    )
    parser.add_argument(
        "--method", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD",
        help=f"some of {', '.join(METHODS)}; all by default",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=place, metavar="DIR", help="the CSV's own folder if left out"
    )
    parser.add_argument(
        "--labels", type=place, metavar="CSV", help="columns file, label and perhaps split"
    )
    parser.add_argument(
        "--first", type=int, metavar="N", help="evaluate on the first N images only"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: images, float, and rows of method, bits, seconds, and per level top1 and top5."""
    if options.first is not None and options.first < 1:
        raise ConfigError(f"--first must be at least 1, not {options.first}")
    widths = [read_bits(text) for text in options.bits]
    calibration = loaded(options)
    images = evaluation_images(
        options.model, options.images, options.labels, calibration.preprocessing
    )
    if options.first is not None and options.first < len(images):
        images = images.take(range(options.first))

    from ..quant.fake import FakeModel
    from ..quant.float import FloatModel

    exact = FloatModel(calibration.model, calibration.preprocessing)
    result: dict[str, Any] = {
        "model": options.model,
        "images": len(images),
        **measured({"float": exact}, images, "float"),
        "rows": [],
    }
    for bits in widths:
        for method in dict.fromkeys(options.method):
            title = f"{method} {bits}"
            began = time.perf_counter()
            with progress_bar(title) as progress:
                found = calibration.quantized(
                    bits, method=method, base=options.base, device=options.device, progress=progress
                )
            seconds = time.perf_counter() - began
            levels: dict[str, Any] = {"fake": found}
            if METHODS[method].integer:
                artifact = calibration.artifact(found, method)
                levels = {"fake": FakeModel(artifact), "integer": artifact}
            row = {"method": method, "bits": str(bits), "seconds": round(seconds, 1)}
            result["rows"].append(row | measured(levels, images, title))
    return result


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    lines = [
        f"{result['model']}, {result['images']} images, float top-1 {result['float']['top1']:.2f}",
        f"{'method':12s} {'bits':14s} {'fake top-1':>10s} {'integer top-1':>14s} {'seconds':>8s}",
    ]
    for row in result["rows"]:
        integer = f"{row['integer']['top1']:.2f}" if "integer" in row else "-"
        lines.append(
            f"{row['method']:12s} {row['bits']:14s} {row['fake']['top1']:10.2f} {integer:>14s} "
            f"{row['seconds']:8.1f}"
        )
    return "\n".join(lines)
