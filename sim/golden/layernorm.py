"""Golden LayerNorm: `docs/numerics.md`, section layernorm."""

import numpy as np

from ...formats import NORM_FRACTION, ROOT_WIDTH, output_range
from .requantizer import output_dtype, saturate


def bit_length(value: np.ndarray) -> np.ndarray:
    """Position of the leading one, from 1, of positive int64 numbers."""
    bits = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    # Above 2^53 the conversion may round up to the next power of two.
    return bits - (value >> (bits - 1) == 0)


def reciprocal_root(variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`r` and `e` with `1/sqrt(variance) = r * 2^-(16 + e)`; int64, r of 18 bits."""
    exponent = (bit_length(variance) + 1) // 2
    growth = 2 * (ROOT_WIDTH - exponent)
    normalized = np.where(
        growth >= 0, variance << np.maximum(growth, 0), variance >> np.maximum(-growth, 0)
    )
    # Exact: normalized < 2^32, and float64 rounds the root of n^2 - 1 below n.
    root = np.sqrt(normalized.astype(np.float64)).astype(np.int64)
    return (1 << (2 * ROOT_WIDTH)) // root, exponent


def normalize(x: np.ndarray, epsilon: int) -> np.ndarray:
    """`(x - mean) / sqrt(variance + eps)` with 12 fractional bits.

    Parameters: `x` int16 [.., N]; `epsilon` in units of `N^2` squared residual steps, at least 1.
    Returns: int64 [.., N], below 2^19 in magnitude.
    """
    wide = x.astype(np.int64)
    count = x.shape[-1]
    total = wide.sum(-1, keepdims=True)
    variance = count * (wide * wide).sum(-1, keepdims=True) - total * total + epsilon
    reciprocal, exponent = reciprocal_root(variance)
    shift = ROOT_WIDTH - NORM_FRACTION + exponent
    wide *= count
    wide -= total
    wide *= reciprocal
    wide += np.int64(1) << (shift - 1)
    wide >>= shift
    return wide


def layernorm(
    x: np.ndarray,
    *,
    gain: np.ndarray,
    offset: np.ndarray,
    shift: int,
    epsilon: int,
    width: int,
) -> tuple[np.ndarray, int]:
    """LayerNorm and its output quantizer; of `width` 16 the output is the residual stream.

    Parameters: `x` int16 [.., N]; `gain` int16 [N]; `offset` int32 [N]; `shift` 0..47.
    Returns: [.., N] of `width` bits, uint8 codes or int16, and the number of saturated values.
    """
    scaled = normalize(x, epsilon)
    scaled *= gain
    scaled += offset
    scaled >>= shift
    clamped, saturated = saturate(scaled, *output_range(width))
    return clamped.astype(output_dtype(width)), saturated
