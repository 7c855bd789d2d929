"""Bench of the log2 softmax against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.log2_softmax import Log2Softmax
from rootshift.latency import SOFTMAX_CODE, SOFTMAX_CONSTANTS, SOFTMAX_SLACK
from rootshift.sim.golden.log2_softmax import log2_softmax
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

LOW, HIGH = -(1 << 23), (1 << 23) - 1
EXTREMES = np.array([LOW, LOW + 1, -257, -256, -255, -1, 0, 1, 255, 256, 257, HIGH - 1, HIGH])


def corners(rng: np.random.Generator, depth: int, lanes: int) -> list[np.ndarray]:
    """Groups of rows, each `[keys, lanes]`, that exercise every branch of the recurrence."""
    full = (depth, lanes)
    ramp = np.arange(depth)[:, None]
    jitter = rng.integers(0, 256, full)
    found = [
        rng.integers(LOW, HIGH + 1, (1, lanes)),
        np.full((1, lanes), LOW),
        np.full((1, lanes), HIGH),
        np.zeros(full, int),
        np.full(full, HIGH),
        np.full(full, LOW),
        ramp * 256 + jitter,
        -ramp * 256 + jitter,
        LOW + ramp * (1 << 24) // depth + jitter,
        HIGH - ramp * (1 << 24) // depth - jitter,
        np.where(ramp % 2, LOW, HIGH) + np.zeros(full, int),
        np.where(ramp == depth - 1, HIGH, LOW) + np.zeros(full, int),
        rng.choice(EXTREMES, full),
        ramp * 31 * 256 + np.zeros(full, int),
        ramp * 32 * 256 - rng.integers(0, 2, full),
        # The maximum grows, and keys are below it, by octaves of one bit each.
        LOW + (256 << np.minimum(ramp, 15)) + np.zeros(full, int),
        np.where(ramp, HIGH - (256 << np.minimum(ramp, 15)), HIGH) + np.zeros(full, int),
        rng.integers(LOW, HIGH + 1, full),
    ]
    return [np.clip(rows, LOW, HIGH) for rows in found]


def groups(rng: np.random.Generator, depth: int, lanes: int, count: int) -> list[np.ndarray]:
    """The corners, then random rows of random length, spread and mean, in a random order."""
    rows = corners(rng, depth, lanes)
    while len(rows) < count:
        keys = 1 if rng.random() < 0.2 else int(rng.integers(1, depth + 1))
        spread = 1 << int(rng.integers(0, 23))
        mean = rng.integers(-(1 << 22), 1 << 22, lanes)
        rows.append(np.clip(mean + rng.integers(-spread, spread, (keys, lanes)), LOW, HIGH))
    return [rows[at] for at in rng.permutation(len(rows))]


def beats(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """All rows back to back, as the beats of the input stream."""
    return {"scores": np.concatenate(rows), "last": lasts(rows)}


def lasts(rows: list[np.ndarray]) -> np.ndarray:
    """The flag `last` of each beat."""
    return np.concatenate([np.arange(len(row)) == len(row) - 1 for row in rows]).astype(int)


@cocotb.test()
async def codes_equal_golden(dut):
    bench = await Bench.start(dut)
    lanes, depth = bench.params["lanes"], bench.params["depth"]
    width, base = bench.params["code_width"], bench.params["base"]
    rng = np.random.default_rng(bench.params["seed"])
    # An idle driver spends ten cycles a beat: fewer rows there, all corners everywhere.
    for run, (idle, pressure) in enumerate(PAIRS[: bench.params["runs"]]):
        offset = (0, -1000, 300, -(1 << 15), (1 << 15) - 1, -77, -512, 1)[run]
        rows = groups(rng, depth, lanes, bench.params["groups"] if run < 4 else 16)
        sent = beats(rows)
        bench.set("offset", offset)
        got = await bench.run(
            {"i": sent}, {"o": len(sent["last"])}, idle=idle, pressure=pressure, seed=run
        )
        expected = [
            log2_softmax(row.T.astype(np.int32), offset=offset, log_width=width, base=base).T
            for row in rows
        ]
        what = f"offset {offset}, {idle}, {pressure}"
        codes = got["o"]["codes"].reshape(-1, lanes)
        bench.compare(f"codes, {what}", codes, np.concatenate(expected))
        bench.compare(f"last, {what}", got["o"]["last"], sent["last"])


@cocotb.test()
async def keys_pass_without_pause(dut):
    bench = await Bench.start(dut)
    lanes, depth = bench.params["lanes"], bench.params["depth"]
    rng = np.random.default_rng(bench.params["seed"])
    for lengths in ([depth] * 4, [1] * 100, [depth, 1, 1, depth], [3, 2, 1] * 20):
        rows = [rng.integers(-5000, 5000, (keys, lanes)) for keys in lengths]
        sent = beats(rows)
        watch = Watch(bench, "idle")
        await bench.run({"i": sent}, {"o": len(sent["last"])})
        seen = watch.stop()
        taken = np.array(bench.sources["i"].cycles)
        given = np.array(bench.sinks["o"].cycles)
        bench.compare("cycles between keys in", np.diff(taken), np.ones(len(taken) - 1, int))
        bench.compare("latency", given[0] - taken[lengths[0] - 1], Log2Softmax.LATENCY)
        cycles, idle = np.array(list(seen)), np.array(list(seen.values()))[:, 0]
        # A key whose code is on its way has used the offset.
        inside = np.searchsorted(taken, cycles) - np.searchsorted(given - SOFTMAX_CODE, cycles)
        bench.compare("idle", idle, inside == 0)


@cocotb.test()
async def as_many_keys_enter_as_have_room(dut):
    bench = await Bench.start(dut)
    lanes, depth = bench.params["lanes"], bench.params["depth"]
    for keys in (depth, 1):
        rows = [np.zeros((keys, lanes), int)] * (2 + 40 // keys)
        sent = beats(rows)
        await bench.run({"i": sent}, {"o": len(sent["last"])}, pressure="bursts:1,9")
        # The key whose code comes next is in registers; its row has its constant until then.
        most = min(depth + SOFTMAX_SLACK + 1, keys * SOFTMAX_CONSTANTS)
        bench.compare("keys inside", bench.most_inside("i", "o"), most + SOFTMAX_CODE)


@cocotb.test()
async def reset_in_a_row_leaves_no_trace(dut):
    bench = await Bench.start(dut)
    lanes, width, base = (bench.params[key] for key in ("lanes", "code_width", "base"))
    await bench.run({"i": {"scores": np.full((2, lanes), HIGH), "last": [0, 0]}}, {"o": 0})
    await bench.reset()
    scores = np.full((1, lanes), LOW)
    got = await bench.run({"i": {"scores": scores, "last": [1]}}, {"o": 1})
    expected = log2_softmax(scores.T.astype(np.int32), offset=0, log_width=width, base=base).T
    bench.compare("codes", got["o"]["codes"].reshape(1, lanes), expected)


@pytest.mark.parametrize(
    ("lanes", "depth", "code_width", "base", "runs"),
    [
        (4, 33, 4, "sqrt2", 8),
        (4, 24, 6, "2", 8),
        (16, 65, 8, "sqrt2", 8),
        (8, 12, 4, "2", 8),
        (1, 1, 3, "sqrt2", 8),
        # The largest sum there is.
        (1, 4096, 6, "sqrt2", 1),
    ],
)
def test_codes_equal_golden(lanes, depth, code_width, base, runs):
    config = {"lanes": lanes, "depth": depth, "code_width": code_width, "base": base}
    params = config | {"seed": depth, "runs": runs, "groups": 40 if runs > 1 else 16}
    print("seed", depth, simulate(Log2Softmax(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lanes": 0}, ValueError, "lanes must be 1 to 256, not 0"),
        ({"depth": 4097}, ValueError, "depth must be 1 to 4096, not 4097"),
        ({"code_width": 2}, ValueError, "code_width must be 3 to 8, not 2"),
        ({"code_width": "4"}, TypeError, "code_width must be an integer, not '4'"),
        ({"base": "e"}, ValueError, "base must be 'sqrt2' or '2', not 'e'"),
        ({"base": 2}, TypeError, "base must be a string, not 2"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        Log2Softmax(**({"lanes": 4, "depth": 16, "code_width": 4, "base": "2"} | change))
