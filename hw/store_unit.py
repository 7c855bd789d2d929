"""The unit that takes the outputs of the array to where they go."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ARRAY_MAX
from ..formats import ACCUMULATOR_WIDTH, GELU_INDEX_WIDTH, RESIDUAL_WIDTH, ZERO_WIDTH
from ..isa import ADDRESS_WIDTH, Mode
from .checks import check_integer
from .code_store import CodeStore
from .commands import COMMAND, is_opcode, operands
from .logit_writer import LogitWriter
from .output_steps import OutputSteps
from .residual_store import ResidualStore
from .saturation import COUNT_WIDTH
from .score_gather import ScoreGather
from .stream_fill import StreamFill
from .word_buffer import ReadPort, write_stream

INNER = ("codes", "residual", "gather", "logits", "entries", "steps")
TABLE_ENTRIES = 1 << GELU_INDEX_WIDTH


class StoreUnit(wiring.Component):
    """Executes STORE in all its modes, EMBED, TABLE and POOL.

    Of `outputs` the order counts (group, token, part), not what `address` and `group` say; beats of
    the next product wait there while a command ends.

    Parameters
    ----------
    rows : int
        Codes of a word of the code buffer, 1 to 256.
    cols : int
        Columns of the array, 1 to 256.
    lanes : int
        Values per beat; divides `rows` and `cols`.
    code_width : int
        Bits of a code, 3 to 8.
    bus_width : int
        Bits of a beat of the memory bus: 32, 64 or 128.
    depth, groups, tag_width : int
        Of the `Gemm` whose outputs come.
    addr_width : int
        Bits of a byte address on the memory bus, 32 to 64.

    Members
    -------
    command : In(stream)
        A `COMMAND`; ready while nothing is at work.
    outputs : In(stream)
        As `Gemm.o`, 32 bits wide, of which codes, indices, branches and scores are the lowest.
    codes : Out(stream)
        Writes of `lanes` codes and zeros above them into words of `rows` codes.
    residual_read : Out(ReadPort)
        Words of `lanes` signed 16-bit values.
    residual_write : Out(stream)
        Writes of such words.
    scores : Out(stream)
        As `Log2Softmax.i` with `cols` lanes.
    log2_scale : Out(16)
        For `Log2Softmax.offset`, signed.
    softmax_idle : In(1)
        No score is inside the softmax: `log2_scale` may change. Low from the cycle behind the
        acceptance of a score on, until its code has left.
    embed : In(stream)
        Array of bus_width / 8 bytes: words of the residual buffer.
    gelu_table : In(stream)
        Array of bus_width / 8 bytes: entries of the GELU table.
    write_command : Out(stream)
        As `WriteDma.command`.
    write_data : Out(stream)
        As `WriteDma.i`.
    write_done : In(stream)
        As `WriteDma.done`.
    base : In(addr_width)
        Byte address that offsets are relative to; holds while a command is at work.
    clear_stb : In(1)
        Sets `saturated` to zero.
    saturated : Out(32)
        Residuals clamped.
    gelu : Out(struct)
        `codes` that leave the GELU table in this cycle, if `valid`.
    done_stb : Out(1)
        The command is done: all is written, its last score taken, its logits answered.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        A command is at work, and nothing moves in this cycle.

    Latency: 1 cycle from `outputs` to `codes`, 2 and the read to `residual_write`, none to
    `scores`. The beats of the next command are taken from 3 cycles behind the last beat of CODES,
    GELU or SCORES on.
    Throughput: one beat of `outputs` per cycle in every mode; LOGITS at the rate of the bus. A word
    of EMBED per cycle at most, an entry of TABLE per cycle, POOL as the `MeanPool` does it.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range, or `lanes` that do not divide both
        sizes.

    Source: `docs/accelerator.md`, store.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        lanes: int,
        code_width: int,
        bus_width: int,
        depth: int,
        groups: int = 2,
        tag_width: int = 1,
        addr_width: int = ADDRESS_WIDTH,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, ARRAY_MAX)
        self.cols = check_integer("cols", cols, 1, ARRAY_MAX)
        self.lanes = check_integer("lanes", lanes, 1, ARRAY_MAX)
        if rows % lanes or cols % lanes:
            raise ValueError(f"lanes must divide {rows} rows and {cols} cols, not {lanes!r}")
        self.depth, self.groups, self.tag_width = depth, groups, tag_width
        self.bus_width, self.addr_width, self.code_width = bus_width, addr_width, code_width
        self.parts, self.places = cols // lanes, rows // lanes
        bus_bytes = bus_width // 8
        self._codes = CodeStore(lanes=lanes, places=self.places, code_width=code_width)
        self._residual = ResidualStore(lanes=lanes, bus_width=bus_width)
        self._gather = ScoreGather(lanes=lanes, parts=self.parts)
        self._logits = LogitWriter(lanes=lanes, bus_width=bus_width, addr_width=addr_width)
        self._entries = StreamFill(
            bus_bytes=bus_bytes, piece_bytes=1, count_width=TABLE_ENTRIES.bit_length()
        )
        self._steps = OutputSteps(parts=self.parts, places=self.places)
        outputs = data.StructLayout(
            {
                "y": data.ArrayLayout(signed(ACCUMULATOR_WIDTH), lanes),
                "address": range(depth),
                "group": range(groups * self.parts),
                "tag": tag_width,
            }
        )
        words = lanes * RESIDUAL_WIDTH
        beat = stream.Signature(data.ArrayLayout(8, bus_bytes))
        bus = self._logits.signature.members
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "outputs": In(stream.Signature(outputs)),
                "codes": Out(write_stream(rows * code_width, self.places)),
                "residual_read": Out(ReadPort(words)),
                "residual_write": Out(write_stream(words, 1)),
                "scores": self._gather.signature.members["o"],
                "log2_scale": Out(signed(ZERO_WIDTH)),
                "softmax_idle": In(1),
                "embed": In(beat),
                "gelu_table": In(beat),
                "write_command": bus["write_command"],
                "write_data": bus["write_data"],
                "write_done": bus["write_done"],
                "base": In(addr_width),
                "clear_stb": In(1),
                "saturated": Out(COUNT_WIDTH),
                "gelu": self._codes.signature.members["gelu"],
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name in INNER:
            m.submodules[name] = getattr(self, f"_{name}")
        current = Signal(COMMAND)
        accept = Signal()
        taken = Signal()
        stores = self.busy & is_opcode("STORE", current)
        store = operands("STORE", current)
        # Outputs are wanted, and where: from registers, since who takes an output depends on them.
        takes = Signal()
        modes = Signal(data.ArrayLayout(1, len(Mode)))
        m.d.comb += [
            self.command.ready.eq(~self.busy),
            accept.eq(self.command.valid & self.command.ready),
        ]
        with m.If(accept):
            offered = self.command.payload
            m.d.sync += [
                self.busy.eq(1),
                current.eq(offered),
                taken.eq(0),
                takes.eq(is_opcode("STORE", offered)),
                *(modes[one].eq(operands("STORE", offered).mode == one) for one in Mode),
            ]
        with m.Elif(self.done_stb):
            m.d.sync += self.busy.eq(0)
        self._start(m, accept)
        self._route(m, store, modes, takes)
        with m.If(self._steps.step_stb & self._steps.command_end):
            m.d.sync += [taken.eq(1), takes.eq(0)]
        m.d.comb += [
            self._codes.table.valid.eq(self._entries.o.valid),
            self._codes.table.payload.eq(self._entries.o.payload[0]),
            self._entries.o.ready.eq(1),
        ]

        drained = Signal()
        m.d.comb += drained.eq(
            ((modes[Mode.CODES] | modes[Mode.GELU]) & self._codes.drained)
            | (modes[Mode.RESIDUAL] & self._residual.drained)
            | (modes[Mode.LOGITS] & self._logits.done_stb)
            | modes[Mode.SCORES]
        )
        moving = Signal()
        streams = (
            *(self.outputs, self.codes, self.scores, self.residual_write, self.embed),
            *(self.residual_read.address, self.residual_read.word, self._entries.o),
            *(self.gelu_table, self.write_command, self.write_data, self.write_done),
        )
        m.d.comb += [
            self._logits.ended.eq(stores & taken),
            self.done_stb.eq(
                (stores & taken & drained) | self._entries.done_stb | self._residual.done_stb
            ),
            moving.eq(Cat(one.valid & one.ready for one in streams).any()),
            self.stall.eq(self.busy & ~moving & ~self.done_stb & ~self._residual.pooling),
        ]
        return m

    def _start(self, m: Module, accept: Value) -> None:
        """Give a command that is accepted to those who execute it."""
        command = self.command.payload
        store = operands("STORE", command)
        begins = accept & is_opcode("STORE", command)
        steps, logits = self._steps, self._logits
        m.d.comb += [
            steps.start_stb.eq(begins),
            self._gather.start_stb.eq(begins),
            self._gather.offset.eq(store.log2_scale),
            steps.command.by_rows.eq(store.mode == Mode.RESIDUAL),
            logits.command.valid.eq(begins & (store.mode == Mode.LOGITS)),
            logits.command.payload.address.eq(self.base + store.offset),
            logits.command.payload.bytes.eq(store.bytes),
            self._entries.command.valid.eq(accept & is_opcode("TABLE", command)),
            self._entries.command.payload.eq(TABLE_ENTRIES),
            self._residual.command.eq(command),
            self._residual.start_stb.eq(accept),
        ]
        for name in ("tokens", "groups", "chunks", "base", "stride"):
            m.d.comb += steps.command[name].eq(store[name])

    def _route(self, m: Module, store: data.View, modes: data.View, takes: Value) -> None:
        """Outputs of the array to where the mode says."""
        steps, y = self._steps, self.outputs.payload.y
        codes, residual, gather, logits = self._codes, self._residual, self._gather, self._logits
        connect(m, flipped(self.codes), codes.write)
        connect(m, flipped(self.residual_read), residual.read)
        connect(m, flipped(self.residual_write), residual.write)
        connect(m, flipped(self.embed), residual.embed)
        connect(m, flipped(self.gelu_table), self._entries.i)
        connect(m, flipped(self.scores), gather.o)
        for name in ("write_command", "write_data", "write_done"):
            connect(m, flipped(getattr(self, name)), getattr(logits, name))
        ends = {Mode.CODES: codes, Mode.GELU: codes, Mode.RESIDUAL: residual, Mode.LOGITS: logits}
        ready = [modes[mode] & unit.i.ready for mode, unit in ends.items()]
        scores = Signal()
        kept = Signal()
        dropped = Signal()
        m.d.comb += [
            scores.eq(modes[Mode.SCORES]),
            kept.eq(self.outputs.valid & takes & steps.keep),
            dropped.eq(~steps.keep & ~scores),
            codes.i.valid.eq(kept & (modes[Mode.CODES] | modes[Mode.GELU])),
            residual.i.valid.eq(kept & modes[Mode.RESIDUAL]),
            logits.i.valid.eq(kept & modes[Mode.LOGITS]),
            gather.i.valid.eq(self.outputs.valid & takes & scores),
            gather.active.eq(takes & scores),
            self.outputs.ready.eq(takes & (dropped | (scores & gather.i.ready) | Cat(ready).any())),
            steps.step_stb.eq(self.outputs.valid & self.outputs.ready),
            codes.by_table.eq(modes[Mode.GELU]),
            codes.i.payload.address.eq(steps.address),
            codes.i.payload.place.eq(steps.place),
            residual.i.payload.address.eq(steps.address),
            residual.shift.eq(store.shift),
            residual.clear_stb.eq(self.clear_stb),
            self.saturated.eq(residual.saturated),
            gather.i.payload.key_end.eq(steps.token_end),
            gather.i.payload.last.eq(steps.group_end),
            gather.softmax_idle.eq(self.softmax_idle),
            self.log2_scale.eq(gather.log2_scale),
            self.gelu.eq(codes.gelu),
        ]
        for lane, value in enumerate(y):
            m.d.comb += [
                codes.i.payload.values[lane].eq(value),
                residual.i.payload.branch[lane].eq(value),
                gather.i.payload.scores[lane].eq(value),
                logits.i.payload[lane].eq(value),
            ]
