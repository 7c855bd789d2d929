"""Bytes from beats of one size to beats of another."""

from math import gcd
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

BYTES_MAX = 1024


class Gearbox(wiring.Component):
    """Cuts a stream of bytes, taken in beats of `in_bytes`, into beats of `out_bytes`.

    Parameters
    ----------
    in_bytes, out_bytes : int
        Bytes of a beat, 1 to 1024.

    Members
    -------
    i : In(stream)
        Array of `in_bytes` bytes, the first byte first.
    o : Out(stream)
        Array of `out_bytes` bytes, the first byte first.
    clear_stb : In(1)
        Drops all bytes inside, and those of a beat that `i` takes in this cycle. A beat that `o`
        offers is dropped, too, unless it is taken in this cycle: a clear may end `valid` early.

    Latency: 1 cycle from the beat with the last of the bytes to the beat of `o`.
    Throughput: one beat per cycle on the side of the smaller rate: `i` where
    `in_bytes <= out_bytes`, `o` where `in_bytes >= out_bytes`.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer from 1 to 1024.
    """

    LATENCY = 1

    def __init__(self, *, in_bytes: int, out_bytes: int) -> None:
        self.in_bytes = check_integer("in_bytes", in_bytes, 1, BYTES_MAX)
        self.out_bytes = check_integer("out_bytes", out_bytes, 1, BYTES_MAX)
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(8, in_bytes))),
                "o": Out(stream.Signature(data.ArrayLayout(8, out_bytes))),
                "clear_stb": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # All counts and places are in units of the greatest common divisor of both sizes. A beat
        # is taken only where fewer units than one of `o` stay, so this is room enough, and either
        # a beat comes or one leaves in every cycle.
        unit = gcd(self.in_bytes, self.out_bytes)
        taken, given = self.in_bytes // unit, self.out_bytes // unit
        units = [
            Signal(8 * unit, name=f"unit_{number}", reset_less=True)
            for number in range(taken + given - 1)
        ]
        shape = data.StructLayout(
            {
                "level": range(len(units) + 1),
                # Where a beat goes once the one that `o` offers has left.
                "place": range(given),
                # One beat of `o` is there; and another beside it.
                "full": 1,
                "twice": 1,
            }
        )
        state = Signal(shape)
        push = Signal()
        pop = Signal()
        level, place = state.level, state.place

        def after(count: Value) -> Value:
            """The state where so many are there; what is compared does not wait for who moves."""
            left = Mux(count >= given, count - given, count)
            members = (count[: len(level)], left[: len(place)])
            return Cat(*members, count >= given, count >= 2 * given)

        pushed = Mux(pop, after(level + (taken - given)), after(level + taken))
        kept = Mux(pop, after(level - given), state.as_value())
        m.d.comb += [
            self.i.ready.eq(~state.full | (self.o.ready & ~state.twice)),
            self.o.valid.eq(state.full),
            self.o.payload.eq(Cat(units[:given])),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(state.full & self.o.ready),
        ]
        m.d.sync += state.eq(Mux(push, pushed, kept))
        with m.If(self.clear_stb):
            m.d.sync += state.eq(0)
        beat = self.i.payload.as_value()
        for number, register in enumerate(units):
            # Units beyond the beat's end hold noise, which the next beat overwrites.
            with m.If(push & (place <= number)):
                m.d.sync += register.eq(_choose(beat, unit, place, number, taken, given))
            if number + given < len(units):
                with m.Elif(pop):
                    m.d.sync += register.eq(units[number + given])
        return m


def _choose(beat: Value, unit: int, place: Value, number: int, taken: int, given: int) -> Value:
    """The unit of the beat that comes to register `number` when the first one comes to `place`."""
    places = range(max(0, number - taken + 1), min(given - 1, number) + 1)
    chosen: Value = beat.word_select(number - places[0], 8 * unit)
    for at in places[1:]:
        chosen = Mux(place == at, beat.word_select(number - at, 8 * unit), chosen)
    return chosen
