"""The count of clamped values of a unit: where benches let it begin, and what it must be."""

from typing import Any

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from rootshift.hw import saturation

from .harness import Bench

MOST = (1 << saturation.COUNT_WIDTH) - 1
BEGIN = MOST - 12
"""After a reset: soon each of its bits has moved, and it stays at its most."""


def begin_near_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units that are made from now on begin to count at `BEGIN`."""
    monkeypatch.setattr(saturation, "RESET", BEGIN)


class ClampedCount:
    """What `saturated` must be, of a unit that has just been reset and begins at `BEGIN`.

    Between comparisons it never falls, but to where it begins.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench, self._expected = bench, BEGIN
        self._task: Any = cocotb.start_soon(self._watch())

    async def clear(self) -> None:
        """Set it to zero."""
        self._bench.set("clear_stb", 1)
        await self._bench.step()
        self._bench.set("clear_stb", 0)
        self._expected = 0

    def compare(self, what: str, clamped: int) -> None:
        """Hold it against golden, which has clamped so many values more."""
        self._expected = min(self._expected + clamped, MOST)
        self._bench.compare(f"saturated, {what}", self._bench.get("saturated"), self._expected)

    async def _watch(self) -> None:
        before = 0
        while True:
            await FallingEdge(self._bench.dut.clk)
            count = self._bench.get("saturated")
            if count < before and count not in (0, BEGIN):
                raise AssertionError(f"saturated must not fall from {before} to {count}")
            before = count
