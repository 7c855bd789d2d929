"""`docs/numerics.md` in plain Python integers, one value at a time.

Written from the page, not from the golden model, and slow on purpose: what the page says and
nothing else. Rows are lists of int; an output comes with the number of clamped values where the
page counts them.
"""

from math import isqrt, log2
from typing import NamedTuple

Matrix = list[list[int]]

EXP2 = [round(2**16 * 2 ** (-f / 256)) for f in range(256)]
LOG2 = [round(256 * log2(1 + (m + 0.5) / 256)) for m in range(256)]
STEPS = {"sqrt2": 2, "2": 1}


def half(shift: int) -> int:
    return 2 ** (shift - 1) if shift > 0 else 0


def clamp(x: int, lo: int, hi: int) -> int:
    return lo if x < lo else hi if x > hi else x


def limits(width: int) -> tuple[int, int]:
    """`[lo, hi]` of the section requantizer."""
    if width in (16, 24, 32):
        return -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return 0, 2**width - 1


def requantizer(
    acc: int, *, total: int, zw: int, bias: int, mult: int, shift: int, z: int, width: int
) -> tuple[int, int]:
    if mult == 0:
        return 0, 0
    y = z + (((acc - zw * total + bias) * mult + half(shift)) >> shift)
    clamped = clamp(y, *limits(width))
    return clamped, int(clamped != y)


def gemm(
    x: Matrix, w: Matrix, *, zw: list[int], bias: list[int], mult: list[int],
    shift: int, z: int, width: int,
) -> tuple[Matrix, int]:  # fmt: skip
    out, count = [], 0
    for row in x:
        total = sum(row)
        values = []
        for n, column in enumerate(w):
            acc = sum(a * b for a, b in zip(row, column, strict=True))
            y, clamped = requantizer(
                acc, total=total, zw=zw[n], bias=bias[n], mult=mult[n], shift=shift, z=z,
                width=width,
            )  # fmt: skip
            values.append(y)
            count += clamped
        out.append(values)
    return out, count


def scores(q: Matrix, k: Matrix, *, zq: int, mult: int, shift: int) -> Matrix:
    """One head: rows of query codes and of key codes."""
    return [
        [
            (
                (sum(a * b for a, b in zip(query, key, strict=True)) - zq * sum(key)) * mult
                + half(shift)
            )
            >> shift
            for key in k
        ]
        for query in q
    ]


def score_bias(t: Matrix, *, bias: Matrix, region: list[int]) -> Matrix:
    """One head of one window."""
    return [
        [value + bias[m][n] if region[m] == region[n] else -(2**23) for n, value in enumerate(row)]
        for m, row in enumerate(t)
    ]


def zero_code(log_width: int, base: str) -> int:
    return min(2**log_width - 1, 24 * STEPS[base])


class Constant(NamedTuple):
    """Row constant of log2_softmax and what led to it."""

    r: int
    octave: int
    total: int
    rescales: int


def row_constant(t: list[int], *, offset: int) -> Constant:
    octave, total, rescales = None, 0, 0
    for score in t:
        above = (score + 255) >> 8
        if octave is None:
            octave = above
        elif above > octave:
            total >>= min(above - octave, 31)
            octave = above
            rescales += 1
        u = 256 * octave - score
        total += EXP2[u & 255] >> min(u >> 8, 31)
    p = total.bit_length() - 1
    m = ((total << 8) >> p) & 255
    return Constant(256 * octave + 256 * (p - 16) + LOG2[m] + offset, octave, total, rescales)


def log2_softmax(t: list[int], *, offset: int, log_width: int, base: str) -> list[int]:
    """One row."""
    r = row_constant(t, offset=offset).r
    top = zero_code(log_width, base)
    return [clamp(((r - score) * STEPS[base] + 128) >> 8, 0, top) for score in t]


def shift_attention(
    codes: list[int], v: Matrix, *, log_width: int, base: str, zv: int, me: int, mo: int,
    shift: int, z: int, width: int,
) -> tuple[list[int], int]:  # fmt: skip
    """One query of one head: its log codes, and the rows of value codes."""
    steps, zero = STEPS[base], zero_code(log_width, base)
    headroom = (zero - 1) // steps
    out, count = [], 0
    for j in range(len(v[0])):
        sums, powers = [0, 0], [0, 0]
        for n, c in enumerate(codes):
            if c < zero:
                sums[c % steps] += v[n][j] << (headroom - c // steps)
                powers[c % steps] += 1 << (headroom - c // steps)
        even, odd = sums[0] - zv * powers[0], sums[1] - zv * powers[1]
        y = z + ((even * me + odd * mo + half(shift)) >> shift)
        out.append(clamp(y, 0, 2**width - 1))
        count += out[-1] != y
    return out, count


def normalize(x: list[int], eps: int) -> list[int]:
    n = len(x)
    s, q = sum(x), sum(a * a for a in x)
    v = n * q - s * s + eps
    e = -(-v.bit_length() // 2)
    vn = v * 4 ** (16 - e) if e <= 16 else v >> (2 * (e - 16))
    r = 2**32 // isqrt(vn)
    return [((n * a - s) * r + half(4 + e)) >> (4 + e) for a in x]


def layernorm(
    x: list[int], *, gain: list[int], offset: list[int], shift: int, eps: int, width: int
) -> tuple[list[int], int]:
    """One row."""
    raw = [(t * g + o) >> shift for t, g, o in zip(normalize(x, eps), gain, offset, strict=True)]
    out = [clamp(y, *limits(width)) for y in raw]
    return out, sum(a != b for a, b in zip(raw, out, strict=True))


def residual_add(residual: int, branch: int, *, shift: int) -> tuple[int, int]:
    y = ((residual + half(shift)) >> shift) + branch
    clamped = clamp(y, -(2**15), 2**15 - 1)
    return clamped, int(clamped != y)


def mean(column: list[int], *, mult: int, shift: int) -> int:
    """One channel of pool `avg`."""
    return (sum(column) * mult + half(shift)) >> shift


def requantize(x: int, *, mult: int, shift: int, z: int, width: int) -> tuple[int, int]:
    y = z + ((x * mult + half(shift)) >> shift)
    clamped = clamp(y, 0, 2**width - 1)
    return clamped, int(clamped != y)


def gather(x: Matrix, *, index: Matrix, fill: list[int]) -> Matrix:
    return [
        [value for number in numbers for value in (fill if number == -1 else x[number])]
        for numbers in index
    ]


def patches(pixels: list[list[list[int]]], height: int, width: int) -> Matrix:
    """Pixels [row][column][channel]; the K axis is channel, row, column."""
    rows, columns, channels = len(pixels), len(pixels[0]), len(pixels[0][0])
    return [
        [
            pixels[top + i][left + j][c]
            for c in range(channels)
            for i in range(height)
            for j in range(width)
        ]
        for top in range(0, rows, height)
        for left in range(0, columns, width)
    ]
