"""Bench of the requantizer against its golden model."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

from rootshift.formats import SHIFT_MAX, output_range
from rootshift.hw.requantizer import Requantizer
from rootshift.latency import credits_needed
from rootshift.sim.golden.requantizer import requantizer
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import ClampedCount, begin_near_the_end
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

BEATS = 200
FULL = PAIRS.index(("bursts:7,3", "bursts:1,9"))
"""The run whose sink is so much slower than its source that the unit is full."""
EXTREMES = np.array([-(1 << 31), -(1 << 31) + 1, -1, 0, 1, (1 << 31) - 2, (1 << 31) - 1])

# Output width, shift, zero point: every kind of output, every end of shift and zero point.
COMMANDS = [
    (4, 24, 7),
    (8, 47, -32768),
    (16, 15, 0),
    (32, 0, 0),
    (24, 1, 0),
    (3, 31, 32767),
    (6, 40, -5),
    (8, 33, 200),
]


def channels(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Parameters of random channels, extremes and multipliers of a single bit among them."""
    random = rng.integers
    single = 1 << random(0, 16, count)
    multipliers = random(0, 1 << 16, count) >> random(0, 4, count)
    zeros = random(-(1 << 15), 1 << 15, count) >> random(0, 16, count)
    ends = rng.choice([-(1 << 15), (1 << 15) - 1], count)
    some = np.full(count, 0xFFFF), np.zeros(count, int), single, multipliers, multipliers
    return {
        "bias": random(-(1 << 31), 1 << 31, count) >> random(0, 32, count),
        "weight_zero": np.choose(random(0, 8, count) == 0, (zeros, ends)),
        "multiplier": np.choose(random(0, len(some), count), some),
    }


def any_command(rng: np.random.Generator) -> tuple[int, int, int]:
    """Each shift has its turn, since each moves other bits."""
    width = int(rng.choice([3, 4, 6, 8, 16, 24, 32]))
    return width, int(rng.integers(SHIFT_MAX + 1)), int(rng.integers(-9, 99)) * (width <= 8)


def sums(
    rng: np.random.Generator,
    parameters: dict,
    groups: int,
    lanes: int,
    width: int,
    count: int = BEATS,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Beats whose corrected sums cover the 32-bit range, and those corrected sums."""
    size = count * lanes
    corrected = rng.integers(-(1 << 31), 1 << 31, size) >> rng.integers(0, 32, size)
    corrected[: len(EXTREMES)] = EXTREMES[:size]
    corrected = rng.permutation(corrected).reshape(count, lanes)
    group = rng.integers(0, groups, count)
    at = group[:, None] * lanes + np.arange(lanes)
    total = rng.integers(0, 1 << width, count)
    acc = corrected + parameters["weight_zero"][at] * total[:, None] - parameters["bias"][at]
    beats = {"acc": acc % (1 << 32), "sum": total, "group": group, "tag": np.arange(count) % 32}
    return beats, corrected


async def load(bench: Bench, parameters: dict) -> None:
    """Send the channels, in any order."""
    lanes = bench.params["lanes"]
    order = np.random.default_rng(0).permutation(len(parameters["bias"]))
    beats = {name: values[order] for name, values in parameters.items()}
    beats |= {"group": order // lanes, "lane": order % lanes}
    await bench.run({"parameters": beats}, {}, idle="random:0.5")


def command(bench: Bench, width: int, shift: int, zero: int) -> None:
    low, high = output_range(width)
    for port, value in (("shift", shift), ("zero", zero), ("low", low), ("high", high)):
        bench.set(port, value)


@cocotb.test()
async def codes_equal_golden(dut):
    bench = await Bench.start(dut)
    count = ClampedCount(bench)
    lanes, groups = bench.params["lanes"], bench.params["groups"]
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        parameters = channels(rng, lanes * groups)
        await load(bench, parameters)
        width, shift, zero = COMMANDS[run]
        beats, corrected = sums(rng, parameters, groups, lanes, bench.params["sum_width"])
        command(bench, width, shift, zero)
        # The first run takes it to its end.
        if run:
            await count.clear()
        got = await bench.run({"i": beats}, {"o": BEATS}, idle=idle, pressure=pressure, seed=run)
        at = beats["group"][:, None] * lanes + np.arange(lanes)
        expected, saturated = requantizer(
            corrected,
            multiplier=parameters["multiplier"][at],
            shift=shift,
            zero=zero,
            width=width,
        )
        what = f"width {width}, shift {shift}, {idle}, {pressure}"
        bench.compare(what, got["o"]["y"].reshape(BEATS, lanes), expected)
        bench.compare(f"tag, {what}", got["o"]["tag"], beats["tag"])
        count.compare(what, saturated)
        if (idle, pressure) == ("always", "always"):
            latency = np.subtract(bench.sinks["o"].cycles, bench.sources["i"].cycles)
            bench.compare("latency", latency, np.full(BEATS, bench.params["latency"]))
            taken = bench.sources["i"].cycles
            bench.compare("one beat per cycle", np.diff(taken), np.ones(BEATS - 1))
        if run == FULL:
            most = credits_needed(bench.params["latency"])
            bench.compare("beats inside", bench.most_inside("i", "o"), most)


@cocotb.test()
async def each_beat_keeps_its_command(dut):
    """Commands change in every cycle, while earlier beats are still in the pipeline."""
    bench = await Bench.start(dut)
    clamped = ClampedCount(bench)
    await clamped.clear()
    lanes, groups = bench.params["lanes"], bench.params["groups"]
    rng = np.random.default_rng(bench.params["seed"] + 1)
    parameters = channels(rng, lanes * groups)
    await load(bench, parameters)
    count = 10 * BEATS
    beats, corrected = sums(rng, parameters, groups, lanes, bench.params["sum_width"], count)
    start, chosen = bench.cycle, [any_command(rng)]
    command(bench, *chosen[0])

    async def change():
        while True:
            await RisingEdge(dut.clk)
            chosen.append(any_command(rng))
            command(bench, *chosen[-1])

    task = cocotb.start_soon(change())
    got = await bench.run({"i": beats}, {"o": count}, idle="random:0.8", pressure="random:0.6")
    task.cancel()
    at = beats["group"][:, None] * lanes + np.arange(lanes)
    total = 0
    for beat, cycle in enumerate(bench.sources["i"].cycles):
        width, shift, zero = chosen[cycle + 1 - start]
        expected, saturated = requantizer(
            corrected[beat],
            multiplier=parameters["multiplier"][at[beat]],
            shift=shift,
            zero=zero,
            width=width,
        )
        bench.compare(f"beat {beat}", got["o"]["y"].reshape(count, lanes)[beat], expected)
        total += saturated
    clamped.compare("all beats", total)


@pytest.mark.parametrize(
    ("lanes", "groups", "stages"),
    [(1, 1, 1), (4, 8, 1), (5, 3, 1), (16, 48, 1), (4, 8, 2), (5, 3, 3)],
)
def test_codes_equal_golden(lanes, groups, stages, monkeypatch):
    begin_near_the_end(monkeypatch)
    sizes = {"lanes": lanes, "groups": groups, "sum_width": 20}
    unit = Requantizer(**sizes, tag_width=5, stages=stages)
    assert 2 * stages + 8 == unit.LATENCY
    params = sizes | {"seed": lanes + groups, "latency": unit.LATENCY}
    print(f"seed {params['seed']}")
    print(simulate(unit, __name__, params=params))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lanes": 0}, "lanes must be 1 to 256, not 0"),
        ({"groups": 4097}, "groups must be 1 to 4096, not 4097"),
        ({"acc_width": 33}, "acc_width must be 1 to 32, not 33"),
        ({"out_width": 3}, "out_width must be 4 to 32, not 3"),
        ({"stages": 4}, "stages must be 1 to 3, not 4"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Requantizer(**{"lanes": 4, "groups": 4, **wrong})
