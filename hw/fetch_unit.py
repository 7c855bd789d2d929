"""Executes FETCH: runs of memory to the units' parameter streams."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import BY_NAME, Destination
from ..latency import READER_BURSTS
from .axi import Axi4Read, check_addr_width, check_data_width, forward
from .axi_bursts import CAUSE_WIDTH
from .checks import check_integer
from .commands import COMMAND, operands
from .read_dma import ReadDma


class FetchUnit(wiring.Component):
    """Reads runs of beats and gives each to the stream of its destination, in program order.

    A command has finished once the reader has it, before its first beat is there: nothing in a
    program waits for a FETCH, and so the bursts of one command follow those of the one before.
    A destination that does not take its beats holds back those of all later commands. After an
    error response every beat is zero, and none is left out.

    Parameters
    ----------
    bus_width : int
        Bits of a beat: 32, 64 or 128.
    addr_width : int
        Bits of a byte address, 32 to 64.
    outstanding : int
        Most bursts of 16 beats asked for and not yet answered in full, 2 to 64.

    Members
    -------
    command : In(stream)
        A `COMMAND`, FETCH.
    base : In(addr_width)
        Address from which offsets count, a multiple of a beat's bytes.
    weights, layernorm, gelu_table, embed : Out(stream)
        Array of bus_width / 8 bytes, the lowest address first: beats for one `Destination` each.
    m_axi : Out(Axi4Read)
        The bus.
    done_stb : Out(1)
        The reader takes a command over in this cycle.
    busy : Out(1)
        A command is at work, or beats of one are owed.
    stall : Out(1)
        Busy, and no beat leaves: memory or the destination is waited for.
    cause : Out(3)
        The `Cause` of the first failure since reset.
    address : Out(addr_width)
        Byte address of the beat that failed, or of the faulty command.

    Latency: 3 cycles from the acceptance of a command to its first `arvalid` on an idle unit; 1
    from a beat of R to its stream.
    Throughput: one command every second cycle; beats as `ReadDma`.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(
        self, *, bus_width: int, addr_width: int = 40, outstanding: int = READER_BURSTS
    ) -> None:
        self.bus_width = check_data_width(bus_width)
        self.addr_width = check_addr_width(addr_width)
        self.outstanding = check_integer("outstanding", outstanding, 2, 64)
        beat = data.ArrayLayout(8, bus_width // 8)
        streams = {item.name.lower(): Out(stream.Signature(beat)) for item in Destination}
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "base": In(addr_width),
                **streams,
                "m_axi": Out(Axi4Read(addr_width=addr_width, data_width=bus_width)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "cause": Out(CAUSE_WIDTH),
                "address": Out(addr_width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        places = BY_NAME["FETCH"].places
        m.submodules.reader = reader = ReadDma(
            addr_width=self.addr_width,
            data_width=self.bus_width,
            outstanding=self.outstanding,
            beats_width=places["beats"][1].width,
            tag_width=places["destination"][1].width,
        )
        forward(m, self.m_axi, reader.m_axi)
        given, order = operands("FETCH", self.command.payload), reader.command
        m.d.comb += [
            self.command.ready.eq(~order.valid),
            self.done_stb.eq(order.valid & order.ready),
        ]
        with m.If(self.command.ready):
            m.d.sync += [
                order.valid.eq(self.command.valid),
                order.payload.address.eq(self.base + given.offset),
                order.payload.beats.eq(given.beats),
                order.payload.tag.eq(given.destination),
            ]
        with m.Elif(order.ready):
            m.d.sync += order.valid.eq(0)

        moved = Signal()
        for destination in Destination:
            out = getattr(self, destination.name.lower())
            chosen = reader.o.payload.tag == destination
            m.d.comb += [
                out.payload.eq(reader.o.payload.data),
                out.valid.eq(reader.o.valid & chosen),
            ]
            with m.If(chosen):
                m.d.comb += reader.o.ready.eq(out.ready)
        m.d.comb += [
            moved.eq(reader.o.valid & reader.o.ready),
            self.busy.eq(order.valid | reader.busy),
            self.stall.eq(self.busy & ~moved),
            self.cause.eq(reader.cause),
            self.address.eq(reader.address),
        ]
        return m
