"""Read, add, write: branches into words of the residual buffer."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..config import PIPELINE_STAGES
from ..formats import RESIDUAL_WIDTH
from ..isa import WORD_ADDRESS_WIDTH
from ..latency import RESIDUAL_ADD, credits_needed, word_buffer
from .residual_add import SHIFT_WIDTH, ResidualAdd
from .saturation import COUNT_WIDTH
from .word_buffer import ReadPort, write_stream

# Words on their way with which one per cycle can pass, whatever the stages of the buffer.
UNDERWAY = credits_needed(word_buffer(PIPELINE_STAGES[-1]) + RESIDUAL_ADD)


class ResidualUpdate(wiring.Component):
    """Adds branches to words of the residual buffer, each where it lies.

    A word must have left before it is asked for again: `drained` says that nothing is inside.

    Parameters
    ----------
    lanes : int
        Values of a word.

    Members
    -------
    i : In(stream)
        Struct of `address` and `branch`, an array of `lanes` signed 16-bit values.
    shift : In(4)
        Of the `ResidualAdd`; holds while a word is inside.
    clear_stb : In(1)
        Sets `saturated` to zero.
    read : Out(ReadPort)
        Words of `lanes` signed 16-bit values.
    write : Out(stream)
        Writes of whole words, as `write_stream` has them.
    drained : Out(1)
        Nothing is inside, or the last word is accepted in this cycle.
    saturated : Out(32)
        Values clamped in the words written.

    Latency: 2 cycles and that of the read, from `i` to `write`.
    Throughput: one word per cycle.

    Raises
    ------
    TypeError, ValueError
        `lanes` is not an integer from 1 to 256.

    Source: `docs/numerics.md`, residual_add.
    """

    def __init__(self, *, lanes: int) -> None:
        self.lanes = lanes
        self._adder = ResidualAdd(lanes=lanes)
        branch = data.ArrayLayout(signed(RESIDUAL_WIDTH), lanes)
        width = lanes * RESIDUAL_WIDTH
        beat = data.StructLayout({"address": WORD_ADDRESS_WIDTH, "branch": branch})
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "shift": In(SHIFT_WIDTH),
                "clear_stb": In(1),
                "read": Out(ReadPort(width)),
                "write": Out(write_stream(width, 1)),
                "drained": Out(1),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.adder = adder = self._adder
        m.submodules.addresses = addresses = SyncFIFO(width=WORD_ADDRESS_WIDTH, depth=UNDERWAY)
        m.submodules.branches = branches = SyncFIFO(
            width=self.lanes * RESIDUAL_WIDTH, depth=UNDERWAY
        )
        put = Signal()
        left = Signal()
        m.d.comb += [
            # A branch stays for a shorter time than its address: there is room where that has some.
            self.read.address.valid.eq(self.i.valid & addresses.w_rdy),
            self.read.address.payload.eq(self.i.payload.address),
            self.i.ready.eq(self.read.address.ready & addresses.w_rdy),
            put.eq(self.i.valid & self.i.ready),
            addresses.w_en.eq(put),
            addresses.w_data.eq(self.i.payload.address),
            branches.w_en.eq(put),
            branches.w_data.eq(self.i.payload.branch),
            adder.i.valid.eq(self.read.word.valid & branches.r_rdy),
            adder.i.payload.residual.eq(self.read.word.payload),
            adder.i.payload.branch.eq(branches.r_data),
            self.read.word.ready.eq(adder.i.ready & branches.r_rdy),
            branches.r_en.eq(adder.i.ready & self.read.word.valid),
            adder.shift.eq(self.shift),
            adder.clear_stb.eq(self.clear_stb),
            self.saturated.eq(adder.saturated),
            self.write.valid.eq(adder.o.valid),
            adder.o.ready.eq(self.write.ready),
            self.write.payload.address.eq(addresses.r_data),
            self.write.payload.data.eq(adder.o.payload),
            self.write.payload.mask.eq(1),
            left.eq(self.write.valid & self.write.ready),
            addresses.r_en.eq(left),
            self.drained.eq((addresses.level == 0) | ((addresses.level == 1) & left)),
        ]
        return m
