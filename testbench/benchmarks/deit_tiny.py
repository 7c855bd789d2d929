"""Time of the golden model on DeiT-T beside timm's float forward pass.

    python testbench/benchmarks/deit_tiny.py

Prints one JSON object. Needs the real data beside the checkout (see `docs/results.md`). Accuracy is
measured by `rootshift compare`, calibration by `calibration.py`.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from rootshift.bits import Bits
from rootshift.images import ImageSet
from rootshift.quant.float import FloatModel
from rootshift.quant.quantize import Calibration
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.golden.pool import GoldenPool

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODEL = "deit_tiny_patch16_224"
WEIGHTS = DATA / "deit_tiny" / f"{MODEL}.safetensors"
LABELS = DATA / "imagenet_samples" / "labels.csv"


def main() -> None:
    """Measure and print."""
    result = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "times": times()}
    print(json.dumps(result, indent=1))


def calibration_images(preprocessing: Any) -> ImageSet:
    """The 32 images of the split `calibration`."""
    return ImageSet.from_csv(LABELS, preprocessing, split="calibration")


def times() -> dict[str, float]:
    """Seconds of the float forward pass and of golden at W4/A4, per image; medians."""
    calibration = Calibration.load(MODEL, WEIGHTS, calibration_images)
    tensor = torch.cat(list(calibration.pixels()))
    pixels = tensor.numpy()
    float_model = FloatModel(calibration.model, calibration.preprocessing)
    golden = GoldenModel(calibration.artifact(calibration.quantized(Bits(4, 4)), "repq"))
    cores = os.cpu_count() or 1
    seconds = {"float forward, 32 images": median(lambda: float_model.logits(tensor), 7)}
    seconds[f"float forward, per image, {cores} cores"] = seconds["float forward, 32 images"] / 32
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
