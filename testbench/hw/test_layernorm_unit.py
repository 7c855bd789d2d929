"""Bench of the unit that executes LAYERNORM, against golden and the layouts of its buffers."""

import cocotb
import numpy as np
import pytest

from rootshift.formats import NORM_CHANNEL_BYTES
from rootshift.hw.layernorm_unit import LayerNormUnit
from rootshift.isa import BY_NAME, WORD_ADDRESS_WIDTH
from rootshift.latency import word_buffer
from rootshift.sim.golden.layernorm import layernorm, normalize
from rootshift.testbench.hw import layout
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, alternate_bits, command_beats, name_operands
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import ADDRESSES, WordServer

WORDS = 1 << 10
BLOCK = 32
"""Words of one kind: a row of any size."""
MOST = {name: place[1].range[1] for name, place in BY_NAME["LAYERNORM"].places.items()}
Order = dict[str, int]


class Unit:
    """The unit under test, with a residual buffer of noise."""

    def __init__(self, bench: Bench) -> None:
        self.bench, params = bench, bench.params
        self.rows, self.lanes, self.depth = params["rows"], params["lanes"], params["depth"]
        self.width, self.bytes = params["code_width"], params["bus_width"] // 8
        self.parts = self.rows // self.lanes
        self.rng = np.random.default_rng(params["seed"])
        self.residuals = self.rng.integers(-(1 << 15), 1 << 15, (WORDS, self.lanes))
        # Rows of each magnitude, then words of any, then rows of extremes.
        self.residuals >>= self.rng.integers(0, 12, (WORDS, 1))
        self.residuals[: 16 * BLOCK] = self.rng.integers(
            -(1 << 15), 1 << 15, (16 * BLOCK, self.lanes)
        )
        self.residuals[: 16 * BLOCK] >>= np.repeat(np.arange(16), BLOCK)[:, None]
        least, most = -(1 << 15), (1 << 15) - 1
        self.residuals[-3 * BLOCK : -2 * BLOCK] = least
        self.residuals[-2 * BLOCK : -BLOCK] = most
        self.residuals[-BLOCK:] = self.rng.choice([least, most], (BLOCK, self.lanes))
        self.read = WordServer(bench, "read")
        self.read.words = layout.pack({"": (0, 16, True, self.lanes)}, self.residuals)
        name_operands(bench, "command", "LAYERNORM")
        # A word's codes one by one.
        bench._fields["write"] = {
            "address": (0, WORD_ADDRESS_WIDTH, False, 1),
            "codes": (WORD_ADDRESS_WIDTH, self.width, False, self.rows),
            "mask": (WORD_ADDRESS_WIDTH + self.width * self.rows, 1, False, self.parts),
        }

    def order(self, rows: int, channels: int) -> Order:
        """A LAYERNORM of so many rows, anywhere in the buffers."""
        random = self.rng.integers
        words = -(-channels // self.lanes)
        tiles = -(-channels // self.rows)
        row_stride = words + int(random(0, ADDRESSES // rows - words + 1))
        stride = rows + int(random(0, ADDRESSES // tiles - rows + 1))
        width = int(random(3, self.width + 1))
        return {
            "keep": 0,
            "base": int(random(0, ADDRESSES - rows * row_stride + 1)),
            "row_stride": row_stride,
            "rows": rows,
            "channels": channels,
            "epsilon": int(random(1, 1 << int(random(1, 41)))),
            "shift": int(random(14, 24) if random(3) else random(0, MOST["shift"] + 1)),
            "high": (1 << width) - 1,
            "out": int(random(0, ADDRESSES - stride * tiles + 1)),
            "stride": stride,
        }

    def channels(self, order: Order) -> tuple[np.ndarray, np.ndarray]:
        """Gains and offsets for which codes spread over their range: half of the offsets bring
        those of the first row near to where rounding leads to another code.
        """
        random, count, spread = self.rng.integers, order["channels"], order["shift"] - 11
        low, high = -(1 << 31), (1 << 31) - 1
        gain = random(-(1 << 11), 1 << 11, count) << np.clip(spread - 8, 0, 40) >> 1
        gain = np.clip(gain, -(1 << 15), (1 << 15) - 1)
        top = min((order["high"] + 1) << order["shift"], high)
        row = self.row_values(order)[:1].astype(np.int16)
        edge = (random(0, order["high"] + 2, count) << order["shift"]) - (1 << order["shift"] >> 1)
        edge += random(-2, 3, count) - normalize(row, order["epsilon"])[0].astype(np.int64) * gain
        near = (random(0, 2, count) == 1) & (edge >= low) & (edge <= high)
        return gain, np.where(near, edge, random(0, top, count))

    def stream(self, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """The beats of parameters of one command."""
        pad = (0, -len(gain) % self.lanes)
        gains = np.pad(gain, pad).astype("<i2").reshape(-1, self.lanes)
        offsets = np.pad(offset, pad).astype("<i4").reshape(-1, self.lanes)
        raw = b"".join(g.tobytes() + o.tobytes() for g, o in zip(gains, offsets, strict=True))
        raw += bytes(-len(raw) % self.bytes)
        return np.frombuffer(raw, np.uint8).reshape(-1, self.bytes)

    def addresses(self, order: Order) -> np.ndarray:
        """Words that are read, in order."""
        words = np.arange(-(-order["channels"] // self.lanes))
        rows = np.arange(order["rows"])[:, None] * order["row_stride"]
        return (order["base"] + rows + words).ravel()

    def row_values(self, order: Order) -> np.ndarray:
        """Residuals `[rows, channels]`."""
        words = self.residuals[self.addresses(order) % WORDS]
        return words.reshape(order["rows"], -1)[:, : order["channels"]]

    def writes(self, order: Order, gain: np.ndarray, offset: np.ndarray) -> tuple:
        """Rows of address, codes and mask of every write, and the saturated values."""
        x = self.row_values(order)
        codes, saturated = layernorm(
            x.astype(np.int16),
            gain=gain.astype(np.int16),
            offset=offset.astype(np.int32),
            shift=order["shift"],
            epsilon=order["epsilon"],
            width=order["high"].bit_length(),
        )
        chunks = -(-order["channels"] // self.lanes)
        padded = np.pad(codes, ((0, 0), (0, chunks * self.lanes - order["channels"])))
        found = []
        for t, row in enumerate(padded.reshape(order["rows"], chunks, self.lanes)):
            for c, chunk in enumerate(row):
                tile, place = divmod(c, self.parts)
                word = np.zeros((self.parts, self.lanes), int)
                word[place] = chunk
                mask = np.arange(self.parts) >= place
                address = order["out"] + tile * order["stride"] + t
                found.append([address, *word.ravel(), *mask])
        return np.array(found), saturated

    async def check(self, orders: list[Order], run: int = 0, **patterns: str) -> dict:
        """Run commands; hold reads, writes, probes, counts and handshake against the model."""
        bench = self.bench
        parameters = []
        for order in orders:
            parameters.append(parameters[-1] if order["keep"] else self.channels(order))
        expected = [self.writes(o, *p) for o, p in zip(orders, parameters, strict=True)]
        writes = np.concatenate([rows for rows, _ in expected])
        self.read.play(patterns.get("idle", "always"), patterns.get("pressure", "always"), run)
        bench.set("clear_stb", 1)
        await bench.step()
        bench.set("clear_stb", 0)
        sent = {
            "command": command_beats("LAYERNORM", orders),
            "parameters": np.concatenate(
                [
                    self.stream(*p)
                    for order, p in zip(orders, parameters, strict=True)
                    if not order["keep"]
                ]
            ),
        }
        names = "busy", "stall", "done_stb", "normalized", "write__valid", "write__ready"
        ports = "parameters", "read__word"
        hands = [f"{port}__{wire}" for port in ports for wire in ("valid", "ready")]
        watch = Watch(bench, *names, "command__ready", *hands, "read__address__valid")
        got = (await bench.run(sent, {"write": len(writes)}, seed=run, **patterns))["write"]
        rows = watch.stop()
        what = f"{orders}, {patterns}"
        columns = [got[name].reshape(len(writes), -1) for name in ("address", "codes", "mask")]
        # Only parts in the mask are written; the others are not compared.
        found = np.concatenate(columns, 1)
        bench.compare(f"reads, {what}", self.read.asked, self.expected_reads(orders))
        bench.compare(f"writes, {what}", self.masked(found), self.masked(writes))
        total = sum(count for _, count in expected)
        bench.compare(f"saturated, {what}", bench.get("saturated"), total)
        cycles = np.array(bench.sinks["write"].cycles)
        done = [cycle for cycle, row in rows.items() if row[2]]
        ends = np.cumsum([len(part) for part, _ in expected]) - 1
        bench.compare(f"done, {what}", done, cycles[ends])
        probed = {cycle: row[3] >> 1 for cycle, row in rows.items() if row[3] & 1}
        bench.compare(f"probe's cycles, {what}", list(probed), cycles)
        self.compare_probe(list(probed.values()), expected)
        wires = np.array([(*row[:2], *row[4:]) for row in rows.values()])
        busy, stall, valid, ready, free, offered, takes, word, wanted, asks = wires.T
        taken = bench.sources["command"].cycles
        bench.compare(f"busy, {what}", busy.sum(), (np.array(done) - taken).sum())
        bench.compare(f"ready while idle, {what}", free, 1 - busy)
        waits = takes & (1 - offered) | asks & wanted & (1 - word) | valid & (1 - ready)
        moved = takes & offered | wanted & word | valid & ready
        bench.compare(f"stall, {what}", stall, waits & (1 - moved))
        return rows

    def expected_reads(self, orders: list[Order]) -> np.ndarray:
        return np.concatenate([self.addresses(order) for order in orders])

    def masked(self, rows: np.ndarray) -> np.ndarray:
        """Rows of writes, zero in the parts that are not in the mask."""
        mask = np.repeat(rows[:, 1 + self.rows :], self.lanes, 1)
        return np.concatenate([rows[:, :1], rows[:, 1 : 1 + self.rows] * mask, mask], 1)

    def compare_probe(self, words: list[int], expected: list) -> None:
        """The probe gives the chunk alone, which is what a write has in its lowest part."""
        writes = np.concatenate([rows for rows, _ in expected])
        place = np.argmax(writes[:, 1 + self.rows :], 1)
        codes = writes[:, 1 : 1 + self.rows].reshape(len(writes), self.parts, self.lanes)
        chunks = codes[np.arange(len(writes)), place]
        packed = layout.pack({"": (0, self.width, False, self.lanes)}, chunks)
        self.bench.compare("probe", np.array(words, object), np.array(packed, object))


@cocotb.test()
async def writes_equal_golden(dut):
    bench = await Bench.start(dut)
    unit = Unit(bench)
    sizes = [unit.depth, 1, unit.lanes + 1, unit.rows, unit.depth - 1, unit.rows * 2 + 1]
    for run, (idle, pressure) in enumerate(PAIRS):
        orders = []
        for number in range(3):
            channels = min(unit.depth, max(1, sizes[(run + 2 * number) % len(sizes)]))
            if number == 2:
                channels = int(unit.rng.integers(1, unit.depth + 1))
            orders.append(unit.order(int(unit.rng.integers(1, 6)), channels))
        # Other rows with the same parameters, between two commands that bring theirs.
        moved = unit.order(int(unit.rng.integers(1, 6)), orders[1]["channels"])
        same = {name: orders[1][name] for name in ("channels", "epsilon", "shift", "high")}
        orders.insert(2, moved | same | {"keep": 1})
        await unit.check(orders, run, idle=idle, pressure=pressure)


@cocotb.test()
async def variances_of_all_magnitudes(dut):
    bench = await Bench.start(dut)
    unit = Unit(bench)
    random, orders = unit.rng.integers, []
    for bit in range(1, 2 * (15 + unit.depth.bit_length())):
        for _ in range(100):
            order = unit.order(1, int(random(1, unit.depth + 1) if random(2) else random(1, 9)))
            order["base"] = order["base"] // WORDS * WORDS + BLOCK * int(random(WORDS // BLOCK))
            row = unit.row_values(order)[0]
            variance = int(len(row) * np.sum(row * row) - np.sum(row) ** 2)
            # So much that epsilon does not hide the row: of the two highest bits the lower is 0.
            order["epsilon"] = (5 << bit >> 2) - variance
            if 1 << bit <= 4 * variance and 1 <= order["epsilon"] <= MOST["epsilon"]:
                orders.append(order)
                break
    bench.results["variances"] = len(orders)
    await unit.check(orders)


@cocotb.test()
async def rows_of_extremes(dut):
    unit = Unit(await Bench.start(dut))
    orders = []
    for block in (1, 2, 3) * 2:
        order = unit.order(1, unit.depth)
        orders.append(order | {"base": order["base"] // WORDS * WORDS + WORDS - block * BLOCK})
    await unit.check(orders)


@cocotb.test()
async def many_rows(dut):
    unit = Unit(await Bench.start(dut))
    if unit.depth == CONFIGS[-1]["depth"]:
        await unit.check([unit.order(alternate_bits(MOST["rows"] >> n), 1) for n in (0, 1)])


@cocotb.test()
async def commands_take_the_documented_cycles(dut):
    bench = await Bench.start(dut)
    unit = Unit(bench)
    design = LayerNormUnit(**bench.params["unit"])
    for channels in {unit.depth, 1}:
        words = -(-channels // unit.lanes)
        period = max(words, design.norm.period())
        rows = await unit.check([unit.order(5, channels), unit.order(7, channels)])
        began, writes = bench.sources["command"].cycles, bench.sinks["write"].cycles
        firsts = np.array([writes[0], writes[5 * words]])
        bench.compare("latency", firsts - began, np.full(2, design.latency(channels)))
        bench.compare("period", np.diff(writes[5 * words :: words]), np.full(6, period))
        inside = np.array(writes[5 * words :]).reshape(7, words)
        bench.compare("one word per cycle", np.diff(inside, axis=1), np.ones((7, words - 1), int))
        bench.compare("the next command", began[1], writes[5 * words - 1] + 1)
        stalled = sum(row[1] for row in rows.values())
        bench.results[f"{channels} channels"] = {"latency": int(firsts[0] - began[0])}
        # Nothing but the port's latency, once per command.
        bench.compare("stall", stalled, 2 * word_buffer(1))


@cocotb.test()
async def parameters_of_the_next_command_stay_outside(dut):
    """Beats beyond a command's last wait, even though they are offered without a pause."""
    bench = await Bench.start(dut)
    unit = Unit(bench)
    orders = [unit.order(2, channels) for channels in (1, unit.lanes, 1, unit.depth)]
    await unit.check(orders)
    taken = np.array(bench.sources["parameters"].cycles)
    records = [-(-order["channels"] // unit.lanes) for order in orders]
    beats = [-(-NORM_CHANNEL_BYTES * unit.lanes * count // unit.bytes) for count in records]
    firsts = taken[np.cumsum([0, *beats[:-1]])]
    bench.compare("after the command", firsts > bench.sources["command"].cycles, np.ones(4, bool))


CONFIGS = [
    {"rows": 8, "lanes": 4, "depth": 50, "code_width": 4, "bus_width": 64},
    {"rows": 6, "lanes": 6, "depth": 40, "code_width": 6, "bus_width": 128},
    {"rows": 3, "lanes": 1, "depth": 9, "code_width": 8, "bus_width": 128},
    {"rows": 16, "lanes": 8, "depth": 192, "code_width": 3, "bus_width": 32},
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: "{rows}x{lanes}".format(**c))
def test_commands_equal_golden(config):
    seed = config["rows"]
    params = config | {"seed": seed, "unit": config}
    print("seed", seed, simulate(LayerNormUnit(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": 9}, ValueError, "lanes must divide the 9 rows, not 4"),
        ({"rows": 0}, ValueError, "rows must be 1 to 256, not 0"),
        ({"lanes": None}, TypeError, "lanes must be an integer, not None"),
        ({"depth": 5000}, ValueError, "depth must be 1 to 4096, not 5000"),
        ({"bus_width": 48}, ValueError, "bus_width must be one of 32, 64, 128, not 48"),
    ],
)
def test_wrong_parameters_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        LayerNormUnit(**(CONFIGS[0] | change))
