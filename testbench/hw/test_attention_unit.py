"""Bench of the unit that executes ATTENTION, against golden and the layout of the code buffer."""

import cocotb
import numpy as np
import pytest

from rootshift.formats import zero_code
from rootshift.hw.attention_unit import AttentionUnit
from rootshift.isa import BY_NAME, WORD_ADDRESS_WIDTH
from rootshift.latency import word_buffer
from rootshift.sim.golden.shift_attention import shift_attention
from rootshift.testbench.hw import layout
from rootshift.testbench.hw.attention_sums import weighted_sums
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import ClampedCount, begin_near_the_end
from rootshift.testbench.hw.command_beats import Watch, alternate_bits, command_beats, name_operands
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import ADDRESSES, WordServer

WORDS = 1 << 11
MOST = {name: place[1].range[1] for name, place in BY_NAME["ATTENTION"].places.items()}
Order = dict[str, int]


class Unit:
    """The unit under test, with a code buffer of random values."""

    def __init__(self, bench: Bench) -> None:
        self.bench, params = bench, bench.params["unit"]
        self.rows, self.cols, self.depth = params["rows"], params["cols"], params["depth"]
        self.parts = self.rows // params["lanes"]
        self.log_width, self.base = params["log_width"], params["base"]
        self.width = params["value_width"]
        self.zero = zero_code(self.log_width, self.base)
        self.rng = np.random.default_rng(bench.params["seed"])
        self.count = ClampedCount(bench)
        self.values = self.rng.integers(0, 1 << self.width, (WORDS, self.rows))
        # So that sums can be the largest.
        self.values[: self.depth] = (1 << self.width) - 1
        self.read = WordServer(bench, "values")
        self.read.words = layout.pack({"": (0, self.width, False, self.rows)}, self.values)
        name_operands(bench, "command", "ATTENTION")
        # A word's codes one by one.
        bench._fields["write"] = {
            "address": (0, WORD_ADDRESS_WIDTH, False, 1),
            "codes": (WORD_ADDRESS_WIDTH, self.width, False, self.rows),
            "mask": (WORD_ADDRESS_WIDTH + self.width * self.rows, 1, False, self.parts),
        }

    def order(self, keys: int, queries: int, channels: int) -> Order:
        """An ATTENTION of such sizes, anywhere in the buffer, with scales that spread codes."""
        random = self.rng.integers
        tiles = -(-channels // self.rows)
        least = max(keys, queries)
        stride = int(random(least, max(least, ADDRESSES // tiles) + 1))
        width = int(random(3, self.width + 1))
        steps = 1 + (self.base == "sqrt2")
        spread = (keys << self.width << (self.zero - 1) // steps).bit_length() + 16 - width
        return {
            "base": int(random(0, ADDRESSES - tiles * stride + 1)),
            "stride": stride,
            "keys": keys,
            "queries": queries,
            "tiles": tiles,
            "last": channels - (tiles - 1) * self.rows,
            "out": int(random(0, ADDRESSES - tiles * stride + 1)),
            "value_zero": int(random(-3, 1 << self.width)),
            "zero": int(random(-2, 1 << width)),
            "multiplier_even": int(random(1 << 14, 1 << 16)),
            "multiplier_odd": int(random(1 << 14, 1 << 16)) * (steps - 1),
            "shift": min(47, max(0, spread - int(random(1, 5)))),
            "high": (1 << width) - 1,
        }

    def fit(self, order: Order, codes: np.ndarray) -> Order:
        """The ATTENTION with zero and shift with which its first tile's codes spread most."""
        at = (order["base"] + np.arange(order["keys"])) % WORDS
        kind = {"log_width": self.log_width, "base": self.base}
        sums = weighted_sums(codes[: self.cols].T, self.values[at], order, **kind)
        middle = int(np.median(sums))
        spread = int(np.median(np.abs(sums - middle)))
        width = order["high"].bit_length()
        shift = min(47, max(0, spread.bit_length() - width + int(self.rng.integers(1, 3))))
        zero = (1 << (width - 1)) - (middle >> shift)
        return order | {"shift": shift, "zero": int(np.clip(zero, -(1 << 15), (1 << 15) - 1))}

    def probabilities(self, order: Order) -> np.ndarray:
        """Log codes `[queries, keys]`, large probabilities as rare as they are."""
        shape = order["queries"], order["keys"]
        return np.minimum(self.rng.integers(0, 2 * self.zero, shape), self.zero)

    def stream(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """The beats of log codes of one command; lanes without a query repeat the last one."""
        queries, keys = codes.shape
        padded = np.pad(codes, ((0, -queries % self.cols), (0, 0)), mode="edge")
        tiles = padded.reshape(-1, self.cols, keys).transpose(0, 2, 1)
        last = np.tile(np.arange(keys) == keys - 1, len(tiles))
        return {"codes": tiles.reshape(-1, self.cols), "last": last.astype(int)}

    def tiles(self, order: Order) -> list[tuple[int, int, int]]:
        """First query, number of queries and channel tile, in the order of execution."""
        firsts = range(0, order["queries"], self.cols)
        found = [(q, min(self.cols, order["queries"] - q)) for q in firsts]
        return [(q, count, c) for q, count in found for c in range(order["tiles"])]

    def reads(self, order: Order) -> np.ndarray:
        """Words that are read, in order."""
        keys = order["base"] + np.arange(order["keys"])
        return np.concatenate([keys + c * order["stride"] for _, _, c in self.tiles(order)])

    def writes(self, order: Order, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """Rows of address and codes of every write, and the saturated values."""
        at = order["base"] + np.arange(order["keys"])
        names = "value_zero", "zero", "multiplier_even", "multiplier_odd", "shift"
        found, saturated = [], 0
        for q, count, c in self.tiles(order):
            wide = order["last"] if c == order["tiles"] - 1 else self.rows
            mixed, events = shift_attention(
                codes[None, q : q + count].astype(np.uint8),
                self.values[(at + c * order["stride"]) % WORDS, :wide].astype(np.uint8),
                log_width=self.log_width,
                base=self.base,
                width=order["high"].bit_length(),
                **{name: order[name] for name in names},
            )
            address = order["out"] + c * order["stride"] + q + np.arange(count)
            padded = np.pad(mixed, ((0, 0), (0, self.rows - wide)))
            found.append(np.concatenate([address[:, None], padded], 1))
            saturated += events
        return np.concatenate(found), saturated

    async def check(
        self, orders: list[Order], run: int = 0, codes: list | None = None, **patterns: str
    ) -> dict:
        """Run commands; hold reads, writes, probes, counts and handshake against the model."""
        bench = self.bench
        if codes is None:
            codes = [self.probabilities(order) for order in orders]
            orders = [self.fit(o, c) for o, c in zip(orders, codes, strict=True)]
        expected = [self.writes(o, c) for o, c in zip(orders, codes, strict=True)]
        writes = np.concatenate([rows for rows, _ in expected])
        self.read.play(patterns.get("idle", "always"), patterns.get("pressure", "always"), run)
        # The first run takes the count to its end.
        if run:
            await self.count.clear()
        beats = [self.stream(each) for each in codes]
        sent = {
            "command": command_beats("ATTENTION", orders),
            "log_codes": {key: np.concatenate([b[key] for b in beats]) for key in beats[0]},
        }
        names = "busy", "stall", "done_stb", "mixed", "write__valid", "write__ready"
        watch = Watch(bench, *names, "command__ready")
        got = (await bench.run(sent, {"write": len(writes)}, seed=run, **patterns))["write"]
        rows = watch.stop()
        what = f"{orders}, {patterns}"
        reads = np.concatenate([self.reads(order) for order in orders])
        bench.compare(f"reads, {what}", self.read.asked, reads)
        found = [got[name].reshape(len(writes), -1) for name in ("address", "codes")]
        bench.compare(f"writes, {what}", np.concatenate(found, 1), writes)
        bench.compare("mask", got["mask"].reshape(-1, self.parts).all(), True)
        self.count.compare(what, sum(count for _, count in expected))

        cycles = np.array(bench.sinks["write"].cycles)
        done = [cycle for cycle, row in rows.items() if row[2]]
        ends = np.cumsum([len(part) for part, _ in expected]) - 1
        bench.compare(f"done, {what}", done, cycles[ends])
        probed = {cycle: row[3] >> 1 for cycle, row in rows.items() if row[3] & 1}
        bench.compare(f"probe's cycles, {what}", list(probed), cycles)
        packed = layout.pack({"": (0, self.width, False, self.rows)}, writes[:, 1:])
        bench.compare("probe", np.array([*probed.values()], object), np.array(packed, object))
        wires = np.array([(*row[:2], *row[4:]) for row in rows.values()])
        busy, stall, valid, ready, free = wires.T
        taken = bench.sources["command"].cycles
        bench.compare(f"busy, {what}", busy.sum(), (np.array(done) - taken).sum())
        bench.compare(f"ready while idle, {what}", free, 1 - busy)
        moved = valid & ready | np.isin(list(rows), self.read.taken)
        bench.compare(f"stall, {what}", np.any(stall & ((1 - busy) | moved)), False)
        blocked = valid & (1 - ready) & (1 - moved)
        bench.compare(f"stall of a write, {what}", np.any(blocked & (1 - stall)), False)
        return rows


@cocotb.test()
async def writes_equal_golden(dut):
    bench = await Bench.start(dut)
    unit = Unit(bench)
    random = unit.rng.integers
    keys = [unit.depth, 1, unit.depth // 2 + 1, 2]
    queries = [unit.cols + 1, 1, 2 * unit.cols, 2 * unit.cols + unit.cols // 2 + 1]
    channels = [2 * unit.rows + 1, unit.rows, 1, 3 * unit.rows - 1]
    for run, (idle, pressure) in enumerate(PAIRS):
        orders = []
        for number in range(3):
            pick = run + 2 * number + number // 2
            sizes = keys[pick % 4], queries[(pick // 2) % 4], channels[int(random(0, 4))]
            if number == 2:
                sizes = sizes[0], int(random(1, 2 * unit.cols)), int(random(1, 3 * unit.rows))
            # An idle driver spends ten cycles a key.
            small = run % len(PAIRS) in (5, 7) and unit.depth > 50
            orders.append(unit.order(min(sizes[0], 20) if small else sizes[0], *sizes[1:]))
        await unit.check(orders, run, idle=idle, pressure=pressure)


@cocotb.test()
async def a_slow_buffer_stops_all(dut):
    """Tiles of a single key wait in all places that there are: none may be lost."""
    unit = Unit(await Bench.start(dut))
    await unit.check([unit.order(1, 4 * unit.cols, 3 * unit.rows)], pressure="bursts:1,9")


@cocotb.test()
async def sums_of_the_most_keys_fit(dut):
    """All keys have the same code, the largest values, and each query every code in turn; and no
    bit of the sums may be wrong: less the zero point of the values nothing is left."""
    bench = await Bench.start(dut)
    unit = Unit(bench)
    orders, codes = [], []
    for first in range(unit.zero):
        order = unit.order(unit.depth, unit.cols, unit.rows)
        order |= {"base": order["base"] // WORDS * WORDS, "value_zero": first % 2}
        query = (first + np.arange(unit.cols)) % unit.zero
        middle = 1 << (order["high"].bit_length() - 1)
        exact = {"value_zero": (1 << unit.width) - 1, "zero": middle, "shift": 13}
        # Both banks of buckets in turn.
        orders += [order, order | exact, order | exact]
        codes += [np.repeat(query[:, None], unit.depth, 1)] * 3
    await unit.check(orders, codes=codes)


@cocotb.test()
async def loops_of_all_lengths(dut):
    """Each loop by itself, counted down over many bits."""
    unit = Unit(await Bench.start(dut))
    tiles = [alternate_bits(MOST["tiles"] >> n) * unit.rows for n in (0, 1)]
    orders = [unit.order(1, 1, channels) for channels in tiles]
    orders.append(unit.order(1, alternate_bits(MOST["queries"] >> 2), 1))
    await unit.check(orders)


@cocotb.test()
async def commands_take_the_documented_cycles(dut):
    """Keys pass one per cycle through all tiles of a command, full ones and the last ones."""
    bench = await Bench.start(dut)
    unit = Unit(bench)
    design = AttentionUnit(**bench.params["unit"])
    keys = unit.depth
    if keys <= design.attention.drain_cycles(unit.cols):
        return
    for queries in (1, unit.cols):
        order = unit.order(keys, 2 * unit.cols + queries, 4 * unit.rows - unit.rows // 2)
        rows = await unit.check([order, order])
        began = np.array(bench.sources["command"].cycles)
        beats = 3 * 4 * keys
        taken = np.array(unit.read.taken).reshape(2, beats)
        bench.compare("one key per cycle", np.diff(taken), np.ones((2, beats - 1), int))
        done = np.array([cycle for cycle, row in rows.items() if row[2]])
        bench.compare("last key to done", done - taken[:, -1], np.full(2, design.latency(queries)))
        bench.compare("next command", began[1], done[0] + 1)
        bench.compare("command to key", taken[1, 0] - began[1], 1 + word_buffer(1))
        # The second command's log codes have come meanwhile: only the port makes it wait.
        stalled = [cycle for cycle, row in rows.items() if row[1] and cycle > began[1]]
        bench.compare("stall", len(stalled), word_buffer(1))
        bench.results[f"{queries} queries"] = {"command": int(done[1] - began[1])}


@cocotb.test()
async def log_codes_of_two_tiles_are_kept(dut):
    """They enter without a command, and no more than two tiles."""
    bench = await Bench.start(dut)
    unit = Unit(bench)
    order = unit.order(unit.depth, 2 * unit.cols, unit.rows)
    codes = unit.probabilities(order)
    await bench.run({"log_codes": unit.stream(codes)}, {})
    bench.compare("full", bench.get("log_codes__ready"), 0)
    writes, _ = unit.writes(order, codes)
    got = await bench.run({"command": command_beats("ATTENTION", [order])}, {"write": len(writes)})
    bench.compare("codes", got["write"]["codes"].reshape(len(writes), -1), writes[:, 1:])
    bench.compare("free", bench.get("log_codes__ready"), 1)


CONFIGS = [
    {"rows": 4, "cols": 6, "log_width": 4, "value_width": 4, "base": "sqrt2", "lanes": 2},
    {"rows": 6, "cols": 3, "log_width": 3, "value_width": 6, "base": "2", "lanes": 3},
    {"rows": 1, "cols": 1, "log_width": 5, "value_width": 8, "base": "sqrt2", "lanes": 1},
    # As DeiT needs it.
    {"rows": 16, "cols": 16, "log_width": 4, "value_width": 4, "base": "sqrt2", "lanes": 8},
]
DEPTHS_DRAINS = [(60, 4), (30, 1), (40, 1), (197, 2)]


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_commands_equal_golden(number, monkeypatch):
    begin_near_the_end(monkeypatch)
    depth, drains = DEPTHS_DRAINS[number]
    config = CONFIGS[number] | {"depth": depth, "drains": drains}
    params = {"seed": number, "unit": config}
    print("seed", number, simulate(AttentionUnit(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lanes": 3}, ValueError, "lanes must divide the 4 rows, not 3"),
        ({"rows": 257, "lanes": 1}, ValueError, "rows must be 1 to 256, not 257"),
        ({"base": "3"}, ValueError, "base must be 'sqrt2' or '2', not '3'"),
        ({"drains": 5}, ValueError, "drains must be 1 to 4, not 5"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        AttentionUnit(**(CONFIGS[0] | {"depth": 20, "drains": 1} | change))
