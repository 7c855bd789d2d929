"""One access at a time: what a state machine reads and writes registers and memory with."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..csr import WORD
from .axi import BURST_INCR, CACHE_NORMAL, Axi4, Axi4Lite
from .axi_bursts import offset_width


def request_stream(addr_width: int, width: int) -> stream.Signature:
    """Struct of `address` (bytes), `write` and `data` (what to write)."""
    fields = {"address": addr_width, "write": 1, "data": width}
    return stream.Signature(data.StructLayout(fields))


def answer_stream() -> stream.Signature:
    """Struct of `data`, what was read, and `error`: whether the access was refused."""
    layout = data.StructLayout({"data": WORD, "error": 1})
    return stream.Signature(layout, always_ready=True)


def _access(m: Module, bus: Any, request: Any, answer: Any) -> Signal:
    """Handshakes of a single access; returns the request that is at work."""
    kept = Signal.like(request.payload)
    refused = (bus.bvalid & bus.bresp[1]) | (bus.rvalid & bus.rresp[1])
    m.d.comb += [
        answer.payload.error.eq(refused),
        bus.awprot.eq(0),
        bus.arprot.eq(0),
        bus.bready.eq(1),
        bus.rready.eq(1),
    ]
    for channel in ("aw", "w", "ar"):
        valid = getattr(bus, f"{channel}valid")
        with m.If(getattr(bus, f"{channel}ready")):
            m.d.sync += valid.eq(0)
    with m.FSM():
        with m.State("IDLE"):
            m.d.comb += request.ready.eq(1)
            with m.If(request.valid):
                m.d.sync += [
                    kept.eq(request.payload),
                    bus.awvalid.eq(request.payload.write),
                    bus.wvalid.eq(request.payload.write),
                    bus.arvalid.eq(~request.payload.write),
                ]
                m.next = "ACCESS"
        with m.State("ACCESS"):
            m.d.comb += answer.valid.eq(bus.bvalid | bus.rvalid)
            with m.If(answer.valid):
                m.next = "IDLE"
    return kept


class RegisterAccess(wiring.Component):
    """Reads and writes single registers of 32 bits over AXI4-Lite.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 1 to 64.

    Members
    -------
    request : In(stream)
        Struct of `address` (bytes), `write` and `data` (32 bits). The next one is taken after the
        answer.
    answer : Out(stream, always ready)
        Struct of `data`, what was read, and `error`: whether the access was refused. Valid for one
        cycle, for writes too.
    m_axil : Out(Axi4Lite)
        The bus: 32 bits of data.

    Latency: 1 cycle from the request to the bus, none from there to the answer.
    Throughput: one access at a time.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(self, *, addr_width: int) -> None:
        self.addr_width = addr_width
        super().__init__(
            {
                "request": In(request_stream(addr_width, WORD)),
                "answer": Out(answer_stream()),
                "m_axil": Out(Axi4Lite(addr_width=addr_width, data_width=WORD)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, answer = self.m_axil, self.answer
        kept = _access(m, bus, self.request, answer)
        m.d.comb += [
            bus.awaddr.eq(kept.address),
            bus.araddr.eq(kept.address),
            bus.wdata.eq(kept.data),
            bus.wstrb.eq(-1),
            answer.payload.data.eq(bus.rdata),
        ]
        return m


class MemoryAccess(wiring.Component):
    """Writes single bytes and reads single words of 32 bits over AXI4, in bursts of one beat.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.

    Members
    -------
    request : In(stream)
        Struct of `address` (bytes, of a read a multiple of 4), `write` and `data` (8 bits). The
        next one is taken after the answer.
    answer : Out(stream, always ready)
        Struct of `data`, the word that was read, and `error`: whether the access was refused.
        Valid for one cycle, for writes too.
    m_axi : Out(Axi4)
        The bus.

    Latency: 1 cycle from the request to the bus, none from there to the answer.
    Throughput: one access at a time.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(self, *, addr_width: int, data_width: int) -> None:
        bus = Axi4(addr_width=addr_width, data_width=data_width)
        self.addr_width, self.data_width = addr_width, data_width
        super().__init__(
            {
                "request": In(request_stream(addr_width, 8)),
                "answer": Out(answer_stream()),
                "m_axi": Out(bus),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, size = self.m_axi, self.data_width // 8
        offset = offset_width(self.data_width)
        kept = _access(m, bus, self.request, self.answer)
        lane = kept.address[:offset]
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(bus, f"{channel}addr")[offset:].eq(kept.address[offset:]),
                getattr(bus, f"{channel}id").eq(0),
                getattr(bus, f"{channel}len").eq(0),
                getattr(bus, f"{channel}size").eq(offset),
                getattr(bus, f"{channel}burst").eq(BURST_INCR),
                getattr(bus, f"{channel}cache").eq(CACHE_NORMAL),
            ]
        m.d.comb += [
            bus.wdata.eq(kept.data.replicate(size)),
            bus.wstrb.eq(1 << lane),
            bus.wlast.eq(1),
            self.answer.payload.data.eq(bus.rdata.word_select(lane[2:], WORD)),
        ]
        return m


class BusSwitch(wiring.Component):
    """Joins two managers of which only one is at work at any time.

    Parameters
    ----------
    addr_width, data_width : int
        As of `MemoryAccess`.

    Members
    -------
    first, second : In(Axi4)
        The managers. Nothing is asked of the other, and it owes nothing, when `second_active`
        changes.
    second_active : In(1)
        Whether the bus is the second's.
    m_axi : Out(Axi4)
        The bus.

    Latency: none.
    Throughput: that of the bus.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(self, *, addr_width: int, data_width: int) -> None:
        bus = Axi4(addr_width=addr_width, data_width=data_width)
        self.addr_width, self.data_width = addr_width, data_width
        super().__init__(
            {"first": In(bus), "second": In(bus), "second_active": In(1), "m_axi": Out(bus)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        managers = (
            (self.first, ~self.second_active),
            (self.second, self.second_active),
        )
        for name, member in self.m_axi.signature.members.items():
            wire = getattr(self.m_axi, name)
            for manager, active in managers:
                if member.flow == Out:
                    with m.If(active):
                        m.d.comb += wire.eq(getattr(manager, name))
                elif name.endswith(("valid", "ready")):
                    m.d.comb += getattr(manager, name).eq(wire & active)
                else:
                    m.d.comb += getattr(manager, name).eq(wire)
        return m
