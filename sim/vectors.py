"""Test vectors: the tensors of one inference, for checking RTL outside this project's benches."""

import numpy as np

from ..artifact import Artifact
from ..formats import PIXEL_WIDTH
from ..operators import PIXELS
from .golden.model import GoldenModel


def block_tensors(artifact: Artifact, pixels: np.ndarray, block: int = 0) -> dict[str, np.ndarray]:
    """Every operand and result of one encoder block on one image, by name.

    Parameters: `pixels` uint8 [H, W, C]; `block`, from 0.
    Raises: KeyError where the model has no such block.
    """
    operators = [op for op in artifact.operators if op.name.startswith(f"blocks.{block}.")]
    if not operators:
        raise KeyError(f"no block {block}")
    names = list(dict.fromkeys(n for op in operators for n in (*op.inputs, op.name)))
    tensors = GoldenModel(artifact).run(pixels[None], names).tensors
    return {name: tensors[name][0] for name in names}


def tensor_widths(artifact: Artifact) -> dict[str, int]:
    """Bits of a value of every tensor of an inference."""
    widths = {operator.name: operator.output_width for operator in artifact.operators}
    return {PIXELS: PIXEL_WIDTH, **widths}
