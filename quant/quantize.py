"""The whole front end: a pretrained model and calibration images in, an artifact out."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..artifact import Artifact
from ..bit_table import BitTable
from ..bits import Bits
from ..images import ImageSet
from ..preprocessing import Preprocessing
from .calibrate import Progress, calibrate
from .export import export
from .models import load_model, preprocessing_of
from .network import QuantizedNetwork

CALIBRATION_IMAGES = 32
_DECODED_AT_ONCE = 32


@dataclass(frozen=True)
class Calibration:
    """A pretrained model and the images that its quantizers are searched on.

    Members:
        name, weights: of the model, as in `load_model`.
        model: nn.Module, float32.
        preprocessing: Preprocessing. The model's own.
        images: ImageSet. The calibration images, drawn already.
        seed: int. They were drawn with.
        features: tuple of int, optional. As in `load_model`.
    """

    name: str
    weights: str | Path
    model: nn.Module
    preprocessing: Preprocessing
    images: ImageSet
    seed: int
    features: tuple[int, ...] | None = None

    @classmethod
    def load(
        cls,
        name: str,
        weights: str | Path,
        images: Callable[[Preprocessing], ImageSet],
        *,
        image_size: int | tuple[int, int] | None = None,
        features: Sequence[int] | None = None,
        limit: int = CALIBRATION_IMAGES,
        seed: int = 0,
    ) -> "Calibration":
        """Load a model and choose its calibration images.

        Parameters:
            name, weights, image_size, features: as in `load_model`.
            images: images for the model's own preprocessing.
            limit, seed: where there are more images than `limit`, that many are drawn with `seed`.
        Raises: ModelError, ImageError as the steps do.
        """
        model = load_model(name, weights, image_size, features)
        preprocessing = preprocessing_of(model)
        chosen = draw(images(preprocessing), limit, seed)
        taken = None if features is None else tuple(features)
        return cls(name, weights, model, preprocessing, chosen, seed, taken)

    def pixels(self) -> Iterator[Tensor]:
        """The images, uint8 `[B, H, W, C]`, some at a time."""
        for pixels in self.images.batches(_DECODED_AT_ONCE):
            yield torch.from_numpy(pixels)

    def quantized(
        self,
        bits: Bits | BitTable,
        *,
        method: str = "repq",
        base: str = "sqrt2",
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> QuantizedNetwork:
        """The calibrated network; parameters and errors as those of `calibrate`."""
        return calibrate(
            self.model,
            self.pixels(),
            self.preprocessing.mean,
            self.preprocessing.std,
            bits,
            method=method,
            base=base,
            device=device,
            progress=progress,
        )

    def artifact(self, quantized: QuantizedNetwork, method: str) -> Artifact:
        """The integer program of a network calibrated by `method`, with where it comes from.

        Raises: CalibrationError, ArtifactError as `export` does.
        """
        calibration = [
            {"file": file, "sha256": digest}
            for file, digest in zip(self.images.names, self.images.digests(), strict=True)
        ]
        source: dict[str, Any] = {
            "rootshift": __version__,
            "model": self.name,
            "weights": "timm" if str(self.weights) == "timm" else Path(self.weights).name,
            "weights_sha256": state_digest(self.model),
            "base": quantized.base,
            "method": method,
            "seed": self.seed,
            "calibration": calibration,
        }
        if self.features is not None:
            source["features"] = list(self.features)
        return export(quantized, self.preprocessing, source)


def quantize(
    name: str,
    weights: str | Path,
    images: Callable[[Preprocessing], ImageSet],
    bits: Bits | BitTable,
    *,
    method: str = "repq",
    base: str = "sqrt2",
    device: str = "cpu",
    image_size: int | tuple[int, int] | None = None,
    features: Sequence[int] | None = None,
    limit: int = CALIBRATION_IMAGES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Artifact:
    """Load, calibrate and export a model; parameters as in `Calibration.load` and `calibrate`.

    Raises: ModelError, ImageError, ConfigError, CalibrationError, ArtifactError as the steps do.
    """
    calibration = Calibration.load(
        name, weights, images, image_size=image_size, features=features, limit=limit, seed=seed
    )
    found = calibration.quantized(bits, method=method, base=base, device=device, progress=progress)
    return calibration.artifact(found, method)


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
