"""Clamping, and counting what was clamped."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

COUNT_WIDTH = 32
RESET = 0
"""What counters begin with; another number in benches, so that they come to their end."""


def clamp(value: Value, low: Value | int, high: Value | int) -> tuple[Value, Value]:
    """Return `value` held within `[low, high]`, and a bit that says whether it was outside.

    `value` is signed; `low` is not above `high`.
    """
    sign = value[-1]
    # Comparators as wide as the limits: what does not fit there is outside.
    width = min(max(_signed_width(low), _signed_width(high)), len(value))
    beyond = (value[width - 1 :] != sign.replicate(len(value) - width + 1)) & (width < len(value))
    within = value[:width].as_signed()
    below = sign & beyond | ~beyond & _less(within, low)
    above = ~sign & beyond | ~beyond & _less(high, within)
    if isinstance(low, int) and low in (0, -1 << (width - 1)):
        below = sign & beyond if low else sign
    if isinstance(high, int) and high == (1 << (width - 1)) - 1:
        above = ~sign & beyond
    return Mux(below, low, Mux(above, high, value)), below | above


def shift_right(value: Value, amount: Value, width: int) -> Value:
    """Return `value >> amount`, both signed, where that fits in `width - 1` bits.

    Where it does not, some number of `width` bits that has the same sign and does not either. So
    what is clamped to fewer bits afterwards needs no shifter of all its bits. `amount` is unsigned,
    `width` 3 at least.
    """
    sign = value[-1]
    # Zero where a bit is that of the sign: what is lost at the top is tested for zero.
    rest = value[:-1] ^ sign.replicate(len(value) - 1)
    kept, lost = width - 2, []
    for place in reversed(range(len(amount))):
        rest = Mux(amount[place], rest[1 << place :], rest)
        # What no shift to come brings down again.
        end = kept + (1 << place) - 1
        if len(rest) > end:
            lost.append(rest[end:].any())
            rest = rest[:end]
    if len(rest) < kept:
        rest = Cat(rest, Const(0, kept - len(rest)))
    beyond = Cat(lost).any() if lost else Const(0)
    return Cat(rest ^ sign.replicate(kept), beyond ^ sign, sign).as_signed()


def _less(a: Value | int, b: Value | int) -> Value:
    """Whether `a` is less than `b`, both signed.

    Raised by half the range they are unsigned: the carry of their difference says it all, where
    that of signed numbers needs their signs as well.
    """
    width = max(_signed_width(a), _signed_width(b))
    raised = []
    for number in (a, b):
        number = Const(number, signed(width)) if isinstance(number, int) else number
        wide = Cat(number, Const(0, 1)).as_signed() if not number.shape().signed else number
        extension = wide[-1].replicate(width - len(wide))
        raised.append(Cat(wide[:-1], extension, ~wide[-1]))
    return raised[0] < raised[1]


def _signed_width(limit: Value | int) -> int:
    """Bits of a signed number that can be any value of `limit`."""
    if isinstance(limit, int):
        return Const(limit).shape().width + (limit >= 0)
    shape = limit.shape()
    return shape.width + (not shape.signed)


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
        # One bit more: once it is set nothing is added, and the output is its maximum. So no carry
        # decides within a cycle what is kept.
        counted = Signal(COUNT_WIDTH + 1, init=RESET)
        full = counted[-1]
        m.d.comb += [
            total.eq(sum(self.events)),
            self.count.eq(counted[:-1] | full.replicate(COUNT_WIDTH)),
        ]
        with m.If(self.clear_stb):
            m.d.sync += counted.eq(0)
        with m.Elif(self.count_stb & ~full):
            m.d.sync += counted.eq(counted + total)
        return m


def count_saturation(
    m: Module, unit: wiring.Component, events: list[Value], count_stb: Value
) -> None:
    """Wire a counter of `events` to the members `saturated` and `clear_stb` of `unit`.

    The events of a cycle with `count_stb` count.
    """
    m.submodules.saturation = counter = SaturationCounter(lanes=len(events))
    m.d.comb += [
        counter.events.eq(Cat(events)),
        counter.count_stb.eq(count_stb),
        counter.clear_stb.eq(unit.clear_stb),
        unit.saturated.eq(counter.count),
    ]
