"""Calibrates DeiT-T in reference mode and writes what it found; a program of its own, because the
choice of processor kernels must be made before torch is imported.

Usage: published_run.py SHARED BITS OUT
"""

import sys
from pathlib import Path

import numpy as np
import torch

from rootshift.bits import Bits
from rootshift.images import ImageSet
from rootshift.quant.calibrate import calibrate
from rootshift.quant.models import load_model, preprocessing_of
from rootshift.quant.network import QuantizedNetwork
from rootshift.quant.quantizers import LogQuantizer, Quantizer

MODEL = "deit_tiny_patch16_224"
EVALUATION_IMAGES = 64


def arrays(name: str, quantizer: Quantizer) -> dict[str, np.ndarray]:
    """Scale and zero point under the names of the stored results."""
    found = {f"{name}.scale": quantizer.scale.numpy()}
    if not isinstance(quantizer, LogQuantizer):
        found[f"{name}.zero_point"] = quantizer.zero.numpy()
    return {key: value.reshape(value.shape[:1]) for key, value in found.items()}


def results(quantized: QuantizedNetwork, images: ImageSet) -> dict[str, np.ndarray]:
    """Every quantizer and the logits of the images."""
    found: dict[str, np.ndarray] = {}
    for name, quantizer in quantized.activation.items():
        found |= arrays(name, quantizer)
    for name, (_, quantizer) in quantized.weight.items():
        found |= arrays(f"{name}.weight", quantizer)
    logits = [quantized.logits(torch.from_numpy(pixels)) for pixels in images.batches(32)]
    return found | {"logits": torch.cat(logits).numpy()}


def main(shared: Path, bits: str, out: Path) -> None:
    """Calibrate on the calibration split, evaluate the first images of the other one."""
    model = load_model(MODEL, shared / "data" / "deit_tiny" / f"{MODEL}.safetensors")
    preprocessing = preprocessing_of(model)
    labels = shared / "data" / "imagenet_samples" / "labels.csv"
    calibration = ImageSet.from_csv(labels, preprocessing, split="calibration")
    evaluation = ImageSet.from_csv(labels, preprocessing, split="evaluation")
    pixels = torch.from_numpy(np.concatenate(list(calibration.batches(32))))
    quantized = calibrate(
        model, pixels, preprocessing.mean, preprocessing.std, Bits.parse(bits), mode="reference"
    )
    np.savez(out, **results(quantized, evaluation.take(range(EVALUATION_IMAGES))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
