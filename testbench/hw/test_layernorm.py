"""Bench of LayerNorm against its golden model."""

from math import isqrt
from typing import Any

import cocotb
import numpy as np
import pytest

from rootshift.formats import ROOT_WIDTH
from rootshift.hw.layernorm import LayerNorm
from rootshift.latency import credits_needed, norm_codes, norm_room
from rootshift.sim.golden.layernorm import layernorm, normalize
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import ClampedCount, begin_near_the_end
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

LOW, HIGH = -(1 << 15), (1 << 15) - 1
EXTREMES = np.array([LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH])


def corners(rng: np.random.Generator, channels: int) -> np.ndarray:
    """Rows `[rows, channels]` with the smallest and largest sums, variances and values."""
    ramp = np.arange(channels)
    one = ramp == channels - 1
    return np.stack(
        [
            np.zeros(channels, int),
            np.full(channels, LOW),
            np.full(channels, HIGH),
            np.full(channels, 1),
            np.where(ramp % 2, LOW, HIGH),
            np.where(one, HIGH, LOW),
            np.where(one, LOW, HIGH),
            one.astype(int),
            -one.astype(int),
            np.where(ramp < channels // 2, 0, 1),
            rng.choice(EXTREMES, channels),
            rng.integers(LOW, HIGH + 1, channels),
        ]
    )


def rows(rng: np.random.Generator, channels: int, count: int) -> np.ndarray:
    """The corners, then rows of random mean and spread, in a random order."""
    # Large means of rows of little spread: where the variance is the difference of large numbers.
    mean = rng.integers(LOW, HIGH + 1, (count, 1)) >> rng.choice([0, 0, 0, 1, 4, 8, 15], (count, 1))
    noise = rng.integers(LOW, HIGH + 1, (count, channels)) >> rng.integers(0, 16, (count, 1))
    found = np.concatenate([corners(rng, channels), np.clip(mean + noise, LOW, HIGH)])[:count]
    return rng.permutation(found)


def one_far_away(rng: np.random.Generator, channels: int) -> np.ndarray:
    """A row `[1, channels]` of about the same numbers but for one: the largest result there is."""
    mean, spread = int(rng.integers(LOW, HIGH + 1)), 1 << int(rng.integers(0, 8))
    row = mean + rng.integers(-spread, spread + 1, channels)
    row[rng.integers(channels)] = rng.integers(LOW, HIGH + 1)
    return np.clip(row, LOW, HIGH)[None]


def next_to_a_square(rng: np.random.Generator, x: np.ndarray) -> int:
    """An epsilon with which the root of the variance is an integer, or just none."""
    least = x.size * int((x * x).sum()) - int(x.sum()) ** 2 + 1
    unit = max(0, (least.bit_length() + 1) // 2 - ROOT_WIDTH)
    root = (isqrt(least) >> unit) + int(rng.integers(1, 5))
    return ((root << unit) ** 2 - least + 1) - int(rng.integers(2))


class Norm:
    """The unit under test: loads parameters, sends rows, compares."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.lanes, self.depth = bench.params["lanes"], bench.params["depth"]
        self.width = bench.params["code_width"]
        self.rng = np.random.default_rng(bench.params["seed"])
        self.count = ClampedCount(bench)

    def beats(self, values: np.ndarray) -> np.ndarray:
        """`[.., channels]` as `[beats, lanes]`, with noise where a row does not fill its last."""
        pad = -values.shape[-1] % self.lanes
        noise = self.rng.integers(LOW, HIGH + 1, (*values.shape[:-1], pad))
        return np.concatenate([values, noise], -1).reshape(-1, self.lanes)

    def scales(self, run: int, sample: np.ndarray, epsilon: int) -> tuple:
        """Gain, offset and shift: extreme in some runs, else such that codes spread."""
        channels, random = sample.shape[-1], self.rng.integers
        if run % 4 == 3:
            gain = self.rng.choice(EXTREMES, channels)
            offset = self.rng.choice([-(1 << 31), (1 << 31) - 1, 0, 1, -1], channels)
            return gain, offset, (0, 47, 30, 20)[run // 4 % 4]
        gain = random(-(1 << 15), 1 << 15, channels) >> random(0, 16)
        spread = int(np.abs(normalize(sample, epsilon) * gain).max()).bit_length()
        # One time in three most codes are clamped, by any number of bits.
        shift = max(0, spread - self.width + int(random(-1, 2) if random(3) else random(-9, -1)))
        middle = 1 << (self.width + shift - 1)
        offset = np.clip(random(-middle, 2 * middle, channels), -(1 << 31), (1 << 31) - 1)
        return gain, offset, shift

    async def load(self, gain: np.ndarray, offset: np.ndarray) -> None:
        """Send one set of parameters."""
        beats = {"gain": self.beats(gain), "offset": self.beats(offset)}
        beats["last"] = (np.arange(len(beats["gain"])) == len(beats["gain"]) - 1).astype(int)
        await self.bench.run({"parameters": beats}, {}, drain=1)
        taken = self.bench.sources["parameters"].cycles
        self.bench.compare("a set is taken at once", np.diff(taken), np.ones(len(taken) - 1, int))

    async def check(self, run: int, channels: int, count: int, **patterns: str) -> np.ndarray:
        """Send rows back to back, compare codes, `last` and saturations; return the rows."""
        epsilon = (1, 1000, (1 << 40) - 1, int(self.rng.integers(1, 1 << 30)))[run % 4]
        # A model may have narrower codes than the hardware.
        width = int(self.rng.integers(3, self.width + 1)) if run % 3 == 1 else self.width
        x = rows(self.rng, channels, count)
        gain, offset, shift = self.scales(run, x, epsilon)
        # The first run takes the count to its end.
        if run:
            await self.count.clear()
        await self.send(x, epsilon, gain, offset, shift, width, seed=run, **patterns)
        return x

    async def send(
        self,
        x: np.ndarray,
        epsilon: int,
        gain: np.ndarray,
        offset: np.ndarray,
        shift: int,
        width: int,
        **patterns: Any,
    ) -> None:
        """Send rows `[rows, channels]`; hold codes, `last` and saturations against golden."""
        bench, (count, channels) = self.bench, x.shape
        await self.load(gain, offset)
        bench.set("high", (1 << width) - 1)
        for port, value in {"channels": channels, "epsilon": epsilon, "shift": shift}.items():
            bench.set(port, value)
        sent = self.beats(x)
        got = await bench.run({"i": sent}, {"o": len(sent)}, **patterns)
        expected, saturated = layernorm(
            x.astype(np.int16),
            gain=gain.astype(np.int16),
            offset=offset.astype(np.int32),
            shift=shift,
            epsilon=epsilon,
            width=width,
        )
        what = f"{channels} channels, {width} bits, epsilon {epsilon}, shift {shift}, {patterns}"
        padded = np.pad(expected, ((0, 0), (0, -channels % self.lanes)))
        codes = got["o"]["codes"].reshape(-1, self.lanes)
        bench.compare(f"codes, {what}", codes, padded.reshape(-1, self.lanes))
        beats = len(sent) // count
        last = np.tile(np.arange(beats) == beats - 1, count).astype(int)
        bench.compare(f"last, {what}", got["o"]["last"], last)
        self.count.compare(what, saturated)


@cocotb.test()
async def codes_equal_golden(dut):
    bench = await Bench.start(dut)
    norm = Norm(bench)
    lengths = [norm.depth, 2, norm.depth - 1, 1, norm.depth // 2]
    for run in range(bench.params["runs"]):
        idle, pressure = PAIRS[run % len(PAIRS)]
        channels = min(norm.depth, max(1, lengths[run % 5]))
        # An idle driver spends ten cycles a beat: fewer rows there, all corners everywhere.
        count = 40 if run % len(PAIRS) < 4 else 12
        await norm.check(run, channels, count, idle=idle, pressure=pressure)


@cocotb.test()
async def gains_of_every_size(dut):
    """Short rows of many shifts, since each moves other bits."""
    bench = await Bench.start(dut)
    norm = Norm(bench)
    for run in range(24):
        await norm.check(4 * run + 1, min(norm.depth, 2 * norm.lanes), 30)


@cocotb.test()
async def offsets_of_every_size(dut):
    """Codes that are bits of the offsets: any of them, since little or nothing is added."""
    norm = Norm(await Bench.start(dut))
    channels = min(norm.depth, 2 * norm.lanes)
    x = corners(norm.rng, channels)[-1:]
    for shift in range(32 - norm.width):
        gain = norm.rng.integers(-1, 2, channels)
        offset = norm.rng.integers(0, 1 << (norm.width + shift), channels)
        await norm.send(x, 1, gain, offset, shift, norm.width)


@cocotb.test()
async def the_last_bit_counts(dut):
    """Codes are the lowest bits of what is normalized, of roots where they change."""
    norm = Norm(await Bench.start(dut))
    lengths = [norm.depth, norm.depth, min(norm.depth, 2 * norm.lanes)]
    for run in range(30):
        channels = lengths[run % 3]
        x = one_far_away(norm.rng, channels)
        epsilon = next_to_a_square(norm.rng, x)
        expected = normalize(x, epsilon)[0]
        # All of them come to the middle of the codes.
        gain = norm.rng.choice([-1, 1], channels)
        offset = (1 << (norm.width - 1)) - gain * expected
        await norm.send(x, epsilon, gain, offset, 0, norm.width)


@cocotb.test()
async def rows_follow_at_the_documented_rate(dut):
    bench = await Bench.start(dut)
    norm = Norm(bench)
    unit = LayerNorm(**bench.params["unit"])
    for channels in {norm.depth, 1}:
        beats = -(-channels // norm.lanes)
        await norm.check(0, channels, 30)
        taken = np.array(bench.sources["i"].cycles)[beats - 1 :: beats]
        given = np.array(bench.sinks["o"].cycles)[::beats]
        bench.compare("latency", given[0] - taken[0], unit.latency())
        periods = np.diff(given)
        bench.results[f"{beats} beats, period"] = [int(periods.min()), int(periods.max())]
        bench.compare("period", periods, np.full(29, max(beats, unit.period())))


@cocotb.test()
async def as_many_words_enter_as_have_room(dut):
    bench = await Bench.start(dut)
    norm, stages = Norm(bench), bench.params["stages"]
    # A word stands in registers between the two.
    waiting = norm_room(norm.depth, norm.lanes, stages), credits_needed(norm_codes(stages))
    most = sum(waiting) + 1
    # Where rows are short, the numbers of few have a place.
    if 2 * -(-norm.depth // norm.lanes) >= most:
        await norm.check(0, norm.depth, 3, pressure="bursts:1,9")
        bench.compare("words inside", bench.most_inside("i", "o"), most)


@cocotb.test()
async def parameters_wait_for_the_rows_inside(dut):
    bench = await Bench.start(dut)
    norm = Norm(bench)
    channels = norm.depth
    x = rows(norm.rng, channels, 3)
    beats = norm.beats(x)
    sets = len(beats) // 3
    first, second = np.full(channels, 1 << 12), np.full(channels, -(1 << 12))
    offset = np.full(channels, 1 << 19)
    await norm.load(first, offset)
    high = (1 << norm.width) - 1
    for port, value in {"channels": channels, "epsilon": 1, "shift": 20, "high": high}.items():
        bench.set(port, value)
    parameters = {"gain": norm.beats(second), "offset": norm.beats(offset)}
    parameters["last"] = np.array([0] * (sets - 1) + [1])
    # The rows come at once; the set is offered with them but may not touch them.
    idle = {"i": "always", "parameters": "random:0.5"}
    got = await bench.run({"i": beats, "parameters": parameters}, {"o": len(beats)}, idle=idle)
    expected = {
        sign: layernorm(
            x.astype(np.int16),
            gain=gain.astype(np.int16),
            offset=offset.astype(np.int32),
            shift=20,
            epsilon=1,
            width=norm.width,
        )[0]
        for sign, gain in (("before", first), ("after", second))
    }
    codes = got["o"]["codes"].reshape(3, -1)[:, :channels]
    taken, given = bench.sources["parameters"].cycles, bench.sinks["o"].cycles
    after = taken[-1] < bench.sources["i"].cycles[0]
    bench.compare("codes", codes, expected["after" if after else "before"])
    if not after:
        bench.compare("the set is taken when the rows have left", taken[0], given[-1] + 1)


@cocotb.test()
async def reset_in_a_row_leaves_no_trace(dut):
    bench = await Bench.start(dut)
    norm = Norm(bench)
    bench.set("channels", norm.depth)
    if norm.depth > norm.lanes:
        await bench.run({"i": np.full((1, norm.lanes), HIGH)}, {"o": 0})
    await bench.reset()
    await norm.check(0, norm.depth, 12)


@pytest.mark.parametrize(
    ("lanes", "depth", "code_width", "runs", "stages"),
    [
        (4, 72, 4, 16, 1),
        (16, 192, 6, 16, 1),
        (6, 100, 8, 16, 1),
        (1, 7, 4, 16, 1),
        (8, 5, 4, 16, 1),
        # The largest sums and squares there are.
        (16, 4096, 4, 4, 1),
        (4, 72, 4, 8, 2),
        (6, 100, 8, 8, 3),
        (1, 7, 4, 8, 3),
    ],
)
def test_codes_equal_golden(lanes, depth, code_width, runs, stages, monkeypatch):
    begin_near_the_end(monkeypatch)
    config = {"lanes": lanes, "depth": depth, "code_width": code_width, "stages": stages}
    params = config | {"seed": depth, "runs": runs, "unit": config}
    print("seed", depth, simulate(LayerNorm(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lanes": 0}, ValueError, "lanes must be 1 to 256, not 0"),
        ({"depth": 4097}, ValueError, "depth must be 1 to 4096, not 4097"),
        ({"depth": None}, TypeError, "depth must be an integer, not None"),
        ({"code_width": 9}, ValueError, "code_width must be 3 to 8, not 9"),
        ({"stages": 0}, ValueError, "stages must be 1 to 3, not 0"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        LayerNorm(**({"lanes": 4, "depth": 16, "code_width": 4} | change))
