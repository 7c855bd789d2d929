"""Memory in block RAM behind AXI4: what a design without memory of its own board runs from."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from ..latency import BUS_READ_BURSTS, WRITER_BURSTS
from .axi import BURST_INCR, LEN_WIDTH, PAGE, Axi4, Resp, check_addr_width, check_data_width
from .axi_bursts import offset_width
from .checks import check_integer

WORDS_MAX = 1 << 20


class BlockMemory(wiring.Component):
    """A memory that is filled when the device is configured.

    Parameters
    ----------
    init : bytes
        Content, from address 0 on; its length, rounded up to whole beats, is the memory's size.
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    read_bursts, write_bursts : int
        Most bursts that are taken and not yet begun, 1 to 64.

    Members
    -------
    s_axi : In(Axi4)
        Reads and writes beside each other; each in the order asked. A beat beyond the end, and
        every beat of a burst that is not INCR of whole beats, is answered DECERR (a burst of
        writes by its worst beat); such a write does nothing, such a read gives 0. `wlast` is not
        looked at. A read at the moment of a write to the same place may give old or new.

    Latency: `READ_LATENCY` cycles from the acceptance of AR to the first beat, `WRITE_LATENCY` from
    that of AW and the last beat of W to B: the members of the same name of the simulator's
    `MemoryTiming`, which this memory behaves as while no queue is full.
    Throughput: one beat per cycle and direction, over bursts.

    Raises
    ------
    TypeError, ValueError
        A parameter is not of its kind or in its range.
    """

    READ_LATENCY = 5
    WRITE_LATENCY = 2
    _BEATS_AHEAD = 8

    def __init__(
        self,
        *,
        init: bytes,
        addr_width: int,
        data_width: int,
        read_bursts: int = BUS_READ_BURSTS,
        write_bursts: int = WRITER_BURSTS,
    ) -> None:
        if not isinstance(init, bytes):
            raise TypeError(f"init must be bytes, not {type(init).__name__}")
        self.addr_width = check_addr_width(addr_width)
        self.data_width = check_data_width(data_width)
        self.read_bursts = check_integer("read_bursts", read_bursts, 1, 64)
        self.write_bursts = check_integer("write_bursts", write_bursts, 1, 64)
        size = data_width // 8
        self.init = [
            int.from_bytes(init[i : i + size], "little") for i in range(0, len(init), size)
        ]
        if not 1 <= len(self.init) <= WORDS_MAX:
            raise ValueError(f"init must be 1 to {WORDS_MAX * size} bytes, not {len(init)}")
        bus = Axi4(addr_width=addr_width, data_width=data_width)
        super().__init__({"s_axi": In(bus)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=self.data_width, depth=len(self.init), init=self.init
        )
        # Words of whole pages, so that no burst that begins inside runs over the top to 0.
        page_words = PAGE // (self.data_width // 8)
        self._index_width = max(len(self.init), page_words).bit_length()
        self._burst = data.StructLayout(
            {"index": self._index_width, "outside": 1, "len": LEN_WIDTH, "id": 1}
        )
        read = memory.read_port()
        write = memory.write_port(granularity=8)
        self._read(m, read)
        self._write(m, write)
        return m

    def _request(self, m: Module, channel: str, depth: int) -> SyncFIFO:
        """Queue of the bursts that come over AR or AW."""
        bus, offset = self.s_axi, offset_width(self.data_width)
        address = getattr(bus, f"{channel}addr")[offset:]
        burst = Signal(self._burst, name=f"{channel}_burst")
        queue = SyncFIFO(width=self._burst.size, depth=depth)
        m.submodules[f"{channel}_queue"] = queue
        whole = (getattr(bus, f"{channel}burst") == BURST_INCR) & (
            getattr(bus, f"{channel}size") == offset
        )
        m.d.comb += [
            burst.index.eq(address),
            burst.outside.eq(address[self._index_width :].any() | ~whole),
            burst.len.eq(getattr(bus, f"{channel}len")),
            burst.id.eq(getattr(bus, f"{channel}id")),
            queue.w_data.eq(burst),
            queue.w_en.eq(getattr(bus, f"{channel}valid")),
            getattr(bus, f"{channel}ready").eq(queue.w_rdy),
        ]
        return queue

    def _beats(self, m: Module, queue: SyncFIFO, name: str) -> tuple[Any, Signal, Signal, Signal]:
        """The burst at work; index and number of its present beat; whether that is its last."""
        burst = data.View(self._burst, queue.r_data)
        place = Signal(LEN_WIDTH, name=f"{name}_place")
        index = Signal(self._index_width, name=f"{name}_index")
        last = Signal(name=f"{name}_last")
        m.d.comb += [index.eq(burst.index + place), last.eq(place == burst.len)]
        return burst, index, place, last

    def _fails(self, burst: Any, index: Signal) -> Any:
        return burst.outside | (index >= len(self.init))

    def _read(self, m: Module, port: Any) -> None:
        bus = self.s_axi
        queue = self._request(m, "ar", self.read_bursts)
        burst, index, place, last = self._beats(m, queue, "read")
        beat = data.StructLayout({"data": self.data_width, "fails": 1, "last": 1, "id": 1})
        answers = SyncFIFOBuffered(width=beat.size, depth=self._BEATS_AHEAD)
        m.submodules.answers = answers
        issue = Signal()
        taken = Signal()
        room = Signal(range(self._BEATS_AHEAD + 1), init=self._BEATS_AHEAD)
        m.d.comb += [
            issue.eq(queue.r_rdy & (room != 0)),
            port.addr.eq(index),
            port.en.eq(1),
            queue.r_en.eq(issue & last),
            taken.eq(bus.rvalid & bus.rready),
        ]
        m.d.sync += room.eq(room - issue + taken)
        with m.If(issue):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        # What goes with the word while it is looked up, and then with it: the way out of a block
        # RAM and past its neighbours is a cycle of its own.
        about = Signal(data.StructLayout({"fails": 1, "last": 1, "id": 1}))
        found = Signal(beat)
        looked_up = Signal()
        put = Signal()
        m.d.sync += [
            looked_up.eq(issue),
            about.fails.eq(self._fails(burst, index)),
            about.last.eq(last),
            about.id.eq(burst.id),
            put.eq(looked_up),
            found.data.eq(Mux(about.fails, 0, port.data)),
            Cat(found.fails, found.last, found.id).eq(about),
        ]
        out = data.View(beat, answers.r_data)
        m.d.comb += [
            answers.w_en.eq(put),
            answers.w_data.eq(found),
            answers.r_en.eq(bus.rready),
            bus.rvalid.eq(answers.r_rdy),
            bus.rdata.eq(out.data),
            bus.rresp.eq(Mux(out.fails, Resp.DECERR, Resp.OKAY)),
            bus.rlast.eq(out.last),
            bus.rid.eq(out.id),
        ]

    def _write(self, m: Module, port: Any) -> None:
        bus = self.s_axi
        queue = self._request(m, "aw", self.write_bursts)
        burst, index, place, last = self._beats(m, queue, "write")
        beat = data.StructLayout({"data": self.data_width, "strobes": self.data_width // 8})
        beats = SyncFIFO(width=beat.size, depth=self._BEATS_AHEAD)
        answer = data.StructLayout({"fails": 1, "id": 1})
        answers = SyncFIFO(width=answer.size, depth=self.write_bursts)
        m.submodules.beats, m.submodules.write_answers = beats, answers
        incoming = Signal(beat)
        moved = data.View(beat, beats.r_data)
        move = Signal()
        fails = Signal()
        failed = Signal()
        ended = Signal(answer)
        out = data.View(answer, answers.r_data)
        m.d.comb += [
            incoming.data.eq(bus.wdata),
            incoming.strobes.eq(bus.wstrb),
            beats.w_data.eq(incoming),
            beats.w_en.eq(bus.wvalid),
            bus.wready.eq(beats.w_rdy),
            move.eq(queue.r_rdy & beats.r_rdy & answers.w_rdy),
            fails.eq(self._fails(burst, index)),
            beats.r_en.eq(move),
            queue.r_en.eq(move & last),
            port.addr.eq(index),
            port.data.eq(moved.data),
            port.en.eq(Mux(move & ~fails, moved.strobes, 0)),
            ended.fails.eq(failed | fails),
            ended.id.eq(burst.id),
            answers.w_data.eq(ended),
            answers.w_en.eq(move & last),
            answers.r_en.eq(bus.bready),
            bus.bvalid.eq(answers.r_rdy),
            bus.bresp.eq(Mux(out.fails, Resp.DECERR, Resp.OKAY)),
            bus.bid.eq(out.id),
        ]
        with m.If(move):
            m.d.sync += [
                place.eq(Mux(last, 0, place + 1)),
                failed.eq(~last & (failed | fails)),
            ]
