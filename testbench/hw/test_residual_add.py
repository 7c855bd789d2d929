"""Bench of the residual adder against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.residual_add import ResidualAdd
from rootshift.sim.golden.residual_add import residual_add
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import ClampedCount, begin_near_the_end
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

EXTREMES = np.array([-(1 << 15), -(1 << 15) + 1, -1, 0, 1, (1 << 15) - 2, (1 << 15) - 1])


def operands(rng: np.random.Generator, beats: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of extremes, then random values of random magnitude."""
    pairs = np.stack(np.meshgrid(EXTREMES, EXTREMES), -1).reshape(-1, 2)
    size = 2 * beats * lanes - pairs.size
    noise = rng.integers(-(1 << 15), 1 << 15, size) >> rng.integers(0, 16, size)
    values = np.concatenate([pairs, noise.reshape(-1, 2)])
    return values[:, 0].reshape(beats, lanes), values[:, 1].reshape(beats, lanes)


@cocotb.test()
async def sums_equal_golden(dut):
    bench = await Bench.start(dut)
    count = ClampedCount(bench)
    lanes, seed = bench.params["lanes"], bench.params["seed"]
    rng = np.random.default_rng(seed)
    for run, (idle, pressure) in enumerate(PAIRS):
        shift = (0, 1, 4, 15, 8)[run % 5]
        residual, branch = operands(rng, 200, lanes)
        bench.set("shift", shift)
        # The first run takes the count to its end.
        if run:
            await count.clear()
        beats = {"residual": residual, "branch": branch}
        got = await bench.run({"i": beats}, {"o": 200}, idle=idle, pressure=pressure, seed=run)
        expected, saturated = residual_add(
            residual.astype(np.int16), branch.astype(np.int16), shift=shift
        )
        what = f"shift {shift}, {idle}, {pressure}"
        bench.compare(what, got["o"].reshape(200, lanes), expected)
        count.compare(what, saturated)
        if (idle, pressure) == ("always", "always"):
            latency = np.subtract(bench.sinks["o"].cycles, bench.sources["i"].cycles)
            bench.compare("latency", latency, np.full(200, ResidualAdd.LATENCY))


@cocotb.test()
async def each_clamped_value_counts_once(dut):
    bench = await Bench.start(dut)
    count = ClampedCount(bench)
    least = np.full((1, bench.params["lanes"]), EXTREMES[0])
    for beats in range(1, 6):
        await bench.run({"i": {"residual": least, "branch": least}}, {"o": 1})
        count.compare(f"after {beats}", least.size)


@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_sums_equal_golden(lanes, monkeypatch):
    begin_near_the_end(monkeypatch)
    print(f"seed {lanes}")
    print(simulate(ResidualAdd(lanes=lanes), __name__, params={"lanes": lanes, "seed": lanes}))


@pytest.mark.parametrize("lanes", [0, 257])
def test_lanes_out_of_range(lanes):
    with pytest.raises(ValueError, match=f"lanes must be 1 to 256, not {lanes}"):
        ResidualAdd(lanes=lanes)


def test_lanes_of_the_wrong_kind():
    with pytest.raises(TypeError, match="lanes must be an integer, not 'four'"):
        ResidualAdd(lanes="four")
