"""Number rules that every layer shares: widths, tables and fixed-point factors."""

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift import formats
from rootshift.formats import (
    attention_headroom,
    code_digits,
    code_max,
    exp2_table,
    fixed_point,
    log2_table,
    output_range,
    psum_width,
    signed_range,
    zero_code,
)

from ..seeds import explored

PAGE = Path(__file__).resolve().parents[2] / "docs" / "numerics.md"


def rounded(x: Decimal) -> int:
    return int(x.to_integral_value(ROUND_HALF_EVEN))


def test_exponentials_are_rounded_right() -> None:
    """Against 40 decimal digits: no entry may hang on a float's last bit."""
    with localcontext() as context:
        context.prec = 40
        root = Decimal(2) ** (Decimal(-1) / 256)
        want = [rounded(65536 * root**f) for f in range(256)]
    assert exp2_table().tolist() == want
    assert want[0].bit_length() == 17
    assert min(want) > 1 << 15


def test_logarithms_are_rounded_right() -> None:
    with localcontext() as context:
        context.prec = 40
        want = [
            rounded(256 * (1 + (Decimal(m) + Decimal("0.5")) / 256).ln() / Decimal(2).ln())
            for m in range(256)
        ]
    assert log2_table().tolist() == want
    assert max(want).bit_length() == 9


@pytest.mark.parametrize("width", range(1, 33))
def test_ranges_of_a_width(width: int) -> None:
    assert code_max(width) == 2**width - 1
    assert signed_range(width) == (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    assert output_range(width) == (
        (0, 2**width - 1) if width <= 8 else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    )


@pytest.mark.parametrize(
    ("log_width", "base", "zero", "headroom"),
    [
        (3, "sqrt2", 7, 3), (4, "sqrt2", 15, 7), (5, "sqrt2", 31, 15), (6, "sqrt2", 48, 23),
        (7, "sqrt2", 48, 23), (8, "sqrt2", 48, 23), (3, "2", 7, 6), (4, "2", 15, 14),
        (5, "2", 24, 23), (6, "2", 24, 23), (7, "2", 24, 23), (8, "2", 24, 23),
    ],
)  # fmt: skip
def test_log_codes(log_width: int, base: str, zero: int, headroom: int) -> None:
    """The largest power is below 2^24 and the smallest is the integer 1."""
    assert zero_code(log_width, base) == zero
    assert attention_headroom(zero, base) == headroom
    assert headroom - (zero - 1) // formats.BASES[base] == 0


@pytest.mark.parametrize(
    ("row", "constant"),
    [
        ("pixel", "PIXEL_WIDTH"),
        ("pre-activation (GELU index)", "GELU_INDEX_WIDTH"),
        ("zero point", "ZERO_WIDTH"),
        ("accumulator, bias, logit", "ACCUMULATOR_WIDTH"),
        ("accumulator, bias, logit", "LOGIT_WIDTH"),
        ("multiplier", "MULTIPLIER_WIDTH"),
        ("residual stream", "RESIDUAL_WIDTH"),
        ("score", "SCORE_WIDTH"),
    ],
)
def test_widths_are_those_of_the_page(row: str, constant: str) -> None:
    found = re.search(rf"^\| {re.escape(row)} \| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found
    assert int(found[1]) == getattr(formats, constant)


@pytest.mark.parametrize(
    ("words", "constant"),
    [
        ("^ +r = floor.* {} bits$", "QUOTIENT_WIDTH"),
        ("^`gain` \\({} bits signed\\)", "GAIN_WIDTH"),
        ("`offset` \\({} bits signed\\)", "OFFSET_WIDTH"),
    ],
)
def test_widths_of_layernorm_are_those_of_the_page(words: str, constant: str) -> None:
    found = re.search(words.format(r"(\d+)"), PAGE.read_text("utf-8"), re.MULTILINE)
    assert found
    assert int(found[1]) == getattr(formats, constant)


@pytest.mark.parametrize(("width", "digits"), [(3, 3), (4, 2), (5, 2), (7, 2), (8, 1)])
def test_digits_hold_the_widest_code(width: int, digits: int) -> None:
    assert code_digits(width) == digits


def test_shifts_are_those_of_the_page() -> None:
    assert f"| shift | 6 | 0 to {formats.SHIFT_MAX} |" in PAGE.read_text("utf-8")
    assert formats.SHIFT_MAX < 1 << 6


@explored(500)
@given(
    st.lists(
        st.floats(2.0**-60, 65535.0) | st.floats(1e-300, 1e-5) | st.floats(2.0**-32, 1.0),
        min_size=1,
        max_size=6,
    )
)
def test_factors_within_half_a_unit(scale: list[float]) -> None:
    multiplier, shift = fixed_point(np.array(scale))
    assert multiplier.dtype == np.uint16
    assert 0 <= shift <= 47
    unit = 2.0**-shift
    # What would round to 0, which stands for no channel at all, becomes one unit.
    error = np.abs(multiplier * unit - np.maximum(scale, unit / 2))
    assert multiplier.min() >= 1
    assert (error <= unit / 2).all()
    if shift < 47:
        assert multiplier.max() >= 1 << 15
        assert error[np.argmax(scale)] <= max(scale) * 2.0**-16
        # As written, the largest may be a little more than it is.
        assert (error <= multiplier.max() * unit * 2.0**-16).all()


@pytest.mark.parametrize("power", range(-32, 16))
def test_factors_beside_powers_of_two(power: int) -> None:
    """A logarithm that rounds up to the power must not cost the top bit, or overflow it."""
    exact = 2.0**power
    for scale in (exact, np.nextafter(exact, 0), np.nextafter(exact, 2 * exact)):
        multiplier, shift = fixed_point(scale)
        assert multiplier == 1 << 15
        assert shift == 15 - power


@pytest.mark.parametrize(
    ("scale", "multiplier", "shift"),
    [(65535.0, 65535, 0), (65535.49, 65535, 0), (32767.75, 1 << 15, 0), (0.99999999, 1 << 15, 15)],
)
def test_factors_at_the_top(scale: float, multiplier: int, shift: int) -> None:
    assert fixed_point(scale) == (multiplier, shift)


@pytest.mark.parametrize(
    ("scale", "named"),
    [(0.0, "0.0"), (-1.5, "-1.5"), (np.nan, "nan"), (np.inf, "inf"), ([1.0, np.inf, 2.0], "inf")],
)
def test_what_is_not_a_positive_number_is_refused(scale: object, named: str) -> None:
    with pytest.raises(ValueError, match=f"^scale must be positive and finite, not {named}$"):
        fixed_point(scale)


@pytest.mark.parametrize("scale", [65535.5, 65536.0, 1e300])
def test_too_large_factors_are_refused(scale: float) -> None:
    message = f"^scale must round to less than 2^16, not {scale!r}$".replace("^16", r"\^16")
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        fixed_point([1.0, scale])


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 768])
@pytest.mark.parametrize("widths", [(3,), (8,), (4, 4), (3, 8)])
def test_a_sum_width_holds_the_largest_sum_and_no_bit_more(
    rows: int, widths: tuple[int, ...]
) -> None:
    largest = rows
    for width in widths:
        largest *= 2**width - 1
    width = psum_width(rows, *widths)
    assert 2 ** (width - 1) <= largest < 2**width
