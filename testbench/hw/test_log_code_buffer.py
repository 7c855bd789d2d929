"""Bench of the buffer of log codes: tiles come out as often as asked, in order, without a pause."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.log_code_buffer import PASSES_WIDTH, LogCodeBuffer
from rootshift.latency import LOG_CODES
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS


def tiles(rng: np.random.Generator, params: dict, keys: list[int], passes: list[int]) -> tuple:
    """Beats of `i` and of `tile`, and the beats that `o` must give."""
    ends = [(np.arange(count) == count - 1).astype(int) for count in keys]
    codes = [rng.integers(0, 1 << params["code_width"], (count, params["cols"])) for count in keys]
    tags = rng.integers(0, 1 << params["tag_width"], len(keys))
    given = {"codes": np.concatenate(codes), "last": np.concatenate(ends)}
    asked = {"keys": np.array(keys), "passes": np.array(passes), "tag": tags}
    found = []
    for tile, end, often, tag in zip(codes, ends, passes, tags, strict=True):
        for number in range(often):
            final, same = np.full_like(end, number == often - 1), np.full_like(end, tag)
            found.append(np.column_stack([tile, end, final, same]))
    return given, asked, np.concatenate(found)


async def check(bench: Bench, given: dict, asked: dict, expected: np.ndarray, **patterns) -> None:
    got = await bench.run({"i": given, "tile": asked}, {"o": len(expected)}, **patterns)
    columns = [got["o"]["codes"].reshape(len(expected), -1)]
    columns += [got["o"][name][:, None] for name in ("last", "final", "tag")]
    bench.compare(f"{asked}, {patterns}", np.concatenate(columns, 1), expected)


@cocotb.test()
async def tiles_are_given_as_often_as_asked(dut):
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        await bench.disturb(seed=run)
        keys = [bench.params["depth"], 1, *rng.integers(1, bench.params["depth"] + 1, 4).tolist()]
        beats = tiles(rng, bench.params, keys, rng.integers(1, 5, 6).tolist())
        await check(bench, *beats, idle=idle, pressure=pressure, seed=run)


@cocotb.test()
async def passes_of_all_bits(dut):
    bench = await Bench.start(dut)
    rng = np.random.default_rng(2)
    passes = [0x1FF, 0x1FE, 0x155, 0x154, 0xAA, *(1 << bit for bit in range(PASSES_WIDTH))]
    keys = [min(2, bench.params["depth"]), *[1] * (len(passes) - 1)]
    await check(bench, *tiles(rng, bench.params, keys, passes))


@cocotb.test()
async def reads_do_not_pause(dut):
    """Four tiles in two passes each: while one is read twice, the next has time to come."""
    bench = await Bench.start(dut)
    rng, depth = np.random.default_rng(1), bench.params["depth"]
    given, asked, expected = tiles(rng, bench.params, [depth] * 4, [2] * 4)
    await check(bench, given, asked, expected)
    sent, taken = np.array(bench.sources["i"].cycles), np.array(bench.sinks["o"].cycles)
    bench.compare("latency", taken[0] - sent[depth - 1], LogCodeBuffer.LATENCY)
    bench.compare("one key per cycle", np.diff(taken), np.ones(8 * depth - 1, int))
    # The third tile takes the place of the first as soon as that has been read.
    bench.compare("two tiles at once", np.diff(sent[: 2 * depth]), np.ones(2 * depth - 1, int))
    bench.compare("the third", sent[2 * depth] + LOG_CODES, taken[2 * depth - 1] + 1)


@pytest.mark.parametrize(
    ("cols", "code_width", "depth", "tag_width"), [(4, 4, 20, 3), (1, 3, 1, 1), (3, 8, 16, 5)]
)
def test_tiles_equal_what_came(cols, code_width, depth, tag_width):
    config = {"cols": cols, "code_width": code_width, "depth": depth, "tag_width": tag_width}
    params = config | {"seed": depth}
    print("seed", depth, simulate(LogCodeBuffer(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cols": 0}, ValueError, "cols must be 1 to 256, not 0"),
        ({"code_width": 9}, ValueError, "code_width must be 3 to 8, not 9"),
        ({"depth": 1.5}, TypeError, "depth must be an integer, not 1.5"),
        ({"tag_width": -1}, ValueError, "tag_width must be 0 to 128, not -1"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        LogCodeBuffer(**({"cols": 2, "code_width": 4, "depth": 8} | change))
