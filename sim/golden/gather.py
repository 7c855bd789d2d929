"""Golden gather of rows: `docs/numerics.md`, section gather."""

import numpy as np


def gather(x: np.ndarray, *, index: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Rows of `x` side by side: `y[t] = x[index[t, 0]], x[index[t, 1]], ..`; index -1 is `fill`.

    Parameters: `x` uint8 or int16 [.., T, C]; `index` int32 [tokens, group], -1..T-1; `fill`
    [C], values of `x`'s type.
    Returns: [.., tokens, group * C] of `x`'s type.
    """
    last = np.broadcast_to(fill.astype(x.dtype), (*x.shape[:-2], 1, x.shape[-1]))
    rows = np.concatenate([x, last], axis=-2)
    # The last row is also number -1.
    return np.take(rows, index, axis=-2).reshape(*x.shape[:-2], len(index), -1)
