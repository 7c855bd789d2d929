"""Golden log2 softmax against the page, and against the real softmax within the page's bound."""

from itertools import product
from math import e, log2

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.formats import BASES, log2_table, zero_code
from rootshift.sim.golden.log2_softmax import log2_softmax, row_sum

from ..seeds import explored, generator
from . import page

LOW, HIGH = -(1 << 23), (1 << 23) - 1
FORMATS = list(product(range(3, 9), ["sqrt2", "2"]))


def rows_of(kind: str, keys: int, rng: np.random.Generator) -> np.ndarray:
    """A few int32 rows [rows, keys] of one kind."""
    near = rng.integers(-12 * 256, 12 * 256, (3, keys))
    match kind:
        case "random":
            rows = near
        case "whole range":
            rows = rng.integers(LOW, HIGH + 1, (3, keys))
        case "all equal":
            rows = np.repeat(np.array([[LOW], [HIGH], [0], [-1], [1], [-255], [256]]), keys, 1)
        case "strictly rising":
            rows = np.sort(near, 1) + np.arange(keys)
        case "strictly falling":
            rows = -(np.sort(near, 1) + np.arange(keys))
        case "octaves rising":
            rows = np.minimum(LOW + 257 * np.arange(keys), HIGH)[None]
        case "one far above":
            rows = np.full((3, keys), LOW)
            rows[range(3), [0, keys // 2, keys - 1]] = HIGH
        case "around octaves":
            rows = 256 * rng.integers(-3, 4, (3, keys)) + rng.integers(-1, 2, (3, keys))
    return rows.astype(np.int32)


KINDS = [
    "random", "whole range", "all equal", "strictly rising", "strictly falling",
    "octaves rising", "one far above", "around octaves",
]  # fmt: skip


def compare(rows: np.ndarray, *, offset: int, log_width: int, base: str) -> np.ndarray:
    """Golden on rows [rows, keys] equals the page."""
    got = log2_softmax(rows, offset=offset, log_width=log_width, base=base)
    assert got.dtype == np.uint8
    for row, codes in zip(rows.tolist(), got.tolist(), strict=True):
        assert codes == page.log2_softmax(row, offset=offset, log_width=log_width, base=base)
    return got


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [1, 2, 7, 197])
def test_equals_the_page(kind: str, keys: int) -> None:
    rng = generator(KINDS.index(kind), keys)
    rows = rows_of(kind, keys, rng)
    for log_width, base in FORMATS:
        offset = int(rng.choice([0, -80, -256, 128, -(1 << 15), (1 << 15) - 1]))
        compare(rows, offset=offset, log_width=log_width, base=base)


@pytest.mark.parametrize("kind", KINDS)
def test_4096_keys_equal_the_page(kind: str) -> None:
    rows = rows_of(kind, 4096, generator(KINDS.index(kind)))
    compare(rows, offset=-60, log_width=8, base="sqrt2")


@explored(200)
@given(
    row=st.lists(st.integers(LOW, HIGH), min_size=1, max_size=20)
    | st.lists(st.integers(-2000, 2000), min_size=1, max_size=40),
    offset=st.integers(-(1 << 15), (1 << 15) - 1),
    form=st.sampled_from(FORMATS),
)
def test_any_row_equals_the_page(row: list[int], offset: int, form: tuple[int, str]) -> None:
    compare(np.array([row], np.int32), offset=offset, log_width=form[0], base=form[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [1, 2, 197])
def test_octave_and_sum_equal_the_page(kind: str, keys: int) -> None:
    """Codes hide most of what the sum may lose; hardware keeps this very sum."""
    rows = rows_of(kind, keys, generator(KINDS.index(kind), keys))
    octave, total = row_sum(rows)
    want = [page.row_constant(row, offset=0) for row in rows.tolist()]
    assert octave.tolist() == [constant.octave for constant in want]
    assert total.tolist() == [constant.total for constant in want]


def test_rows_are_independent() -> None:
    """A rescale in one row must not touch its neighbours, whatever the leading axes."""
    rng = generator()
    rows = rng.integers(-3000, 3000, (2, 3, 5, 17)).astype(np.int32)
    rows[0, 1] = np.sort(rows[0, 1]) + 256 * np.arange(17, dtype=np.int32)
    whole = log2_softmax(rows, offset=-10, log_width=5, base="sqrt2")
    for index in np.ndindex(2, 3, 5):
        one = log2_softmax(rows[index], offset=-10, log_width=5, base="sqrt2")
        np.testing.assert_array_equal(whole[index], one)


def log2_sum(row: np.ndarray) -> float:
    """log2 of the sum of 2^(score / 256), in octaves."""
    octaves = row / 256
    return float(octaves.max() + np.log2((2.0 ** (octaves - octaves.max())).sum()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [1, 2, 16, 197, 4096])
def test_the_real_softmax_within_the_bound(kind: str, keys: int) -> None:
    """The row constant misses by the page's bound at most, and a code only near a boundary."""
    for row in rows_of(kind, keys, generator(KINDS.index(kind), keys)):
        constant = page.row_constant(row.tolist(), offset=0)
        assert 1 << 15 <= constant.total < 1 << 29
        bound = (keys + constant.rescales) * 2.0**-15 * log2(e) + 1.4427 / 512 + 1 / 512
        real = log2_sum(row)
        assert abs(constant.r / 256 - real) <= bound
        for log_width, base in ((4, "sqrt2"), (8, "sqrt2"), (3, "2"), (8, "2")):
            steps, top = BASES[base], zero_code(log_width, base)
            for offset in (0, -77):
                got = log2_softmax(row, offset=offset, log_width=log_width, base=base)
                exact = steps * (real - row / 256 + offset / 256)
                low = np.clip(np.floor(exact + 0.5 - steps * bound), 0, top)
                high = np.clip(np.floor(exact + 0.5 + steps * bound), 0, top)
                assert ((low <= got) & (got <= high)).all()


def test_losses_of_the_sum_come_near_their_bound() -> None:
    """Terms cut off by the shift lose almost a unit each: the bound of the page is not slack."""
    row = np.full(4096, 256 - (16 * 256 + 1), np.int64)  # terms of 0.997 units
    row[0] = 1  # in the octave below 256: the first term is little over 2^15
    lost = log2_sum(row) - page.row_constant(row.tolist(), offset=0).r / 256
    bound = 4096 * 2.0**-15 * log2(e)
    assert 0.9 * bound < lost < bound + 1.4427 / 512 + 1 / 512


def distance_error(real: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Errors of `R - t` against real scores (units of 2^-8 octaves) and scale; rest of the bound.

    The rest is what the page allows for the sum and the table.
    """
    row, offset = np.rint(real).astype(np.int64), round(256 * log2(scale))
    constant = page.row_constant(row.tolist(), offset=offset)
    exact = log2_sum(real) - real / 256 + log2(scale)
    rest = (len(row) + constant.rescales) * 2.0**-15 * log2(e) + (1.4427 + 1) / 512
    return (constant.r - row) / 256 - exact, rest


def test_rounded_scores_and_scale_add_three_halves_of_a_unit() -> None:
    """Half a unit in the row constant, half in the key's own score, half in the offset."""
    rng = generator()
    for _ in range(200):
        error, rest = distance_error(rng.normal(0, 800, 64), rng.uniform(0.5, 1))
        assert np.abs(error).max() <= rest + 3 / 512


def test_one_half_unit_for_the_scores_is_not_enough() -> None:
    """Both scores rounded by almost half a unit, in opposite directions, and a bad table entry."""
    error, rest = distance_error(np.array([3.49, -1284.49]), 1.0)
    assert rest + 1 / 512 < abs(error[1]) <= rest + 2 / 512


def test_logarithms_need_nine_bits() -> None:
    """The last entry rounds to a whole octave; hardware that keeps 8 bits would wrap it to 0."""
    assert log2_table().tolist() == page.LOG2
    assert log2_table().max() == 256
