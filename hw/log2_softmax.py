"""Softmax to log codes, two passes over each row: `docs/numerics.md`, section log2_softmax."""

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..formats import (
    EMBEDDING_MAX,
    EXP_FRACTION,
    SCORE_FRACTION,
    SCORE_WIDTH,
    ZERO_WIDTH,
    exp2_table,
    log2_table,
)
from ..latency import SOFTMAX, SOFTMAX_CONSTANTS, SOFTMAX_SLACK, SOFTMAX_SUM
from .checks import check_integer
from .credit_queue import CreditQueue, credits
from .log_codes import LogCodes
from .pipeline import delay

OCTAVE = 1 << SCORE_FRACTION
OCTAVE_WIDTH = SCORE_WIDTH - SCORE_FRACTION + 1
CONSTANT_WIDTH = SCORE_WIDTH + 1
SHIFT_MAX = 31

# Read ports of a block RAM. As gates the tables would be half of the unit.
PORTS = 2


class Log2Softmax(wiring.Component):
    """Turns scores into log codes of their softmax, for `lanes` rows side by side.

    The first pass runs while the keys enter: an online maximum and sum, rescaled by shifts. The
    second adds one constant per row to each score, while the next rows enter. No multiplier.

    Parameters
    ----------
    lanes : int
        Rows (queries) side by side, 1 to 256.
    depth : int
        Largest number of keys of a row, 1 to 4096. A longer row stops the unit.
    code_width : int
        L, width of a log code, 3 to 8.
    base : str
        "sqrt2" or "2".

    Members
    -------
    i : In(stream)
        One key per beat: `scores`, array of `lanes` signed 24-bit scores in 2^-8 octaves, and
        `last`, set on the last key of the rows.
    offset : In(signed(16))
        log2 of the quantizer's scale in 2^-8 octaves; holds while not `idle`.
    idle : Out(1)
        No key is inside whose codes still depend on `offset`.
    o : Out(stream)
        One key per beat, in the order of entry: `codes`, array of `lanes` unsigned L-bit codes,
        and `last`.

    Latency: `LATENCY` cycles from the acceptance of the last key to the offer of the first code.
    Throughput: one key per cycle, without a pause between rows of whatever length.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.

    Source: `docs/numerics.md`, log2_softmax.
    """

    LATENCY = SOFTMAX

    def __init__(self, *, lanes: int, depth: int, code_width: int, base: str = "sqrt2") -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        self.depth = check_integer("depth", depth, 1, EMBEDDING_MAX)
        self._codes = LogCodes(code_width, base)
        self.code_width, self.base = code_width, base
        self.sum_width = (depth << EXP_FRACTION).bit_length()
        scores = data.ArrayLayout(signed(SCORE_WIDTH), lanes)
        codes = data.ArrayLayout(unsigned(code_width), lanes)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"scores": scores, "last": 1}))),
                "offset": In(signed(ZERO_WIDTH)),
                "idle": Out(1),
                "o": Out(stream.Signature(data.StructLayout({"codes": codes, "last": 1}))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat = self.i.payload
        most = self.depth + SOFTMAX_SLACK
        m.submodules.scores = scores = SyncFIFOBuffered(width=len(beat.as_value()), depth=most)
        leaving = scores.r_rdy & scores.r_en
        row = data.ArrayLayout(signed(CONSTANT_WIDTH), self.lanes)
        m.submodules.constants = constants = CreditQueue(row, depth=SOFTMAX_CONSTANTS)

        # The first pass never stands: a row's constant has a place before the row enters.
        way = SOFTMAX_SUM - CreditQueue.LATENCY
        valid = Signal(way)
        last = Signal(way)
        accepted = Signal()
        # The key that leaves next waits in registers, since a block RAM is slow.
        key = Signal(self.i.payload.shape(), reset_less=True)
        key_valid = Signal()
        room = credits(m, accepted, leaving, most)
        m.d.comb += [
            self.i.ready.eq(room & constants.room),
            accepted.eq(self.i.valid & self.i.ready),
            scores.w_en.eq(accepted),
            self.idle.eq((scores.level == 0) & ~key_valid),
            scores.w_data.eq(beat.as_value()),
            constants.taken_stb.eq(accepted & beat.last),
            constants.i.valid.eq(valid[-1] & last[-1]),
        ]
        m.d.sync += [
            valid.eq((valid << 1) | accepted),
            last.eq((last << 1) | beat.last),
        ]
        start = Signal(init=1)
        with m.If(valid[0]):
            m.d.sync += start.eq(last[0])
        exp2 = self._tables(m, "exp2", EXP_FRACTION + 1, exp2_table().tolist())
        # The half with which codes are rounded is in the table, for all keys of a row.
        half = OCTAVE // self._codes.steps // 2
        log2 = self._tables(m, "log2", SCORE_FRACTION + 1, (log2_table() + half).tolist())
        for lane in range(self.lanes):
            score, tables = beat.scores[lane], (exp2[lane // PORTS], log2[lane // PORTS])
            maximum, total = self._first_pass(m, tables[0], score, start, valid)
            constant = self._constant(m, tables[1], maximum, total)
            m.d.comb += constants.i.payload[lane].eq(constant)

        second = Module()
        leave = Signal()
        head = Signal()
        m.d.comb += [
            leave.eq(~self.o.valid | self.o.ready),
            head.eq(key_valid & constants.o.valid),
            scores.r_en.eq(~key_valid | (head & leave)),
            constants.o.ready.eq(key_valid & leave & key.last),
        ]
        with m.If(scores.r_en):
            m.d.sync += [key.eq(scores.r_data), key_valid.eq(scores.r_rdy)]
        head_1 = Signal()
        last_1 = Signal()
        second.d.sync += [
            head_1.eq(head),
            last_1.eq(key.last),
            self.o.valid.eq(head_1),
            self.o.payload.last.eq(last_1),
        ]
        for lane in range(self.lanes):
            constant = constants.o.payload[lane]
            self._second_pass(second, constant, key.scores[lane], self.o.payload.codes[lane])
        m.submodules.second = EnableInserter(leave)(second)
        return m

    def _tables(self, m: Module, name: str, width: int, init: list[int]) -> list[Memory]:
        """Make a table for every `PORTS` lanes."""
        tables = [
            Memory(shape=unsigned(width), depth=OCTAVE, init=init, attrs={"rom_style": "block"})
            for _ in range(0, self.lanes, PORTS)
        ]
        for number, table in enumerate(tables):
            m.submodules[f"{name}_{number}"] = table
        return tables

    def _first_pass(
        self, m: Module, exp2: Memory, score: Value, start: Value, valid: Value
    ) -> tuple[Value, Value]:
        """Return the octave M and the sum S of stage 5: one stage each for the octave of a key,
        the maximum, the distances, the shift and the sum, so that neither recurrence holds more
        than its own."""
        table = exp2.read_port()
        octave = Signal(signed(OCTAVE_WIDTH), reset_less=True)
        fraction = Signal(SCORE_FRACTION, reset_less=True)
        m.d.comb += table.addr.eq(fraction)
        # 256 M - t modulo 256 is -t, whatever the maximum: the table need not wait for it.
        m.d.sync += [octave.eq((score + (OCTAVE - 1)) >> SCORE_FRACTION), fraction.eq(-score)]

        # `begun` stands for M = -infinity: the first key of a row replaces whatever was there.
        maximum = Signal(signed(OCTAVE_WIDTH))
        growth = Signal(signed(OCTAVE_WIDTH + 1))
        begun = Signal()
        with m.If(valid[0]):
            m.d.sync += [growth.eq(octave - maximum), begun.eq(start)]
            with m.If(start | (octave > maximum)):
                m.d.sync += maximum.eq(octave)

        # Either the sum so far is shifted, or the key's term.
        power = Signal(EXP_FRACTION + 1, reset_less=True)
        fall = Signal(range(SHIFT_MAX + 1))
        rise = Signal(range(SHIFT_MAX + 1))
        m.d.sync += [power.eq(table.data), fall.eq(0), rise.eq(0)]
        with m.If(begun):
            m.d.sync += rise.eq(SHIFT_MAX)
        with m.Elif(growth > 0):
            m.d.sync += rise.eq(Mux(growth > SHIFT_MAX, SHIFT_MAX, growth))
        with m.Else():
            m.d.sync += fall.eq(Mux(growth < -SHIFT_MAX, SHIFT_MAX, -growth[:5]))

        term = Signal(EXP_FRACTION + 1, reset_less=True)
        rescale = Signal.like(rise, reset_less=True)
        m.d.sync += [term.eq(power >> fall), rescale.eq(rise)]
        total = Signal(self.sum_width)
        with m.If(valid[3]):
            m.d.sync += total.eq((total >> rescale) + term)
        return delay(m, maximum, 3, name="maximum"), total

    def _constant(self, m: Module, log2: Memory, maximum: Value, total: Value) -> Value:
        """Return R of stage 9, and half a code: leading one, mantissa, logarithm, sum."""
        leading = Signal(range(self.sum_width), reset_less=True)
        total_6 = Signal.like(total, reset_less=True)
        maximum_6 = Signal.like(maximum, reset_less=True)
        m.d.sync += [maximum_6.eq(maximum), total_6.eq(total)]
        m.d.sync += leading.eq(_leading_one(total)[1])

        # The sum is at least 2^15, so that the octave of the row is at most one below M.
        mantissa = Signal(SCORE_FRACTION, reset_less=True)
        octave = Signal(signed(OCTAVE_WIDTH + 1), reset_less=True)
        m.d.sync += [
            mantissa.eq((total_6 << SCORE_FRACTION) >> leading),
            octave.eq(maximum_6 + leading - EXP_FRACTION),
        ]

        table = log2.read_port()
        whole = Signal(signed(CONSTANT_WIDTH), reset_less=True)
        constant = Signal(signed(CONSTANT_WIDTH), reset_less=True)
        m.d.comb += table.addr.eq(mantissa)
        m.d.sync += whole.eq((octave << SCORE_FRACTION) + self.offset)
        m.d.sync += constant.eq(whole + table.data)
        return constant

    def _second_pass(self, m: Module, constant: Value, score: Value, code: Value) -> None:
        zero = self._codes.zero
        distance = Signal(signed(CONSTANT_WIDTH + 1), reset_less=True)
        rounded = distance >> exact_log2(OCTAVE // self._codes.steps)
        m.d.sync += [
            distance.eq(constant - score),
            code.eq(Mux(rounded < 0, 0, Mux(rounded > zero, zero, rounded))),
        ]


def _leading_one(value: Value) -> tuple[Value, Value]:
    """Return whether any bit is set, and the place of the highest one, by halves."""
    if len(value) == 1:
        return value, Const(0, 0)
    half = 1 << (len(value) - 1).bit_length() - 1
    (_, low), (any_high, high) = _leading_one(value[:half]), _leading_one(value[half:])
    return value.any(), Cat(Mux(any_high, high, low), any_high)
