"""Figures of DeiT-T on real images: accuracy by level and bits, and time against timm's forward.

    python testbench/benchmarks/deit_tiny.py [--bits W4A4 W6A6 W8A8] [--times-only]

Prints one JSON object. Needs the real data beside the checkout (see `docs/results.md`).
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from rootshift.accuracy import evaluate
from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.images import ImageSet
from rootshift.quant.calibrate import calibrate
from rootshift.quant.fake import FakeModel
from rootshift.quant.float import FloatModel
from rootshift.quant.models import load_model, preprocessing_of
from rootshift.quant.quantize import quantize
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.golden.pool import GoldenPool

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODEL = "deit_tiny_patch16_224"
WEIGHTS = DATA / "deit_tiny" / f"{MODEL}.safetensors"
LABELS = DATA / "imagenet_samples" / "labels.csv"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bits", nargs="+", default=["W4A4", "W6A6", "W8A8"])
    parser.add_argument("--method", default="repq+gptq")
    parser.add_argument("--times-only", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    result["times"] = times(options.method)
    if not options.times_only:
        result["top1"] = accuracy(options.bits, options.method)
    print(json.dumps(result, indent=1))


def calibration_images(preprocessing: Any) -> ImageSet:
    """The 32 images of the split `calibration`."""
    return ImageSet.from_csv(LABELS, preprocessing, split="calibration")


def quantized(bits: str, method: str) -> Artifact:
    """DeiT-T calibrated on its 32 images."""
    return quantize(MODEL, WEIGHTS, calibration_images, Bits.parse(bits), method=method)


def accuracy(bits: list[str], method: str) -> dict[str, Any]:
    """Top-1 and top-5 on the evaluation images: float, and fake and integer for each width."""
    model = load_model(MODEL, WEIGHTS)
    preprocessing = preprocessing_of(model)
    levels = {"float": torch_level(FloatModel(model, preprocessing))}
    stack = ExitStack()
    for width in bits:
        artifact = quantized(width, method)
        levels[f"{width} fake"] = torch_level(FakeModel(artifact))
        golden = stack.enter_context(GoldenPool(artifact))
        levels[f"{width} integer"] = lambda pixels, golden=golden: golden.run(pixels).logits
    images = ImageSet.from_csv(LABELS, preprocessing, split="evaluation")
    with stack:
        found = evaluate(levels, images)
    return {
        "images": len(images),
        **{name: {"top1": round(a.top1, 2), "top5": round(a.top5, 2)} for name, a in found.items()},
    }


def torch_level(model: FloatModel | FakeModel) -> Callable[[np.ndarray], np.ndarray]:
    """NumPy in and out of a torch model."""
    return lambda pixels: model.logits(torch.from_numpy(pixels)).numpy()


def times(method: str) -> dict[str, float]:
    """Seconds: float forward of 32 images, their calibration, and golden per image; medians."""
    model = load_model(MODEL, WEIGHTS)
    preprocessing = preprocessing_of(model)
    pixels = np.concatenate(list(calibration_images(preprocessing).batches(32)))
    tensor = torch.from_numpy(pixels)
    float_model = FloatModel(model, preprocessing)
    golden = GoldenModel(quantized("W4A4", method))
    forward = median(lambda: float_model.logits(tensor), 5)
    seconds = {"float forward, 32 images": forward}
    for how in dict.fromkeys(("repq", method)):
        seconds[f"calibration W4A4, 32 images, {how}"] = median(
            lambda how=how: calibrate(
                model,
                tensor,
                preprocessing.mean,
                preprocessing.std,
                Bits.parse("W4A4"),
                method=how,
            ),
            3,
        )
    cores = os.cpu_count() or 1
    forward = median(lambda: float_model.logits(tensor), 7) / len(pixels)
    seconds[f"float forward, per image, {cores} cores"] = forward
    with GoldenPool(golden.artifact) as pool:
        pool.run(pixels)
        per_image = median(lambda: pool.run(pixels), 5) / len(pixels)
    seconds[f"golden, per image, {cores} cores"] = per_image
    torch.set_num_threads(1)
    forward = median(lambda: float_model.logits(tensor[:8]), 7) / 8
    seconds["float forward, per image, 1 core"] = forward
    with threadpool_limits(1, user_api="blas"):
        seconds["golden, per image, 1 core"] = median(lambda: golden.run(pixels[:8]), 5) / 8
    torch.set_num_threads(cores)
    return {name: round(value, 4) for name, value in seconds.items()}


def median(action: Callable[[], object], repeats: int) -> float:
    """Median wall time of an action."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
