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
    acc: np.ndarray, *, multiplier: np.ndarray, shift: int, zero: int, width: int
) -> tuple[np.ndarray, int]:
    """`clamp(zero + ((acc * multiplier + half) >> shift))` to an output of `width` bits.

    Parameters: `acc`, corrected accumulators (`acc - zw*sum + bias`), integers of any real dtype,
    below 2^31 in magnitude, [..., N]; `multiplier` uint16, scalar or [N]; `shift` 0..47.
    Returns: codes (uint8 up to 8 bits, else int16 or int32) and the number of saturated values.

    Computed in float64, exactly: the product has at most 48 bits, scaling by 2^-shift is exact, and
    the half lies on the product's own grid, so that floor is the arithmetic shift.
    """
    scaled = acc * (np.asarray(multiplier, np.float64) * 2.0**-shift)
    scaled += 0.5
    np.floor(scaled, out=scaled)
    scaled += zero
    clamped, saturated = saturate(scaled, *output_range(width))
    return clamped.astype(output_dtype(width)), saturated
