"""The buffer in which partial sums of several tiles of K meet."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..formats import ACCUMULATOR_WIDTH, CODE_WIDTHS, code_digits
from ..latency import accumulators
from .checks import check_integer, check_stages

DIGITS_MAX = code_digits(CODE_WIDTHS[0])
"""Digits of the narrowest array that make up the widest code."""


class AccumulatorBuffer(wiring.Component):
    """Adds partial sums, token by token, over the tiles of K.

    Each beat is added to the vector kept at `address`, or replaces it when it is the `first` of its
    token; the `last` one also sends the total on. Sums are unsigned and wrap: the compiler refuses
    what does not fit.

    Codes wider than the array's come as digits: the partial sums of activation digit i and weight
    digit j count `2^(i * activation_width + j * weight_width)` times. The sum of the codes counts
    `2^(i * activation_width)` times with weight digit 0 and not at all with the others, which see
    the same codes again.

    Parameters
    ----------
    depth : int
        Tokens kept, 1 to 4096.
    cols : int
        Sums per token, 1 to 256.
    in_width, acc_width : int
        Bits of a partial sum and of a total, 1 to 32 each, the total at least as wide.
    sum_in_width, sum_acc_width : int
        The same for the sum of the token's codes.
    activation_width, weight_width : int
        Bits of a digit, 3 to 8.
    activation_digits, weight_digits : int
        Largest number of digits, 1 to 3; one digit costs nothing.
    tag_width : int
        Bits that go along with each beat, untouched; 0 to 256.
    stages : int
        1 to 3; from 2 on a register stands between the memory and the adders.

    Members
    -------
    i : In(stream, always_ready)
        Struct of `psums` (array of `cols` unsigned partial sums), `sum` (of the token's codes),
        `address` (of the token), `first`, `last` (1 bit each), `activation_digit` (i) and
        `weight_digit` (j), from 0 and below their numbers, and `tag`.
    o : Out(stream, always_ready)
        Struct of `acc` (array of `cols` unsigned totals), `sum` (total), `address` and `tag`, for
        each beat with `last`.

    Latency: 2 cycles from a beat with `last` to its totals, 3 from two stages on.
    Throughput: one beat per cycle, to the same address or another.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.

    Source: `docs/numerics.md`, gemm: `acc[m, n]` and `sum[m]`, and their digits.
    """

    def __init__(
        self,
        *,
        depth: int,
        cols: int,
        in_width: int,
        acc_width: int,
        sum_in_width: int,
        sum_acc_width: int,
        activation_width: int = CODE_WIDTHS[-1],
        weight_width: int = CODE_WIDTHS[-1],
        activation_digits: int = 1,
        weight_digits: int = 1,
        tag_width: int = 0,
        stages: int = 1,
    ) -> None:
        self.depth = check_integer("depth", depth, 1, 4096)
        self.cols = check_integer("cols", cols, 1, 256)
        widest = ACCUMULATOR_WIDTH
        self.in_width = check_integer("in_width", in_width, 1, widest)
        self.acc_width = check_integer("acc_width", acc_width, in_width, widest)
        self.sum_in_width = check_integer("sum_in_width", sum_in_width, 1, widest)
        self.sum_acc_width = check_integer("sum_acc_width", sum_acc_width, sum_in_width, widest)
        limits = CODE_WIDTHS[0], CODE_WIDTHS[-1]
        self.activation_width = check_integer("activation_width", activation_width, *limits)
        self.weight_width = check_integer("weight_width", weight_width, *limits)
        self.activation_digits = check_integer(
            "activation_digits", activation_digits, 1, DIGITS_MAX
        )
        self.weight_digits = check_integer("weight_digits", weight_digits, 1, DIGITS_MAX)
        self.tag_width = check_integer("tag_width", tag_width, 0, 256)
        self.stages = check_stages(stages)
        partial = data.StructLayout(
            {
                "psums": data.ArrayLayout(in_width, cols),
                "sum": sum_in_width,
                "address": range(depth),
                "first": 1,
                "last": 1,
                "activation_digit": range(activation_digits),
                "weight_digit": range(weight_digits),
                "tag": tag_width,
            }
        )
        total = data.StructLayout(
            {
                "acc": data.ArrayLayout(acc_width, cols),
                "sum": sum_acc_width,
                "address": range(depth),
                "tag": tag_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(partial, always_ready=True)),
                "o": Out(stream.Signature(total, always_ready=True)),
            }
        )

    @property
    def LATENCY(self) -> int:  # noqa: N802
        """Cycles from a beat with `last` to its totals."""
        return accumulators(self.stages)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self.i.payload.shape()
        carried = "address", "first", "last", "tag"
        kept = data.StructLayout(
            {"acc": data.ArrayLayout(self.acc_width, self.cols), "sum": self.sum_acc_width}
        )
        m.submodules.memory = memory = Memory(shape=kept, depth=self.depth, init=[])
        write = memory.write_port()
        # Transparent, so that a total is there for who asks for it as it is written.
        read = memory.read_port(transparent_for=(write,))
        beat = Signal(
            data.StructLayout({**kept.members, **{name: shape.members[name] for name in carried}}),
            reset_less=True,
        )
        beat_valid = Signal()
        m.d.comb += read.addr.eq(self.i.p.address)
        psums, codes = self._weighted()
        total = Signal.like(self.o.payload, reset_less=True)
        m.d.sync += [
            *(beat[name].eq(self.i.p[name]) for name in carried),
            *(beat.acc[col].eq(psum) for col, psum in enumerate(psums)),
            beat.sum.eq(codes),
            beat_valid.eq(self.i.valid),
        ]
        before = Signal(kept)
        if self.stages == 1:
            m.d.comb += before.eq(Mux(beat.first, 0, read.data))
        else:
            beat, beat_valid = self._register(m, read.data, before, beat, beat_valid)
        m.d.comb += [
            write.addr.eq(beat.address),
            write.en.eq(beat_valid),
            *(write.data.acc[col].eq(before.acc[col] + beat.acc[col]) for col in range(self.cols)),
            write.data.sum.eq(before.sum + beat.sum),
        ]
        m.d.sync += [
            self.o.valid.eq(beat_valid & beat.last),
            total.acc.eq(write.data.acc),
            total.sum.eq(write.data.sum),
            total.address.eq(beat.address),
            total.tag.eq(beat.tag),
        ]
        m.d.comb += self.o.payload.eq(total)
        return m

    def _register(
        self,
        m: Module,
        word: data.View,
        before: data.View,
        beat: data.View,
        beat_valid: Signal,
    ) -> tuple[data.View, Signal]:
        """A stage between the memory and the adders; return the beat that is there, and whether
        one is. `before` is what it is added to.

        The beat that follows another of its address was read before that one's total was written:
        it takes the total from the output, which has that of each beat, the last or not.
        """
        read = Signal.like(before, reset_less=True)
        late = Signal.like(beat, reset_less=True)
        late_valid = Signal()
        again = Signal()
        m.d.sync += [
            read.eq(word),
            late.eq(beat),
            late_valid.eq(beat_valid),
            again.eq(late_valid & ~beat.first & (beat.address == late.address)),
        ]
        # A register's reset is free.
        with m.If(beat.first):
            m.d.sync += read.eq(0)
        m.d.comb += [
            before.acc.eq(Mux(again, self.o.p.acc, read.acc)),
            before.sum.eq(Mux(again, self.o.p.sum, read.sum)),
        ]
        return late, late_valid

    def _weighted(self) -> tuple[list[Value], Value]:
        """The beat's partial sums and sum of codes, each times the weight of its digits."""
        beat = self.i.p

        def scaled(value: Value, digit: Value, digits: int, width: int) -> Value:
            # Muxes, since a shifter would not know that shifts are multiples of a width.
            result = value
            for place in range(1, digits):
                result = Mux(digit == place, value << (place * width), result)
            return result

        activation = beat.activation_digit, self.activation_digits, self.activation_width
        weight = beat.weight_digit, self.weight_digits, self.weight_width
        psums = [scaled(scaled(psum, *activation), *weight) for psum in beat.psums]
        total = scaled(beat.sum, *activation)
        return psums, Mux(beat.weight_digit == 0, total, 0) if self.weight_digits > 1 else total
