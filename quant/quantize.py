"""The whole front end: a pretrained model and calibration images in, an artifact out."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import __version__
from ..artifact import Artifact
from ..bits import Bits
from ..images import ImageSet
from ..preprocessing import Preprocessing
from .calibrate import calibrate
from .export import export
from .models import load_model, preprocessing_of

CALIBRATION_IMAGES = 32


def quantize(
    name: str,
    weights: str | Path,
    images: Callable[[Preprocessing], ImageSet],
    bits: Bits,
    *,
    base: str = "sqrt2",
    rounding: str = "second-moment",
    limit: int = CALIBRATION_IMAGES,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Artifact:
    """Load, calibrate, reparameterize and export a model.

    Parameters:
        name, weights: as in `load_model`.
        images: calibration images for the model's own preprocessing.
        bits, base, rounding: as in `calibrate`.
        limit, seed: where there are more images than `limit`, that many are drawn with `seed`.
    Raises: ModelError, ImageError, CalibrationError, ArtifactError as the steps do.
    """
    model = load_model(name, weights)
    preprocessing = preprocessing_of(model)
    chosen = draw(images(preprocessing), limit, seed)
    pixels = np.concatenate(list(chosen.batches(limit)))
    vit = calibrate(
        model,
        torch.from_numpy(pixels),
        preprocessing.mean,
        preprocessing.std,
        bits,
        base=base,
        rounding=rounding,
        progress=progress,
    )
    calibration = [
        {"file": file, "sha256": digest}
        for file, digest in zip(chosen.names, chosen.digests(), strict=True)
    ]
    source: dict[str, Any] = {
        "rootshift": __version__,
        "model": name,
        "weights": "timm" if str(weights) == "timm" else Path(weights).name,
        "weights_sha256": state_digest(model),
        "base": base,
        "rounding": rounding,
        "seed": seed,
        "calibration": calibration,
    }
    return export(vit, preprocessing, source)


def draw(images: ImageSet, limit: int, seed: int) -> ImageSet:
    """At most `limit` of the images, in their order; the same ones for the same seed."""
    if len(images) <= limit:
        return images
    chosen = np.random.default_rng(seed).permutation(len(images))[:limit]
    return images.take(sorted(chosen.tolist()))


def state_digest(model: nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {list(value.shape)} ".encode())
        digest.update(value.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
