"""Bench of the systolic array: whole sequences of weight tiles against plain matrix products."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

from rootshift.config import ARRAY_MULTIPLIERS
from rootshift.hw.systolic_array import SystolicArray
from rootshift.latency import array_block
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

TAG_WIDTH = 11


class Tiles:
    """Random and extreme tiles with their vectors, and what the array must make of them."""

    def __init__(self, rng: np.random.Generator, params: dict, counts: list[int]) -> None:
        rows, cols = params["rows"], params["cols"]
        x_max, w_max = (1 << params["activation_width"]) - 1, (1 << params["weight_width"]) - 1
        self.weights, codes, first, psums = [], [], [], []
        for number, count in enumerate(counts):
            weight = rng.integers(0, w_max + 1, (rows, cols))
            x = rng.integers(0, x_max + 1, (count, rows))
            if number % 4 == 1:
                weight[:] = w_max
                x[::2] = x_max
            if number % 4 == 3:
                weight[:, ::2] = 0
                x[1::2] = 0
            # The first column to arrive ends up furthest right.
            self.weights.append(weight.T[::-1])
            codes.append(x)
            first.append(np.arange(count) == 0)
            psums.append(x @ weight)
        self.weights = np.concatenate(self.weights)
        tags = rng.integers(0, 1 << TAG_WIDTH, sum(counts))
        x = np.concatenate(codes)
        self.vectors = {"codes": x, "first": np.concatenate(first), "tag": tags}
        self.expected = {"psums": np.concatenate(psums), "sum": x.sum(1), "tag": tags}


async def run_tiles(bench: Bench, tiles: Tiles, what: str, **patterns) -> None:
    count = len(tiles.vectors["tag"])
    sources = {"weights": tiles.weights, "i": tiles.vectors}
    got = (await bench.run(sources, {"o": count}, **patterns))["o"]
    for field, expected in tiles.expected.items():
        bench.compare(f"{field}, {what}", got[field].reshape(expected.shape), expected)


@cocotb.test()
async def sums_equal_products(dut):
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.params["seed"])
    long = bench.params["rows"] + bench.params["cols"]
    cycles = bench.results["cycles"] = []
    for run, (idle, _) in enumerate(PAIRS):
        counts = [long + 3, 1, 2, 5, long, 1, 1, long + 17, *rng.integers(1, long, 6)]
        tiles = Tiles(rng, bench.params, counts)
        # Weights and vectors each come late in their turn.
        idles = {"weights": idle, "i": "always"} if run % 2 else {"weights": "always", "i": idle}
        await run_tiles(bench, tiles, idle, idle=idles, seed=run)
        cycles += [bench.sources[name].cycles for name in ("weights", "i")]
        cycles.append(bench.sinks["o"].cycles)


@cocotb.test()
async def full_speed_and_latency(dut):
    bench = await Bench.start(dut)
    rows, cols = bench.params["rows"], bench.params["cols"]
    rng = np.random.default_rng(bench.params["seed"])
    tokens = rows + cols + 1
    counts = [tokens] * 4
    await run_tiles(bench, Tiles(rng, bench.params, counts), "full speed")
    accepted, left = bench.sources["i"].cycles, bench.sinks["o"].cycles
    bench.compare("latency", np.subtract(left, accepted), np.full(len(left), rows + cols))
    # Once the first tile is in, the next ones shift in behind it and no vector waits.
    bench.compare("accepted cycles", accepted, accepted[0] + np.arange(len(accepted)))
    columns = np.reshape(bench.sources["weights"].cycles, (len(counts), cols))
    starts = np.array(accepted[::tokens])
    # Each tile but the first goes in behind the first vector of the tile before.
    follow = starts[:-1, None] + rows + np.arange(cols)
    bench.compare("columns follow the wave", columns[1:], follow)


@cocotb.test()
async def a_tile_waits_for_its_weights(dut):
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.params["seed"])
    tiles = Tiles(rng, bench.params, [3, 3, 3])
    await run_tiles(bench, tiles, "slow weights", idle={"weights": "random:0.05"}, seed=9)


@cocotb.test()
async def a_reset_ends_what_was_under_way(dut):
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.params["seed"])
    for cycles in (3, 11, 40):
        tiles = Tiles(rng, bench.params, [9, 9, 9])
        broken = cocotb.start_soon(run_tiles(bench, tiles, "broken off", idle="random:0.5"))
        await ClockCycles(dut.clk, cycles)
        broken.cancel()
        await bench.reset()
        await run_tiles(bench, Tiles(rng, bench.params, [4, 30]), f"after {cycles} cycles")


CONFIGS = [
    (4, 4, 4, 4),
    (4, 4, 8, 8),
    (8, 8, 6, 6),
    (8, 8, 4, 8),
    (16, 16, 4, 4),
    (16, 16, 8, 6),
    (5, 12, 6, 4),
    (12, 3, 8, 4),
    (1, 1, 4, 4),
    (6, 1, 3, 8),
    (1, 7, 8, 3),
    # The widest operands that a DSP block takes, and the first that it does not: 24 and 25 bits.
    (3, 5, 8, 7),
    (3, 5, 7, 8),
    (3, 2, 3, 3),
]


@pytest.mark.parametrize(("rows", "cols", "activation_width", "weight_width"), CONFIGS)
def test_sums_equal_products(rows, cols, activation_width, weight_width):
    config = {
        "rows": rows,
        "cols": cols,
        "activation_width": activation_width,
        "weight_width": weight_width,
    }
    seed = sum(config.values())
    print(f"seed {seed}")
    cycles = {}
    for multiplier in ARRAY_MULTIPLIERS:
        unit = SystolicArray(**config, multiplier=multiplier, tag_width=TAG_WIDTH)
        ran = simulate(unit, __name__, params={**config, "seed": seed})
        print(ran)
        cycles[multiplier] = ran["results"]["cycles"]
    # Beat by beat, whatever comes late, so that one cycle model holds for both.
    assert cycles["dsp"] == cycles["lut"]


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ((8, 8, 4, 4), 2),
        ((16, 16, 4, 4), 2),
        ((32, 3, 6, 6), 2),
        ((3, 5, 8, 7), 2),
        ((3, 5, 7, 8), 1),
        ((8, 8, 8, 8), 1),
        ((8, 1, 4, 4), 1),
    ],
)
def test_columns_that_share_a_dsp_block(config, columns):
    assert array_block("dsp", *config) == columns
    assert array_block("lut", *config) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows must be 1 to 256, not 0"),
        ({"cols": 257}, "cols must be 1 to 256, not 257"),
        ({"activation_width": 9}, "activation_width must be 3 to 8, not 9"),
        ({"weight_width": 2}, "weight_width must be 3 to 8, not 2"),
        ({"tag_width": -1}, "tag_width must be 0 to 256, not -1"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = {"rows": 4, "cols": 4, "activation_width": 4, "weight_width": 4, **wrong}
    with pytest.raises(ValueError, match=message):
        SystolicArray(**config)


def test_a_multiplier_that_is_neither():
    with pytest.raises(ValueError, match="multiplier must be one of lut, dsp, not 'booth'"):
        SystolicArray(rows=4, cols=4, activation_width=4, weight_width=4, multiplier="booth")


def test_widths_hold_the_largest_sum():
    unit = SystolicArray(rows=16, cols=2, activation_width=8, weight_width=8)
    assert unit.psum_width == 20
    assert unit.sum_width == 12
    assert unit.LATENCY == 18
