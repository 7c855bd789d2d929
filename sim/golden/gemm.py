"""Golden matrix products: `docs/numerics.md`, sections gemm and scores."""

import numpy as np

from ...formats import SCORE_WIDTH
from .requantizer import requantizer


def exact_dtype(bound: int) -> type[np.floating]:
    """Float type in which integer sums of magnitude up to `bound` are exact in any order.

    Every partial sum of integers below 2^24 (2^53) is a float32 (float64) number, so BLAS may add
    in whatever order it likes.
    """
    return np.float32 if bound < 1 << 24 else np.float64


def product(x: np.ndarray, stationary: np.ndarray, zero: np.ndarray | int) -> np.ndarray:
    """`sum_k x[.., m, k] * (stationary[.., n, k] - zero[n])`, exact; float [.., M, N].

    Equal to `acc - zero * sum` of the array, whose operands are the plain codes.
    """
    centered = stationary.astype(np.int32) - np.asarray(zero, np.int32)[..., None]
    largest = int(np.abs(centered).max(initial=0)) * int(x.max(initial=0))
    dtype = exact_dtype(largest * x.shape[-1])
    # Contiguous operands, or NumPy multiplies without BLAS.
    moving, held = np.ascontiguousarray(x, dtype), np.ascontiguousarray(centered, dtype)
    return moving @ np.swapaxes(held, -1, -2)


def gemm(
    x: np.ndarray,
    *,
    weight: np.ndarray,
    weight_zero: np.ndarray,
    bias: np.ndarray,
    multiplier: np.ndarray,
    shift: int,
    zero: int,
    width: int,
) -> tuple[np.ndarray, int]:
    """Affine layer on codes.

    Parameters: `x` uint8 [.., T, K]; `weight` uint8 [N, K]; `weight_zero` int16 [N]; `bias` int32
    [N]; the rest as in `requantizer`.
    Returns: [.., T, N] of the output width, and the number of saturated values.
    """
    acc = product(x, weight, weight_zero)
    return requantizer(acc, bias=bias, multiplier=multiplier, shift=shift, zero=zero, width=width)


def scores(
    query: np.ndarray,
    key: np.ndarray,
    *,
    heads: int,
    query_zero: int,
    multiplier: int,
    shift: int,
    windows: int = 1,
) -> np.ndarray:
    """Attention scores in units of 2^-8 octaves, without the terms that are constant along a row.

    Parameters: `query` and `key` uint8 [.., windows * T, D], heads side by side.
    Returns: int32 [.., windows * heads, T, T]; they fit 24 bits, so nothing saturates.
    """
    # Keys are the moving operand, queries the stationary one, as in the array.
    held, moving = (split_heads(x, heads, windows) for x in (query, key))
    acc = product(moving, held, query_zero)
    return requantizer(
        np.swapaxes(acc, -1, -2), multiplier=multiplier, shift=shift, zero=0, width=SCORE_WIDTH
    )[0]


def split_heads(x: np.ndarray, heads: int, windows: int = 1) -> np.ndarray:
    """[.., windows * T, heads * d] -> [.., windows * heads, T, d], window by window."""
    *lead, rows, width = x.shape
    tokens, head_width = rows // windows, width // heads
    split = np.swapaxes(x.reshape(*lead, windows, tokens, heads, head_width), -3, -2)
    return split.reshape(*lead, windows * heads, tokens, head_width)


def merge_heads(x: np.ndarray, windows: int = 1) -> np.ndarray:
    """[.., windows * heads, T, d] -> [.., windows * T, heads * d]."""
    *lead, matrices, tokens, head_width = x.shape
    heads = matrices // windows
    merged = np.swapaxes(x.reshape(*lead, windows, heads, tokens, head_width), -3, -2)
    return merged.reshape(*lead, windows * tokens, heads * head_width)
