"""Bench of the unit of WEIGHTS commands: parameters, settings and columns against the stream."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from rootshift.formats import ACCUMULATOR_WIDTH, CODE_WIDTHS, output_range
from rootshift.hw.column_reader import ColumnReader
from rootshift.hw.weight_unit import WeightUnit
from rootshift.isa import BY_NAME, WORD_ADDRESS_WIDTH
from rootshift.latency import word_buffer, words_waiting
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import (
    Watch,
    alternate_bits,
    command_beats,
    name_operands,
    of_all_lengths,
)
from rootshift.testbench.hw.gemm_tiles import column_section, parameter_section, stream_beats
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import WordServer

WORDS = 4096
LAST_WORD = (1 << WORD_ADDRESS_WIDTH) - 1
MOST = {name: place[1].range[1] for name, place in BY_NAME["WEIGHTS"].places.items()}


class Set:
    """A random set of parameters."""

    def __init__(self, rng: np.random.Generator, cols: int) -> None:
        self.bias = rng.integers(-(1 << 31), 1 << 31, cols)
        self.weight_zero = rng.integers(-(1 << 15), 1 << 15, cols)
        self.multiplier = rng.integers(0, 1 << 16, cols)
        self.shift = int(rng.integers(0, 48))
        self.zero = int(rng.integers(-(1 << 15), 1 << 15))
        self.width = int(rng.integers(CODE_WIDTHS[0], ACCUMULATOR_WIDTH + 1))

    @property
    def settings(self) -> tuple[int, ...]:
        return self.shift, self.zero, *output_range(self.width)


class Program:
    """Random commands, and all that they must bring."""

    def __init__(self, rng: np.random.Generator, p: dict[str, int], count: int) -> None:
        self.rng, self.p = rng, p
        self.beat_bytes = p["bus_width"] // 8
        self.words = rng.integers(0, 1 << p["code_width"], (WORDS, p["rows"]))
        self.commands: list[dict[str, int]] = []
        self.sets: list[Set] = []
        self.stream = b""
        self.columns: list[np.ndarray] = []
        self.addresses: list[int] = []
        self.counts: list[int] = []
        self.zeros = 0
        for number in range(count):
            self.add(buffer=number % 3 == 1, shared=bool(rng.integers(2)))

    def add(self, *, buffer: bool, shared: bool, groups: int = 0, tiles: int = 0) -> None:
        """One more command."""
        rng, cols = self.rng, self.p["cols"]
        groups, tiles = groups or int(rng.integers(1, 4)), tiles or int(rng.integers(1, 5))
        command = {
            "buffer": int(buffer),
            "shared": int(shared),
            "groups": groups,
            "tiles": tiles,
            "base": int(rng.integers(0, LAST_WORD)),
            "stride": int(rng.integers(0, LAST_WORD)),
            # Down to none in the last groups.
            "channels": int(rng.integers(1, min(groups * cols, MOST["channels"]) + 1)),
        }
        self.commands.append(command)
        self.counts.append(groups * tiles * cols)
        for group in range(groups):
            if group == 0 or not shared:
                self._parameters()
            if buffer:
                self._from_buffer(command, group)
            else:
                shape = tiles * cols, self.p["rows"]
                codes = rng.integers(0, 1 << self.p["weight_width"], shape)
                self.stream += column_section(codes, self.p["weight_width"], self.beat_bytes)
                self.columns.append(codes)

    def _parameters(self) -> None:
        made = Set(self.rng, self.p["cols"])
        self.stream += parameter_section(**vars(made), beat_bytes=self.beat_bytes)
        self.sets.append(made)

    def _from_buffer(self, command: dict[str, int], group: int) -> None:
        cols = self.p["cols"]
        for tile in range(command["tiles"]):
            for column in range(group * cols + cols - 1, group * cols - 1, -1):
                address = command["base"] + tile * command["stride"] + column & LAST_WORD
                if column < command["channels"]:
                    self.addresses.append(address)
                    self.columns.append(self.words[address % WORDS][None])
                else:
                    self.columns.append(np.zeros((1, self.p["rows"]), int))
                    self.zeros += 1

    def packed_words(self) -> list[int]:
        width = self.p["code_width"]
        return [sum(int(code) << width * at for at, code in enumerate(w)) for w in self.words]

    def parameters(self, before: int) -> dict[str, np.ndarray]:
        """Beats of `parameters`, when `before` sets have been loaded since the reset."""
        cols, lanes = self.p["cols"], self.p["lanes"]
        found = {
            name: np.concatenate([getattr(s, name) for s in self.sets])
            for name in ("bias", "weight_zero", "multiplier")
        }
        number, channel = np.divmod(np.arange(len(self.sets) * cols), cols)
        found["group"] = (number + before) % 2 * (cols // lanes) + channel // lanes
        return found | {"lane": channel % lanes}


async def retire(bench: Bench, sets: list[Set], before: int, chance: Iterator[bool]) -> None:
    """Look at the settings of each set that is loaded, then retire it, whenever `chance` says."""
    cols = bench.params["cols"]
    for number, expected in enumerate(sets):
        while len(bench.sinks["parameters"].cycles) < (number + 1) * cols:
            await RisingEdge(bench.dut.clk)
        while not next(chance):
            await RisingEdge(bench.dut.clk)
            loaded = len(bench.sinks["parameters"].cycles)
            if loaded > (number + 2) * cols:
                raise AssertionError(f"set {number + 2} is loaded though {number} is not retired")
        bench.set("group", (number + before) % 2)
        await FallingEdge(bench.dut.clk)
        await RisingEdge(bench.dut.clk)
        await FallingEdge(bench.dut.clk)
        ports = ("shift", False), ("zero", True), ("low", True), ("high", True)
        got = [bench.get(port, signed=signed) for port, signed in ports]
        bench.compare(f"settings of set {number}", got, expected.settings)
        await RisingEdge(bench.dut.clk)
        bench.set("retired_stb", 1)
        await RisingEdge(bench.dut.clk)
        bench.set("retired_stb", 0)


async def run(
    bench: Bench,
    program: Program,
    server: WordServer,
    before: int,
    what: str,
    chance: Iterator[bool],
    **patterns: Any,
) -> list[int]:
    """Run a program, compare all outputs, return the cycles of `done_stb`."""
    columns = np.concatenate(program.columns)
    parameters = program.parameters(before)
    sources = {
        "command": command_beats("WEIGHTS", program.commands),
        "stream": stream_beats(program.stream, program.beat_bytes),
    }
    server.words = program.packed_words()
    watch = Watch(
        bench, "done_stb", "busy", "stall", "read__address__valid", "read__address__ready"
    )
    task = cocotb.start_soon(retire(bench, program.sets, before, chance))
    sinks = {"weights": len(columns), "parameters": len(parameters["lane"])}
    got = await bench.run(sources, sinks, **patterns)
    await task
    bench.compare(f"columns, {what}", got["weights"].reshape(columns.shape), columns)
    for name, values in parameters.items():
        if name in got["parameters"]:
            bench.compare(f"{name}, {what}", got["parameters"][name], values)
    bench.compare(f"addresses, {what}", server.asked, program.addresses)
    rows = watch.stop()
    done = [cycle for cycle, row in rows.items() if row[0]]
    bench.compare(f"commands done, {what}", len(done), len(program.commands))
    check_work(bench, program, rows, done)
    return done


def check_work(bench: Bench, program: Program, rows: dict[int, Any], done: list[int]) -> None:
    """When the unit is at work, and whether it stalls."""
    began = bench.sources["command"].cycles
    busy = [cycle for cycle, row in rows.items() if row[1]]
    spans = zip(began, done, strict=True)
    bench.compare("busy", busy, [c for first, last in spans for c in range(first + 1, last + 1)])
    # A command with columns of the stream ends with the last of these.
    columns = {cycle: n for n, cycle in enumerate(bench.sinks["weights"].cycles, 1)}
    ends = np.cumsum(program.counts)
    for command, end, cycle in zip(program.commands, ends, done, strict=True):
        if command["buffer"]:
            bench.compare(
                "columns before the end", bench.sinks["weights"].cycles[end - 1] <= cycle, True
            )
        else:
            bench.compare("last column at the end", columns.get(cycle), end)
    ports = bench.sources["stream"], bench.sinks["weights"], bench.sinks["parameters"]
    moved = {cycle for port in ports for cycle in port.cycles}
    moved |= {cycle for cycle, row in rows.items() if row[3] and row[4]}
    stalls = {cycle for cycle, row in rows.items() if row[2]}
    bench.compare("stalls at work", len(stalls - set(busy)), 0)
    bench.compare("moved in a stall", len(stalls & moved), 0)
    # Records that are no channel's and zero columns that are asked for are not to be seen.
    cols, beat = bench.params["cols"], program.beat_bytes
    records = -(-8 * (cols + 1) // beat) * beat // 8
    unseen = len(program.sets) * (records - cols) + program.zeros
    bench.compare("neither moved nor in a stall", len(set(busy) - moved - stalls) <= unseen, True)


def always() -> Iterator[bool]:
    while True:
        yield True


def chances(rng: np.random.Generator, probability: float) -> Iterator[bool]:
    while True:
        yield bool(rng.random() < probability)


@cocotb.test()
async def everything_arrives_in_order(dut):
    bench = await Bench.start(dut)
    name_operands(bench, "command", "WEIGHTS")
    server = WordServer(bench, "read", bench.params["stages"], endless=True)
    rng, before = np.random.default_rng(bench.params["seed"]), 0
    for number, (idle, pressure) in enumerate(PAIRS):
        program = Program(rng, bench.params, 6)
        server.play(idle, "random:0.5", number)
        # The requantizer takes parameters whenever they come.
        patterns = {"pressure": {"weights": pressure}, "seed": number}
        patterns["idle"] = {"stream": idle} if number % 2 else idle
        chance = chances(rng, (1.0, 0.02, 0.3)[number % 3])
        await run(bench, program, server, before, f"{idle}, {pressure}", chance, **patterns)
        before += len(program.sets)
    bench.compare("words asked for ahead", server.most, words_waiting(bench.params["stages"]))


@cocotb.test()
async def loops_of_all_lengths(dut):
    """Each loop by itself, up to so many turns that all bits of its operand count."""
    bench = await Bench.start(dut)
    if not bench.params["long"]:
        return
    name_operands(bench, "command", "WEIGHTS")
    server = WordServer(bench, "read", bench.params["stages"], endless=True)
    rng = np.random.default_rng(bench.params["seed"])
    program = Program(rng, bench.params, 0)
    for length in of_all_lengths(rng, 1 << 10):
        program.add(buffer=True, shared=True, groups=1, tiles=length)
        program.add(buffer=True, shared=True, groups=length, tiles=1)
    program.add(buffer=False, shared=True, groups=1, tiles=alternate_bits(MOST["tiles"]))
    program.add(buffer=True, shared=True, groups=alternate_bits(MOST["groups"]), tiles=1)
    await run(bench, program, server, 0, "long loops", always())


@cocotb.test()
async def one_column_per_cycle(dut):
    """As fast as the bytes come, within a group; and as words come from the code buffer."""
    bench = await Bench.start(dut)
    name_operands(bench, "command", "WEIGHTS")
    server = WordServer(bench, "read", bench.params["stages"], endless=True)
    p = bench.params
    rng = np.random.default_rng(p["seed"])
    for before, buffer in enumerate((False, True)):
        program = Program(rng, p, 0)
        program.add(buffer=buffer, shared=True, groups=1, tiles=6)
        server.play()
        done = await run(bench, program, server, before, f"buffer {buffer}", always())
        moved = np.array(bench.sinks["weights"].cycles)
        if buffer:
            # Zeros take two cycles, fewer than a word: the first of those may come later.
            pauses = np.diff(moved) - 1
            latency = word_buffer(p["stages"]) - ColumnReader.LATENCY
            bench.compare("pauses", pauses.sum() <= latency, True)
            continue
        column_bytes = -(-p["rows"] * p["weight_width"] // 8)
        ideal = moved[0] + np.arange(len(moved)) * max(1, column_bytes / p["bytes"])
        bench.compare("in time", np.abs(moved - ideal) < 2, np.ones(len(moved), bool))
        bench.compare("done with the last column", done[0], moved[-1])


CONFIGS = [
    # rows, cols, lanes, weight width, code width, bus width, stages
    (4, 4, 2, 4, 4, 64, 1),
    (8, 8, 4, 8, 4, 64, 2),
    (3, 5, 5, 5, 3, 128, 1),
    (5, 6, 2, 6, 6, 32, 3),
    (1, 1, 1, 4, 4, 128, 2),
    (1, 2, 1, 3, 3, 128, 1),
    (16, 16, 8, 4, 4, 32, 1),
    # Few columns, for long loops.
    (11, 4, 2, 7, 6, 128, 2),
]
NAMES = "rows", "cols", "lanes", "weight_width", "code_width", "bus_width", "stages"


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_everything_arrives(values):
    config = dict(zip(NAMES, values, strict=True))
    seed = sum(values)
    print(f"seed {seed}")
    params = {
        **config,
        "bytes": config["bus_width"] // 8,
        "seed": seed,
        "long": values == CONFIGS[-1],
    }
    print(simulate(WeightUnit(**config), __name__, params=params))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows must be 1 to 256, not 0"),
        ({"cols": 257}, "cols must be 1 to 256, not 257"),
        ({"lanes": 3}, "lanes must divide the 4 cols, not 3"),
        ({"weight_width": 9}, "weight_width must be 3 to 8, not 9"),
        ({"code_width": 5}, "code_width must be 3 to 4, not 5"),
        ({"bus_width": 48}, r"bus_width must be one of \(32, 64, 128\), not 48"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    config = {"rows": 4, "cols": 4, "lanes": 2, "weight_width": 4, "code_width": 4}
    with pytest.raises(ValueError, match=message):
        WeightUnit(**{**config, "bus_width": 64, **wrong})
