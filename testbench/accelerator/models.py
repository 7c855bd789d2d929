"""Models that the tests share: the embedded one, and random ones of odd sizes."""

from functools import lru_cache

import numpy as np

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.quant.digits import digits_images
from rootshift.quant.quantize import quantize

from ..random_model import Size

SIZES = {
    "small": Size(),
    "heads fill no word": Size(image=(8, 12, 1), width=21, heads=3, hidden=30, depth=2),
    "registers and mean": Size(
        image=(12, 9, 3), patch=3, width=22, heads=2, hidden=37, prefix=3, pool="avg", classes=19
    ),
    "no class token": Size(
        image=(10, 6, 1), patch=2, width=16, heads=1, hidden=50, prefix=0, pool="avg", classes=3
    ),
    "distilled": Size(
        image=(8, 12, 1), width=21, heads=3, hidden=30, prefix=2, pool="distilled", classes=11
    ),
}
"""Widths, heads, tokens and classes that are no multiples of any array."""


@lru_cache
def digits(bits: str, base: str = "sqrt2") -> Artifact:
    """The embedded model, calibrated on its own images."""
    return quantize(
        "digits",
        "timm",
        lambda preprocessing: digits_images("calibration", preprocessing),
        Bits.parse(bits),
        base=base,
        method="repq",
    )


def digits_pixels(artifact: Artifact, images: int) -> np.ndarray:
    """uint8 [images, 8, 8, 1]: the first test images."""
    found = digits_images("test", artifact.preprocessing)
    return np.stack([found.pixels(number) for number in range(images)])
