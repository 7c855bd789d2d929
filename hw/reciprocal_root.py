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
        root = Signal(ROOT_WIDTH)
        tag = Signal(self.tag_width)
        rest = Signal(ROOT_WIDTH + 2)
        radicand = Signal(2 * ROOT_WIDTH)
        divisor = Signal(ROOT_WIDTH)
        remainder = Signal(ROOT_WIDTH + 1)
        triple = Signal(ROOT_WIDTH + 2)
        found = Signal()
        left = Signal(range(root_steps + 1))
        divided = Signal()
        parts_left = Signal(range(quotient_steps + 1))
        hand_over = Signal()
        m.d.comb += [
            self.o.valid.eq(divided & (parts_left == 0)),
            hand_over.eq(found & (left == 0) & (~divided | (self.o.valid & self.o.ready))),
            self.i.ready.eq(~found | hand_over),
        ]

        with m.If(left != 0):
            taken, digit = _root_digits(rest, root, radicand, self.digits)
            m.d.sync += [
                left.eq(left - 1),
                rest.eq(taken),
                root.eq(Cat(digit, root)),
                radicand.eq(radicand << 2 * self.digits),
            ]
        with m.If(hand_over):
            m.d.sync += found.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [found.eq(1), left.eq(root_steps), rest.eq(0), root.eq(0)]
            m.d.sync += [radicand.eq(self.i.payload.value), tag.eq(self.i.payload.tag)]

        quotient = self.o.payload.value
        with m.If(parts_left != 0):
            taken, digit = _quotient_digits(remainder, divisor, triple, self.digits)
            m.d.sync += [
                parts_left.eq(parts_left - 1),
                remainder.eq(taken << 1),
                quotient.eq(Cat(digit, quotient)),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += divided.eq(0)
        with m.If(hand_over):
            # 2^32 is 2^15 * 2^17 and no root is below 2^15: the first of 18 digits weighs 2^17.
            m.d.sync += [divided.eq(1), parts_left.eq(quotient_steps), divisor.eq(root)]
            m.d.sync += [remainder.eq(1 << (ROOT_WIDTH - 1)), self.o.payload.tag.eq(tag)]
            m.d.sync += triple.eq(root + (root << 1))
        return m


def _root_digits(rest: Value, root: Value, radicand: Value, digits: int) -> tuple[Value, Value]:
    """Return the rest and so many digits more: q appended to r adds (2^(digits + 1) r + q) q to
    the square."""
    # The rest is at most twice the root found so far: 16 bits of it when the last digit begins.
    taken = Cat(radicand[-2 * digits :], rest[:ROOT_WIDTH])
    differences = [taken - Cat(Const(1, 1 + digits), root)]
    if digits == 2:
        differences += [
            taken - Cat(Const(4, 4), root),
            taken - Cat(Const(8, 4), root) - Cat(Const(1, 3), root),
        ]
    return _largest(taken, differences, digits)


def _quotient_digits(
    remainder: Value, divisor: Value, triple: Value, digits: int
) -> tuple[Value, Value]:
    """Return the rest and so many digits more, the last of which weighs the divisor."""
    taken = remainder << (digits - 1)
    factors = [divisor, divisor << 1, triple][: (1 << digits) - 1]
    return _largest(taken, [taken - factor for factor in factors], digits)


def _largest(taken: Value, differences: list[Value], digits: int) -> tuple[Value, Value]:
    """Return the last difference that is not negative, and how many are not: all side by side, so
    that two digits take hardly longer than one."""
    rest, digit = taken, Const(0, digits)
    for number, difference in enumerate(differences, 1):
        fits = ~difference[-1]
        rest = Mux(fits, difference[:-1], rest)
        digit = Mux(fits, Const(number, digits), digit)
    return rest, digit
