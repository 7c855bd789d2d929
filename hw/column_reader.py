"""Words of the code buffer in order, with words of zeros between them that need no read."""

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..isa import WORD_ADDRESS_WIDTH
from ..latency import words_waiting
from .checks import check_integer, check_stages
from .credit_queue import credits
from .word_buffer import ReadPort


class ColumnReader(wiring.Component):
    """Gives a word for each request: the one at its address, or zeros.

    Parameters
    ----------
    word_width : int
        Bits of a word, 1 to 4096.
    stages : int
        Of the buffer that is read, 1 to 3.

    Members
    -------
    i : In(stream)
        Struct of `address` and `skip` (1 bit: zeros, and no read).
    read : Out(ReadPort)
        Port to the buffer.
    o : Out(stream)
        The words, in the order of the requests.
    idle : Out(1)
        No word is owed.

    Latency: that of a read, or 2 cycles for zeros.
    Throughput: one word per cycle, but for the first after zeros where a read takes longer.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.
    """

    LATENCY = 2

    def __init__(self, *, word_width: int, stages: int = 1) -> None:
        self.word_width = check_integer("word_width", word_width, 1, 4096)
        self.stages = check_stages(stages)
        request = data.StructLayout({"address": WORD_ADDRESS_WIDTH, "skip": 1})
        super().__init__(
            {
                "i": In(stream.Signature(request)),
                "read": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(word_width)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        most = words_waiting(self.stages)
        m.submodules.owed = owed = SyncFIFOBuffered(width=1, depth=most)
        request, word, skipped = self.i.payload, self.read.word, owed.r_data
        room = credits(m, owed.w_en, owed.r_en, most)
        m.d.comb += [
            self.read.address.payload.eq(request.address),
            self.read.address.valid.eq(self.i.valid & room & ~request.skip),
            self.i.ready.eq(room & (request.skip | self.read.address.ready)),
            owed.w_data.eq(request.skip),
            owed.w_en.eq(self.i.valid & self.i.ready),
            self.o.payload.eq(Mux(skipped, 0, word.payload)),
            self.o.valid.eq(owed.r_rdy & (skipped | word.valid)),
            word.ready.eq(owed.r_rdy & ~skipped & self.o.ready),
            owed.r_en.eq(self.o.valid & self.o.ready),
            self.idle.eq(owed.level == 0),
        ]
        return m
