"""Bench of shift attention against its golden model."""

import cocotb
import numpy as np
import pytest

from rootshift.formats import zero_code
from rootshift.hw.shift_attention import ShiftAttention
from rootshift.sim.golden.shift_attention import shift_attention
from rootshift.testbench.hw.attention_sums import weighted_sums
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import ClampedCount, begin_near_the_end
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

Tile = tuple[np.ndarray, np.ndarray]
Sizes = list[tuple[int, int]]
"""Rows and columns used, per tile."""


class Attention:
    """The configuration under test: makes tiles and scales, and knows the expected rows."""

    def __init__(self, bench: Bench, seed: int) -> None:
        params = bench.params
        self.bench = bench
        self.rows, self.cols, self.depth = params["rows"], params["cols"], params["depth"]
        self.log_width, self.width = params["code_width"], params["value_width"]
        self.base = params["base"]
        self.zero = zero_code(self.log_width, self.base)
        self.rng = np.random.default_rng(seed)
        self.count = ClampedCount(bench)

    def corners(self) -> list[Tile]:
        """Tiles of codes `[keys, rows]` and values `[keys, cols]` at the edges of every width."""
        keys, top = self.depth, (1 << self.width) - 1
        row, random = np.arange(self.rows), self.rng.integers
        values = random(0, top + 1, (keys, self.cols))
        full = np.full((keys, self.cols), top)
        ramp = np.arange(keys)[:, None]

        def constant(code: int) -> np.ndarray:
            return np.full((keys, self.rows), code)

        return [
            (constant(0), full),
            (constant(self.zero), full),
            (constant(self.zero - 1), full),
            (constant(1), full),
            (constant(1), values),
            (random(0, self.zero + 1, (keys, self.rows)), np.zeros_like(full)),
            ((ramp + row) % (self.zero + 1), values),
            (np.where(ramp == keys - 1, 0, self.zero) + 0 * row, values),
            (random(0, self.zero + 1, (1, self.rows)), random(0, top + 1, (1, self.cols))),
            (constant(0)[:1], full[:1]),
            (constant(self.zero)[:1], full[:1]),
        ]

    def tiles(self, count: int) -> list[Tile]:
        """The corners, then tiles of random length and spread of codes, in a random order."""
        found = self.corners()
        while len(found) < count:
            keys = int(self.rng.integers(1, self.depth + 1))
            low, high = np.sort(self.rng.integers(0, self.zero + 2, 2))
            codes = self.rng.integers(low, max(high, low + 1), (keys, self.rows))
            values = self.rng.integers(0, 1 << self.width, (keys, self.cols))
            found.append((np.minimum(codes, self.zero), values))
        return [found[at] for at in self.rng.permutation(len(found))]

    def configure(self, run: int, tiles: list[Tile]) -> dict[str, int]:
        """Set the inputs for a run of `tiles`, which the result names as golden does: most let
        codes spread over their range, some saturate much."""
        random = self.rng.integers
        odd = self.base == "sqrt2"
        multipliers = random(0, 1 << 16, 2) >> random(0, 16, 2)
        most = (1 << 16) - 1
        chosen = {
            "value_zero": int((0, 7, -(1 << 15), (1 << 15) - 1, random(-300, 300))[run % 5]),
            "zero": int((0, 3, random(-20, 20), -(1 << 15), (1 << 15) - 1)[run % 5]),
            "multiplier_even": int((most, multipliers[0], 0)[run % 3]),
            "multiplier_odd": int((most, multipliers[1], multipliers[1])[run % 3]) * odd,
        }
        # A model may have narrower codes than the hardware.
        width = int(random(3, self.width + 1)) if run % 3 == 1 else self.width
        fitting = min(47, max(0, self.bits(tiles, chosen) - width + int(random(-1, 2))))
        chosen["shift"] = {1: 0, 2: 47}.get(run % 8, fitting)
        for port, value in chosen.items():
            self.bench.set(port, value)
        self.bench.set("high", (1 << width) - 1)
        return chosen | {"width": width}

    def bits(self, tiles: list[Tile], chosen: dict[str, int]) -> int:
        """Bits of the median of the sums that the shift makes codes of."""
        kind = {"log_width": self.log_width, "base": self.base}
        sums = [weighted_sums(*tile, chosen, **kind) for tile in tiles]
        return int(np.median(np.abs(np.concatenate(sums)))).bit_length()

    def sizes(self, run: int, count: int) -> Sizes:
        """Whole tiles in one run, tiles of any size in the next."""
        if run % 2 == 0:
            return [(self.rows, self.cols)] * count
        rows = self.rng.integers(1, self.rows + 1, count).tolist()
        return list(zip(rows, self.rng.integers(1, self.cols + 1, count).tolist(), strict=True))

    def expect(
        self, tiles: list[Tile], sizes: Sizes, chosen: dict[str, int]
    ) -> tuple[np.ndarray, int]:
        """Rows of all tiles, with zeros in the columns that are not used, and the saturations."""
        found, saturated = [], 0
        for (codes, values), (rows, cols) in zip(tiles, sizes, strict=True):
            block, events = shift_attention(
                codes.T[None, :rows].astype(np.uint8),
                values[:, :cols].astype(np.uint8),
                log_width=self.log_width,
                base=self.base,
                **chosen,
            )
            found.append(np.pad(block, ((0, 0), (0, self.cols - cols))))
            saturated += events
        return np.concatenate(found), saturated


def beats(tiles: list[Tile], sizes: Sizes) -> dict[str, np.ndarray]:
    """All tiles back to back, as the beats of the input stream; sizes go with the last alone."""
    last = [np.arange(len(codes)) == len(codes) - 1 for codes, _ in tiles]
    ends = np.concatenate(last).astype(int)
    return {
        "codes": np.concatenate([codes for codes, _ in tiles]),
        "values": np.concatenate([values for _, values in tiles]),
        "last": ends,
        "rows_used": np.repeat([rows for rows, _ in sizes], lengths(tiles)) * ends,
        "cols_used": np.repeat([cols for _, cols in sizes], lengths(tiles)) * ends,
    }


def lengths(tiles: list[Tile]) -> list[int]:
    """Keys of each tile."""
    return [len(codes) for codes, _ in tiles]


async def check(attention: Attention, run: int, tiles: list[Tile], **patterns: str) -> None:
    """Run tiles back to back and compare every row, every `last` and the saturations."""
    bench = attention.bench
    chosen = attention.configure(run, tiles)
    # The first run takes the count to its end.
    if run:
        await attention.count.clear()
    sizes = attention.sizes(run, len(tiles))
    rows, saturated = attention.expect(tiles, sizes, chosen)
    sent = {"i": beats(tiles, sizes)}
    got = await bench.run(sent, {"o": len(rows)}, seed=run, **patterns)
    what = f"{chosen}, {patterns}"
    bench.compare(f"codes, {what}", got["o"]["codes"].reshape(-1, attention.cols), rows)
    last = np.zeros(len(rows), int)
    last[np.cumsum([used for used, _ in sizes]) - 1] = 1
    bench.compare(f"last, {what}", got["o"]["last"], last)
    attention.count.compare(what, saturated)


@cocotb.test()
async def rows_equal_golden(dut):
    bench = await Bench.start(dut)
    attention = Attention(bench, bench.params["seed"])
    for run in range(bench.params["runs"]):
        idle, pressure = PAIRS[run % len(PAIRS)]
        # An idle driver spends ten cycles a key: fewer tiles there, all corners everywhere.
        tiles = attention.tiles(bench.params["tiles"] if run % len(PAIRS) < 4 else 12)
        await check(attention, run, tiles, idle=idle, pressure=pressure)


@cocotb.test()
async def sums_of_every_size(dut):
    """Short tiles of many shifts, since each moves other bits."""
    bench = await Bench.start(dut)
    attention = Attention(bench, 4)
    for run in range(40):
        tiles = [(codes[:8], values[:8]) for codes, values in attention.tiles(24)[:4]]
        await check(attention, 3 * run + 1, tiles)


@cocotb.test()
async def keys_pass_while_the_tile_before_drains(dut):
    bench = await Bench.start(dut)
    attention = Attention(bench, 1)
    unit = ShiftAttention(**bench.params["unit"])
    chosen = attention.configure(0, attention.corners())
    drain, sizes = unit.drain_cycles(attention.rows), attention.sizes(0, 6)
    for keys in {1, min(drain, attention.depth), attention.depth}:
        tiles = [
            (
                attention.rng.integers(0, attention.zero + 1, (keys, attention.rows)),
                attention.rng.integers(0, 1 << attention.width, (keys, attention.cols)),
            )
            for _ in range(6)
        ]
        rows, _ = attention.expect(tiles, sizes, chosen)
        got = await bench.run({"i": beats(tiles, sizes)}, {"o": len(rows)})
        bench.compare("codes", got["o"]["codes"].reshape(-1, attention.cols), rows)
        taken = np.array(bench.sources["i"].cycles)
        given = np.array(bench.sinks["o"].cycles)
        bench.compare("latency", given[0] - taken[keys - 1], unit.latency())
        periods = np.diff(taken[keys - 1 :: keys])
        bound = max(keys, drain + 1)
        bench.results[f"{keys} keys, drain {drain}"] = periods.tolist()
        bench.compare("periods within the bound", periods[1:] <= bound, np.ones(4, bool))


@cocotb.test()
async def tiles_of_other_sizes_follow_without_a_pause(dut):
    bench = await Bench.start(dut)
    attention = Attention(bench, 3)
    unit = ShiftAttention(**bench.params["unit"])
    keys = attention.depth
    if keys <= unit.drain_cycles(attention.rows):
        return
    chosen = attention.configure(0, attention.corners())
    ends = (attention.rows, attention.cols), (1, 1)
    sizes = [ends[tile % 2] for tile in range(6)]
    tiles = [(codes[:keys], values) for codes, values in attention.corners()[:6]]
    rows, _ = attention.expect(tiles, sizes, chosen)
    got = await bench.run({"i": beats(tiles, sizes)}, {"o": len(rows)})
    bench.compare("codes", got["o"]["codes"].reshape(-1, attention.cols), rows)
    taken = np.array(bench.sources["i"].cycles)
    bench.compare("one key per cycle", np.diff(taken), np.ones(6 * keys - 1, int))


@cocotb.test()
async def reset_in_a_tile_leaves_no_trace(dut):
    bench = await Bench.start(dut)
    attention = Attention(bench, 2)
    stale = attention.corners()[0]
    lost = beats([stale], attention.sizes(0, 1)) | {"last": np.zeros(len(stale[0]), int)}
    await bench.run({"i": lost}, {"o": 0})
    await bench.reset()
    await check(attention, 0, attention.corners()[6:7])


@pytest.mark.parametrize(
    ("rows", "cols", "code_width", "value_width", "depth", "base", "drains", "stages"),
    [
        (4, 4, 4, 4, 70, "sqrt2", 1, 1),
        (4, 6, 6, 8, 40, "2", 2, 1),
        (16, 16, 4, 4, 300, "sqrt2", 2, 1),
        (8, 8, 8, 6, 33, "sqrt2", 3, 1),
        (5, 16, 3, 3, 16, "2", 1, 1),
        (1, 1, 4, 6, 1, "2", 1, 1),
        # The largest sums that the exporter lets through.
        (2, 2, 4, 8, 4096, "sqrt2", 1, 1),
        (4, 6, 6, 8, 40, "2", 2, 2),
        (4, 4, 4, 4, 70, "sqrt2", 1, 3),
    ],
)
def test_rows_equal_golden(
    rows, cols, code_width, value_width, depth, base, drains, stages, monkeypatch
):
    begin_near_the_end(monkeypatch)
    config = {"rows": rows, "cols": cols, "code_width": code_width, "depth": depth}
    config |= {"value_width": value_width, "base": base, "drains": drains, "stages": stages}
    large = depth > 1000
    params = {"runs": 2 if large else 16, "tiles": 10 if large else 30}
    params |= config | {"seed": rows, "unit": config}
    print("seed", rows, simulate(ShiftAttention(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": 0}, ValueError, "rows must be 1 to 256, not 0"),
        ({"cols": 2.0}, TypeError, "cols must be an integer, not 2.0"),
        ({"code_width": 9}, ValueError, "code_width must be 3 to 8, not 9"),
        ({"value_width": 2}, ValueError, "value_width must be 3 to 8, not 2"),
        ({"depth": 4097}, ValueError, "depth must be 1 to 4096, not 4097"),
        ({"drains": 3}, ValueError, "drains must be 1 to 2, not 3"),
        ({"base": "10"}, ValueError, "base must be 'sqrt2' or '2', not '10'"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    config = {"rows": 2, "cols": 2, "code_width": 4, "value_width": 4, "depth": 8, "base": "2"}
    with pytest.raises(error, match=message):
        ShiftAttention(**(config | change))
