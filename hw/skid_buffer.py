"""Two registers in a stream, between which no path of ready signals leads through."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..latency import SKID_BUFFER


class SkidBuffer(wiring.Component):
    """Passes a stream on a cycle later, with `ready` from a register.

    What stops the output so does not stop the input in the same cycle: the beat that comes
    meanwhile is kept in a second register.

    Parameters
    ----------
    shape : shape-like
        Of the payload.

    Members
    -------
    i : In(stream)
        `shape`.
    o : Out(stream)
        `shape`.

    Latency: 1 cycle.
    Throughput: one beat per cycle.
    """

    LATENCY = SKID_BUFFER

    def __init__(self, shape: Any) -> None:
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = Signal.like(self.o.payload, name="first", reset_less=True)
        spare = Signal.like(self.o.payload, name="spare", reset_less=True)
        spare_valid = Signal()
        m.d.comb += [self.i.ready.eq(~spare_valid), self.o.payload.eq(first)]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | spare_valid),
                first.eq(Mux(spare_valid, spare, self.i.payload)),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid & ~spare_valid):
            m.d.sync += spare_valid.eq(1)
        with m.If(~spare_valid):
            m.d.sync += spare.eq(self.i.payload)
        return m
