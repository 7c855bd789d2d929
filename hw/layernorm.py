"""LayerNorm from residuals to codes: `docs/numerics.md`, section layernorm."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import (
    CODE_WIDTHS,
    EMBEDDING_MAX,
    GAIN_WIDTH,
    NORM_FRACTION,
    NORM_WIDTH,
    OFFSET_WIDTH,
    RESIDUAL_WIDTH,
    ROOT_WIDTH,
    SHIFT_MAX,
)
from ..latency import credits_needed, norm_codes, norm_room, norm_row, product
from .checks import check_integer, check_stages
from .credit_queue import CreditQueue
from .layernorm_statistics import EPSILON_WIDTH, LayerNormStatistics
from .multiplication import multiply
from .pipeline import delay
from .saturation import COUNT_WIDTH, clamp, count_saturation, shift_right
from .word_bank import UNRELATED


class LayerNorm(wiring.Component):
    """Normalizes rows of residuals and gives codes.

    The statistics are taken while a row enters; the row waits in a buffer for its reciprocal root,
    which is found digit by digit, and leaves while the next rows enter.

    Parameters
    ----------
    lanes : int
        Channels per beat, 1 to 256.
    depth : int
        Largest number of channels of a row, 1 to 4096.
    code_width : int
        A, width of a code, 3 to 8.
    stages : int
        Registers of each product, 1 to 3.

    Members
    -------
    parameters : In(stream)
        `gain`, array of `lanes` signed 16-bit numbers; `offset`, array of `lanes` signed 32-bit
        numbers; `last`, set on the last beat of a set. A set starts with channel 0, is taken when
        no row is inside, before a row that waits at the same time, and holds until the next.
    channels : In(range(depth + 1))
        N, length of a row, 1 to `depth`.
    epsilon : In(40)
        In units of N^2 squared residual steps, at least 1.
    shift : In(range(48))
        Right shift to codes.
    high : In(code_width)
        Largest code; a model whose codes are narrower than A has a smaller one.
    clear_stb : In(1)
        Sets `saturated` to zero.
    i : In(stream)
        Array of `lanes` signed 16-bit residuals. A row takes `ceil(channels / lanes)` beats; what
        the last one carries beyond the row is ignored.
    o : Out(stream)
        `codes`, array of `lanes` unsigned A-bit codes, 0 beyond the row; `last`, set on the last
        beat of a row.
    saturated : Out(32)
        Codes clamped among the beats that wait on `o` or have left it.

    `channels`, `epsilon`, `shift` and `high` hold while a row is inside.

    Latency: `latency()` cycles from the acceptance of a row's last beat to the offer of its first.
    Throughput: one row per `max(beats, period())` cycles, one beat per cycle for rows of at least
    `period()` beats.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.

    Source: `docs/numerics.md`, layernorm.
    """

    def __init__(self, *, lanes: int, depth: int, code_width: int, stages: int = 1) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        self.depth = check_integer("depth", depth, 1, EMBEDDING_MAX)
        self.code_width = check_integer("code_width", code_width, CODE_WIDTHS[0], CODE_WIDTHS[-1])
        self.beats = -(-depth // lanes)
        self.stages = check_stages(stages)
        self._statistics = LayerNormStatistics(lanes=lanes, depth=depth, stages=stages)
        self._parameters = data.StructLayout(
            {
                "gain": data.ArrayLayout(signed(GAIN_WIDTH), lanes),
                "offset": data.ArrayLayout(signed(OFFSET_WIDTH), lanes),
            }
        )
        loaded = data.StructLayout({**{k: f.shape for k, f in self._parameters}, "last": 1})
        codes = data.ArrayLayout(unsigned(code_width), lanes)
        super().__init__(
            {
                "parameters": In(stream.Signature(loaded)),
                "channels": In(range(depth + 1)),
                "epsilon": In(EPSILON_WIDTH),
                "shift": In(range(SHIFT_MAX + 1)),
                "high": In(code_width),
                "clear_stb": In(1),
                "i": In(stream.Signature(data.ArrayLayout(signed(RESIDUAL_WIDTH), lanes))),
                "o": Out(stream.Signature(data.StructLayout({"codes": codes, "last": 1}))),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    def period(self) -> int:
        """Fewest cycles between rows."""
        return self._statistics.period()

    def latency(self) -> int:
        """Cycles from the acceptance of the last beat of a row to the offer of its first codes."""
        return norm_row(self.lanes, self.stages)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.statistics = statistics = self._statistics
        room, way = norm_room(self.depth, self.lanes, self.stages), norm_codes(self.stages)
        stages, waiting = way - CreditQueue.LATENCY, credits_needed(way)
        m.submodules.rows = rows = SyncFIFOBuffered(width=self.lanes * RESIDUAL_WIDTH, depth=room)

        m.submodules.codes = codes = CreditQueue(self.o.payload.shape(), depth=waiting)

        inside = Signal(range(room + waiting + 2))
        none = Signal(init=1)
        loading = Signal()
        load = Signal()
        accept = Signal()
        gives = Signal()
        write = Signal(range(self.beats))
        # No row is inside while a set is loaded.
        m.submodules.storage = storage = Memory(
            shape=self._parameters, depth=self.beats, init=[], attrs=UNRELATED
        )
        port = storage.write_port()
        offered = self.parameters.payload
        m.d.comb += [
            gives.eq(self.o.valid & self.o.ready),
            self.parameters.ready.eq(none),
            load.eq(self.parameters.valid & none),
            port.addr.eq(write),
            port.en.eq(load),
            port.data.gain.eq(offered.gain),
            port.data.offset.eq(offered.offset),
            self.i.ready.eq(rows.w_rdy & statistics.i.ready & ~loading & ~load),
            accept.eq(self.i.valid & self.i.ready),
            rows.w_en.eq(accept),
            rows.w_data.eq(self.i.payload.as_value()),
            statistics.i.valid.eq(accept),
            statistics.i.payload.eq(self.i.payload),
            statistics.channels.eq(self.channels),
            statistics.epsilon.eq(self.epsilon),
        ]
        # What is compared does not wait for who comes and goes, which is late.
        with m.If(accept & ~gives):
            m.d.sync += [inside.eq(inside + 1), none.eq(0)]
        with m.Elif(gives & ~accept):
            m.d.sync += [inside.eq(inside - 1), none.eq(inside == 1)]
        with m.If(load):
            m.d.sync += [
                loading.eq(~offered.last),
                write.eq(Mux(offered.last, 0, write + 1)),
            ]

        # The row that leaves has its numbers here, and so may the next: the division goes on, and
        # whether it does comes from a register.
        m.submodules.numbers = numbers = CreditQueue(statistics.o.payload.shape(), depth=2)
        row = numbers.o.payload
        # And so has the word that leaves next, since a block RAM is slow.
        word = Signal.like(rows.r_data, reset_less=True)
        word_valid = Signal()
        leave = Signal()
        last = Signal()
        row_ends = Signal()
        left = Signal(range(self.depth + 1))
        beat = Signal(range(self.beats))
        m.d.comb += [
            leave.eq(word_valid & numbers.o.valid & codes.room),
            row_ends.eq(leave & last),
            codes.taken_stb.eq(leave),
            rows.r_en.eq(~word_valid | leave),
            statistics.o.ready.eq(numbers.room),
            numbers.taken_stb.eq(statistics.o.valid & numbers.room),
            numbers.i.valid.eq(numbers.taken_stb),
            numbers.i.payload.eq(statistics.o.payload),
            numbers.o.ready.eq(row_ends),
        ]
        with m.If(rows.r_en):
            m.d.sync += [word.eq(rows.r_data), word_valid.eq(rows.r_rdy)]
        with m.If(leave):
            m.d.sync += [
                left.eq(left - self.lanes),
                beat.eq(beat + 1),
                last.eq(left <= 2 * self.lanes),
            ]
        with m.If(row_ends | ~numbers.o.valid):
            m.d.sync += [
                left.eq(self.channels),
                beat.eq(0),
                last.eq(self.channels <= self.lanes),
            ]

        residuals = data.View(self.i.payload.shape(), word)
        narrow, wide = product(self.stages), product(self.stages, wide=True)
        exponent_at = narrow + 1 + wide
        valid = delay(m, leave, stages, name="valid", reset_less=False)
        address = delay(m, beat, exponent_at + 1, name="beat")
        count = delay(m, left, stages - 1, name="left")
        total = delay(m, row.sum, narrow, name="sum")
        reciprocal = delay(m, row.reciprocal, narrow + 1, name="reciprocal")
        exponent = delay(m, row.exponent, exponent_at, name="exponent")
        look = storage.read_port()
        m.d.comb += [
            look.addr.eq(address),
            codes.i.valid.eq(valid),
            codes.i.payload.last.eq(delay(m, last, stages, name="last")),
        ]
        events = []
        for lane in range(self.lanes):
            normalized = self._normalize(m, lane, residuals, total, reciprocal, exponent)
            code = self._scale(m, lane, normalized, look.data)
            clamped, outside = clamp(code, 0, self.high)
            event = Signal(name=f"event_{lane}", reset_less=True)
            counted = count > lane
            result = Signal(self.code_width, name=f"result_{lane}", reset_less=True)
            m.d.comb += codes.i.payload.codes[lane].eq(result)
            m.d.sync += [
                result.eq(Mux(counted, clamped, 0)),
                event.eq(counted & outside),
            ]
            events.append(event)
        connect(m, codes.o, flipped(self.o))
        count_saturation(m, self, events, codes.i.valid)
        return m

    def _normalize(
        self, m: Module, lane: int, residuals: Any, total: Value, reciprocal: Value, exponent: Value
    ) -> Value:
        """Return t: N x, less S, times r, shifted, rounded."""
        scaled = multiply(
            m, residuals[lane], self.channels, stages=self.stages, name=f"weighted_{lane}"
        )
        difference = Signal((scaled - total).shape(), name=f"difference_{lane}", reset_less=True)
        times = multiply(
            m, difference, reciprocal, stages=self.stages, wide=True, name=f"times_{lane}"
        )
        # One bit more than the result: adding 1 and halving rounds without a shifter for the half.
        doubled = Signal(signed(NORM_WIDTH + 1), name=f"doubled_{lane}", reset_less=True)
        rounded = Signal(signed(NORM_WIDTH), name=f"rounded_{lane}", reset_less=True)
        m.d.sync += [
            difference.eq(scaled - total),
            doubled.eq((times >> (ROOT_WIDTH - NORM_FRACTION - 1)) >> exponent),
            rounded.eq((doubled + 1) >> 1),
        ]
        return rounded

    def _scale(self, m: Module, lane: int, normalized: Value, parameters: Any) -> Value:
        """Return the code before it is clamped."""
        stages, wide = self.stages, product(self.stages, wide=True)
        scaled = multiply(
            m, normalized, parameters.gain[lane], stages=stages, wide=True, name=f"scaled_{lane}"
        )
        offset = delay(m, parameters.offset[lane], wide, name=f"offset_{lane}")
        total = Signal((scaled + offset).shape(), name=f"total_{lane}", reset_less=True)
        # A bit more than a code and its sign: enough to tell what is no code.
        shifted = Signal(signed(self.code_width + 2), name=f"shifted_{lane}", reset_less=True)
        m.d.sync += [
            total.eq(scaled + offset),
            shifted.eq(shift_right(total, self.shift, len(shifted))),
        ]
        return shifted
