"""Designs in which a read of a buffer gives wrong bits in the cycle of a write to the same word."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth.back import rtlil

from rootshift.hw import verilog
from rootshift.hw.synthesis.netlist import free_collisions

convert = verilog.convert
WRONG = "5a"
"""What takes the place of each unknown hexadecimal digit, in turns."""


def with_wrong_collisions(component: Any, name: str) -> str:
    """The Verilog of a component in which such reads give wrong bits."""
    free = SimpleNamespace(
        convert=lambda *given, **options: free_collisions(rtlil.convert(*given, **options))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verilog, "rtlil", free)
        text = convert(component, name)
    return re.sub(r"(?<='h)x+", lambda digits: (WRONG * len(digits[0]))[: len(digits[0])], text)
