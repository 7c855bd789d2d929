"""Bench of the activation table against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.gelu_table import GeluTable
from rootshift.sim.golden.gelu_table import gelu_table
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

BEATS = 300


@cocotb.test()
async def codes_equal_golden(dut):
    bench = await Bench.start(dut)
    lanes = bench.params["lanes"]
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        # A second load must start at entry 0 again.
        table = rng.integers(0, 1 << bench.params["code_width"], 256)
        await bench.run({"table": table}, {}, idle=idle, seed=run)
        index = rng.integers(0, 256, (BEATS, lanes))
        index[:256, 0] = np.arange(256)
        got = await bench.run({"i": index}, {"o": BEATS}, idle=idle, pressure=pressure, seed=run)
        expected = gelu_table(index, table=table)
        bench.compare(f"{idle}, {pressure}", got["o"].reshape(BEATS, lanes), expected)
        if (idle, pressure) == ("always", "always"):
            latency = np.subtract(bench.sinks["o"].cycles, bench.sources["i"].cycles)
            bench.compare("latency", latency, np.full(BEATS, GeluTable.LATENCY))
            taken = bench.sources["i"].cycles
            bench.compare("one beat per cycle", np.diff(taken), np.ones(BEATS - 1))


@cocotb.test()
async def loads_while_the_output_waits(dut):
    bench = await Bench.start(dut)
    lanes = bench.params["lanes"]
    table = np.arange(256) % (1 << bench.params["code_width"])
    await bench.run({"table": table}, {})
    # Beats taken before the load keep the codes of the old table.
    index = np.arange(4 * lanes).reshape(4, lanes) % 256
    beats = {"i": index, "table": table[::-1]}
    got = await bench.run(beats, {"o": 4}, pressure="lazy:300", idle={"i": "bursts:1,300"})
    bench.compare("first beat", got["o"].reshape(4, lanes)[0], table[index[0]])
    bench.compare("last beats", got["o"].reshape(4, lanes)[2:], table[::-1][index[2:]])


@pytest.mark.parametrize(("lanes", "code_width"), [(1, 8), (4, 4), (8, 6), (16, 4)])
def test_codes_equal_golden(lanes, code_width):
    params = {"lanes": lanes, "code_width": code_width, "seed": lanes + code_width}
    print(f"seed {params['seed']}")
    print(simulate(GeluTable(lanes=lanes, code_width=code_width), __name__, params=params))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lanes": 0}, "lanes must be 1 to 256, not 0"),
        ({"code_width": 9}, "code_width must be 3 to 8, not 9"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        GeluTable(**{"lanes": 4, "code_width": 4, **wrong})
