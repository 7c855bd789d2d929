"""Rows in blocks that fit a processor's cache, for element-wise work on large arrays."""

from collections.abc import Iterator

import numpy as np

_BLOCK_VALUES = 1 << 14
"""128 KB of float64: in cache, and small enough for the allocator to hand out again."""


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of an array [rows, columns], some whole rows each."""
    rows, columns = shape
    step = max(1, _BLOCK_VALUES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def as_rows(array: np.ndarray) -> np.ndarray:
    """[.., N] -> [rows, N], without a copy where the array is contiguous."""
    return array.reshape(-1, array.shape[-1])
