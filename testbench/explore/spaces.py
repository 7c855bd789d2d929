"""Small spaces for tests."""

from typing import Any

import pytest

from rootshift.errors import ConfigError
from rootshift.sim.explore.space import Space

LEAST = '[model]\nname = "digits"\n[objectives]\nminimize = "cycles"\n'
"""A legal space of four lines."""


def parsed(more: str = "") -> Space:
    """The least space, with more sections."""
    return Space.parse(LEAST + more)


def refusal(text: str, **place: Any) -> str:
    """The message with which a text is refused."""
    with pytest.raises(ConfigError) as caught:
        Space.parse(text, **place)
    return str(caught.value)
