"""Proofs of the bus: AXI4's rules on the masters, AXI4-Lite's on the slave, and the data's way."""

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib.fifo import SyncFIFO

from rootshift.config import AcceleratorConfig
from rootshift.hw.axi import BURST_INCR, PAGE
from rootshift.hw.axi_bursts import offset_width
from rootshift.hw.csr import CsrBank
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.hw.read_dma import ReadDma
from rootshift.hw.write_dma import WriteDma

from .bench import Bench, Channel
from .proof import Proof

_WORD = offset_width(32)
"""Address bits within a beat of the 32 bits that are proven."""
_PAGES = PAGE.bit_length()
"""Address bits that are free: bursts lie in two pages, so that one boundary is among them."""


def _fifo(bench: Bench, put: Value, entry: Value, get: Value, depth: int) -> SyncFIFO:
    """Remember what is under way, in order; it must never be more than `depth`."""
    fifo = SyncFIFO(width=len(entry), depth=depth)
    bench.m.submodules += fifo
    bench.m.d.comb += [fifo.w_en.eq(put), fifo.w_data.eq(entry), fifo.r_en.eq(get)]
    bench.check(~put | fifo.w_rdy)
    return fifo


def _count(bench: Bench, moves: Value, ends: Value, width: int) -> Signal:
    """The place of a beat in its run, from 0 on."""
    place = Signal(width, name=bench.name("place"))
    with bench.m.If(moves):
        bench.m.d.sync += place.eq(Mux(ends, 0, place + 1))
    return place


def address_rules(bench: Bench, axi: Any, channel: str, burst: int) -> None:
    """What a burst may be: of words, growing, no longer than `burst`, within a page."""

    def field(name: str) -> Value:
        return getattr(axi, channel + name)

    in_page = field("addr")[_WORD : PAGE.bit_length() - 1]
    legal = (
        (field("size") == _WORD)
        & (field("burst") == BURST_INCR)
        & (field("len") < burst)
        & (field("addr")[:_WORD] == 0)
        & (in_page + field("len") < PAGE >> _WORD)
    )
    bench.check(~field("valid") | legal)


def read_slave(bench: Bench, axi: Any, outstanding: int) -> tuple[SyncFIFO, Signal]:
    """Answer bursts in order, whenever it pleases, each word being its own address; return the
    bursts under way and the place of the beat in its burst."""
    asked, answered = axi.arvalid & axi.arready, axi.rvalid & axi.rready
    entry = Cat(axi.arlen, axi.araddr[_WORD:_PAGES], axi.araddr[-1])
    bursts = _fifo(bench, asked, entry, answered & axi.rlast, outstanding)
    place = _count(bench, answered, axi.rlast, len(axi.arlen))
    bench.assume(~axi.rvalid | bursts.r_rdy)
    bench.assume(axi.rlast == (place == bursts.r_data[: len(axi.arlen)]))
    bench.assume(axi.rdata == (bursts.r_data[len(axi.arlen) : -1] + place)[: _PAGES - _WORD])
    return bursts, place


def read_protocol(bench: Bench) -> dict[str, Channel]:
    """Whatever fails: bursts are legal, no more than `outstanding`; return the channels."""
    unit, axi = bench.unit, bench.unit.m_axi
    streams = bench.streams()
    bench.assume(~unit.command.payload.address[_PAGES:].any())
    read_slave(bench, axi, unit.outstanding)
    address_rules(bench, axi, "ar", unit.burst)
    bench.cover(axi.rvalid & axi.rready & (axi.arlen == 1))
    return streams


def read_data(bench: Bench) -> None:
    """Where nothing fails: each command gives its beats, in order, as memory has them."""
    streams = read_protocol(bench)
    unit, given = bench.unit, bench.unit.command.payload
    bench.assume(~unit.halt_stb & ~unit.clear_stb & ~unit.m_axi.rresp[1])
    bench.assume((given.address[:_WORD] == 0) & (given.beats != 0))
    o, moves = unit.o.payload, streams["o"].moves
    watch = bench.watch(streams["command"].moves, moves & o.last, unit.outstanding + 4)
    command = given.shape()(bench.keep(given, watch.taken_stb))
    number = _count(bench, moves, o.last, unit.beats_width)
    place = (command.address[_WORD:_PAGES] + number)[: _PAGES - _WORD]
    mine = streams["o"].valid & watch.now
    bench.check(~streams["o"].valid | (watch.inside != 0))
    bench.check(~mine | (o.tag == command.tag))
    bench.check(~mine | (o.last == (number == command.beats - 1)))
    bench.check(~mine | (~o.error & (o.data.as_value() == place)))
    bench.cover(mine & o.last & (number == 1))


def _bursts_offered(bench: Bench, axi: Any, streams: dict[str, Channel], most: int) -> SyncFIFO:
    """Bursts from their first offer on AW to their last beat on W."""
    w = streams["m_axi__w"]
    waits = bench.past(axi.awvalid & ~axi.awready)
    entry = Cat(axi.awlen, axi.awaddr[_WORD:_PAGES])
    return _fifo(bench, axi.awvalid & ~waits, entry, w.moves & axi.wlast, most)


def _write_slave(bench: Bench, axi: Any, streams: dict[str, Channel], most: int) -> None:
    """Answer once per burst, when both its address and its data are there."""
    answers = streams["m_axi__b"].moves
    parts = (streams["m_axi__aw"].moves, streams["m_axi__w"].moves & axi.wlast)
    for number, part in enumerate(parts):
        waiting = Signal(range(most + 1), name=f"waiting_{number}")
        bench.m.d.sync += waiting.eq(waiting + part - answers)
        bench.check(~part | (waiting != most))
        bench.assume(~axi.bvalid | (waiting != 0))


def write_protocol(bench: Bench) -> tuple[dict[str, Channel], Value]:
    """Whatever fails: bursts are legal, and each has its beats on W, the last one marked; return
    the channels, and the address of the beat on W, in words."""
    unit, axi = bench.unit, bench.unit.m_axi
    streams = bench.streams()
    bench.assume(~unit.command.payload.address[_PAGES:].any())
    address_rules(bench, axi, "aw", unit.burst)
    _write_slave(bench, axi, streams, unit.outstanding)
    bursts = _bursts_offered(bench, axi, streams, unit.outstanding)
    place = _count(bench, streams["m_axi__w"].moves, axi.wlast, len(axi.awlen))
    bench.check(~axi.wvalid | bursts.r_rdy)
    bench.check(~axi.wvalid | (axi.wlast == (place == bursts.r_data[: len(axi.awlen)])))
    bench.cover(streams["m_axi__b"].moves)
    return streams, (bursts.r_data[len(axi.awlen) :] + place)[: _PAGES - _WORD]


def write_dma(bench: Bench) -> None:
    """Where nothing fails: every beat goes once, in order, to its address, with its strobes; one
    `done` per command, behind its answers."""
    streams, address = write_protocol(bench)
    unit, axi = bench.unit, bench.unit.m_axi
    given, moves = unit.command.payload, streams["m_axi__w"].moves
    bench.assume(~unit.halt_stb & ~axi.bresp[1])
    bench.assume((given.address[:_WORD] == 0) & (given.beats != 0))
    bench.in_order(
        streams["i"].moves, unit.i.payload.as_value(), moves, axi.wdata, 2 * unit.burst + 2
    )
    final = Signal()
    commands = _fifo(
        bench, streams["command"].moves, given.as_value(), moves & final, unit.outstanding + 2
    )
    command = given.shape()(commands.r_data)
    number = _count(bench, moves, final, unit.beats_width)
    bench.m.d.comb += final.eq(number == command.beats - 1)
    expected = (command.address[_WORD:_PAGES] + number)[: _PAGES - _WORD]
    bench.check(~axi.wvalid | (address == expected))
    full = (1 << unit.data_width // 8) - 1
    partial = final & (command.last_bytes != 0)
    strobes = Mux(partial, (1 << command.last_bytes) - 1, full)
    bench.check(~axi.wvalid | (axi.wstrb == strobes))
    ends = _fifo(bench, moves & axi.wlast, final, streams["m_axi__b"].moves, unit.outstanding)
    answered = Signal(range(unit.outstanding + 2))
    finishes = streams["m_axi__b"].moves & ends.r_data[0]
    bench.m.d.sync += answered.eq(answered + finishes - streams["done"].moves)
    bench.check(~unit.done.valid | ((answered != 0) & ~unit.done.payload.error))


def read_arbiter(bench: Bench) -> None:
    """Each client has the beats that it asked for, in order, and no client blocks the bus."""
    unit, axi = bench.unit, bench.unit.m_axi
    streams = bench.streams()
    bursts, _ = read_slave(bench, axi, unit.outstanding)
    bench.check(~bursts.r_rdy | axi.rready)
    owner = bursts.r_data[-1]
    for number in range(unit.clients):
        ar, r = streams[f"client_{number}__ar"], streams[f"client_{number}__r"]
        port = getattr(unit, f"client_{number}")
        # The highest bit of an address says who asks.
        bench.assume(port.araddr[-1] == number)
        asks = bench.past(ar.moves)
        where, length = bench.past(port.araddr), bench.past(port.arlen)
        kept = axi.arvalid & (axi.araddr == where) & (axi.arlen == length)
        bench.check(~asks | kept)
        owed = Signal(range(unit.depth + 1), name=f"owed_{number}")
        beats = Mux(ar.moves, port.arlen + 1, 0)
        bench.m.d.sync += owed.eq(owed + beats - r.moves)
        bench.assume(owed + beats <= unit.depth)
        bench.in_order(
            axi.rvalid & axi.rready & (owner == number),
            Cat(axi.rdata[:2], axi.rlast, axi.rresp),
            r.moves,
            Cat(port.rdata[:2], port.rlast, port.rresp),
            unit.depth,
        )


def csr(bench: Bench) -> None:
    """One answer to each request, none without one, and within a cycle once it may."""
    bus = bench.unit.s_axil
    streams = bench.streams()
    for channel in ("aw", "w", "ar"):
        answers = "r" if channel == "ar" else "b"
        asked, answered = streams[f"s_axil__{channel}"].moves, streams[f"s_axil__{answers}"].moves
        owed = Signal(3, name=f"owed_{channel}")
        bench.m.d.sync += owed.eq(owed + asked - answered)
        held = ~getattr(bus, f"{channel}ready")
        bench.check(owed == held + getattr(bus, f"{answers}valid"))
    waits = ~bus.awready & ~bus.wready
    bench.check(~bench.past(waits) | bus.bvalid)
    bench.check(~bench.past(~bus.arready) | bus.rvalid)
    bench.cover(bus.bvalid & bus.rvalid & ~bus.awready)


_BUS = {"addr_width": 32, "data_width": 32}
_MOVER = {**_BUS, "burst": 2, "outstanding": 2, "beats_width": 3}

PROOFS = [
    Proof(
        "read_dma_protocol",
        partial(ReadDma, **_MOVER),
        "AXI4, with any failure: bursts of at most `burst` beats, within 4 KiB, no more than "
        "`outstanding`; stream rules",
        read_protocol,
        "bmc",
        10,
    ),
    Proof(
        "read_dma",
        partial(ReadDma, **_MOVER),
        "each command gives its beats with `tag` and `last`: memory's data, in order, once",
        read_data,
        "bmc",
        8,
    ),
    Proof(
        "write_dma_protocol",
        partial(WriteDma, **_MOVER),
        "AXI4 with any failure: bursts within 4 KiB, WLAST at the burst's end, no beat before its "
        "burst is offered, `outstanding`, stream rules",
        write_protocol,
        "bmc",
        10,
    ),
    Proof(
        "write_dma",
        partial(WriteDma, **_MOVER),
        "each beat once, in order, at its address, with its strobes; one `done` behind all answers",
        write_dma,
        "bmc",
        8,
    ),
    Proof(
        "read_arbiter",
        partial(ReadArbiter, **_BUS, clients=2, depth=16, outstanding=2),
        "bursts pass as asked; each client's beats come once, in order; `rready` while one is owed",
        read_arbiter,
        "bmc",
        7,
    ),
    Proof(
        "csr",
        partial(CsrBank, config=AcceleratorConfig()),
        "AXI4-Lite: one answer per request, none without, a cycle after it is due; stream rules",
        csr,
        "prove",
        2,
    ),
]
