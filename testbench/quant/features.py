"""What timm's feature extractors give, to hold quantized ones against."""

import numpy as np
import torch
from torch import Tensor, nn

from .small_vit import MEAN, STD


def float_maps(extractor: nn.Module, pixels: np.ndarray) -> list[Tensor]:
    """Maps [B, C, h, w] of timm's extractor on uint8 pixels [B, H, W, C]."""
    normalized = (torch.from_numpy(pixels).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        maps = extractor.eval()(normalized.permute(0, 3, 1, 2))
    rows_first = getattr(extractor, "output_fmt", "NCHW") == "NHWC"
    return [each.permute(0, 3, 1, 2) if rows_first else each for each in maps]


def images_of(pixels: np.ndarray) -> Tensor:
    """What torchvision's transform hands over: float32 [B, C, H, W] in 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def correlation(a: Tensor, b: Tensor) -> float:
    """Of all values of two maps."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
