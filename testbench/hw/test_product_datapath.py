"""Bench of the units of WEIGHTS and GEMM commands around the datapath, against golden."""

from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rootshift.hw.commands import COMMAND
from rootshift.hw.gemm import Gemm
from rootshift.hw.gemm_unit import GemmUnit
from rootshift.hw.weight_unit import WeightUnit
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, command_beats, name_operands
from rootshift.testbench.hw.gemm_tiles import name_codes, stream_beats
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.products import K_TILES, WIDTHS, Product, random_product

DEPTH = 64


class ProductDatapath(wiring.Component):
    """Both command units around the datapath, and what retires a set of parameters."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        both = {key: sizes[key] for key in ("rows", "activation_digits", "weight_digits")}
        self.gemm = Gemm(
            **both,
            cols=sizes["cols"],
            lanes=sizes["lanes"],
            activation_width=sizes["activation_width"],
            weight_width=sizes["weight_width"],
            array_multiplier=sizes["array_multiplier"],
            depth=DEPTH,
            k_max=K_TILES * sizes["rows"],
            groups=2,
            tag_width=1,
        )
        self.weights = WeightUnit(
            rows=sizes["rows"],
            cols=sizes["cols"],
            lanes=sizes["lanes"],
            weight_width=sizes["weight_width"],
            code_width=sizes["activation_width"],
            bus_width=sizes["bus_width"],
        )
        self.vectors = GemmUnit(**both, code_width=sizes["activation_width"], depth=DEPTH)
        port = self.vectors.read.signature.members
        super().__init__(
            {
                "weights_command": In(stream.Signature(COMMAND)),
                "gemm_command": In(stream.Signature(COMMAND)),
                "stream": In(self.weights.stream.signature.flip()),
                "column_address": port["address"],
                "column_word": port["word"],
                "vector_address": port["address"],
                "vector_word": port["word"],
                "o": Out(self.gemm.o.signature),
                "clear_stb": In(1),
                "saturated": Out(32),
                "gemm_done": Out(1),
                "waits": Out(5),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.gemm, m.submodules.weights = gemm, weights = self.gemm, self.weights
        m.submodules.vectors = vectors = self.vectors
        parts = gemm.parts
        outer = flipped(self)
        connect(m, outer.weights_command, weights.command)
        connect(m, outer.gemm_command, vectors.command)
        connect(m, outer.stream, weights.stream)
        for name, read in (("column", weights.read), ("vector", vectors.read)):
            connect(m, read.address, getattr(outer, f"{name}_address"))
            connect(m, getattr(outer, f"{name}_word"), read.word)
        connect(m, weights.weights, gemm.weights)
        connect(m, weights.parameters, gemm.parameters)
        connect(m, vectors.vectors, gemm.i)
        connect(m, gemm.o, outer.o)
        counters = "takes", "waits_output", "waits_weights", "waits_activations", "busy"
        m.d.comb += [
            weights.group.eq(gemm.next_group),
            *(getattr(gemm, x).eq(getattr(weights, x)) for x in ("shift", "zero", "low", "high")),
            vectors.weights_ready.eq(gemm.weights_ready),
            weights.retired_stb.eq(
                gemm.o.valid & gemm.o.ready & gemm.o.p.tag & (gemm.o.p.group % parts == parts - 1)
            ),
            gemm.clear_stb.eq(self.clear_stb),
            self.saturated.eq(gemm.saturated),
            self.gemm_done.eq(vectors.done_stb),
            *(self.waits[at].eq(getattr(vectors, x)) for at, x in enumerate(counters)),
        ]
        return m


class Runner:
    """Runs lists of products one after the other; banks go on turning."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.sets = bench, 0
        name_operands(bench, "weights_command", "WEIGHTS")
        name_operands(bench, "gemm_command", "GEMM")
        for port in ("vector_word", "column_word"):
            name_codes(bench, port, bench.params["activation_width"], bench.params["rows"])

    async def run(self, products: list[Product], what: str, **patterns: Any) -> None:
        bench, beat_bytes = self.bench, self.bench.params["bus_width"] // 8
        parts = bench.params["cols"] // bench.params["lanes"]
        sources: dict[str, Any] = {
            "weights_command": command_beats("WEIGHTS", [p.weights for p in products]),
            "gemm_command": command_beats("GEMM", [p.gemm for p in products]),
            "stream": stream_beats(b"".join(p.stream for p in products), beat_bytes),
            "vector_word": np.concatenate([p.vector_words for p in products]),
        }
        columns = np.concatenate([p.column_words for p in products])
        if len(columns):
            sources["column_word"] = columns
        expected = {
            "column_address": np.concatenate([p.column_addresses for p in products]),
            "vector_address": np.concatenate([p.vector_addresses for p in products]),
        }
        bank = []
        for p in products:
            bank.append((p.set + self.sets) % 2)
            self.sets += p.sets
        group = np.concatenate(bank) * parts + np.concatenate([p.part for p in products])
        outputs = {
            "y": np.concatenate([p.y for p in products]),
            "address": np.concatenate([p.address for p in products]),
            "tag": np.concatenate([p.tag for p in products]),
            "group": group,
        }
        bench.set("clear_stb", 1)
        await bench.step()
        bench.set("clear_stb", 0)
        sinks = {name: len(v) for name, v in expected.items()} | {"o": len(group)}
        got = await bench.run(sources, sinks, **patterns)
        for name, addresses in expected.items():
            if len(addresses):
                bench.compare(f"{name}, {what}", got[name], addresses % (1 << 20))
        for name, values in outputs.items():
            bench.compare(f"{name}, {what}", got["o"][name].reshape(values.shape), values)
        saturated = sum(p.saturated for p in products)
        bench.compare(f"saturated, {what}", bench.get("saturated"), saturated)


@cocotb.test()
async def products_equal_golden(dut):
    bench = await Bench.start(dut)
    runner, rng = Runner(bench), np.random.default_rng(bench.params["seed"])
    names = [*bench.sources, *bench.sinks]
    for run, (idle, pressure) in enumerate(PAIRS):
        products = [random_product(rng, bench.params, n) for n in range(run, run + 8)]
        # Each stream is the slow one in its turn.
        slow = names[run % len(names)]
        chosen = {"idle": {slow: "random:0.15"} if run % 2 else idle}
        watch = Watch(bench, "waits")
        await runner.run(products, f"{idle}, {pressure}", **chosen, pressure=pressure, seed=run)
        seen = np.array(list(watch.stop().values()))[:, 0]
        # Of an array at work one thing is true in each cycle; of one that rests none.
        bench.compare("what the array does", np.bitwise_count(seen & 15), seen >> 4)


@cocotb.test()
async def parameter_sets_are_not_mixed_up(dut):
    """Products of one tile, so short that several of them are inside, with sets of their own."""
    bench = await Bench.start(dut)
    runner, rng = Runner(bench), np.random.default_rng(bench.params["seed"])
    for run, patterns in enumerate(
        ({}, {"pressure": {"o": "random:0.2"}}, {"pressure": {"o": "bursts:3,200"}})
    ):
        products = [
            Product(
                rng, bench.params, tokens=int(rng.integers(1, 4)), tiles=1,
                groups=int(rng.integers(1, 3)), width=WIDTHS[number % 6],
                shared=bool(rng.integers(2)), buffer=number % 5 == 4,
            )
            for number in range(24)
        ]  # fmt: skip
        await runner.run(products, f"single tiles, {run}", **patterns, seed=run)


@cocotb.test()
async def vectors_follow_each_other(dut):
    """One vector per cycle over passes and groups; between commands as documented."""
    bench = await Bench.start(dut)
    p = bench.params
    runner, rng = Runner(bench), np.random.default_rng(p["seed"])
    # So long that parameters and columns, slower than one per cycle on a narrow bus, are in time.
    tokens, tiles = DEPTH, max(3, p["cols"] // p["lanes"])
    products = [
        Product(rng, p, tokens=tokens, tiles=tiles, groups=3, width=8, shared=n == 1)
        for n in range(3)
    ]
    watch = Watch(bench, "waits", "gemm_done")
    await runner.run(products, "full speed")
    rows = watch.stop()
    taken = np.array([cycle for cycle, (waits, _) in rows.items() if waits & 1])
    done = np.array([cycle for cycle, (_, done) in rows.items() if done])
    taken = taken.reshape(len(products), -1)
    bench.compare("one vector per cycle", np.diff(taken), np.ones_like(taken[:, 1:]))
    bench.compare("done with the last vector", done, taken[:, -1])
    # A cycle to take a command, one to ask, 2 for the word.
    bench.compare("between commands", taken[1:, 0] - taken[:-1, -1], np.full(2, 4))


@cocotb.test()
async def loops_of_all_bits(dut):
    """Groups, channels and tiles that need every bit of their counters, one loop at a time."""
    bench = await Bench.start(dut)
    runner, rng = Runner(bench), np.random.default_rng(bench.params["seed"])
    if not bench.params["long"]:
        return
    few = {"tokens": 1, "width": 8}
    groups = Product(
        rng, bench.params, **few, tiles=1, groups=4099, shared=True, buffer=True, channels=8190
    )
    tiles = Product(rng, bench.params, **few, tiles=8197, groups=1, sparse=True)
    for product in (groups, tiles):
        await runner.run([product], "a long loop")


CONFIGS = [
    # rows, cols, lanes, activation width, weight width, digits of each, bus width, array
    (4, 4, 2, 4, 4, 2, 2, 64, "lut"),
    (4, 6, 2, 4, 6, 2, 2, 32, "lut"),
    (4, 4, 4, 8, 8, 1, 1, 128, "lut"),
    # The largest has all there is: digits, parts, most of each loop.
    (8, 8, 4, 6, 6, 2, 2, 128, "lut"),
    (3, 5, 1, 3, 4, 3, 2, 128, "lut"),
    (3, 5, 1, 3, 4, 3, 2, 128, "dsp"),
]
NAMES = [
    "rows", "cols", "lanes", "activation_width", "weight_width", "activation_digits",
    "weight_digits", "bus_width", "array_multiplier",
]  # fmt: skip


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_products_equal_golden(values):
    sizes = dict(zip(NAMES, values, strict=True))
    seed = sum(values[:-1])
    print(f"seed {seed}")
    params = {**sizes, "seed": seed, "long": sizes["rows"] == 8}
    print(simulate(ProductDatapath(sizes), __name__, params=params))
