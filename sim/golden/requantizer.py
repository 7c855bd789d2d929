"""Golden requantizer: `docs/numerics.md`, section requantizer."""

import numpy as np

from ...formats import output_range


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
    A channel whose multiplier is 0 gives 0, which never counts as saturated.

    Computed in float64, exactly: products of 32 and 16 bits have at most 48, scaling by 2^-shift is
    exact, and bias and half lie on the products' own grid, so that floor is the arithmetic shift.
    """
    factor = np.asarray(multiplier, np.float64) * 2.0**-shift
    low, high = output_range(width)
    scaled = np.multiply(acc, factor, dtype=np.float64)
    scaled += bias * factor + 0.5
    np.floor(scaled, out=scaled)
    fill = np.equal(multiplier, 0)
    if fill.any():
        scaled = np.where(fill, -zero, scaled)
    scaled, saturated = saturate(scaled, low - zero, high - zero)
    scaled += zero
    return scaled.astype(output_dtype(width)), saturated


def requantize(
    x: np.ndarray, *, multiplier: int, shift: int, zero: int, width: int
) -> tuple[np.ndarray, int]:
    """Residual rows to codes: the requantizer without sums.

    Parameters: `x` int16 of any shape; the rest as in `requantizer`.
    Returns: uint8 codes of the same shape and the number of saturated values.
    """
    return requantizer(x, multiplier=multiplier, shift=shift, zero=zero, width=width)
