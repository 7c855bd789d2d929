"""The golden requantizer against the page and against the real factor."""

from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.formats import fixed_point
from rootshift.sim.golden.requantizer import requantizer

from ..seeds import explored, generator
from . import page

WIDTHS = [3, 4, 5, 6, 7, 8, 16, 24, 32]
DTYPES = {16: np.int16, 24: np.int32, 32: np.int32}


def compare(acc: list[int], mult: list[int], *, shift: int, zero: int, width: int) -> None:
    """Golden on `acc` (one per channel) equals the page, in value, type and count."""
    got, saturated = requantizer(
        np.array(acc),
        multiplier=np.array(mult, np.uint16),
        shift=shift,
        zero=zero,
        width=width,
    )
    want = [
        page.requantizer(a, total=0, zw=0, bias=0, mult=m, shift=shift, z=zero, width=width)
        for a, m in zip(acc, mult, strict=True)
    ]
    assert got.dtype == DTYPES.get(width, np.uint8)
    assert got.tolist() == [y for y, _ in want]
    assert saturated == sum(clamped for _, clamped in want)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shift", [0, 1, 2, 15, 16, 31, 46, 47])
def test_extremes(width: int, shift: int) -> None:
    acc = [-(1 << 31), 1 - (1 << 31), -3, -2, -1, 0, 1, 2, 3, 1 << 30, (1 << 31) - 1]
    mult = [0, 1, 2, 3, 1 << 15, (1 << 15) + 1, (1 << 16) - 1]
    pairs = list(product(acc, mult))
    for zero in (0, -(1 << 15), (1 << 15) - 1, -1, 300) if width <= 8 else (0,):
        compare(*map(list, zip(*pairs, strict=True)), shift=shift, zero=zero, width=width)


@explored(300)
@given(
    pairs=st.lists(
        st.tuples(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(0, (1 << 16) - 1)),
        min_size=1,
        max_size=20,
    ),
    shift=st.integers(0, 47),
    zero=st.integers(-(1 << 15), (1 << 15) - 1),
    width=st.sampled_from(WIDTHS),
)
def test_equals_the_page(pairs: list[tuple[int, int]], shift: int, zero: int, width: int) -> None:
    compare(*map(list, zip(*pairs, strict=True)), shift=shift, zero=zero, width=width)


@pytest.mark.parametrize("shift", [1, 4, 15, 30, 44])
def test_ties_round_up(shift: int) -> None:
    """Products on half a step, at their largest too: the float path must not lose the half."""
    power = min(shift - 1, 15)
    odd = [-7, -5, -3, -1, 1, 3, 5, 7]
    acc = np.array([n << (shift - 1 - power) for n in odd])
    got, _ = requantizer(acc, multiplier=np.uint16(1 << power), shift=shift, zero=0, width=32)
    assert got.tolist() == [(n + 1) // 2 for n in odd]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_any_real_dtype_gives_the_same(dtype: type) -> None:
    acc = generator().integers(-(1 << 31), 1 << 31, (5, 7)).astype(dtype)
    arguments = {"multiplier": np.arange(60000, 60007, dtype=np.uint16), "shift": 31, "zero": 0}
    want, _ = requantizer(acc.astype(np.int64), width=16, **arguments)
    np.testing.assert_array_equal(requantizer(acc, width=16, **arguments)[0], want)


@pytest.mark.parametrize("largest", [1e-4, 0.01, 0.7, 1.0, 2.0**-20, 0.99999])
def test_error_of_the_real_factor(largest: float) -> None:
    """Half a step, and 2^-16 of the largest channel's factor per accumulator step."""
    rng = generator(int(1 / largest))
    factor = largest * 2.0 ** -rng.uniform(0, 12, 64)
    factor[0] = largest
    multiplier, shift = fixed_point(factor)
    acc = rng.integers(-(1 << 16), 1 << 16, (500, 64))
    got, saturated = requantizer(acc, multiplier=multiplier, shift=shift, zero=0, width=32)
    error = np.abs(got - acc * factor)
    assert saturated == 0
    assert (error <= 0.5 + np.abs(acc) * largest * 2.0**-16 + 1e-9).all()
    np.testing.assert_array_less(np.abs(multiplier[0] * 2.0**-shift / largest - 1), 2.0**-16)
