"""Memory to stream: the reading half of the AXI4 manager port."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..latency import BURST, READER_BURSTS
from .axi import BURST_INCR, CACHE_NORMAL, MAX_BURST, Axi4Read
from .axi_bursts import (
    CAUSE_WIDTH,
    BurstSplitter,
    Cause,
    command_fields,
    fault,
    final_beat,
    offset_width,
)
from .checks import check_integer
from .credit_queue import CreditQueue


class ReadDma(wiring.Component):
    """Reads runs of beats over AXI4, in the order of the commands.

    Each command gives exactly `beats` beats, in every case. After a failure (an error response, a
    faulty command, `halt_stb`) and until `clear_stb`, no burst is asked for, what the bus still
    owes is taken, and every beat, the failed one included, is zero with `error` set: as fast as
    they are accepted, nothing downstream waits for a `last` that never comes. Beats before the
    failed one are as memory gave them.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    burst : int
        Most beats of a burst, 1 to 256. No burst crosses a 4 KiB boundary.
    outstanding : int
        Most bursts asked for and not yet answered in full, 2 to 64.
    beats_width : int
        Bits of a command's number of beats, 1 to 32.
    tag_width : int
        Bits of a command's tag, 1 to 32.

    Members
    -------
    command : In(stream)
        Struct of `address` (bytes, a multiple of data_width / 8; past the top it goes on at 0),
        `beats` (1 or more) and `tag`, which goes with the data. An unaligned command fails and
        gives `beats` zeros; one of no beats fails and gives a single zero.
    o : Out(stream)
        Struct of `data` (an array of data_width / 8 bytes, the lowest address first), `tag`,
        `last` (beat of its command) and `error`.
    halt_stb : In(1)
        Fails what is at work and all that follows, with the cause HALTED.
    clear_stb : In(1)
        Ends the failed state; ignored while `busy`.
    busy : Out(1)
        A command is not finished: its last beat has not left `o`.
    cause : Out(3)
        The `Cause` of the first failure since the last clear.
    address : Out(addr_width)
        Byte address of the beat that failed, the address of the faulty command, or 0 for HALTED.
    m_axi : Out(Axi4Read)
        Read channels, identifier 0.

    Latency: 2 cycles from the acceptance of a command to its first `arvalid`; 1 from a beat of R to
    `o`; so the first beat is offered 3 + L cycles after the command's acceptance on an idle unit,
    where L >= 1 is the memory's latency from AR to the first beat of R.
    Throughput: min(1, burst / 2, outstanding * burst / (burst + L + 1)) beats per cycle in full
    bursts. With shorter ones among them (a command's last, and at 4 KiB boundaries), over bursts
    and commands, one beat per cycle while all have two beats or more and any outstanding - 1
    successive ones more than L.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        burst: int = BURST,
        outstanding: int = READER_BURSTS,
        beats_width: int = 24,
        tag_width: int = 1,
    ) -> None:
        fields = command_fields(addr_width, data_width, beats_width)
        self.addr_width, self.data_width, self.beats_width = addr_width, data_width, beats_width
        self.burst = check_integer("burst", burst, 1, MAX_BURST)
        self.outstanding = check_integer("outstanding", outstanding, 2, 64)
        self.tag_width = check_integer("tag_width", tag_width, 1, 32)
        bytes_ = data.ArrayLayout(8, data_width // 8)
        beat = {"data": bytes_, "tag": tag_width, "last": 1, "error": 1}
        super().__init__(
            {
                "command": In(stream.Signature(data.StructLayout(fields | {"tag": tag_width}))),
                "o": Out(stream.Signature(data.StructLayout(beat))),
                "halt_stb": In(1),
                "clear_stb": In(1),
                "busy": Out(1),
                "cause": Out(CAUSE_WIDTH),
                "address": Out(addr_width),
                "m_axi": Out(Axi4Read(addr_width=addr_width, data_width=data_width)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._failed = Signal()
        # What is still to be told about each command taken; two more than bursts on the bus, so
        # that commands of one burst each do not wait for room here.
        layout = data.StructLayout(
            {
                "address": self.addr_width,
                "final": self.beats_width,
                "tag": self.tag_width,
                "fault": CAUSE_WIDTH,
            }
        )
        queue = SyncFIFOBuffered(width=layout.size, depth=self.outstanding + 2)
        m.submodules.queue = queue
        self._ask(m, queue, layout)
        self._answer(m, queue, data.View(layout, queue.r_data))
        return m

    def _ask(self, m: Module, queue: SyncFIFOBuffered, layout: data.StructLayout) -> None:
        """Commands to bursts on AR."""
        splitter = BurstSplitter(
            addr_width=self.addr_width,
            data_width=self.data_width,
            burst=self.burst,
            beats_width=self.beats_width,
            carry=0,
        )
        m.submodules.splitter = splitter
        axi, command = self.m_axi, self.command
        entry = Signal(layout)
        taken = Signal()
        m.d.comb += [
            entry.address.eq(command.payload.address),
            entry.final.eq(final_beat(command.payload)),
            entry.tag.eq(command.payload.tag),
            entry.fault.eq(fault(command.payload, self.data_width)),
            queue.w_data.eq(entry),
            # Not in the cycle in which the splitter's last burst goes, which the bus decides.
            command.ready.eq(queue.w_rdy & ~splitter.o.valid),
            taken.eq(command.valid & command.ready),
            queue.w_en.eq(taken),
            splitter.i.valid.eq(taken),
            splitter.i.payload.address.eq(command.payload.address),
            splitter.i.payload.beats.eq(command.payload.beats),
            splitter.drop.eq(self._failed),
        ]
        bursts = Signal(range(self.outstanding + 1))
        put = Signal()
        answered = Signal()
        free, piece = ~axi.arvalid, splitter.o.payload
        # A faulty command stands here, and so nothing after it is asked for, while what came before
        # it is answered; once its own turn has come, the unit fails and `drop` takes it away.
        sound = piece.fault == Cause.NONE
        m.d.comb += [
            splitter.o.ready.eq(free & sound & (bursts != self.outstanding) & ~self._failed),
            put.eq(splitter.o.valid & splitter.o.ready),
            answered.eq(axi.rvalid & axi.rready),
            # An output that nothing drives would become an input of the Verilog module.
            axi.arid.eq(0),
            axi.arprot.eq(0),
            axi.arsize.eq(offset_width(self.data_width)),
            axi.arburst.eq(BURST_INCR),
            axi.arcache.eq(CACHE_NORMAL),
        ]
        m.d.sync += [
            bursts.eq(bursts + put - (answered & axi.rlast)),
        ]
        # A burst is offered in the second cycle behind the one before at the earliest, so that who
        # is served on the bus decides upon a single register here.
        with m.If(free):
            m.d.sync += [
                axi.arvalid.eq(put),
                axi.araddr.eq(piece.address),
                axi.arlen.eq(piece.len),
            ]
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        self._owed = Signal()
        m.d.comb += self._owed.eq(bursts != 0)

    def _answer(self, m: Module, queue: SyncFIFOBuffered, command: data.View) -> None:
        """R to the output, or zeros where nothing was asked for."""
        axi, o = self.m_axi, self.o
        place = Signal(self.beats_width)
        room = Signal()
        take = Signal()
        fill = Signal()
        push = Signal()
        final = Signal()
        failing = Signal()
        cause = Signal(CAUSE_WIDTH)
        # Where the beat that failed lies: added up behind a register, since all else is late.
        begin = Signal.like(self.address)
        beat_at = Signal.like(place)
        # Two places, so that `rready` comes from registers alone and no cycle is lost.
        m.submodules.beats = beats = CreditQueue(o.payload.shape(), depth=2)
        beat = beats.i.payload
        connect(m, beats.o, flipped(o))
        m.d.comb += [
            room.eq(queue.r_rdy & beats.room),
            beats.taken_stb.eq(push),
            beats.i.valid.eq(push),
            axi.rready.eq(room & self._owed),
            take.eq(axi.rvalid & axi.rready),
            fill.eq(room & ~self._owed & (self._failed | (command.fault != Cause.NONE))),
            push.eq(take | fill),
            final.eq(place == command.final),
            queue.r_en.eq(push & final),
            # Bit 1 of a response tells an error.
            cause.eq(Mux(take, Mux(axi.rresp[1], axi.rresp, Cause.NONE), command.fault)),
            failing.eq(push & ~self._failed & (cause != Cause.NONE)),
            beat.error.eq(self._failed | failing),
            beat.data.as_value().eq(Mux(beat.error, 0, axi.rdata)),
            beat.last.eq(final),
            beat.tag.eq(command.tag),
            self.busy.eq((queue.level != 0) | o.valid),
        ]
        with m.If(push):
            m.d.sync += place.eq(Mux(final, 0, place + 1))
        with m.If(failing):
            m.d.sync += [self._failed.eq(1), self.cause.eq(cause)]
            m.d.sync += [begin.eq(command.address), beat_at.eq(place)]
        with m.Elif(~self._failed & self.halt_stb):
            m.d.sync += [self._failed.eq(1), self.cause.eq(Cause.HALTED)]
            m.d.sync += [begin.eq(0), beat_at.eq(0)]
        with m.Elif(self.clear_stb & ~self.busy & ~self.halt_stb):
            m.d.sync += [self._failed.eq(0), self.cause.eq(Cause.NONE)]
            m.d.sync += [begin.eq(0), beat_at.eq(0)]
        m.d.comb += self.address.eq(begin + (beat_at << offset_width(self.data_width)))
