"""The mean of rows of the residual buffer: `docs/numerics.md`, pool under residual_add."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..formats import EMBEDDING_MAX, MULTIPLIER_WIDTH, RESIDUAL_WIDTH, SHIFT_MAX
from ..isa import TOKENS_WIDTH, WORD_ADDRESS_WIDTH
from .checks import check_integer
from .word_buffer import ReadPort, write_stream

CHUNKS_WIDTH = 16
SUM_WIDTH = RESIDUAL_WIDTH + EMBEDDING_MAX.bit_length() - 1
# Holds a sum and as much again, before the shift that follows each step.
TOTAL_WIDTH = SUM_WIDTH + 2


class MeanPool(wiring.Component):
    """Writes `(sum of the rows * multiplier + half(shift)) >> shift` for each chunk of the rows.

    Sums grow by a word per cycle. Products are made lane by lane, one bit of the multiplier per
    cycle: the unit works once in an inference, so an adder serves for multiplier and shifter.

    Parameters
    ----------
    lanes : int
        Values of a word, 1 to 256.

    Members
    -------
    command : In(stream)
        Struct of `base` (word of chunk 0 of the first row), `stride` (words between rows), `rows`
        (1 to 4096), `chunks` (words of a row, 1 or more), `multiplier` (16 bits unsigned), `shift`
        (0 to 47) and `out` (word of chunk 0 of the result). Taken while nothing is at work.
        Results must fit 16 bits.
    read : Out(ReadPort)
        Words of `lanes` signed 16-bit values.
    write : Out(stream)
        Writes of whole words, as `write_stream` has them.
    done_stb : Out(1)
        The last word is accepted in this cycle.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        A command is at work, and waits for one of the ports.

    Latency: per chunk `rows + lanes * (max(16, shift) + 1) + 2` cycles and the latency of a read.
    Throughput: one command at a time; a command follows the end of the one before by a cycle.

    Raises
    ------
    TypeError, ValueError
        `lanes` is not an integer from 1 to 256.

    Source: `docs/numerics.md`, pool.
    """

    def __init__(self, *, lanes: int) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        self._operands = data.StructLayout(
            {
                "base": WORD_ADDRESS_WIDTH,
                "stride": WORD_ADDRESS_WIDTH,
                "rows": TOKENS_WIDTH,
                "chunks": CHUNKS_WIDTH,
                "multiplier": MULTIPLIER_WIDTH,
                "shift": SHIFT_MAX.bit_length(),
                "out": WORD_ADDRESS_WIDTH,
            }
        )
        width = lanes * RESIDUAL_WIDTH
        super().__init__(
            {
                "command": In(stream.Signature(self._operands)),
                "read": Out(ReadPort(width)),
                "write": Out(write_stream(width, 1)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job = Signal(self._operands)
        # Of a chunk: `begin`, then words come in, then `start` and `steps` for each lane, `writes`.
        begin = Signal()
        start = Signal()
        steps = Signal()
        writes = Signal()
        sums = Signal(data.ArrayLayout(signed(SUM_WIDTH), self.lanes))
        row = Signal(WORD_ADDRESS_WIDTH)
        to_ask = Signal(TOKENS_WIDTH)
        to_add = Signal(TOKENS_WIDTH)
        asked = Signal()
        added = Signal()
        summed = Signal()
        word = Signal(data.ArrayLayout(signed(RESIDUAL_WIDTH), self.lanes))
        m.d.comb += [
            word.as_value().eq(self.read.word.payload),
            self.read.address.payload.eq(row),
            self.read.address.valid.eq(to_ask != 0),
            self.read.word.ready.eq(to_add != 0),
            asked.eq(self.read.address.valid & self.read.address.ready),
            added.eq(self.read.word.valid & self.read.word.ready),
            summed.eq(added & (to_add == 1)),
        ]
        with m.If(asked):
            m.d.sync += [row.eq(row + job.stride), to_ask.eq(to_ask - 1)]
        with m.If(added):
            m.d.sync += to_add.eq(to_add - 1)
            for total, value in zip(sums, word, strict=True):
                m.d.sync += total.eq(total + value)
        with m.If(begin):
            m.d.sync += [row.eq(job.base), to_ask.eq(job.rows), to_add.eq(job.rows)]
            # A register's reset is free, where a choice at each adder is not.
            m.d.sync += sums.eq(0)

        lane = Signal(range(self.lanes))
        means = Signal(self.lanes * RESIDUAL_WIDTH)
        multiplied = Signal()
        lanes_end = Signal()
        written = Signal()
        end, mean = self._multiply(m, job, start, sums[lane])
        m.d.comb += [
            multiplied.eq(steps & end),
            lanes_end.eq(lane == self.lanes - 1),
            self.write.valid.eq(writes),
            self.write.payload.address.eq(job.out),
            self.write.payload.data.eq(means),
            self.write.payload.mask.eq(1),
            written.eq(writes & self.write.ready),
            self.command.ready.eq(~self.busy),
            self.done_stb.eq(written & (job.chunks == 1)),
            self.stall.eq(((to_add != 0) & ~added & ~asked) | (writes & ~self.write.ready)),
        ]
        m.d.sync += [
            begin.eq((self.command.valid & self.command.ready) | (written & ~self.done_stb)),
            start.eq(summed | (multiplied & ~lanes_end)),
            steps.eq(start | (steps & ~end)),
            writes.eq((multiplied & lanes_end) | (writes & ~self.write.ready)),
        ]
        with m.If(multiplied):
            m.d.sync += [means.eq(Cat(means, mean) >> RESIDUAL_WIDTH), lane.eq(lane + 1)]
            with m.If(lanes_end):
                m.d.sync += lane.eq(0)
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [self.busy.eq(1), job.eq(self.command.payload)]
        with m.Elif(written):
            m.d.sync += [
                self.busy.eq(~self.done_stb),
                job.base.eq(job.base + 1),
                job.out.eq(job.out + 1),
                job.chunks.eq(job.chunks - 1),
            ]
        return m

    def _multiply(
        self, m: Module, job: data.View, start: Signal, value: Any
    ) -> tuple[Signal, Signal]:
        """Return whether this is the last step of the lane that `start` began, and its mean.

        Bits of the multiplier go in from the lowest; the first `shift` steps halve the total, so
        what falls off last is the bit that rounds. Later steps double the addend instead.
        """
        end = Signal()
        mean = Signal(RESIDUAL_WIDTH)
        total = Signal(signed(TOTAL_WIDTH))
        after = Signal(signed(TOTAL_WIDTH))
        addend = Signal(signed(TOTAL_WIDTH))
        factor = Signal(MULTIPLIER_WIDTH)
        step = Signal(SHIFT_MAX.bit_length())
        halve = Signal()
        fallen = Signal()
        m.d.comb += [
            after.eq(total + Mux(factor[0], addend, 0)),
            halve.eq(step < job.shift),
            end.eq((step >= MULTIPLIER_WIDTH - 1) & (step + 1 >= job.shift)),
            mean.eq(Mux(halve, (after >> 1) + after[0], after + fallen)),
        ]
        m.d.sync += [step.eq(step + 1), factor.eq(factor >> 1)]
        with m.If(start):
            m.d.sync += [total.eq(0), addend.eq(value), factor.eq(job.multiplier), step.eq(0)]
            m.d.sync += fallen.eq(0)
        with m.Elif(halve):
            m.d.sync += [total.eq(after >> 1), fallen.eq(after[0])]
        with m.Else():
            m.d.sync += [total.eq(after), addend.eq(addend << 1)]
        return end, mean
