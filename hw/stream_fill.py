"""Bytes of a fetched stream, in pieces, without the zeros behind the last one."""

from math import gcd
from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import WORD_ADDRESS_WIDTH
from .checks import check_integer
from .gearbox import Gearbox


class StreamFill(wiring.Component):
    """Cuts a run of bus beats into pieces; of the last beat only what the pieces need counts.

    Parameters
    ----------
    bus_bytes : int
        Bytes of a beat, 1 to 1024.
    piece_bytes : int
        Bytes of a piece, 1 to 1024.
    count_width : int
        Bits of a number of pieces, 1 to 20.

    Members
    -------
    command : In(stream)
        Number of pieces, 1 or more; taken while nothing is at work.
    i : In(stream)
        Array of `bus_bytes` bytes. Beats beyond those that the pieces need are left.
    o : Out(stream)
        Array of `piece_bytes` bytes.
    done_stb : Out(1)
        The last piece is accepted in this cycle.

    Latency: 2 cycles from a command to the first piece where beats wait.
    Throughput: one beat per cycle on the side with the smaller beats.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range.

    Source: `docs/accelerator.md`, the other streams.
    """

    def __init__(self, *, bus_bytes: int, piece_bytes: int, count_width: int) -> None:
        self._gearbox = Gearbox(in_bytes=bus_bytes, out_bytes=piece_bytes)
        self.bus_bytes, self.piece_bytes = bus_bytes, piece_bytes
        self.count_width = check_integer("count_width", count_width, 1, WORD_ADDRESS_WIDTH)
        super().__init__(
            {
                "command": In(stream.Signature(count_width)),
                "i": In(stream.Signature(data.ArrayLayout(8, bus_bytes))),
                "o": Out(stream.Signature(data.ArrayLayout(8, piece_bytes))),
                "done_stb": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = self._gearbox
        left = Signal(self.count_width)
        # What lacks, less one, so that the sign says that nothing does; in units of both sizes.
        unit = gcd(self.bus_bytes, self.piece_bytes)
        piece, beat = self.piece_bytes // unit, self.bus_bytes // unit
        most = max(piece << self.count_width, beat)
        lacking = Signal(signed(most.bit_length() + 1), init=-1)
        wanted = Signal()
        m.d.comb += [
            self.command.ready.eq(left == 0),
            wanted.eq(lacking >= 0),
            gearbox.i.valid.eq(self.i.valid & wanted),
            gearbox.i.payload.eq(self.i.payload),
            self.i.ready.eq(gearbox.i.ready & wanted),
            self.o.valid.eq(gearbox.o.valid),
            self.o.payload.eq(gearbox.o.payload),
            gearbox.o.ready.eq(self.o.ready),
            self.done_stb.eq(self.o.valid & self.o.ready & (left == 1)),
            gearbox.clear_stb.eq(self.done_stb),
        ]
        with m.If(self.command.valid & self.command.ready):
            pieces = self.command.payload
            m.d.sync += [left.eq(pieces), lacking.eq(pieces * piece - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += lacking.eq(lacking - beat)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        return m
