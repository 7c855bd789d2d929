"""Checks of constructor parameters, so that every unit refuses a wrong one in the same words."""

from typing import Any


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`.

    Raises
    ------
    TypeError
        It is not an integer.
    ValueError
        It is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value!r}")
    return value
