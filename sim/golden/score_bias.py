"""Golden position bias and mask of scores: `docs/numerics.md`, section score_bias."""

import numpy as np

from ...formats import SCORE_MIN


def score_bias(score: np.ndarray, *, bias: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Scores plus bias; `SCORE_MIN` where query and key are in different regions of a window.

    Parameters: `score` int32 [.., windows * heads, T, T]; `bias` int16 [heads, T, T] in the same
    units; `region` uint8 [windows, T].
    Returns: int32 of the same shape.
    """
    windows, tokens = region.shape
    biased = score.reshape(*score.shape[:-3], windows, len(bias), tokens, tokens) + bias
    masked = region[:, :, None] != region[:, None, :]
    np.copyto(biased, np.int32(SCORE_MIN), where=masked[:, None])
    return biased.reshape(score.shape)
