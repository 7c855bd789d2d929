"""Bench of the credit queue behind a pipeline that cannot stop: every beat, in order."""

import itertools

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotb.triggers import Timer

from rootshift.hw.credit_queue import CreditQueue
from rootshift.hw.pipeline import delay
from rootshift.latency import credits_needed
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

COUNT = 200


class QueuedPipeline(wiring.Component):
    """So many registers without an enable, and the queue behind them."""

    def __init__(self, shape, *, stages, depth):
        self.stages, self.depth = stages, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = CreditQueue(self.i.payload.shape(), depth=self.depth)
        connect(m, queue.o, flipped(self.o))
        enters = self.i.valid & queue.room
        leaves = delay(m, enters, self.stages, name="valid", reset_less=False)
        payload = delay(m, self.i.payload, self.stages, name="payload")
        m.d.comb += [
            self.i.ready.eq(queue.room),
            queue.taken_stb.eq(enters),
            queue.i.valid.eq(leaves),
            queue.i.payload.eq(payload),
        ]
        return m


def draw(bench, count):
    """Beats with random values in each field of the payload."""
    rng = np.random.default_rng(bench.params["seed"])
    return {
        name: rng.integers(low, high, (count, *elements))
        for name, (low, high, elements) in bench.params["fields"].items()
    }


def compare(bench, what, got, beats):
    """Hold what left against what entered, field by field."""
    fields = got if isinstance(got, dict) else {"": got}
    for name, values in beats.items():
        bench.compare(f"field {name!r}, {what}", fields[name], values)


@cocotb.test()
async def every_beat_in_order(dut):
    bench = await Bench.start(dut)
    latency = bench.params["stages"] + CreditQueue.LATENCY
    flows = bench.params["depth"] >= credits_needed(latency)
    beats = draw(bench, COUNT)
    for run, (idle, pressure) in enumerate(PAIRS):
        what = f"{idle}, {pressure}"
        got = await bench.run({"i": beats}, {"o": COUNT}, idle=idle, pressure=pressure, seed=run)
        compare(bench, what, got["o"], beats)
        entered, left = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
        if pressure == "always":
            bench.compare(f"latency, {what}", left - entered, np.full(COUNT, latency))
        if (idle, pressure) == ("always", "always") and flows:
            bench.compare("one beat per cycle", np.diff(left), np.ones(COUNT - 1))


@cocotb.test()
async def beats_inside_while_the_output_stands(dut):
    """As many as there are places enter, and no more."""
    bench = await Bench.start(dut)
    depth = bench.params["depth"]
    beats = draw(bench, depth + 5)
    pressure = f"lazy:{3 * (depth + bench.params['stages'])}"
    got = await bench.run({"i": beats}, {"o": depth + 5}, pressure=pressure)
    compare(bench, pressure, got["o"], beats)
    entered, left = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
    bench.compare("beats inside", (entered <= left[0]).sum(), depth)


@cocotb.test()
async def room_is_a_register(dut):
    """Whatever the neighbours do within a cycle, `room` tells only what there was before it."""
    bench = await Bench.start(dut)
    for inside in range(bench.params["depth"] + 1):
        await bench.reset()
        dut.o__ready.value, dut.i__valid.value = 0, 1
        await bench.step(inside)
        room = inside < bench.params["depth"]
        for ready, valid in itertools.product((0, 1, 0), (0, 1)):
            dut.o__ready.value, dut.i__valid.value = ready, valid
            await Timer(1, unit="ns")
            bench.compare(f"room with {inside} inside", int(dut.i__ready.value), room)


PLAIN = 37, {"": (0, 1 << 37, ())}
FIELDS = (
    data.StructLayout({"y": data.ArrayLayout(signed(9), 5), "tag": 3, "last": 1}),
    {"y": (-256, 256, (5,)), "tag": (0, 8, ()), "last": (0, 2, ())},
)


@pytest.mark.parametrize(
    ("payload", "stages", "depth"),
    [
        # Just as many as flow without a gap; one; fewer; more, and no power of two.
        (PLAIN, 0, 2),
        (FIELDS, 6, 8),
        (PLAIN, 3, 1),
        (FIELDS, 9, 5),
        (FIELDS, 2, 21),
    ],
    ids=["at once", "flows", "one place", "few places", "many places"],
)
def test_every_beat_in_order(payload, stages, depth):
    shape, fields = payload
    params = {"stages": stages, "depth": depth, "fields": fields, "seed": 100 * stages + depth}
    print(params)
    print(simulate(QueuedPipeline(shape, stages=stages, depth=depth), __name__, params=params))


@pytest.mark.parametrize("depth", [0, 8193])
def test_depths_out_of_range(depth):
    with pytest.raises(ValueError, match=f"^depth must be 1 to 8192, not {depth}$"):
        CreditQueue(8, depth=depth)


def test_a_depth_that_is_no_integer():
    with pytest.raises(TypeError, match=r"^depth must be an integer, not 4\.0$"):
        CreditQueue(8, depth=4.0)
