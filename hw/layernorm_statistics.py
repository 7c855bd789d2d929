"""Sum, variance and reciprocal root of LayerNorm rows, taken while they enter."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ..formats import QUOTIENT_WIDTH, RESIDUAL_WIDTH, ROOT_WIDTH
from ..latency import SUM_FAN_IN, norm_rows_waiting, norm_statistics, product, tree_stages
from .credit_queue import CreditQueue
from .multiplication import multiply
from .pipeline import delay
from .reciprocal_root import ReciprocalRoot

EPSILON_WIDTH = 40


class LayerNormStatistics(wiring.Component):
    """Takes rows of residuals and gives what normalizes them.

    Parameters
    ----------
    lanes, depth, stages : int
        As those of `LayerNorm`.

    Members
    -------
    i : In(stream)
        Array of `lanes` signed 16-bit residuals; those beyond `channels` are ignored.
    channels, epsilon : In
        As those of `LayerNorm`.
    o : Out(stream)
        Per row `sum`, signed; `reciprocal`, 17 bits, and `exponent` with
        `1 / sqrt(V) = reciprocal * 2^-(16 + exponent)`.

    Latency: `latency()` cycles from the last beat of a row to `o`.
    Throughput: one row per `max(beats, period())` cycles.
    """

    def __init__(self, *, lanes: int, depth: int, stages: int) -> None:
        self.lanes, self.depth, self.stages = lanes, depth, stages
        sum_width = (depth << (RESIDUAL_WIDTH - 1)).bit_length() + 1
        self.square_width = (depth << (2 * RESIDUAL_WIDTH - 2)).bit_length()
        largest = (depth * depth << (2 * RESIDUAL_WIDTH - 2)) + (1 << EPSILON_WIDTH)
        # The root takes pairs of bits.
        self.exponent_max = -(-largest.bit_length() // 2)
        self.tag = data.StructLayout(
            {"sum": signed(sum_width), "exponent": unsigned(self.exponent_max.bit_length())}
        )
        self._root = ReciprocalRoot(tag_width=self.tag.size)
        self._tree = tree_stages(lanes)
        result = {**{key: field.shape for key, field in self.tag}, "reciprocal": QUOTIENT_WIDTH - 1}
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(signed(RESIDUAL_WIDTH), lanes))),
                "channels": In(range(depth + 1)),
                "epsilon": In(EPSILON_WIDTH),
                "o": Out(stream.Signature(data.StructLayout(result))),
            }
        )

    def period(self) -> int:
        """Fewest cycles between rows."""
        return self._root.period()

    def latency(self) -> int:
        """Cycles from the acceptance of the last beat of a row to the offer of its result."""
        return norm_statistics(self.lanes, self.stages) + self._root.latency()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.root = root = self._root
        stages = norm_statistics(self.lanes, self.stages) - CreditQueue.LATENCY
        # The way to the root never stands: a row's radicand has a place before the row enters.
        m.submodules.radicands = radicands = CreditQueue(
            root.i.payload.shape(), depth=norm_rows_waiting(self.lanes, self.stages)
        )
        accept = Signal()
        last = Signal()
        start = Signal(init=1)
        left = Signal.like(self.channels)
        now = Signal.like(self.channels)
        m.d.comb += [
            self.i.ready.eq(radicands.room),
            accept.eq(self.i.valid & self.i.ready),
            radicands.taken_stb.eq(accept & last),
            now.eq(Mux(start, self.channels, left)),
            last.eq(now <= self.lanes),
        ]
        with m.If(accept):
            m.d.sync += [start.eq(last), left.eq(now - self.lanes)]

        valid = Signal(stages)
        ends = Signal(stages)
        m.d.sync += [
            valid.eq((valid << 1) | accept),
            ends.eq((ends << 1) | last),
        ]
        plain, squared = [], []
        for lane in range(self.lanes):
            masked = Signal(signed(RESIDUAL_WIDTH), name=f"masked_{lane}", reset_less=True)
            m.d.sync += masked.eq(Mux(now > lane, self.i.payload[lane], 0))
            square = multiply(m, masked, masked, stages=self.stages, name=f"square_{lane}")
            plain.append(delay(m, masked, product(self.stages), name=f"plain_{lane}"))
            # Of two bits that would be the sign, the square of the smallest number needs one.
            squared.append(square[: 2 * RESIDUAL_WIDTH - 1])
        total, squares = self._totals(m, plain, squared, valid, ends)
        tag, normalized = self._variance(m, total, squares)
        m.d.comb += [
            radicands.i.valid.eq(valid[-1] & ends[-1]),
            radicands.i.payload.value.eq(normalized),
            radicands.i.payload.tag.eq(tag),
        ]
        connect(m, radicands.o, root.i)

        # The largest reciprocal alone has 18 bits: half of it and the exponent before stand for it,
        # so that a DSP block takes all of them.
        found, reciprocal = data.View(self.tag, root.o.payload.tag), root.o.payload.value
        largest = reciprocal[-1]
        m.d.comb += [
            self.o.valid.eq(root.o.valid),
            root.o.ready.eq(self.o.ready),
            self.o.payload.sum.eq(found.sum),
            self.o.payload.exponent.eq(found.exponent - largest),
            self.o.payload.reciprocal.eq(Cat(reciprocal[:-2], reciprocal[-2] | largest)),
        ]
        return m

    def _totals(
        self, m: Module, plain: list, squared: list, valid: Value, ends: Value
    ) -> tuple[Value, Value]:
        """Return S and Q, complete one stage behind the last beat's sums."""
        plain_sum, square_sum = _tree(m, plain), _tree(m, squared)
        total = Signal(self.tag["sum"].shape, reset_less=True)
        squares = Signal(self.square_width, reset_less=True)
        begin = Signal(init=1)
        stage = product(self.stages) + self._tree
        with m.If(valid[stage]):
            m.d.sync += [
                begin.eq(ends[stage]),
                total.eq(Mux(begin, 0, total) + plain_sum),
                squares.eq(Mux(begin, 0, squares) + square_sum),
            ]
        return total, squares

    def _variance(self, m: Module, total: Value, squares: Value) -> tuple[Value, Value]:
        """Return the tag and the normalized variance: products, variance, exponent, shift."""
        width = 2 * self.exponent_max
        wide = {"stages": self.stages, "wide": True}
        weighted = multiply(m, squares, self.channels, name="weighted", **wide)
        square = multiply(m, total, total, name="square", **wide)
        variance = Signal(width, reset_less=True)
        delayed = Signal(width, reset_less=True)
        exponent = Signal(self.tag["exponent"].shape, reset_less=True)
        normalized = Signal(2 * ROOT_WIDTH, reset_less=True)
        tag = Signal(self.tag, reset_less=True)
        m.d.sync += [
            variance.eq(weighted - square + self.epsilon),
            delayed.eq(variance),
            tag.sum.eq(delay(m, total, product(**wide) + 2, name="sum")),
            tag.exponent.eq(exponent),
        ]
        for pair in range(self.exponent_max):
            with m.If(variance[2 * pair : 2 * pair + 2].any()):
                m.d.sync += exponent.eq(pair + 1)
        raised = delayed << ((self.exponent_max - exponent) << 1)[: width.bit_length()]
        m.d.sync += normalized.eq(raised[width - 2 * ROOT_WIDTH : width])
        return tag, normalized


def _tree(m: Module, values: list) -> Value:
    while len(values) > 1:
        sums = []
        for at in range(0, len(values), SUM_FAN_IN):
            total = sum(values[at + 1 : at + SUM_FAN_IN], values[at])
            register = Signal(total.shape(), reset_less=True)
            m.d.sync += register.eq(total)
            sums.append(register)
        values = sums
    return values[0]
