"""The queue in which totals wait for the requantizer."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..formats import ACCUMULATOR_WIDTH
from ..latency import TOTAL_QUEUE
from .checks import check_integer
from .credit_queue import DEPTH_MAX, credits

DEPTH_MIN = 3
"""In fewer places the FIFO is full while its output register is still empty."""


class TotalQueue(wiring.Component):
    """Takes the totals of a token in one beat and gives them away in parts of `lanes`.

    Totals come in a burst, with the last tile of K, and leave while the array works on the next
    group of channels: what double accumulators would do, but a token's place is free at once. The
    array before does not stand still, so what enters there needs a place here (`CreditQueue`).

    Parameters
    ----------
    depth : int
        Tokens on their way and here together, 3 to 8192. A burst of T tokens needs
        `T * (1 - lanes / cols)`, and those that are on their way.
    cols : int
        Totals per token, 1 to 256.
    lanes : int
        Totals per part; divides `cols`.
    acc_width, sum_width : int
        Bits of a total and of the sum of the token's codes, 1 to 32 each.
    tag_width : int
        Bits that go along with each token, untouched; 0 to 256.

    Members
    -------
    taken_stb : In(1)
        A token whose totals come enters the array. Only while `room` is high.
    room : Out(1)
        One more may; from a register.
    i : In(stream, always_ready)
        Struct of `acc` (array of `cols` unsigned totals), `sum` and `tag`.
    o : Out(stream)
        Struct of `acc` (array of `lanes` unsigned totals), `sum`, `part` (0 to `cols / lanes - 1`,
        in this order) and `tag`.

    Latency: 2 cycles from a token to its first part, where no other waits.
    Throughput: one part per cycle, so one token per `cols / lanes` cycles.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range, or `lanes` that do not divide `cols`.
    """

    LATENCY = TOTAL_QUEUE

    def __init__(
        self,
        *,
        depth: int,
        cols: int,
        lanes: int,
        acc_width: int,
        sum_width: int,
        tag_width: int = 0,
    ) -> None:
        self.depth = check_integer("depth", depth, DEPTH_MIN, DEPTH_MAX)
        self.cols = check_integer("cols", cols, 1, 256)
        self.lanes = check_integer("lanes", lanes, 1, cols)
        if cols % lanes:
            raise ValueError(f"lanes must divide the {cols} cols, not {lanes!r}")
        self.acc_width = check_integer("acc_width", acc_width, 1, ACCUMULATOR_WIDTH)
        self.sum_width = check_integer("sum_width", sum_width, 1, ACCUMULATOR_WIDTH)
        self.tag_width = check_integer("tag_width", tag_width, 0, 256)
        self.parts = cols // lanes
        rest = {"sum": sum_width, "tag": tag_width}
        totals = data.StructLayout({"acc": data.ArrayLayout(acc_width, cols), **rest})
        part = data.StructLayout(
            {"acc": data.ArrayLayout(acc_width, lanes), "part": range(self.parts), **rest}
        )
        super().__init__(
            {
                "taken_stb": In(1),
                "room": Out(1),
                "i": In(stream.Signature(totals, always_ready=True)),
                "o": Out(stream.Signature(part)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self.i.payload.shape()
        m.submodules.queue = queue = SyncFIFOBuffered(width=shape.size, depth=self.depth)
        head = data.View(shape, queue.r_data)
        part = Signal(range(self.parts))
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.room.eq(credits(m, self.taken_stb, queue.r_en, self.depth)),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(leaves & (part == self.parts - 1)),
            self.o.p.sum.eq(head.sum),
            self.o.p.part.eq(part),
            self.o.p.tag.eq(head.tag),
        ]
        for lane in range(self.lanes):
            chosen = head.acc[lane]
            for place in range(1, self.parts):
                chosen = Mux(part == place, head.acc[place * self.lanes + lane], chosen)
            m.d.comb += self.o.p.acc[lane].eq(chosen)
        with m.If(leaves):
            m.d.sync += part.eq(part + 1)
        with m.If(queue.r_en):
            m.d.sync += part.eq(0)
        return m
