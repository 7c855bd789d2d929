"""Bench of the mean over rows against golden."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.mean_pool import MeanPool
from rootshift.latency import word_buffer
from rootshift.sim.golden.residual_add import pool
from rootshift.testbench.hw import layout
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, alternate_bits
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import ADDRESSES, WordServer
from rootshift.testbench.seeds import SEED

WORDS = 3 << 12
EXTREMES = (-(1 << 15), (1 << 15) - 1, -1)
FACTORS = ((0, 1), (3, 8), (9, 37), (15, 1 << 15), (16, 65535), (23, 42563), (47, 65535), (0, 0))
"""Shifts with multipliers that they allow, below and above the 16 bits of a multiplier."""


class Pool:
    """The unit under test, with a buffer of noise."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.lanes = bench, bench.params["lanes"]
        self.rng = np.random.default_rng(bench.params["seed"])
        self.words = self.rng.integers(-(1 << 15), 1 << 15, (WORDS, self.lanes))
        self.words[:, 0] = EXTREMES[0]
        self.read = WordServer(bench, "read")
        self.read.words = layout.pack({"": (0, 16, True, self.lanes)}, self.words)
        bench._fields["write"] = {
            "address": (0, 20, False, 1),
            "values": (20, 16, True, self.lanes),
            "mask": (20 + 16 * self.lanes, 1, False, 1),
        }

    def order(self, shift: int, multiplier: int, rows: int, chunks: int) -> dict[str, int]:
        stride = int(self.rng.integers(chunks, max(chunks, ADDRESSES // rows) + 1))
        base = int(self.rng.integers(0, ADDRESSES - rows * stride + 1))
        out = int(self.rng.integers(0, ADDRESSES - chunks + 1))
        order = {"base": base, "stride": stride, "rows": rows, "chunks": chunks, "out": out}
        return order | {"multiplier": multiplier, "shift": shift}

    def addresses(self, order: dict[str, int]) -> np.ndarray:
        """Words that are read, `[rows, chunks]`."""
        rows, chunks = np.arange(order["rows"])[:, None], np.arange(order["chunks"])
        return order["base"] + rows * order["stride"] + chunks

    def means(self, order: dict[str, int]) -> np.ndarray:
        x = self.words[self.addresses(order) % WORDS].astype(np.int16)
        factor = {key: order[key] for key in ("multiplier", "shift")}
        return pool(x.reshape(order["rows"], -1), mode="avg", prefix=0, **factor)

    async def check(self, orders: list[dict[str, int]], run: int = 0, **patterns: str) -> dict:
        """Run commands; return done, busy and stall of each cycle."""
        bench = self.bench
        beats = {name: [order[name] for order in orders] for name in orders[0]}
        expected = np.concatenate([self.means(o).reshape(-1, self.lanes) for o in orders])
        addresses = [order["out"] + c for order in orders for c in range(order["chunks"])]
        self.read.play(patterns.get("idle", "always"), patterns.get("pressure", "always"), run)
        ports = "read__address", "read__word", "write"
        hands = [f"{port}__{wire}" for port in ports for wire in ("valid", "ready")]
        watch = Watch(bench, "done_stb", "busy", "stall", *hands)
        got = await bench.run(
            {"command": beats}, {"write": len(addresses)}, seed=run, stuck=20000, **patterns
        )
        rows = watch.stop()
        bench.compare("addresses", got["write"]["address"], addresses)
        reads = np.concatenate([self.addresses(order).T.ravel() for order in orders])
        bench.compare("reads", self.read.asked, reads)
        bench.compare("means", got["write"]["values"].reshape(expected.shape), expected)
        last = np.cumsum([order["chunks"] for order in orders]) - 1
        done = [cycle for cycle, row in rows.items() if row[0]]
        bench.compare("done", done, np.array(bench.sinks["write"].cycles)[last])
        wires = np.array(list(rows.values()))[:, 1:]
        busy, stall, asks, takes, there, wants, writes, room = wires.T
        began = bench.sources["command"].cycles
        bench.compare("busy", busy.sum(), (np.array(done) - began).sum())
        waits = wants & (1 - there) & (1 - (asks & takes)) | writes & (1 - room)
        bench.compare("stall", stall, waits)
        return rows


@cocotb.test()
async def means_equal_golden(dut):
    mean = Pool(await Bench.start(dut))
    for run, (idle, pressure) in enumerate(PAIRS):
        orders = []
        for shift, multiplier in FACTORS:
            # As many rows as keep the mean within 16 bits.
            most = min(40, (1 << shift) // max(multiplier, 1))
            rows = int(mean.rng.integers(1, most + 1))
            orders.append(mean.order(shift, multiplier, rows, int(mean.rng.integers(1, 4))))
        await mean.check(orders, run, idle=idle, pressure=pressure)


@cocotb.test()
async def sums_of_the_most_rows_fit(dut):
    mean = Pool(await Bench.start(dut))
    mean.words[:, -1] = EXTREMES[1]
    mean.read.words = layout.pack({"": (0, 16, True, mean.lanes)}, mean.words)
    order = mean.order(27, 1 << 15, 4096, 1)
    rows = await mean.check([order])
    took = sum(row[1] for row in rows.values())
    lanes = mean.lanes * (27 + 1)
    mean.bench.compare("latency", took, 4096 + lanes + 2 + word_buffer(1))
    stalled = sum(row[2] for row in rows.values())
    mean.bench.compare("stalls", stalled, 0)


@cocotb.test()
async def many_chunks_and_rows(dut):
    mean = Pool(await Bench.start(dut))
    rows = [alternate_bits(most) for most in (4095, 2047)]
    await mean.check([mean.order(3, 5, 1, 300), *(mean.order(27, 1 << 15, n, 1) for n in rows)])


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_mean_pool(lanes):
    print(f"seed {SEED}")
    print(simulate(MeanPool(lanes=lanes), __name__, params={"lanes": lanes, "seed": SEED}))


def test_lanes_out_of_range():
    with pytest.raises(ValueError, match="lanes must be 1 to 256, not 0"):
        MeanPool(lanes=0)
