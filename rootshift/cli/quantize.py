"""`rootshift quantize`: a pretrained ViT to an artifact."""

import argparse
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import Artifact, check_replaceable
from ..bit_table import read_bits
from ..errors import ConfigError
from ..images import EMBEDDED
from ..methods import DEFAULT_METHOD, METHODS, methods_text
from ..sim.golden.model import GoldenModel
from .evaluate import measured
from .progress import progress_bar
from .sources import calibration_images, evaluation_images, place

if TYPE_CHECKING:
    from ..quant.network import QuantizedNetwork
    from ..quant.quantize import Calibration

_SIZE = re.compile(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_calibration_arguments(parser)
    parser.add_argument(
        "--bits",
        default="W4A4",
        metavar="BITS|TOML",
        help="such as W4A4 or W4A8L5, or a TOML file of bits layer by layer",
    )
    integer = [name for name, method in METHODS.items() if method.integer]
    parser.add_argument(
        "--method", choices=integer, default=DEFAULT_METHOD, help=methods_text(integer=True)
    )
    add_features_argument(parser)
    parser.add_argument("--out", required=True, type=place, metavar="ARTIFACT")
    parser.add_argument(
        "--report", type=place, metavar="HTML", help="a page about what calibration found"
    )
    parser.add_argument(
        "--labels",
        type=place,
        metavar="CSV",
        help="images of which the report tells the accuracy: columns file, label, perhaps split",
    )
    parser.add_argument(
        "--images", type=place, metavar="DIR", help="of --labels; the CSV's own folder if left out"
    )


def add_calibration_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, weights, calibration images, and how to calibrate, of every command that does."""
    parser.add_argument("model", metavar="MODEL", help="a timm name, or digits")
    parser.add_argument("--weights", default="timm", type=place, metavar="FILE|timm")
    parser.add_argument(
        "--calibration",
        type=place,
        metavar="DIR|CSV",
        help="a folder of images, or a CSV whose rows say calibration in the column split",
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="SIDE|HxW",
        help="pixels, where they are not the model's own: positions are resampled",
    )
    parser.add_argument("--base", choices=["sqrt2", "2"], default="sqrt2", help="softmax base")
    parser.add_argument(
        "--limit", type=int, default=32, metavar="N", help="calibration images to use"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the images where there are more")
    parser.add_argument(
        "--device", default="cpu", help="where to calibrate: cpu, cuda, or cuda:1 and so on"
    )


def add_features_argument(parser: argparse.ArgumentParser) -> None:
    """`--features`, of commands that take feature extractors, too."""
    parser.add_argument(
        "--features",
        type=int,
        nargs="+",
        metavar="N",
        help="give the outputs of these blocks (ViT) or stages (Swin) instead of logits",
    )


def image_size(text: str) -> tuple[int, int]:
    """Argument type: height and width, as 224 or 224x320."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a side or HxW in pixels, not {text!r}")
    height = int(match[1])
    return height, int(match[2] or height)


def loaded(options: argparse.Namespace) -> "Calibration":
    """The model and the images that `add_calibration_arguments` tell of.

    Raises: ConfigError for bad options, ModelError, ImageError as loading does.
    """
    if options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}")
    if options.seed < 0:
        raise ConfigError(f"--seed must be at least 0, not {options.seed}")
    from ..quant.devices import check_device
    from ..quant.quantize import Calibration

    check_device(options.device)
    return Calibration.load(
        options.model,
        options.weights,
        lambda preprocessing: calibration_images(options.model, options.calibration, preprocessing),
        image_size=options.image_size,
        features=getattr(options, "features", None),
        limit=options.limit,
        seed=options.seed,
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: artifact, model, method, bits, operators, weight_bytes, images, seconds; report where
    one was asked for."""
    for name in ("labels", "images"):
        if getattr(options, name) is not None and options.report is None:
            raise ConfigError(f"--{name} must come with --report")
    bits = read_bits(options.bits)
    check_replaceable(options.out)  # before minutes of work, not after
    began = time.perf_counter()
    calibration = loaded(options)
    with progress_bar("calibrate") as progress:
        found = calibration.quantized(
            bits,
            method=options.method,
            base=options.base,
            device=options.device,
            progress=progress,
        )
    artifact = calibration.artifact(found, options.method)
    artifact.save(options.out)
    result = {
        "artifact": options.out,
        "model": options.model,
        "method": options.method,
        "bits": str(bits),
        "operators": len(artifact.operators),
        "weight_bytes": artifact.weight_bytes,
        "images": len(calibration.images),
        "seconds": round(time.perf_counter() - began, 2),
    }
    if options.report is not None:
        write_report(options, calibration, found, artifact)
        result["report"] = options.report
    return result


def write_report(
    options: argparse.Namespace,
    calibration: "Calibration",
    found: "QuantizedNetwork",
    artifact: Artifact,
) -> None:
    """The page of `--report`; with labelled images, with the accuracy of each level."""
    from ..quant.report import write_quantization_report

    pixels = np.concatenate([part.numpy() for part in calibration.pixels()])
    accuracy = None
    if artifact.is_classifier and (options.labels is not None or options.model == EMBEDDED):
        accuracy = _accuracy(options, calibration, artifact)
    golden = GoldenModel(artifact).run(pixels)
    with progress_bar("report") as progress:
        write_quantization_report(
            options.report,
            found,
            calibration.model,
            pixels,
            calibration.preprocessing,
            artifact=artifact,
            integer=golden.outputs,
            saturated=golden.saturated,
            accuracy=accuracy,
            progress=lambda done: progress(done, len(pixels)),
        )


def _accuracy(
    options: argparse.Namespace, calibration: "Calibration", artifact: Artifact
) -> dict[str, Any]:
    from ..quant.fake import FakeModel
    from ..quant.float import FloatModel

    preprocessing = calibration.preprocessing
    images = evaluation_images(options.model, options.images, options.labels, preprocessing)
    models = {
        "float": FloatModel(calibration.model, preprocessing),
        "fake": FakeModel(artifact),
        "integer": artifact,
    }
    figures = measured(models, images, "evaluate")
    return {level: found | {"images": len(images)} for level, found in figures.items()}


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"{result['model']} {result['bits']} by {result['method']}: {result['operators']} integer "
        f"operators, {result['weight_bytes'] / 1e6:.2f} MB of weights, calibrated on "
        f"{result['images']} images in {result['seconds']:.1f} s -> {result['artifact']}"
    )
