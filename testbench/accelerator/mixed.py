"""Random models of mixed precision: widths drawn layer by layer."""

import numpy as np

from rootshift.bit_table import BitTable, PartialBits
from rootshift.bits import Bits

from ..random_model import Size

LINEAR = ("qkv", "proj", "fc1", "fc2")


def mixed_bits(
    rng: np.random.Generator,
    size: Size,
    *,
    weights: range = range(3, 9),
    activations: range = range(3, 9),
    log: int = 4,
) -> BitTable:
    """Widths of every layer of a random model, each from its range; log codes of one width."""

    def draw(widths: range) -> int:
        return int(rng.choice(widths))

    default = Bits(draw(weights), draw(activations), log)
    blocks = [f"block{block}" for block in range(size.depth)]
    linear = [f"{block}.{layer}" for block in blocks for layer in LINEAR] + ["head"]
    codes = [f"{block}.{layer}" for block in blocks for layer in ("scores", "mix")]
    layers = [(name, PartialBits(draw(weights), draw(activations))) for name in linear]
    layers += [(name, PartialBits(activations=draw(activations))) for name in codes]
    return BitTable(default, tuple(layers))
