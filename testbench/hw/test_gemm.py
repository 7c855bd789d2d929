"""Bench of the whole gemm datapath against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.formats import code_max, fixed_point, output_range
from rootshift.hw.gemm import Gemm
from rootshift.sim.golden.gemm import gemm
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.gemm_tiles import run_gemm
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

TAG_WIDTH = 3

# Tokens, K, N, output width: multiples of the array and not, one token, one tile.
PRODUCTS = [
    (40, 70, 37, 4),
    (33, 64, 32, 8),
    (1, 48, 20, 32),
    (17, 5, 3, 16),
    (50, 33, 16, 6),
    (2, 96, 33, 3),
    (40, 16, 16, 8),
    (25, 90, 40, 16),
]


def layer(rng: np.random.Generator, a: int, w: int, n: int, k: int, width: int) -> dict:
    """A random layer whose outputs mostly fall inside the range, and partly outside."""
    weight = rng.integers(0, code_max(w) + 1, (n, k))
    weight_zero = rng.integers(0, code_max(w) + 1, n)
    weight_zero[:3] = -code_max(w), 2 * code_max(w), 0
    weight[0] = code_max(w)
    weight[-1] = 0
    low, high = output_range(width)
    spread = code_max(a) * code_max(w) * np.sqrt(k)
    scale = np.minimum((high - low) / spread, 100.0) * rng.uniform(0.1, 1, n)
    multiplier, shift = fixed_point(scale)
    return {
        "weight": weight,
        "weight_zero": weight_zero,
        "bias": rng.integers(-int(spread), int(spread) + 1, n),
        "multiplier": multiplier,
        "shift": shift,
        "zero": (low + high + 1) // 2 if width <= 8 else 0,
        "width": width,
    }


@cocotb.test()
async def layers_equal_golden(dut):
    bench = await Bench.start(dut)
    a, w = bench.params["activation_width"], bench.params["weight_width"]
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        tokens, k, n, width = PRODUCTS[run]
        x = rng.integers(0, code_max(a) + 1, (tokens, k))
        x[0], x[-1] = code_max(a), 0
        made = layer(rng, a, w, n, k, width)
        what = f"{PRODUCTS[run]}, {idle}, {pressure}"
        y, saturated = await run_gemm(bench, x, made, idle=idle, pressure=pressure, seed=run)
        expected, golden_saturated = gemm(x, **made)
        bench.compare(what, y, expected)
        bench.compare(f"saturated, {what}", saturated, golden_saturated)


@cocotb.test()
async def full_speed_and_latency(dut):
    bench = await Bench.start(dut)
    rows, cols = bench.params["rows"], bench.params["cols"]
    rng = np.random.default_rng(bench.params["seed"])
    tokens, tiles = rows + cols, 3
    made = layer(rng, 3, 3, 2 * cols, tiles * rows, 8)
    x = rng.integers(0, 8, (tokens, tiles * rows))
    await run_gemm(bench, x, made)
    accepted, left = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
    bench.compare("one vector per cycle", np.diff(accepted), np.ones(len(accepted) - 1))
    last = accepted.reshape(2, tiles, tokens)[:, -1].reshape(-1)
    bench.compare("latency", left - last, np.full(len(last), rows + cols + 9))


@pytest.mark.parametrize(
    ("rows", "cols", "activation_width", "weight_width"),
    [(4, 4, 4, 4), (8, 8, 6, 6), (16, 16, 4, 4), (16, 16, 8, 8), (6, 10, 8, 4)],
)
def test_layers_equal_golden(rows, cols, activation_width, weight_width):
    config = {
        "rows": rows,
        "cols": cols,
        "activation_width": activation_width,
        "weight_width": weight_width,
    }
    seed = sum(config.values())
    print(f"seed {seed}")
    unit = Gemm(**config, depth=64, k_max=128, groups=10, tag_width=TAG_WIDTH)
    assert rows + cols + 9 == unit.LATENCY
    params = {**config, "seed": seed, "tag_width": TAG_WIDTH}
    print(simulate(unit, __name__, params=params))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows must be 1 to 256, not 0"),
        ({"k_max": 0}, "k_max must be 1 to 1048576, not 0"),
        ({"k_max": 1 << 20}, "k_max must give totals of 32 bits, not 36: 1048576"),
        ({"groups": 0}, "groups must be 1 to 4096, not 0"),
        ({"out_width": 33}, "out_width must be 4 to 32, not 33"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = {"rows": 4, "cols": 4, "activation_width": 8, "weight_width": 8}
    config |= {"depth": 16, "k_max": 64, "groups": 4, **wrong}
    with pytest.raises(ValueError, match=message):
        Gemm(**config)
