"""How far the integer level of a model is from its fake level, with random weights."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_models import drawn_images, drawn_model
from safetensors.torch import save_file

from rootshift.bits import Bits
from rootshift.images import ImageSet
from rootshift.preprocessing import Preprocessing
from rootshift.quant.fake import FakeModel
from rootshift.quant.float import FloatModel
from rootshift.quant.models import load_model
from rootshift.quant.quantize import quantize
from rootshift.sim.golden.model import GoldenModel

CALIBRATION_IMAGES = 16
IMAGES = 16


def agreement(name: str, method: str, bits: str, seed: int = 0) -> dict[str, Any]:
    """Correlation of the logits of fake and integer level on images that did not calibrate.

    Of models with random weights the logits of one class are much the same for all images, which
    alone correlates: `within_classes` is what remains behind each class's mean over the images.
    """
    with tempfile.TemporaryDirectory(prefix="rootshift-benchmark-") as folder:
        weights = Path(folder) / "model.safetensors"
        save_file(drawn_model(name, seed).state_dict(), weights)
        artifact = quantize(name, weights, _calibration(seed), Bits.parse(bits), method=method)
        model = load_model(name, weights)
    height, width, _ = artifact.preprocessing.shape
    pixels = drawn_images(IMAGES, height, width, seed + 2)
    exact = FloatModel(model, artifact.preprocessing).logits(torch.from_numpy(pixels)).numpy()
    fake = FakeModel(artifact).logits(torch.from_numpy(pixels)).numpy()
    integer = GoldenModel(artifact).run(pixels).logits * artifact.operators[-1].scale
    return {
        "model": name,
        "method": method,
        "bits": bits,
        "images": IMAGES,
        "fake_integer": _correlations(fake, integer),
        "float_fake": _correlations(exact, fake),
        "float_integer": _correlations(exact, integer),
        "same_label": int((fake.argmax(1) == integer.argmax(1)).sum()),
    }


def _calibration(seed: int) -> Callable[[Preprocessing], ImageSet]:
    def images(preprocessing: Preprocessing) -> ImageSet:
        height, width, _ = preprocessing.shape
        pixels = drawn_images(CALIBRATION_IMAGES, height, width, seed + 1)
        return ImageSet.from_arrays([f"{number}" for number in range(len(pixels))], pixels)

    return images


def _correlations(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    centered = [(logits - logits.mean(0)).ravel() for logits in (a, b)]
    return {
        "all": round(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]), 6),
        "within_classes": round(float(np.corrcoef(*centered)[0, 1]), 6),
    }
