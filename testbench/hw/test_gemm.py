"""Bench of the whole gemm datapath against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.formats import code_max, output_range
from rootshift.hw.gemm import Gemm
from rootshift.sim.golden.gemm import gemm
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.gemm_tiles import any_shift, run_gemm
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

TAG_WIDTH = 3
DEPTH, K_MAX, GROUPS = 64, 128, 10

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


def layer(
    rng: np.random.Generator, a: int, w: int, n: int, k: int, width: int, full: int = 1
) -> dict:
    """A random layer whose outputs mostly fall inside the range, and partly outside; its first
    `full` channels have the largest weights."""
    weight = rng.integers(0, code_max(w) + 1, (n, k))
    weight_zero = rng.integers(0, code_max(w) + 1, n)
    weight_zero[:3] = -code_max(w), 2 * code_max(w), 0
    weight[:full] = code_max(w)
    weight[-1] = 0
    low, high = output_range(width)
    spread = code_max(a) * code_max(w) * np.sqrt(k)
    scale = np.minimum((high - low) / spread, 100.0) * rng.uniform(0.1, 1, n)
    multiplier, shift = any_shift(rng, scale)
    return {
        "weight": weight,
        "weight_zero": weight_zero,
        "bias": rng.integers(-int(spread), int(spread) + 1, n),
        "multiplier": multiplier,
        "shift": shift,
        "zero": (low + high + 1) // 2 if width <= 8 else 0,
        "width": width,
    }


async def compare_layer(bench: Bench, what: str, x: np.ndarray, made: dict, **patterns) -> None:
    """Outputs and saturated values against golden, which knows nothing of digits."""
    y, saturated = await run_gemm(bench, x, made, **patterns)
    golden_arguments = {k: v for k, v in made.items() if k not in ("input_width", "weight_width")}
    expected, golden_saturated = gemm(x, **golden_arguments)
    bench.compare(what, y, expected)
    bench.compare(f"saturated, {what}", saturated, golden_saturated)


def random_codes(rng: np.random.Generator, width: int, tokens: int, k: int) -> np.ndarray:
    """Codes [T, K], all of the first token's the largest, of the last one's 0."""
    x = rng.integers(0, code_max(width) + 1, (tokens, k))
    x[0], x[-1] = code_max(width), 0
    return x


@cocotb.test()
async def layers_equal_golden(dut):
    bench = await Bench.start(dut)
    a, w = bench.params["activation_width"], bench.params["weight_width"]
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        tokens, k, n, width = PRODUCTS[run]
        full = 1
        if run == 1:
            # As much as there may be.
            full = bench.params["cols"]
            tokens, k, n = DEPTH, K_MAX, GROUPS * full
        made = layer(rng, a, w, n, k, width, full)
        if run % 3 == 0 and width <= 8:
            # Channels that only fill a group up saturate too, and must not count.
            made["zero"] = -1
        x = random_codes(rng, a, tokens, k)
        what = f"{tokens} x {k} x {n}, {width} bits, {idle}, {pressure}"
        await compare_layer(bench, what, x, made, idle=idle, pressure=pressure, seed=run)


@cocotb.test()
async def wide_codes_equal_golden(dut):
    """Codes and weights of any widths up to what the digits hold, in both orders of magnitude."""
    bench = await Bench.start(dut)
    p = bench.params
    rng = np.random.default_rng(p["seed"])
    most = [min(8, p[f"{x}_width"] * p[f"{x}_digits"]) for x in ("activation", "weight")]
    widths = {(a, w) for a in (most[0], p["activation_width"]) for w in (most[1], most[1] - 1)}
    for run, (a, w) in enumerate(sorted(widths)):
        idle, pressure = PAIRS[run % len(PAIRS)]
        tokens, k, n, width = PRODUCTS[run]
        full = 1
        if [a, w] == most:
            # The largest totals of every column.
            full = p["cols"]
            k, n = K_MAX, full + 3
        made = layer(rng, a, w, n, k, width, full) | {"input_width": a, "weight_width": w}
        x = random_codes(rng, a, tokens, k)
        what = f"{a} x {w} bits, {tokens} x {k} x {n}, {width} bits, {idle}, {pressure}"
        await compare_layer(bench, what, x, made, idle=idle, pressure=pressure, seed=run)


@cocotb.test()
async def layers_of_many_shifts(dut):
    bench = await Bench.start(dut)
    p = bench.params
    rng = np.random.default_rng(p["seed"])
    a, w = p["activation_width"], p["weight_width"]
    for run in range(24):
        width = (3, 4, 8, 16, 24, 32)[run % 6]
        made = layer(rng, a, w, p["cols"], p["rows"], width)
        x = random_codes(rng, a, 9, p["rows"])
        await compare_layer(bench, f"shift {made['shift']}", x, made)


@cocotb.test()
async def full_speed_and_latency(dut):
    bench = await Bench.start(dut)
    p = bench.params
    rows, cols, parts = p["rows"], p["cols"], p["cols"] // p["lanes"]
    rng = np.random.default_rng(p["seed"])
    # As few tiles of K as may follow each other at full speed.
    tokens, tiles, groups = rows + cols + 1, max(2, parts), 3
    made = layer(rng, 3, 3, groups * cols, tiles * rows, 8)
    x = rng.integers(0, 8, (tokens, tiles * rows))
    await run_gemm(bench, x, made)
    accepted, left = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
    bench.compare("one vector per cycle", np.diff(accepted), np.ones(len(accepted) - 1))
    last = accepted.reshape(groups, tiles, tokens)[:, -1]
    left = left.reshape(groups, tokens, parts)
    bench.compare("latency", left[:, 0, 0] - last[:, 0], np.full(groups, p["latency"]))
    for group in left:
        bench.compare("rate", np.diff(group.reshape(-1)), np.ones(group.size - 1))


@cocotb.test()
async def digits_at_full_speed(dut):
    """Activation digits share a tile of weights: no cycle is lost between digits."""
    bench = await Bench.start(dut)
    p = bench.params
    rows, cols, parts = p["rows"], p["cols"], p["cols"] // p["lanes"]
    rng = np.random.default_rng(p["seed"])
    digits = p["activation_digits"], p["weight_digits"]
    a, w = (min(8, p[f"{x}_width"] * p[f"{x}_digits"]) for x in ("activation", "weight"))
    tokens = -(-(rows + cols + 1) // digits[0])
    made = layer(rng, a, w, 2 * cols, parts * rows, 8) | {"input_width": a, "weight_width": w}
    await compare_layer(bench, "digits", random_codes(rng, a, tokens, parts * rows), made)
    accepted = np.array(bench.sources["i"].cycles)
    bench.compare("beats", len(accepted), 2 * parts * digits[0] * digits[1] * tokens)
    bench.compare("one vector per cycle", np.diff(accepted), np.ones(len(accepted) - 1))


CONFIGS = [
    # rows, cols, activation width, weight width, digits of each, lanes, what the array is made of
    (4, 4, 4, 4, 2, 2, 4, "lut"),
    (4, 4, 4, 4, 2, 2, 4, "dsp"),
    (8, 8, 6, 6, 2, 2, 2, "lut"),
    (16, 16, 4, 4, 2, 2, 4, "lut"),
    (8, 8, 8, 8, 1, 1, 8, "lut"),
    # The largest has all there is: digits, parts and most of each size.
    (16, 16, 6, 6, 2, 2, 8, "lut"),
    (6, 10, 8, 4, 1, 2, 5, "lut"),
    (5, 6, 3, 5, 3, 2, 1, "lut"),
    (5, 7, 3, 5, 3, 2, 1, "dsp"),
]
NAMES = [
    "rows", "cols", "activation_width", "weight_width", "activation_digits", "weight_digits",
    "lanes", "array_multiplier",
]  # fmt: skip


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_layers_equal_golden(values):
    config = dict(zip(NAMES, values, strict=True))
    seed = sum(values[:-1])
    print(f"seed {seed}")
    unit = Gemm(**config, depth=DEPTH, k_max=K_MAX, groups=GROUPS, tag_width=TAG_WIDTH)
    assert config["rows"] + config["cols"] + 14 == unit.LATENCY
    params = {**config, "seed": seed, "tag_width": TAG_WIDTH, "latency": unit.LATENCY}
    print(simulate(unit, __name__, params=params))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows must be 1 to 256, not 0"),
        ({"k_max": 0}, "k_max must be 1 to 1048576, not 0"),
        ({"k_max": 1 << 20}, "k_max must give totals of 32 bits, not 36: 1048576"),
        ({"groups": 0}, "groups must be 1 to 4096, not 0"),
        ({"groups": 2049, "lanes": 2}, "groups must be 1 to 2048, not 2049"),
        ({"lanes": 3}, "lanes must divide the 4 cols, not 3"),
        ({"lanes": 0}, "lanes must be 1 to 4, not 0"),
        ({"activation_digits": 0}, "activation_digits must be 1 to 3, not 0"),
        ({"weight_digits": 4}, "weight_digits must be 1 to 3, not 4"),
        ({"out_width": 33}, "out_width must be 4 to 32, not 33"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = {"rows": 4, "cols": 4, "activation_width": 8, "weight_width": 8}
    config |= {"depth": 16, "k_max": 64, "groups": 4, **wrong}
    with pytest.raises(ValueError, match=message):
        Gemm(**config)
