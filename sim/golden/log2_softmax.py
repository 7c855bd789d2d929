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
    """Online maximum and sum over the first axis, rescaled by shifts.

    Parameters: `score` int32 [keys, rows].
    Returns: octave M above the maximum and sum S with 16 fractional bits, both int32 [rows].
    """
    octave = np.maximum.accumulate((score + (_OCTAVE - 1)) >> SCORE_FRACTION, axis=0)
    distance = (octave << SCORE_FRACTION) - score
    term = np.take(_EXP2, distance & (_OCTAVE - 1), mode="clip")
    term >>= np.minimum(distance >> SCORE_FRACTION, 31)
    rescale = np.minimum(np.diff(octave, axis=0), 31)
    total = term[0].copy()
    for value, fall, rescaled in zip(term[1:], rescale, rescale.any(axis=1), strict=True):
        if rescaled:
            total >>= fall
        total += value
    return octave[-1], total


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
    rows = np.ascontiguousarray(score.reshape(-1, score.shape[-1]).T)
    octave, total = row_sum(rows)
    constant = (octave << SCORE_FRACTION) + log2_fixed(total) + offset
    code = ((constant - rows) * steps + _OCTAVE // 2) >> SCORE_FRACTION
    np.clip(code, 0, zero_code(log_width, base), out=code)
    return np.ascontiguousarray(code.T.astype(np.uint8)).reshape(score.shape)
