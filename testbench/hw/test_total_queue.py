"""Bench of the queue of totals: every token in parts, in order, at one part per cycle."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rootshift.hw.total_queue import TotalQueue
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

EVEN = ("random:0.3", "always")
"""Tokens of three parts come about as fast as they leave: often both happen in one cycle."""


class Admitted(wiring.Component):
    """The queue with nothing before it: totals enter while there is room."""

    def __init__(self, queue):
        self.queue = queue
        super().__init__(
            {
                "i": In(stream.Signature(queue.i.payload.shape())),
                "o": Out(queue.o.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        connect(m, queue.o, flipped(self.o))
        m.d.comb += [
            self.i.ready.eq(queue.room),
            queue.taken_stb.eq(self.i.valid & queue.room),
            queue.i.valid.eq(queue.taken_stb),
            queue.i.payload.eq(self.i.payload),
        ]
        return m


@cocotb.test()
async def parts_equal_totals(dut):
    bench = await Bench.start(dut)
    p = bench.params
    rng = np.random.default_rng(p["seed"])
    parts = p["cols"] // p["lanes"]
    for run, (idle, pressure) in enumerate([*PAIRS, *4 * [EVEN]]):
        await bench.disturb(seed=run)
        # More tokens than wait at once, so that the queue fills up.
        tokens = 3 * p["depth"] + 20
        beats = {
            "acc": rng.integers(0, 1 << p["acc_width"], (tokens, p["cols"])),
            "sum": rng.integers(0, 1 << p["sum_width"], tokens),
            "tag": rng.integers(0, 1 << p["tag_width"], tokens),
        }
        count = tokens * parts
        got = (await bench.run({"i": beats}, {"o": count}, idle=idle, pressure=pressure, seed=run))[
            "o"
        ]
        what = f"{idle}, {pressure}"
        acc = beats["acc"].reshape(count, p["lanes"])
        bench.compare(f"acc, {what}", got["acc"].reshape(acc.shape), acc)
        bench.compare(f"part, {what}", got["part"], np.tile(np.arange(parts), tokens))
        for name in ("sum", "tag"):
            bench.compare(f"{name}, {what}", got[name], np.repeat(beats[name], parts))
        came, left = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
        if idle == "always":
            held = np.arange(1, tokens + 1) - np.searchsorted(left[parts - 1 :: parts], came)
            bench.compare(f"most at once, {what}", held.max(), p["depth"])
        if (idle, pressure) == ("always", "always"):
            bench.compare("one part per cycle", np.diff(left), np.ones(count - 1))
            bench.compare("latency", left[0] - came[0], TotalQueue.LATENCY)


CONFIGS = [
    # depth, cols, lanes, acc, sum, tag
    (16, 8, 2, 20, 12, 5),
    (5, 6, 2, 32, 17, 0),
    (30, 7, 1, 9, 8, 3),
]
NAMES = ["depth", "cols", "lanes", "acc_width", "sum_width", "tag_width"]


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_parts_equal_totals(values):
    config = dict(zip(NAMES, values, strict=True))
    seed = sum(values)
    print(f"seed {seed}")
    unit = Admitted(TotalQueue(**config))
    print(simulate(unit, __name__, params={**config, "seed": seed}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 2}, "depth must be 3 to 8192, not 2"),
        ({"cols": 257}, "cols must be 1 to 256, not 257"),
        ({"lanes": 9}, "lanes must be 1 to 8, not 9"),
        ({"lanes": 3}, "lanes must divide the 8 cols, not 3"),
        ({"acc_width": 33}, "acc_width must be 1 to 32, not 33"),
        ({"sum_width": 0}, "sum_width must be 1 to 32, not 0"),
        ({"tag_width": -1}, "tag_width must be 0 to 256, not -1"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = dict(zip(NAMES, CONFIGS[0], strict=True)) | wrong
    with pytest.raises(ValueError, match=message):
        TotalQueue(**config)
