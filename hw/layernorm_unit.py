"""The command unit of LayerNorm: rows of the residual buffer to codes in the code buffer."""

from typing import Any

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BUS_WIDTHS
from ..formats import NORM_CHANNEL_BYTES, RESIDUAL_WIDTH
from ..isa import WORD_ADDRESS_WIDTH
from ..latency import word_buffer
from .checks import check_integer, check_stages
from .commands import COMMAND, operands
from .gearbox import Gearbox
from .layernorm import LayerNorm
from .saturation import COUNT_WIDTH
from .word_buffer import ReadPort, chunk_write, write_stream


class LayerNormUnit(wiring.Component):
    """Executes LAYERNORM: takes the parameters, reads rows, writes codes.

    Parameters
    ----------
    rows : int
        Codes of a word of the code buffer, 1 to 256; a multiple of `lanes`.
    lanes : int
        Channels per beat, which are a word of the residual buffer and a part of one of the code
        buffer, 1 to 256.
    depth : int
        Largest number of channels of a row, 1 to 4096.
    code_width : int
        A, width of a code, 3 to 8.
    bus_width : int
        Bits of a beat of parameters, 32, 64 or 128.
    stages : int
        Registers of each long path, 1 to 3; the residual buffer's are the same.

    Members
    -------
    command : In(stream)
        LAYERNORM commands (`COMMAND`); ready while idle.
    done_stb : Out(1)
        High in the cycle in which the last write of a command is accepted.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        Busy, but waiting for a neighbour: for parameters, for a word, or to write.
    parameters : In(stream)
        Array of `bus_width / 8` bytes. Per command `ceil(channels / lanes)` records of `lanes`
        gains (i16) and then `lanes` offsets (i32), and bytes that fill up the last beat.
    read : Out(ReadPort)
        Of the residual buffer: words of `lanes` signed 16-bit residuals.
    write : Out(stream)
        To the code buffer: words of `rows` codes, written in parts of `lanes` codes, in the order
        of rows and channels, each with zeros above.
    clear_stb : In(1)
        Sets `saturated` to zero.
    saturated : Out(32)
        Codes clamped among those written.
    normalized : Out(struct)
        For probes: `valid` in the cycle in which a write leaves, and its `codes`, array of `lanes`.

    Latency: `latency(channels)` cycles from the acceptance of a command to its first write, where
    nothing waits. The next command is accepted one cycle after `done_stb`.
    Throughput: that of `LayerNorm`, rows back to back.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, or `lanes` do not divide `rows`.

    Source: `docs/accelerator.md`, layernorm.
    """

    def __init__(
        self,
        *,
        rows: int,
        lanes: int,
        depth: int,
        code_width: int,
        bus_width: int,
        stages: int = 1,
    ) -> None:
        self.norm = LayerNorm(lanes=lanes, depth=depth, code_width=code_width, stages=stages)
        self.lanes, self.depth, self.code_width = lanes, depth, code_width
        self.rows = check_integer("rows", rows, 1, 256)
        self.stages = check_stages(stages)
        if rows % lanes:
            raise ValueError(f"lanes must divide the {rows} rows, not {lanes!r}")
        if bus_width not in BUS_WIDTHS or isinstance(bus_width, bool):
            widths = ", ".join(map(str, BUS_WIDTHS))
            raise ValueError(f"bus_width must be one of {widths}, not {bus_width!r}")
        self.bus_width = bus_width
        self.parts = rows // lanes
        self._codes = data.ArrayLayout(unsigned(code_width), lanes)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "parameters": In(stream.Signature(data.ArrayLayout(8, bus_width // 8))),
                "read": Out(ReadPort(lanes * RESIDUAL_WIDTH)),
                "write": Out(write_stream(rows * code_width, self.parts)),
                "clear_stb": In(1),
                "saturated": Out(COUNT_WIDTH),
                "normalized": Out(data.StructLayout({"valid": 1, "codes": self._codes})),
            }
        )

    def latency(self, channels: int) -> int:
        """Cycles from the acceptance of a command to its first write, where nothing waits.

        That is a command that loads its parameters.
        """
        words = -(-channels // self.lanes)
        record, bus = NORM_CHANNEL_BYTES * self.lanes, self.bus_width // 8
        load = max(words, -(-words * record // bus)) + 1
        return load + word_buffer(self.stages) + words + self.norm.latency()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.norm = norm = self.norm
        offered = operands("LAYERNORM", self.command.payload)
        # Base, rows and out move on with the rows.
        held = Signal.like(offered)
        start = Signal()
        loaded = Signal()
        written = Signal()
        m.d.comb += [
            self.command.ready.eq(~self.busy),
            start.eq(self.command.valid & self.command.ready),
            norm.channels.eq(held.channels),
            norm.epsilon.eq(held.epsilon),
            norm.shift.eq(held.shift),
            norm.high.eq(held.high),
            norm.clear_stb.eq(self.clear_stb),
            self.saturated.eq(norm.saturated),
            self.done_stb.eq(written),
        ]
        with m.If(start):
            m.d.sync += [held.eq(offered), self.busy.eq(1)]
        with m.If(written):
            m.d.sync += self.busy.eq(0)

        # Parameters that are kept are there, but the operands only a cycle after the start.
        kept = Signal()
        m.d.sync += kept.eq(start & offered.keep)
        self._load(m, start & ~offered.keep, offered, loaded)
        reading = self._read(m, loaded | kept, held)
        self._write(m, start, offered, held, written)
        moved = self.parameters.valid & self.parameters.ready
        moved |= self.read.word.valid & self.read.word.ready
        moved |= self.write.valid & self.write.ready
        waits = self.parameters.ready & ~self.parameters.valid
        waits |= reading & norm.i.ready & ~self.read.word.valid
        waits |= self.write.valid & ~self.write.ready
        m.d.comb += self.stall.eq(waits & ~moved)
        return m

    def _load(self, m: Module, start: Value, offered: Any, loaded: Signal) -> None:
        """Give LayerNorm its parameters."""
        parameters = self.norm.parameters
        m.submodules.gearbox = gearbox = Gearbox(
            in_bytes=self.bus_width // 8, out_bytes=NORM_CHANNEL_BYTES * self.lanes
        )
        members = parameters.payload.shape().members
        shape = data.StructLayout({name: members[name] for name in ("gain", "offset")})
        record = data.View(shape, gearbox.o.payload.as_value())
        loading = Signal()
        last = Signal()
        wanted = Signal()
        left = Signal.like(offered.channels)
        m.d.comb += [
            # All beats are in when the last record is whole; the next is another command's.
            wanted.eq(loading & ~(gearbox.o.valid & last)),
            gearbox.i.valid.eq(self.parameters.valid & wanted),
            gearbox.i.payload.eq(self.parameters.payload),
            self.parameters.ready.eq(gearbox.i.ready & wanted),
            parameters.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(parameters.ready),
            parameters.payload.gain.eq(record.gain),
            parameters.payload.offset.eq(record.offset),
            parameters.payload.last.eq(last),
            loaded.eq(parameters.valid & parameters.ready & last),
            gearbox.clear_stb.eq(loaded),
        ]
        with m.If(parameters.valid & parameters.ready):
            m.d.sync += [left.eq(left - self.lanes), last.eq(left <= 2 * self.lanes)]
        with m.If(loaded):
            m.d.sync += loading.eq(0)
        with m.If(start):
            m.d.sync += [loading.eq(1), left.eq(offered.channels)]
            m.d.sync += last.eq(offered.channels <= self.lanes)

    def _read(self, m: Module, loaded: Value, held: Any) -> Signal:
        """Send LayerNorm all rows; return whether any address is still to be asked for."""
        address, word = self.read.address, self.read.word
        asking = Signal()
        row_end = Signal()
        at = Signal(WORD_ADDRESS_WIDTH)
        following = Signal(WORD_ADDRESS_WIDTH)
        rows = Signal.like(held.rows)
        left = Signal.like(held.channels)
        m.d.comb += [
            address.valid.eq(asking),
            address.payload.eq(at),
            row_end.eq(left <= self.lanes),
            following.eq(held.base + held.row_stride),
            self.norm.i.valid.eq(word.valid),
            self.norm.i.payload.eq(word.payload),
            word.ready.eq(self.norm.i.ready),
        ]
        with m.If(address.valid & address.ready):
            m.d.sync += [at.eq(at + 1), left.eq(left - self.lanes)]
            with m.If(row_end):
                m.d.sync += [
                    held.base.eq(following),
                    at.eq(following),
                    left.eq(held.channels),
                    rows.eq(rows - 1),
                    asking.eq(rows != 1),
                ]
        with m.If(loaded):
            # Not before: a word that cannot enter yet would stand in the way of other readers.
            m.d.sync += [
                asking.eq(1),
                at.eq(held.base),
                left.eq(held.channels),
                rows.eq(held.rows),
            ]
        return asking

    def _write(self, m: Module, start: Value, offered: Any, held: Any, written: Signal) -> None:
        """Write what LayerNorm gives: a row after the other, each from channel 0 on."""
        codes, write = self.norm.o, self.write
        place = Signal(range(self.parts))
        at = Signal(WORD_ADDRESS_WIDTH)
        leaves = Signal()
        words, mask = chunk_write(place, codes.payload.codes.as_value(), self.parts)
        m.d.comb += [
            write.valid.eq(codes.valid),
            codes.ready.eq(write.ready),
            write.payload.address.eq(at),
            write.payload.data.eq(words),
            write.payload.mask.eq(mask),
            leaves.eq(write.valid & write.ready),
            written.eq(leaves & codes.payload.last & (held.rows == 1)),
            self.normalized.valid.eq(leaves),
            self.normalized.codes.eq(codes.payload.codes),
        ]
        with m.If(leaves):
            m.d.sync += place.eq(place + 1)
            with m.If(place == self.parts - 1):
                m.d.sync += [place.eq(0), at.eq(at + held.stride)]
            with m.If(codes.payload.last):
                m.d.sync += [
                    place.eq(0),
                    at.eq(held.out + 1),
                    held.out.eq(held.out + 1),
                    held.rows.eq(held.rows - 1),
                ]
        with m.If(start):
            m.d.sync += at.eq(offered.out)
