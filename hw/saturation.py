"""Clamping, and counting what was clamped."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

COUNT_WIDTH = 32


def clamp(value: Value, low: Value | int, high: Value | int) -> tuple[Value, Value]:
    """Return `value` held within `[low, high]`, and a bit that says whether it was outside."""
    below, above = value < low, value > high
    return Mux(below, low, Mux(above, high, value)), below | above


class SaturationCounter(wiring.Component):
    """Counts saturation events, several per cycle; stays at its maximum once there.

    Parameters
    ----------
    lanes : int
        Events that may happen in one cycle.

    Members
    -------
    events : In(lanes)
        One bit per lane.
    count_stb : In(1)
        The events count in this cycle.
    clear_stb : In(1)
        Sets the count to zero; events of the same cycle are lost.
    count : Out(32)
        Events so far, unsigned.

    Latency: one cycle from `count_stb` to `count`.
    Throughput: `lanes` events per cycle.

    Raises
    ------
    TypeError, ValueError
        `lanes` is not an integer from 1 to 4096.
    """

    LATENCY = 1

    def __init__(self, *, lanes: int) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 4096)
        super().__init__(
            {
                "events": In(lanes),
                "count_stb": In(1),
                "clear_stb": In(1),
                "count": Out(COUNT_WIDTH),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        total = Signal(range(self.lanes + 1))
        m.d.comb += total.eq(sum(self.events))
        after = Signal(COUNT_WIDTH + 1)
        m.d.comb += after.eq(self.count + total)
        with m.If(self.clear_stb):
            m.d.sync += self.count.eq(0)
        with m.Elif(self.count_stb):
            m.d.sync += self.count.eq(Mux(after[-1], Const(-1, COUNT_WIDTH), after))
        return m


def count_saturation(m: Module, unit: wiring.Component, events: list[Value]) -> None:
    """Wire a counter of `events` to the members `saturated` and `clear_stb` of `unit`.

    `events` belong to the beat on the stream `o` and count when it is accepted.
    """
    m.submodules.saturation = counter = SaturationCounter(lanes=len(events))
    m.d.comb += [
        counter.events.eq(Cat(events)),
        counter.count_stb.eq(unit.o.valid & unit.o.ready),
        counter.clear_stb.eq(unit.clear_stb),
        unit.saturated.eq(counter.count),
    ]
