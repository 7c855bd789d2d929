"""Number rules that quantizer, golden model and RTL share.

`docs/numerics.md` explains each of them; every constant and table of that page has its home here.
"""

from math import prod

import numpy as np

CODE_WIDTHS = range(3, 9)
"""Legal widths of activation, weight and log codes."""

PIXEL_WIDTH = 8
RESIDUAL_WIDTH = 16
LOGIT_WIDTH = 32
ACCUMULATOR_WIDTH = 32
MULTIPLIER_WIDTH = 16
SHIFT_MAX = 47
ZERO_WIDTH = 16
"""Zero points are signed and may lie outside the code range."""

SCORE_WIDTH = 24
SCORE_FRACTION = 8
"""Attention scores are signed log2 units with this many fractional bits."""
SCORE_MIN = -(1 << (SCORE_WIDTH - 1))
"""Score of a masked key."""
MASK_GAP = 1 << 16
"""Every score that is not masked is at least so far above a masked one."""

EXP_FRACTION = 16
GELU_INDEX_WIDTH = 8
"""A GELU table holds a code for each index."""

NORM_FRACTION = 12
"""Fractional bits of a normalized LayerNorm value."""
NORM_WIDTH = 20
ROOT_WIDTH = 16
QUOTIENT_WIDTH = ROOT_WIDTH + 2
"""Of the reciprocal root."""
GAIN_WIDTH = 16
OFFSET_WIDTH = 32
"""Gain and offset of a LayerNorm channel are signed."""
EMBEDDING_MAX = 4096
"""Largest width of a LayerNorm row, and largest number of tokens of a softmax row."""

CHANNEL_BYTES = (ACCUMULATOR_WIDTH + ZERO_WIDTH + MULTIPLIER_WIDTH) // 8
"""Of the requantizer's parameters of an output channel, in memory; its settings take as many."""
NORM_CHANNEL_BYTES = (GAIN_WIDTH + OFFSET_WIDTH) // 8
"""Of the parameters of a LayerNorm channel, in memory."""

BASES = {"sqrt2": 2, "2": 1}
"""Softmax base -> log codes per octave."""
OCTAVES_MAX = 24
"""Probabilities below scale * 2^-OCTAVES_MAX are zero whatever the log code width."""


def code_max(width: int) -> int:
    """Largest unsigned code of `width` bits."""
    return (1 << width) - 1


def code_digits(width: int) -> int:
    """Digits of `width` bits that a code of the largest legal width has."""
    return -(-CODE_WIDTHS[-1] // width)


def signed_range(width: int) -> tuple[int, int]:
    """Smallest and largest two's complement number of `width` bits."""
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def output_range(width: int) -> tuple[int, int]:
    """Range of an operator's output: unsigned codes up to 8 bits, signed numbers above."""
    return (0, code_max(width)) if width <= 8 else signed_range(width)


def psum_width(rows: int, *widths: int) -> int:
    """Bits of the largest sum of `rows` products of unsigned codes of `widths` bits; of codes
    themselves where there is one width."""
    return (rows * prod(code_max(width) for width in widths)).bit_length()


def zero_code(log_width: int, base: str) -> int:
    """Log code that stands for probability zero; the codes below it are powers of the base.

    The top code of the width, or `OCTAVES_MAX` octaves where the width reaches further: smaller
    probabilities add less than `tokens * 2^-24` of one value step and would need wider sums.
    """
    return min(code_max(log_width), OCTAVES_MAX * BASES[base])


def attention_headroom(zero: int, base: str) -> int:
    """Left shift of code 0 in shift attention, so that the smallest power is the integer 1."""
    return (zero - 1) // BASES[base]


def exp2_table() -> np.ndarray:
    """`round(2^16 * 2^(-f/256))` for f = 0..255; int64 [256], values of 17 bits."""
    fraction = np.arange(1 << SCORE_FRACTION) / (1 << SCORE_FRACTION)
    return np.rint(2.0 ** (EXP_FRACTION - fraction)).astype(np.int64)


def log2_table() -> np.ndarray:
    """`round(256 * log2(1 + (m + 1/2)/256))` for m = 0..255; int64 [256], 0 to 256 (9 bits)."""
    steps = 1 << SCORE_FRACTION
    middle = 1 + (np.arange(steps) + 0.5) / steps
    return np.rint(steps * np.log2(middle)).astype(np.int64)


def fixed_point(scale: np.ndarray | float) -> tuple[np.ndarray, int]:
    """Write positive factors as `multiplier * 2^-shift` with one shift for all.

    Parameters: `scale`, positive finite floats of any shape.
    Returns: uint16 multipliers of the same shape, the largest in [2^15, 2^16) unless the shift
    reaches `SHIFT_MAX`, and the shift, 0..47. Relative error of the largest factor below 2^-16. A
    factor too small beside the largest, or for `SHIFT_MAX`, gets multiplier 1: 0 is for channels
    that only fill up.
    Raises: ValueError where a factor is not positive and finite, or rounds to 2^16 or more.
    """
    scale = np.asarray(scale, np.float64)
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        raise ValueError(f"scale must be positive and finite, not {float(bad.flat[0])!r}")
    largest = float(scale.max())
    shift = MULTIPLIER_WIDTH - 1 - int(np.floor(np.log2(largest)))
    if np.rint(largest * 2.0**shift) > code_max(MULTIPLIER_WIDTH):
        shift -= 1
    if shift < 0:
        raise ValueError(f"scale must round to less than 2^{MULTIPLIER_WIDTH}, not {largest!r}")
    shift = min(shift, SHIFT_MAX)
    return np.maximum(np.rint(scale * 2.0**shift), 1).astype(np.uint16), shift
