"""Golden GELU look-up: `docs/numerics.md`, section gelu_table."""

import numpy as np


def gelu_table(index: np.ndarray, *, table: np.ndarray) -> np.ndarray:
    """`table[index]`: uint8 pre-activations of any shape -> uint8 codes; `table` uint8 [256]."""
    return np.take(table, index)
