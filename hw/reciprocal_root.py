"""Reciprocal square root of a normalized number, digit by digit: subtractions only."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..formats import QUOTIENT_WIDTH, ROOT_WIDTH
from ..latency import ROOT_DIGITS, reciprocal_root, root_steps
from .checks import check_integer


class ReciprocalRoot(wiring.Component):
    """Computes `floor(2^32 / floor(sqrt(value)))` for values in [2^30, 2^32).

    Two engines in a row, so that the root of one number is found while another is divided.

    Parameters
    ----------
    tag_width : int
        Bits that go along with each number, 1 to 1024.
    digits : int
        Binary digits found per cycle by each engine, 1 or 2.

    Members
    -------
    i : In(stream)
        `value`, unsigned 32 bits, at least 2^30; and `tag`.
    o : Out(stream)
        `value`, unsigned 18 bits; and the `tag` of its number.

    Latency: `latency()` cycles from `i` to `o`.
    Throughput: one number per `period()` cycles.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.

    Source: `docs/numerics.md`, layernorm.
    """

    def __init__(self, *, tag_width: int, digits: int = ROOT_DIGITS) -> None:
        self.tag_width = check_integer("tag_width", tag_width, 1, 1024)
        self.digits = check_integer("digits", digits, 1, 2)
        self._steps = root_steps(digits)

        def tagged(width: int) -> Any:
            return stream.Signature(data.StructLayout({"value": width, "tag": tag_width}))

        super().__init__({"i": In(tagged(2 * ROOT_WIDTH)), "o": Out(tagged(QUOTIENT_WIDTH))})

    def period(self) -> int:
        """Cycles between numbers."""
        return 1 + max(self._steps)

    def latency(self) -> int:
        """Cycles from the acceptance of a number to the offer of its result."""
        return reciprocal_root(self.digits)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        root_steps, quotient_steps = self._steps
        root, tag = Signal(ROOT_WIDTH), Signal(self.tag_width)
        rest, radicand = Signal(ROOT_WIDTH + 2), Signal(2 * ROOT_WIDTH)
        divisor, remainder = Signal(ROOT_WIDTH), Signal(ROOT_WIDTH + 1)
        found, left = Signal(), Signal(range(root_steps + 1))
        divided, parts_left = Signal(), Signal(range(quotient_steps + 1))
        hand_over = Signal()
        m.d.comb += [
            self.o.valid.eq(divided & (parts_left == 0)),
            hand_over.eq(found & (left == 0) & (~divided | (self.o.valid & self.o.ready))),
            self.i.ready.eq(~found | hand_over),
        ]

        with m.If(left != 0):
            state = (rest, root, radicand)
            for _ in range(self.digits):
                state = _root_digit(*state)
            m.d.sync += [left.eq(left - 1)]
            m.d.sync += [
                old.eq(new) for old, new in zip((rest, root, radicand), state, strict=True)
            ]
        with m.If(hand_over):
            m.d.sync += found.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [found.eq(1), left.eq(root_steps), rest.eq(0), root.eq(0)]
            m.d.sync += [radicand.eq(self.i.payload.value), tag.eq(self.i.payload.tag)]

        quotient = self.o.payload.value
        with m.If(parts_left != 0):
            state = (remainder, quotient)
            for _ in range(self.digits):
                state = _quotient_digit(*state, divisor)
            m.d.sync += [parts_left.eq(parts_left - 1)]
            m.d.sync += [remainder.eq(state[0]), quotient.eq(state[1])]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += divided.eq(0)
        with m.If(hand_over):
            # 2^32 is 2^15 * 2^17 and no root is below 2^15: the first of 18 digits weighs 2^17.
            m.d.sync += [divided.eq(1), parts_left.eq(quotient_steps), divisor.eq(root)]
            m.d.sync += [remainder.eq(1 << (ROOT_WIDTH - 1)), self.o.payload.tag.eq(tag)]
        return m


def _root_digit(rest: Value, root: Value, radicand: Value) -> tuple[Value, Value, Value]:
    # The rest is at most twice the root found so far: 16 bits of it when the last digit begins.
    taken = Cat(radicand[-2:], rest[:ROOT_WIDTH])
    trial = Cat(Const(1, 2), root)
    fits = taken >= trial
    following = Mux(fits, taken - trial, taken)[: ROOT_WIDTH + 2]
    return following, Cat(fits, root[:-1]), Cat(Const(0, 2), radicand[:-2])


def _quotient_digit(remainder: Value, quotient: Value, divisor: Value) -> tuple[Value, Value]:
    fits = remainder >= divisor
    following = Mux(fits, remainder - divisor, remainder)[:ROOT_WIDTH]
    return Cat(Const(0, 1), following), Cat(fits, quotient[:-1])
