"""Golden softmax to log codes: `docs/numerics.md`, section log2_softmax."""

import numpy as np

from ...formats import (
    BASES,
    EXP_FRACTION,
    SCORE_FRACTION,
    exp2_table,
    log2_table,
    zero_code,
)

_OCTAVE = 1 << SCORE_FRACTION
_EXP2 = exp2_table().astype(np.int32)
_LOG2 = log2_table().astype(np.int32)


def row_sum(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Online maximum and sum over the last axis, rescaled by shifts.

    Parameters: `score` int32 [rows, keys].
    Returns: octave M above the maximum and sum S with 16 fractional bits, both int32 [rows].
    """
    octave = np.maximum.accumulate((score + (_OCTAVE - 1)) >> SCORE_FRACTION, axis=1)
    distance = (octave << SCORE_FRACTION) - score
    term = _EXP2[np.bitwise_and(distance, _OCTAVE - 1, dtype=np.intp)]
    term >>= np.minimum(distance >> SCORE_FRACTION, 31)

    # Between two rescales the sum is a plain one: add up each stretch, then fold the stretches.
    begins = np.ones(score.shape, bool)
    np.not_equal(octave[:, 1:], octave[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    stretch = np.add.reduceat(term.reshape(-1), start, dtype=np.int32)
    count = begins.sum(1)
    row = np.repeat(np.arange(len(score)), count)
    turn = np.arange(len(start)) - np.repeat(np.cumsum(count) - count, count)
    at = octave.reshape(-1)[start]
    total = stretch[turn == 0]
    for number in range(1, count.max()):
        now = np.flatnonzero(turn == number)
        rescaled = total[row[now]] >> np.minimum(at[now] - at[now - 1], 31)
        total[row[now]] = rescaled + stretch[now]
    return octave[:, -1], total


def log2_fixed(total: np.ndarray) -> np.ndarray:
    """log2 of positive int32 sums with 16 fractional bits, in units of 2^-8."""
    position = np.frexp(total.astype(np.float64))[1] - 1
    mantissa = ((total.astype(np.int64) << SCORE_FRACTION) >> position) & (_OCTAVE - 1)
    return ((position - EXP_FRACTION) << SCORE_FRACTION) + _LOG2[mantissa]


def log2_softmax(score: np.ndarray, *, offset: int, log_width: int, base: str) -> np.ndarray:
    """Log codes of the softmax of each row.

    Parameters: `score` int32 [.., T, keys] in units of 2^-8 octaves; `offset` signed 16 bits, log2
    of the quantizer's scale in the same units; `log_width` 3..8; `base` "sqrt2" or "2".
    Returns: uint8 [.., T, keys]; code c is `scale * 2^(-c/steps)`, the zero code is probability 0.
    """
    steps = BASES[base]
    rows = np.ascontiguousarray(score.reshape(-1, score.shape[-1]))
    octave, total = row_sum(rows)
    constant = (octave << SCORE_FRACTION) + log2_fixed(total) + offset
    code = (constant * steps + _OCTAVE // 2)[:, None] - rows * steps
    code >>= SCORE_FRACTION
    np.clip(code, 0, zero_code(log_width, base), out=code)
    return code.astype(np.uint8).reshape(score.shape)
