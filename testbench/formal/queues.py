"""Proofs of the queues: nothing is lost, doubled or overtaken, and no place is given twice."""

from functools import partial
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rootshift.hw.credit_queue import CreditQueue, credits
from rootshift.hw.gearbox import Gearbox
from rootshift.hw.total_queue import TotalQueue

from .bench import Bench
from .proof import Proof


class Credits(wiring.Component):
    """`credits` as a unit of its own."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__({"taken": In(1), "leaves": In(1), "room": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.room.eq(credits(m, self.taken, self.leaves, self.most))
        return m


def credits_count(bench: Bench) -> None:
    """As many as have a place are under way, and `room` says at once whether one more has."""
    unit = bench.unit
    owed = Signal(range(unit.most + 1))
    bench.m.d.sync += owed.eq(owed + unit.taken - unit.leaves)
    bench.assume(~unit.taken | unit.room)
    bench.assume(~unit.leaves | (owed != 0))
    bench.check(owed <= unit.most)
    bench.check(unit.room == (owed != unit.most))
    bench.check(bench.inside("room_owed") == owed)
    bench.cover(~unit.room)


def _pipeline(bench: Bench, depth: int) -> Signal:
    """Assume that a pipeline before the queue gives each beat that entered it, once, whenever it
    likes; return how many are on their way."""
    unit = bench.unit
    flying = Signal(range(depth + 2), name="flying")
    bench.m.d.sync += flying.eq(flying + unit.taken_stb - unit.i.valid)
    bench.assume(~unit.taken_stb | unit.room)
    bench.assume(~unit.i.valid | (flying != 0) | unit.taken_stb)
    return flying


def credit_room(bench: Bench) -> None:
    unit, flying = bench.unit, _pipeline(bench, bench.unit.depth)
    inside = Signal(range(unit.depth + 2))
    leaves = unit.o.valid & unit.o.ready
    bench.m.d.sync += inside.eq(inside + unit.i.valid - leaves)
    bench.check(inside + flying <= unit.depth)
    bench.check(unit.room == (inside + flying != unit.depth))
    bench.check(unit.o.valid == (inside != 0))
    bench.check(bench.inside("there") == inside)
    bench.check(bench.inside("room_owed") == inside + flying)
    bench.cover(inside == unit.depth)


def credit_order(bench: Bench) -> None:
    credit_room(bench)
    unit = bench.unit
    leaves = unit.o.valid & unit.o.ready
    bench.in_order(unit.i.valid, unit.i.payload, leaves, unit.o.payload, unit.depth)
    bench.streams()


def total_order(bench: Bench) -> None:
    """Tokens in order, and of each its parts."""
    unit = bench.unit
    _pipeline(bench, unit.depth)
    o, last = unit.o.payload, unit.o.payload.part == unit.parts - 1
    leaves = unit.o.valid & unit.o.ready
    watch = bench.watch(unit.i.valid, leaves & last, unit.depth)
    token = bench.keep(unit.i.payload, watch.taken_stb)
    given = unit.i.payload.shape()(token)
    part = Signal.like(o.part)
    with bench.m.If(leaves):
        bench.m.d.sync += part.eq(Mux(last, 0, part + 1))
    bench.check(~unit.i.valid | (watch.inside != unit.depth))
    bench.check(~unit.o.valid | (watch.inside != 0))
    bench.check(~unit.o.valid | (o.part == part))
    whole = (o.tag == given.tag) & (o.sum == given.sum)
    for place in range(unit.parts):
        sums = given.acc.as_value().word_select(place, unit.lanes * unit.acc_width)
        whole &= (part != place) | (o.acc.as_value() == sums)
    bench.check(~(leaves & watch.now) | whole)
    bench.cover(leaves & watch.now & last)
    bench.streams()


def gearbox_order(bench: Bench) -> None:
    """Bytes in order: one of a beat is watched, whichever."""
    unit = bench.unit
    bench.streams()
    bench.assume(~unit.clear_stb)
    put, get = unit.i.valid & unit.i.ready, unit.o.valid & unit.o.ready
    which = bench.constant(range(unit.in_bytes), "which")
    mark = bench.free(1, "mark")
    bench.assume(which < unit.in_bytes)
    seen, gone = Signal(), Signal()
    inside = Signal(range(unit.in_bytes + 2 * unit.out_bytes))
    ahead, byte = Signal.like(inside), Signal(8)
    left = inside - Mux(get, unit.out_bytes, 0)
    bench.m.d.sync += inside.eq(left + Mux(put, unit.in_bytes, 0))
    with bench.m.If(put & mark & ~seen):
        bench.m.d.sync += [seen.eq(1), ahead.eq(left + which), byte.eq(unit.i.payload[which])]
    with bench.m.Elif(seen & get & ~gone):
        bench.m.d.sync += [ahead.eq(ahead - unit.out_bytes), gone.eq(ahead < unit.out_bytes)]
    mine = get & seen & ~gone & (ahead < unit.out_bytes)
    bench.check(~mine | (unit.o.payload[ahead] == byte))
    bench.check(unit.o.valid == (inside >= unit.out_bytes))
    bench.check(inside <= unit.in_bytes + unit.out_bytes - 1)
    bench.cover(mine)


PROOFS = [
    Proof(
        "credits",
        partial(Credits, 5),
        "never more under way than places, and `room` exactly while there is one",
        credits_count,
        "prove",
        2,
    ),
    *(
        Proof(
            f"credit_queue_{depth}",
            partial(CreditQueue, 1, depth=depth),
            f"depth {depth}: never overflows, `valid` exactly while a beat is there",
            credit_room,
            "prove",
            2,
        )
        for depth in (1, 2, 3, 5, 8)
    ),
    Proof(
        "credit_queue_order",
        partial(CreditQueue, 1, depth=2),
        "nothing lost, doubled or overtaken; stream rules",
        credit_order,
        "bmc",
        8,
    ),
    *(
        Proof(
            f"total_queue_{depth}",
            partial(
                TotalQueue, depth=depth, cols=2, lanes=1, acc_width=1, sum_width=1, tag_width=1
            ),
            f"depth {depth}: tokens in order, with all parts of each; stream rules",
            total_order,
            "bmc",
            9,
        )
        for depth in (3, 4)
    ),
    *(
        Proof(
            f"gearbox_{taken}_{given}",
            partial(Gearbox, in_bytes=taken, out_bytes=given),
            f"{taken} to {given} bytes: nothing lost, doubled or overtaken; stream rules",
            gearbox_order,
            "bmc",
            8,
        )
        for taken, given in ((2, 3), (3, 2))
    ),
]
