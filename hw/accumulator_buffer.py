"""The buffer in which partial sums of several tiles of K meet."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..formats import ACCUMULATOR_WIDTH
from .checks import check_integer


class AccumulatorBuffer(wiring.Component):
    """Adds partial sums, token by token, over the tiles of K.

    Each beat is added to the vector kept at `address`, or replaces it when it is the `first` of its
    token; the `last` one also sends the total on. Sums are unsigned and wrap: the compiler refuses
    what does not fit.

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
    tag_width : int
        Bits that go along with each beat, untouched; 0 to 256.

    Members
    -------
    i : In(stream)
        Struct of `psums` (array of `cols` unsigned partial sums), `sum` (of the token's codes),
        `address` (of the token), `first`, `last` (1 bit each) and `tag`.
    o : Out(stream)
        Struct of `acc` (array of `cols` unsigned totals), `sum` (total), `address` and `tag`, for
        each beat with `last`.

    Latency: 2 cycles from a beat with `last` to its totals.
    Throughput: one beat per cycle, to the same address or another.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.

    Source: `docs/numerics.md`, gemm: `acc[m, n]` and `sum[m]`.
    """

    LATENCY = 2

    def __init__(
        self,
        *,
        depth: int,
        cols: int,
        in_width: int,
        acc_width: int,
        sum_in_width: int,
        sum_acc_width: int,
        tag_width: int = 0,
    ) -> None:
        self.depth = check_integer("depth", depth, 1, 4096)
        self.cols = check_integer("cols", cols, 1, 256)
        widest = ACCUMULATOR_WIDTH
        self.in_width = check_integer("in_width", in_width, 1, widest)
        self.acc_width = check_integer("acc_width", acc_width, in_width, widest)
        self.sum_in_width = check_integer("sum_in_width", sum_in_width, 1, widest)
        self.sum_acc_width = check_integer("sum_acc_width", sum_acc_width, sum_in_width, widest)
        self.tag_width = check_integer("tag_width", tag_width, 0, 256)
        partial = data.StructLayout(
            {
                "psums": data.ArrayLayout(in_width, cols),
                "sum": sum_in_width,
                "address": range(depth),
                "first": 1,
                "last": 1,
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
        super().__init__({"i": In(stream.Signature(partial)), "o": Out(stream.Signature(total))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kept = data.StructLayout(
            {"acc": data.ArrayLayout(self.acc_width, self.cols), "sum": self.sum_acc_width}
        )
        m.submodules.memory = memory = Memory(shape=kept, depth=self.depth, init=[])
        write = memory.write_port()
        # Transparent, so that the total of the beat before is there for one of the same address.
        read = memory.read_port(transparent_for=(write,))
        advance = Signal()
        beat = Signal.like(self.i.payload, reset_less=True)
        beat_valid = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            read.addr.eq(self.i.p.address),
            read.en.eq(advance),
            write.addr.eq(beat.address),
            write.en.eq(beat_valid & advance),
        ]
        with m.If(advance):
            m.d.sync += [beat.eq(self.i.payload), beat_valid.eq(self.i.valid)]
        for col in range(self.cols):
            with m.If(beat.first):
                m.d.comb += write.data.acc[col].eq(beat.psums[col])
            with m.Else():
                m.d.comb += write.data.acc[col].eq(read.data.acc[col] + beat.psums[col])
        with m.If(beat.first):
            m.d.comb += write.data.sum.eq(beat.sum)
        with m.Else():
            m.d.comb += write.data.sum.eq(read.data.sum + beat.sum)
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(beat_valid & beat.last),
                self.o.p.acc.eq(write.data.acc),
                self.o.p.sum.eq(write.data.sum),
                self.o.p.address.eq(beat.address),
                self.o.p.tag.eq(beat.tag),
            ]
        return m
