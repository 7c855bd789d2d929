"""Golden shift attention: `docs/numerics.md`, section shift_attention."""

import numpy as np

from ...formats import BASES, attention_headroom, output_range, zero_code
from .gemm import exact_dtype, merge_heads, split_heads
from .requantizer import saturate


def powers(log_width: int, base: str, parity: int) -> np.ndarray:
    """Integer weight of every log code in the sum of its parity; int64 [2^log_width]."""
    steps, zero = BASES[base], zero_code(log_width, base)
    code = np.arange(1 << log_width)
    exponent = attention_headroom(zero, base) - code // steps
    used = (code < zero) & (code % steps == parity)
    return np.where(used, 1 << np.maximum(exponent, 0), 0)


def shift_attention(
    probability: np.ndarray,
    value: np.ndarray,
    *,
    log_width: int,
    base: str,
    value_zero: int,
    multiplier_even: int,
    multiplier_odd: int,
    shift: int,
    zero: int,
    width: int,
    windows: int = 1,
) -> tuple[np.ndarray, int]:
    """Probability codes times values, by shifts.

    Parameters: `probability` uint8 [.., windows * heads, T, keys], log codes; `value` uint8
    [.., windows * keys, D], heads side by side; multipliers unsigned 16 bits; `shift` 0..47.
    Returns: uint8 codes [.., windows * T, D] and the number of saturated values.
    """
    heads = probability.shape[-3] // windows
    centered = split_heads(value.astype(np.int32) - value_zero, heads, windows)
    code = probability.astype(np.intp)
    scaled = np.int64((1 << shift) >> 1)
    for parity, multiplier in ((0, multiplier_even), (1, multiplier_odd)):
        if parity >= BASES[base]:
            continue
        weight = powers(log_width, base, parity)
        bound = int(weight.max()) * int(np.abs(centered).max()) * probability.shape[-1]
        dtype = exact_dtype(bound)
        # Contiguous operands, or NumPy multiplies without BLAS.
        operand = np.ascontiguousarray(centered, dtype)
        total = weight.astype(dtype)[code] @ operand
        scaled = scaled + total.astype(np.int64) * multiplier
    clamped, saturated = saturate((scaled >> shift) + zero, *output_range(width))
    return merge_heads(clamped.astype(np.uint8), windows), saturated
