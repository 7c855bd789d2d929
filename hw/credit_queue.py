"""The queue behind a pipeline that cannot stop, and the credits with which beats enter that."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..latency import CREDIT_QUEUE
from .checks import check_integer

DEPTH_MAX = 8192


def credits(m: Module, taken: Value, leaves: Value, most: int, *, name: str = "room") -> Signal:
    """Return whether one more beat may enter, from a register: fewer than `most` have been `taken`
    up to the cycle before and not left."""
    owed = Signal(range(most + 1), name=f"{name}_owed")
    room = Signal(init=1, name=name)
    # What is compared does not wait for who comes and goes, which is late.
    with m.If(taken & ~leaves):
        m.d.sync += [owed.eq(owed + 1), room.eq(owed != most - 1)]
    with m.Elif(leaves & ~taken):
        m.d.sync += [owed.eq(owed - 1), room.eq(1)]
    return room


class CreditQueue(wiring.Component):
    """Keeps what leaves a pipeline until it is taken.

    A beat may enter the pipeline in a cycle of `room`: then it has a place here when it comes out,
    and the pipeline has no enable that would have to reach all of its registers in the cycle in
    which a neighbour waits.

    Parameters
    ----------
    shape : shape-like
        Of the payload.
    depth : int
        Beats on their way and here together, 1 to 8192. One per cycle can pass where it is larger
        than the cycles from the entry of a beat to its offer.

    Members
    -------
    taken_stb : In(1)
        A beat enters the pipeline. Only while `room` is high.
    room : Out(1)
        One more may enter; from a register.
    i : In(stream, always_ready)
        Beats as they leave the pipeline, one for each that entered it.
    o : Out(stream)
        The same.

    Latency: 1 cycle.
    Throughput: one beat per cycle.

    Raises
    ------
    TypeError, ValueError
        `depth` is not an integer, or out of range.

    Source: credit-based flow control, Kung, Blackwell and Chapman, SIGCOMM 1994.
    """

    LATENCY = CREDIT_QUEUE

    def __init__(self, shape: Any, *, depth: int) -> None:
        self.depth = check_integer("depth", depth, 1, DEPTH_MAX)
        super().__init__(
            {
                "taken_stb": In(1),
                "room": Out(1),
                "i": In(stream.Signature(shape, always_ready=True)),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self.i.payload.shape()
        queue = Memory(shape=shape, depth=1 << (self.depth - 1).bit_length(), init=[])
        m.submodules.queue = queue
        put = queue.write_port()
        get = queue.read_port(domain="comb")
        there = Signal(range(self.depth + 1))
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            self.room.eq(credits(m, self.taken_stb, leaves, self.depth)),
            put.en.eq(self.i.valid),
            put.data.eq(self.i.payload),
            self.o.payload.eq(get.data),
        ]
        m.d.sync += [
            put.addr.eq(put.addr + self.i.valid),
            get.addr.eq(get.addr + leaves),
        ]
        with m.If(self.i.valid & ~leaves):
            m.d.sync += [there.eq(there + 1), self.o.valid.eq(1)]
        with m.Elif(leaves & ~self.i.valid):
            m.d.sync += [there.eq(there - 1), self.o.valid.eq(there != 1)]
        return m
