"""A quantized backbone as a torch module: what a detector or a segmenter takes its features of."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..artifact import Artifact
from ..errors import ArtifactError
from .fake import FakeModel

Integers = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Pixels, uint8 `[B, H, W, C]` -> the artifact's outputs by name, int16 `[B, rows, channels]`."""


class FeatureBackbone(nn.Module):
    """The feature maps of an artifact, for the heads of torchvision.

    It takes images as torchvision's detection transform gives them with `image_mean` 0 and
    `image_std` 1 (the artifact normalizes), rounds them to pixels, and gives maps under the names
    "0", "1" and so on, which torchvision's feature pyramids and region pooling expect. No gradient
    passes, so what stands behind can be trained and this cannot.

    Parameters:
        artifact: of a feature extractor.
        integers: callable, optional. Executes the artifact at the integer level, such as the golden
            model: `lambda pixels: GoldenModel(artifact).run(pixels).outputs`. By default the maps
            are of the fake level.
    Members: `channels`, list of int, of each map.
    Raises: ArtifactError where the artifact is a classifier.
    """

    def __init__(self, artifact: Artifact, integers: Integers | None = None) -> None:
        super().__init__()
        if artifact.is_classifier:
            raise ArtifactError("artifact must be of a feature extractor, not of a classifier")
        shapes = artifact.shapes()
        self.artifact = artifact
        self.channels = [shapes[output.name][-1] for output in artifact.outputs]
        self._integers = integers
        self._fake = FakeModel(artifact)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Feature maps, float32 `[B, channels, h, w]`, of images, float `[B, C, H, W]` in 0..1.

        Raises: ValueError where the images have another size than the artifact.
        """
        height, width, channels = self.artifact.preprocessing.shape
        if images.ndim != 4 or tuple(images.shape[1:]) != (channels, height, width):
            raise ValueError(
                f"images must have the shape [images, {channels}, {height}, {width}], "
                f"not {list(images.shape)}"
            )
        pixels = images.detach().mul(255).round().clamp(0, 255).to("cpu", torch.uint8)
        rows = self._rows(pixels.permute(0, 2, 3, 1).contiguous())
        maps = (output.feature_map(rows[output.name]) for output in self.artifact.outputs)
        # Clones are ordinary tensors, which autograd takes; those of the fake level are not.
        return OrderedDict(
            (str(number), each.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format))
            for number, each in enumerate(each.to(images.device) for each in maps)
        )

    def _rows(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """Real values of each output, float32 `[B, rows, channels]`."""
        if self._integers is None:
            return self._fake.features(pixels)
        codes = self._integers(pixels.numpy())
        return {
            name: torch.from_numpy(value).float() * self.artifact[name].scale
            for name, value in codes.items()
        }
