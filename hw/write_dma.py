"""Stream to memory: the writing half of the AXI4 manager port."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..latency import BURST, WRITER_BURSTS
from .axi import BURST_INCR, CACHE_NORMAL, LEN_WIDTH, MAX_BURST, Axi4Write
from .axi_bursts import CAUSE_WIDTH, BurstSplitter, Cause, command_fields, offset_width
from .checks import check_integer


class WriteDma(wiring.Component):
    """Writes runs of beats over AXI4, and tells when each command is in memory.

    Each command takes exactly `beats` beats and gives one `done`, in every case, in the order of
    the commands. After a failure (an error response, a faulty command, `halt_stb`) and until
    `clear_stb`, no burst is asked for, bursts already asked for are ended with beats that write
    nothing, other beats are taken and dropped, all answers are awaited, and every `done`, that of
    the failed command included, has `error` set. Commands before the failed one are whole in
    memory; of the failed one and later ones any part may be there.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    burst : int
        Most beats of a burst, 1 to 256. No burst crosses a 4 KiB boundary.
    outstanding : int
        Most bursts asked for and not yet answered, 2 to 64.
    beats_width : int
        Bits of a command's number of beats, 1 to 32.
    tag_width : int
        Bits of a command's tag, 1 to 32.

    Members
    -------
    command : In(stream)
        Struct of `address` (bytes, a multiple of data_width / 8; past the top it goes on at 0),
        `beats` (1 or more), `last_bytes` (of the last beat that are written, from the lowest
        address on; 0 for all) and `tag`, which comes back with `done`. An unaligned command fails
        and takes its beats; one of no beats fails and takes none.
    i : In(stream)
        Array of data_width / 8 bytes, the lowest address first.
    done : Out(stream)
        Struct of `tag` and `error`: all answers to the command are there, all its beats taken.
    halt_stb : In(1)
        Fails what is at work and all that follows, with the cause HALTED.
    clear_stb : In(1)
        Ends the failed state; ignored while `busy`.
    busy : Out(1)
        A command is not finished: its `done` has not been taken.
    cause : Out(3)
        The `Cause` of the first failure since the last clear.
    address : Out(addr_width)
        Byte address where the burst that failed begins, that of the faulty command, or 0 for
        HALTED.
    m_axi : Out(Axi4Write)
        Write channels, identifier 0. W does not wait for AW, nor AW for W.

    Latency: 2 cycles from the acceptance of a command to its first `awvalid`, 3 until its first
    beat is taken, 1 from there to W, 1 from the last answer to `done`.
    Throughput: one beat per cycle, over bursts and commands of two beats or more, while any
    outstanding - 1 successive bursts hold more than L + 2 beats; L >= 1 is the memory's latency
    from the last beat of W to B. In full bursts min(1, outstanding * burst / (burst + L + 3)) beats
    per cycle.

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
        outstanding: int = WRITER_BURSTS,
        beats_width: int = 24,
        tag_width: int = 1,
    ) -> None:
        fields = command_fields(addr_width, data_width, beats_width)
        self.addr_width, self.data_width, self.beats_width = addr_width, data_width, beats_width
        self.burst = check_integer("burst", burst, 1, MAX_BURST)
        self.outstanding = check_integer("outstanding", outstanding, 2, 64)
        self.tag_width = check_integer("tag_width", tag_width, 1, 32)
        fields |= {"last_bytes": offset_width(data_width), "tag": tag_width}
        done = data.StructLayout({"tag": tag_width, "error": 1})
        super().__init__(
            {
                "command": In(stream.Signature(data.StructLayout(fields))),
                "i": In(stream.Signature(data.ArrayLayout(8, data_width // 8))),
                "done": Out(stream.Signature(done)),
                "halt_stb": In(1),
                "clear_stb": In(1),
                "busy": Out(1),
                "cause": Out(CAUSE_WIDTH),
                "address": Out(addr_width),
                "m_axi": Out(Axi4Write(addr_width=addr_width, data_width=data_width)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._failed = Signal()
        # Per burst, what W and what B have to know; a burst that is `absent` is on no bus, but
        # goes through both queues like the others, so that what follows it keeps its order.
        to_send = data.StructLayout(
            {
                "len": LEN_WIDTH,
                "last": 1,
                "last_bytes": offset_width(self.data_width),
                "absent": 1,
            }
        )
        to_answer = data.StructLayout(
            {
                "address": self.addr_width,
                "last": 1,
                "tag": self.tag_width,
                "fault": CAUSE_WIDTH,
                "absent": 1,
            }
        )
        sends = SyncFIFOBuffered(width=to_send.size, depth=self.outstanding)
        answers = SyncFIFOBuffered(width=to_answer.size, depth=self.outstanding)
        m.submodules.sends, m.submodules.answers = sends, answers
        self._ask(m, sends, answers, to_send, to_answer)
        sent = self._send(m, sends, data.View(to_send, sends.r_data))
        self._answer(m, answers, data.View(to_answer, answers.r_data), sent)
        return m

    def _ask(
        self,
        m: Module,
        sends: SyncFIFOBuffered,
        answers: SyncFIFOBuffered,
        to_send: data.StructLayout,
        to_answer: data.StructLayout,
    ) -> None:
        """Commands to bursts on AW and in both queues."""
        axi, command = self.m_axi, self.command
        carry = {"last_bytes": offset_width(self.data_width), "tag": self.tag_width}
        splitter = BurstSplitter(
            addr_width=self.addr_width,
            data_width=self.data_width,
            burst=self.burst,
            beats_width=self.beats_width,
            carry=data.StructLayout(carry),
        )
        m.submodules.splitter = splitter
        entry = splitter.i.payload
        m.d.comb += [
            entry.address.eq(command.payload.address),
            entry.beats.eq(command.payload.beats),
            entry.carry.last_bytes.eq(command.payload.last_bytes),
            entry.carry.tag.eq(command.payload.tag),
            # Not in the cycle in which the splitter's last burst goes, which the bus decides.
            splitter.i.valid.eq(command.valid & ~splitter.o.valid),
            command.ready.eq(~splitter.o.valid),
        ]
        piece = splitter.o.payload
        send = Signal(to_send)
        answer = Signal(to_answer)
        # From a faulty command on nothing is asked for, though what came before it is carried out.
        blocked = Signal()
        faulty = Signal()
        absent = Signal()
        free = Signal()
        put = Signal()
        m.d.comb += [
            faulty.eq(piece.fault != Cause.NONE),
            absent.eq(self._failed | blocked | faulty),
            free.eq(~axi.awvalid | axi.awready),
            splitter.o.ready.eq(sends.w_rdy & answers.w_rdy & (free | absent)),
            put.eq(splitter.o.valid & splitter.o.ready),
            send.len.eq(piece.len),
            send.last.eq(piece.last),
            send.last_bytes.eq(piece.carry.last_bytes),
            send.absent.eq(absent),
            answer.address.eq(piece.address),
            answer.last.eq(piece.last),
            answer.tag.eq(piece.carry.tag),
            answer.fault.eq(piece.fault),
            answer.absent.eq(absent),
            sends.w_data.eq(send),
            sends.w_en.eq(put & (piece.fault != Cause.EMPTY)),
            answers.w_data.eq(answer),
            answers.w_en.eq(put),
            # An output that nothing drives would become an input of the Verilog module.
            axi.awid.eq(0),
            axi.awprot.eq(0),
            axi.awsize.eq(offset_width(self.data_width)),
            axi.awburst.eq(BURST_INCR),
            axi.awcache.eq(CACHE_NORMAL),
            self.busy.eq(splitter.o.valid | (answers.level != 0) | self.done.valid),
        ]
        with m.If(put & faulty):
            m.d.sync += blocked.eq(1)
        with m.Elif(self._failed):
            m.d.sync += blocked.eq(0)
        with m.If(free):
            m.d.sync += [
                axi.awvalid.eq(put & ~absent),
                axi.awaddr.eq(piece.address),
                axi.awlen.eq(piece.len),
            ]

    def _send(self, m: Module, sends: SyncFIFOBuffered, burst: data.View) -> Signal:
        """Data to W, or dropped; return the strobe that the burst's last beat was taken."""
        axi = self.m_axi
        place = Signal(LEN_WIDTH)
        free = Signal()
        move = Signal()
        final = Signal()
        sent = Signal()
        partial = Signal()
        size = self.data_width // 8
        strobes = Signal(size)
        m.d.comb += [
            free.eq(~axi.wvalid | axi.wready),
            self.i.ready.eq(sends.r_rdy & (free | burst.absent)),
            move.eq(self.i.valid & self.i.ready),
            final.eq(place == burst.len),
            sent.eq(move & final),
            sends.r_en.eq(sent),
            partial.eq(burst.last & final & (burst.last_bytes != 0)),
            strobes.eq(Cat(~partial | (byte < burst.last_bytes) for byte in range(size))),
        ]
        with m.If(move):
            m.d.sync += place.eq(Mux(final, 0, place + 1))
        with m.If(free):
            m.d.sync += [
                axi.wvalid.eq(move & ~burst.absent),
                axi.wdata.eq(self.i.payload),
                axi.wstrb.eq(Mux(self._failed, 0, strobes)),
                axi.wlast.eq(final),
            ]
        return sent

    def _answer(self, m: Module, answers: SyncFIFOBuffered, burst: data.View, sent: Signal) -> None:
        """B, or its absence, to `done` and to the failed state."""
        axi, done = self.m_axi, self.done
        # Bursts whose data is taken and whose answer is not.
        waiting = Signal(range(self.outstanding + 2))
        room = Signal()
        whole = Signal()
        pop = Signal()
        counted = Signal()
        failing = Signal()
        cause = Signal(CAUSE_WIDTH)
        m.d.comb += [
            room.eq(~done.valid | done.ready),
            counted.eq(burst.fault != Cause.EMPTY),
            whole.eq(answers.r_rdy & room & ((waiting != 0) | ~counted)),
            axi.bready.eq(whole & ~burst.absent),
            pop.eq(whole & (burst.absent | axi.bvalid)),
            answers.r_en.eq(pop),
            cause.eq(Mux(burst.absent, burst.fault, Mux(axi.bresp[1], axi.bresp, Cause.NONE))),
            failing.eq(pop & ~self._failed & (cause != Cause.NONE)),
        ]
        m.d.sync += waiting.eq(waiting + sent - (pop & counted))
        with m.If(room):
            m.d.sync += [
                done.valid.eq(pop & burst.last),
                done.payload.tag.eq(burst.tag),
                done.payload.error.eq(self._failed | failing),
            ]
        with m.If(failing):
            m.d.sync += [
                self._failed.eq(1),
                self.cause.eq(cause),
                self.address.eq(burst.address),
            ]
        with m.Elif(~self._failed & self.halt_stb):
            m.d.sync += [self._failed.eq(1), self.cause.eq(Cause.HALTED), self.address.eq(0)]
        with m.Elif(self.clear_stb & ~self.busy & ~self.halt_stb):
            m.d.sync += [self._failed.eq(0), self.cause.eq(Cause.NONE), self.address.eq(0)]
