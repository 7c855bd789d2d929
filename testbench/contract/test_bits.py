"""Bit widths: the spelling on the command line, and what is refused."""

from itertools import product

import pytest

from rootshift.bits import Bits
from rootshift.errors import ConfigError


@pytest.mark.parametrize(("weights", "activations", "log"), list(product(range(3, 9), repeat=3)))
def test_every_combination_is_written_as_it_is_read(
    weights: int, activations: int, log: int
) -> None:
    bits = Bits(weights, activations, log)
    assert Bits.parse(str(bits)) == bits
    assert Bits.parse(f"w{weights}a{activations}l{log}") == bits
    assert Bits.parse(f" W{weights}A{activations} ").log == activations


def test_the_log_code_is_as_wide_as_an_activation_unless_given() -> None:
    assert Bits(4, 6) == Bits(4, 6, 6) == Bits.parse("W4A6")
    assert str(Bits(4, 6, 6)) == "W4A6"
    assert str(Bits(4, 6, 5)) == "W4A6L5"


@pytest.mark.parametrize(
    "text",
    ["", "4", "W4", "A4W4", "W4A", "W4A4L", "W4A4 L4", "W-4A4", "W4.0A4", "W4A4\n W", "W٤A٤"],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^bits must be spelled like W4A4 or W4A4L5, not '"):
        Bits.parse(text)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("W2A4", "weights", 2),
        ("W4A9", "activations", 9),
        ("W4A4L16", "log", 16),
        ("W0A4", "weights", 0),
    ],
)
def test_another_width_is_refused(text: str, field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^bits\.{field} must be from 3 to 8, not {value}$"):
        Bits.parse(text)


@pytest.mark.parametrize("bad", [4.0, "4", True, [4]])
@pytest.mark.parametrize("field", ["weights", "activations", "log"])
def test_another_kind_is_refused(field: str, bad: object) -> None:
    with pytest.raises(TypeError, match=rf"^bits\.{field} must be an integer, not "):
        Bits(**({"weights": 4, "activations": 4, "log": 4} | {field: bad}))


@pytest.mark.parametrize("bad", [None, 44, b"W4A4"])
def test_text_is_expected(bad: object) -> None:
    with pytest.raises(TypeError, match=r"^bits must be a string such as 'W4A4', not "):
        Bits.parse(bad)
