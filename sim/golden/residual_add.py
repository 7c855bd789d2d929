"""Golden residual stream: `docs/numerics.md`, section residual_add."""

import numpy as np

from ...formats import RESIDUAL_WIDTH, signed_range
from .requantizer import saturate


def rounding_shift(value: np.ndarray, shift: int) -> np.ndarray:
    """`(value + half(shift)) >> shift`, half rounding up."""
    return (value + ((1 << shift) >> 1)) >> shift


def residual_add(residual: np.ndarray, branch: np.ndarray, *, shift: int) -> tuple[np.ndarray, int]:
    """Saturating sum of the stream, rescaled by 2^-shift, and a branch.

    Parameters: int16 arrays of shapes that broadcast; `shift` 0..15.
    Returns: int16 and the number of saturated values.
    """
    total = rounding_shift(residual.astype(np.int32), shift) + branch
    clamped, saturated = saturate(total, *signed_range(RESIDUAL_WIDTH))
    return clamped.astype(np.int16), saturated


def embed(patches: np.ndarray, *, position: np.ndarray, prefix: int) -> tuple[np.ndarray, int]:
    """Prefix rows and positions.

    Parameters: `patches` int16 [.., T - prefix, D]; `position` int16 [T, D], whose first `prefix`
    rows are the whole prefix tokens.
    Returns: int16 [.., T, D] and the number of saturated values.
    """
    rows, saturated = residual_add(position[prefix:], patches, shift=0)
    start = np.broadcast_to(position[:prefix], (*rows.shape[:-2], prefix, rows.shape[-1]))
    return np.concatenate([start, rows], axis=-2), saturated


def pool(x: np.ndarray, *, mode: str, prefix: int, multiplier: int, shift: int) -> np.ndarray:
    """One row per image: row 0 (`token`) or the rounded mean of the rows behind the prefix (`avg`).

    Parameters: `x` int16 [.., T, D]; `multiplier * 2^-shift` is one over the rows averaged.
    Returns: int16 [.., 1, D].
    """
    if mode == "token":
        return x[..., :1, :]
    total = x[..., prefix:, :].sum(-2, keepdims=True, dtype=np.int64)
    return rounding_shift(total * multiplier, shift).astype(np.int16)
