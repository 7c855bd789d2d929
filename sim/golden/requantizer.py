"""Golden requantizer: `docs/numerics.md`, section requantizer."""

import numpy as np

from ...formats import output_range
from .blocks import as_rows, row_blocks


def saturate(value: np.ndarray, low: int, high: int) -> tuple[np.ndarray, int]:
    """Clamp to [low, high]; returns the clamped values and how many were outside."""
    clamped = np.clip(value, low, high)
    return clamped, int(np.count_nonzero(clamped != value))


def output_dtype(width: int) -> type[np.generic]:
    """Smallest NumPy type of an output of `width` bits."""
    return np.uint8 if width <= 8 else np.int16 if width <= 16 else np.int32


def requantizer(
    acc: np.ndarray,
    *,
    multiplier: np.ndarray | int,
    shift: int,
    zero: int,
    width: int,
    bias: np.ndarray | int = 0,
) -> tuple[np.ndarray, int]:
    """`clamp(zero + (((acc + bias) * multiplier + half) >> shift))` to an output of `width` bits.

    Parameters: `acc` less its correction (`acc - zw*sum`), integers of any real dtype, [..., N];
    `bias` int32 and `multiplier` uint16, scalar or [N]; `shift` 0..47. `acc + bias` is below 2^31
    in magnitude.
    Returns: codes (uint8 up to 8 bits, else int16 or int32) and the number of saturated values.

    Computed in float64, exactly: the product has at most 48 bits, scaling by 2^-shift is exact, and
    the half lies on the product's own grid, so that floor is the arithmetic shift.
    """
    rows = as_rows(acc)
    output = np.empty(rows.shape, output_dtype(width))
    factor = np.asarray(multiplier, np.float64) * 2.0**-shift
    saturated = 0
    for block in row_blocks(rows.shape):
        scaled = rows[block].astype(np.float64)
        scaled += bias
        scaled *= factor
        scaled += 0.5
        np.floor(scaled, out=scaled)
        scaled += zero
        output[block], outside = saturate(scaled, *output_range(width))
        saturated += outside
    return output.reshape(acc.shape), saturated
