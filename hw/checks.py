"""Checks of constructor parameters, so that every unit refuses a wrong one in the same words."""

from typing import Any

from ..config import PIPELINE_STAGES


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


def check_stages(stages: int) -> int:
    """Return `stages` if a long path may have so many registers.

    Raises: TypeError, ValueError as `check_integer` does.
    """
    return check_integer("stages", stages, PIPELINE_STAGES[0], PIPELINE_STAGES[-1])


def check_switch(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; raises TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value
