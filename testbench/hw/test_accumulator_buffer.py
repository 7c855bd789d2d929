"""Bench of the accumulator buffer: sequences of partial sums against a running total per token."""

import cocotb
import numpy as np
import pytest

from rootshift import latency
from rootshift.hw.accumulator_buffer import AccumulatorBuffer
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS


def gemm_order(tokens: np.ndarray, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Address, first, last of a GEMM: every token of a tile of K, then the next tile."""
    tile = np.repeat(np.arange(tiles), len(tokens))
    return np.tile(tokens, tiles), tile == 0, tile == tiles - 1


def orders(rng: np.random.Generator, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """GEMMs of all tokens, of one (the same address in each cycle), of two and three in turn."""
    parts = [
        gemm_order(np.arange(depth), 3),
        gemm_order(rng.integers(0, depth, 1), 9),
        gemm_order(rng.permutation(depth)[:2], 5),
        gemm_order(rng.permutation(depth)[:3], 4),
        gemm_order(rng.permutation(depth), 1),
        gemm_order(rng.permutation(depth)[: max(1, depth // 2)], 4),
    ]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def totals(beats: dict, config: dict) -> dict:
    """Model: what leaves the buffer, wrapped to its widths."""
    kept: dict[int, np.ndarray] = {}
    left = []
    i, j = beats["activation_digit"], beats["weight_digit"]
    shift = i * config["activation_width"]
    psums = beats["psums"] << (shift + j * config["weight_width"])[:, None]
    rows = np.concatenate([psums, np.where(j == 0, beats["sum"] << shift, 0)[:, None]], 1)
    for beat, address in enumerate(beats["address"]):
        kept[address] = rows[beat] + (0 if beats["first"][beat] else kept[address])
        if beats["last"][beat]:
            left.append(kept[address])
    left = np.stack(left)
    return {
        "acc": left[:, :-1] % (1 << config["acc_width"]),
        "sum": left[:, -1] % (1 << config["sum_acc_width"]),
        "address": beats["address"][beats["last"]],
        "tag": beats["tag"][beats["last"]],
    }


@cocotb.test()
async def totals_equal_model(dut):
    bench = await Bench.start(dut)
    p = bench.params
    rng = np.random.default_rng(p["seed"])
    for run, (idle, _) in enumerate(PAIRS):
        address, first, last = orders(rng, p["depth"])
        psums = rng.integers(0, 1 << p["in_width"], (len(address), p["cols"]))
        if run % 2:
            psums[::3] = (1 << p["in_width"]) - 1
        beats = {
            "psums": psums,
            "sum": rng.integers(0, 1 << p["sum_in_width"], len(address)),
            "address": address,
            "first": first,
            "last": last,
            "activation_digit": rng.integers(0, p["activation_digits"], len(address)),
            "weight_digit": rng.integers(0, p["weight_digits"], len(address)),
            "tag": rng.integers(0, 1 << p["tag_width"], len(address)),
        }
        expected = totals(beats, p)
        count = int(last.sum())
        got = await bench.run({"i": beats}, {"o": count}, idle=idle, seed=run)
        for field, values in expected.items():
            bench.compare(f"{field}, {idle}", got["o"][field].reshape(values.shape), values)
        if idle == "always":
            accepted = np.array(bench.sources["i"].cycles)
            took = np.array(bench.sinks["o"].cycles) - accepted[last]
            bench.compare("latency", took, np.full(count, latency.accumulators(p["stages"])))
            bench.compare("one beat per cycle", np.diff(accepted), np.ones(len(accepted) - 1))


@cocotb.test()
async def totals_wrap(dut):
    """Largest sums upon a token until its total has passed the top."""
    bench = await Bench.start(dut)
    p = bench.params
    digits = {name: p[f"{name}_digits"] - 1 for name in ("activation", "weight")}
    shift = digits["activation"] * p["activation_width"]
    spare = p["acc_width"] - p["in_width"] - shift - digits["weight"] * p["weight_width"]
    # Codes count with weight digit 0 alone.
    codes_spare = p["sum_acc_width"] - p["sum_in_width"] - shift
    for weight_digit, bits in ((digits["weight"], spare), (0, codes_spare)):
        count = (1 << max(bits, 0)) + 9
        address, first, last = gemm_order(np.array([p["depth"] - 1]), count)
        last[-9:] = True
        beats = {"address": address, "first": first, "last": last, "tag": 0 * address}
        beats["psums"] = np.full((count, p["cols"]), (1 << p["in_width"]) - 1)
        beats["sum"] = np.full(count, (1 << p["sum_in_width"]) - 1)
        beats["activation_digit"] = np.full(count, digits["activation"])
        beats["weight_digit"] = np.full(count, weight_digit)
        expected = totals(beats, p)
        got = await bench.run({"i": beats}, {"o": int(last.sum())})
        for field, values in expected.items():
            what = f"{field}, weight digit {weight_digit}"
            bench.compare(what, got["o"][field].reshape(values.shape), values)


CONFIGS = [
    # depth, cols, in, acc, sum in, sum acc, tag; activation width, weight width, digits of each;
    # stages
    (16, 4, 10, 16, 6, 12, 5, 8, 8, 1, 1, 1),
    (16, 4, 10, 16, 6, 12, 5, 8, 8, 1, 1, 2),
    (197, 16, 12, 32, 8, 16, 8, 4, 4, 2, 2, 1),
    (197, 4, 12, 32, 8, 16, 8, 4, 4, 2, 2, 2),
    (7, 5, 20, 20, 12, 12, 1, 3, 5, 3, 2, 3),
    (1, 1, 20, 32, 12, 22, 3, 6, 4, 1, 2, 1),
    (1, 1, 20, 32, 12, 22, 3, 6, 4, 1, 2, 2),
    (9, 3, 9, 30, 7, 20, 0, 3, 3, 3, 3, 1),
]
NAMES = [
    "depth", "cols", "in_width", "acc_width", "sum_in_width", "sum_acc_width", "tag_width",
    "activation_width", "weight_width", "activation_digits", "weight_digits", "stages",
]  # fmt: skip


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_totals_equal_model(values):
    config = dict(zip(NAMES, values, strict=True))
    seed = sum(values)
    print(f"seed {seed}")
    print(simulate(AccumulatorBuffer(**config), __name__, params={**config, "seed": seed}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 0}, "depth must be 1 to 4096, not 0"),
        ({"cols": 0}, "cols must be 1 to 256, not 0"),
        ({"in_width": 33}, "in_width must be 1 to 32, not 33"),
        ({"acc_width": 9}, "acc_width must be 10 to 32, not 9"),
        ({"sum_acc_width": 5}, "sum_acc_width must be 6 to 32, not 5"),
        ({"activation_width": 2}, "activation_width must be 3 to 8, not 2"),
        ({"weight_width": 9}, "weight_width must be 3 to 8, not 9"),
        ({"activation_digits": 0}, "activation_digits must be 1 to 3, not 0"),
        ({"weight_digits": 4}, "weight_digits must be 1 to 3, not 4"),
        ({"stages": 0}, "stages must be 1 to 3, not 0"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = dict(zip(NAMES, CONFIGS[0], strict=True)) | wrong
    with pytest.raises(ValueError, match=message):
        AccumulatorBuffer(**config)
