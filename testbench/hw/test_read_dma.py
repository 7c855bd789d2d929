"""Bench of the reading data mover against a model of the memory and of its failures."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

from rootshift.hw.axi import PAGE
from rootshift.hw.axi_bursts import Cause
from rootshift.hw.read_dma import ReadDma
from rootshift.testbench.hw.axi_memory import (
    ADDR_WIDTH,
    BASES,
    MOVER_SIZE,
    AxiMemory,
    beats_to_page_end,
    bursts_of,
    mover_memory,
)
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, at_work
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

BEATS_WIDTH = 12
EXOKAY = 1
"""A response that is no error, though nobody asks for it."""
FIELDS = ("data", "tag", "last", "error")


def commands(
    rng: random.Random, memory: AxiMemory, count: int, *, longest: int = PAGE
) -> list[tuple[int, int, int]]:
    """(address, beats, tag): single beats, runs across 4 KiB boundaries, long runs, the ends."""
    base, bytes_ = memory.base, memory.bytes
    page_beats = PAGE // bytes_
    chosen = [(0, 3), (MOVER_SIZE - bytes_, 1), (PAGE - bytes_, 2)]
    while len(chosen) < count:
        some = (1, 2, rng.randint(1, 8), rng.randint(1, 40), rng.randint(1, page_beats // 2))
        beats = min(rng.choice(some), longest)
        end = PAGE - rng.choice((rng.randint(0, 3), beats_to_page_end(rng, bytes_))) * bytes_
        near = rng.choice((end, end, rng.randrange(PAGE)))
        chosen.append((rng.randrange(8) * PAGE + near // bytes_ * bytes_, beats))
    rng.shuffle(chosen)
    return [((base + at) % memory.space, beats, rng.randrange(8)) for at, beats in chosen]


def long_ones(memory: AxiMemory) -> list[tuple[int, int, int]]:
    """(address, beats, tag) in which all bits of the number of beats count, each way."""
    lengths = ((1 << BEATS_WIDTH) - 1, 0x555, 0xAAA)
    return [(memory.base, beats, tag) for tag, beats in enumerate(lengths, 5)]


def columns(rows: list[tuple], *names: str) -> dict[str, list]:
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def model(memory: AxiMemory, orders: list[tuple[int, int, int]]) -> tuple[list[tuple], int, int]:
    """Beats `(bytes, tag, last, error)`, cause and address."""
    rows, cause, where = [], Cause.NONE, 0
    for address, beats, tag in orders:
        fault = Cause.UNALIGNED if address % memory.bytes else Cause.NONE
        fault = Cause.EMPTY if beats == 0 else fault
        for beat in range(max(beats, 1)):
            at = (address + beat * memory.bytes) % memory.space
            response = memory.errors.get(at, 0)
            failure = fault or (Cause.NONE if response == EXOKAY else Cause(response))
            if cause == Cause.NONE and failure != Cause.NONE:
                cause, where = failure, at
            value = list(bytes(memory.bytes) if cause else memory.beat(at))
            rows.append((value, tag, int(beat == max(beats, 1) - 1), int(cause != Cause.NONE)))
    return rows, cause, where


async def transfer(bench: Bench, memory: AxiMemory, what: str, orders: list, **patterns) -> None:
    """Run the commands, hold data and failure against the model, and clear the failure."""
    expected, cause, where = model(memory, orders)
    memory.bursts.clear()
    beats = columns(orders, "address", "beats", "tag")
    watch = Watch(bench, "busy")
    got = await bench.run({"command": beats}, {"o": len(expected)}, **patterns)
    busy = [cycle for cycle, row in watch.stop().items() if row[0]]
    for name, column in columns(expected, *FIELDS).items():
        bench.compare(f"{what}: {name}", got["o"][name], column)
    ends = np.cumsum([max(count, 1) for _, count, _ in orders]) - 1
    work = at_work(bench.sources["command"].cycles, np.array(bench.sinks["o"].cycles)[ends])
    bench.compare(f"{what}: busy", busy, work)
    aligned = [(at, count) for at, count, _ in orders if at % memory.bytes == 0]
    whole = [b for order in aligned for b in bursts_of(*order, memory.bytes, memory.burst)]
    asked = [(at, count) for _, at, count in memory.bursts]
    if cause:
        whole = whole[: len(asked)]
    bench.compare(f"{what}: bursts", asked, [(at % memory.space, count) for at, count in whole])
    bench.compare(f"{what}: cause", bench.get("cause"), cause)
    bench.compare(f"{what}: address", bench.get("address"), where)
    # A halt after a failure does not hide it.
    for strobe in ("halt_stb", "clear_stb") if cause else ("clear_stb",):
        bench.compare(f"{what}: cause kept", bench.get("cause"), cause)
        for value in (1, 0):
            bench.set(strobe, value)
            await bench.step()
    bench.compare(f"{what}: cleared", [bench.get("cause"), bench.get("address")], [0, 0])


@cocotb.test()
async def data_equal_memory(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    rng = random.Random(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        await bench.disturb(seed=run)
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        ram.base = BASES[run % len(BASES)]
        orders = commands(rng, ram, 10) + commands(rng, ram, 20, longest=8)
        address, beats, _ = orders[0]
        ram.errors = {address + rng.randrange(beats) * ram.bytes: EXOKAY}
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await transfer(bench, ram, f"{idle}, {pressure}", orders, **patterns)
    await transfer(bench, ram, "long ones", long_ones(ram))


@cocotb.test()
async def failures_end_in_zeros(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    rng = random.Random(bench.params["seed"] + 1)
    for run in range(16):
        idle, pressure = PAIRS[run % len(PAIRS)]
        await bench.disturb(seed=run)
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        ram.base = BASES[run % len(BASES)]
        # So many short ones that all the places in which a command waits are taken.
        orders = commands(rng, ram, 4) + commands(rng, ram, 16, longest=8)
        kind = run % 4
        address, beats, tag = orders[at := rng.randrange(20)]
        ram.errors = {}
        if kind < 2:
            bad = address + rng.randrange(beats) * ram.bytes
            ram.errors = {bad % ram.space: 2 + kind}
        elif kind == 2:
            orders[at] = (address + rng.randrange(1, ram.bytes), beats, tag)
        else:
            orders[at] = (address + rng.randrange(ram.bytes), 0, tag)
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await transfer(bench, ram, f"run {run}", orders, **patterns)
    for order in long_ones(ram):
        ram.errors = {(ram.base + (order[1] - 1) * ram.bytes) % ram.space: Cause.SLVERR}
        await transfer(bench, ram, f"at the end of {order}", [order])
    # What the bus still owes is taken though nothing comes after it.
    order = ram.base, 2 * ram.burst * ram.outstanding, 3
    ram.errors = {ram.base: Cause.DECERR}
    for ram.latency, idle in ((1, "random:0.3"), (20, "always")):
        await transfer(bench, ram, f"at the begin of {order}, {idle}", [order], idle=idle)
    ram.errors = {}
    await transfer(bench, ram, "after the failures", commands(rng, ram, 4))


@cocotb.test()
async def halt_stops_asking_and_ends_the_stream(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    ram.latency = 10
    beats = bench.params["burst"] * bench.params["outstanding"] + 900
    expected, _, _ = model(ram, [(ram.base, beats, 5)])
    seen = {}

    async def strobes() -> None:
        """Clear has no say while the unit is busy, before the halt nor after it."""
        for name, cycles in (("clear_stb", 200), ("halt_stb", 100), ("clear_stb", 2)):
            await ClockCycles(dut.clk, cycles)
            bench.set(name, 1)
            await ClockCycles(dut.clk, 1)
            bench.set(name, 0)
            seen[name] = len(bench.sinks["o"].beats), len(ram.bursts)

    task = cocotb.start_soon(strobes())
    order = {"address": [ram.base], "beats": [beats], "tag": [5]}
    got = (await bench.run({"command": order}, {"o": beats}, pressure="random:0.7"))["o"]
    await task
    bench.compare("last", np.flatnonzero(got["last"]), [beats - 1])
    error = np.asarray(got["error"], bool)
    first = int(np.flatnonzero(error)[0])
    bench.compare("errors to the end", int(error.sum()), beats - first)
    bench.compare("data before", got["data"][:first], [row[0] for row in expected[:first]])
    bench.compare("zeros after", got["data"][first:], np.zeros((beats - first, ram.bytes), int))
    moved, asked = seen["halt_stb"]
    bench.compare("beats on their way", 0 <= first - moved <= 3, True)
    bench.compare("bursts on their way", 0 <= len(ram.bursts) - asked <= 1, True)
    bench.compare("state", [bench.get("busy"), bench.get("cause")], [0, Cause.HALTED])
    bench.set("clear_stb", 1)
    await bench.step()
    bench.set("clear_stb", 0)
    await transfer(bench, ram, "after the halt", commands(random.Random(1), ram, 4))


@cocotb.test()
async def cycles_equal_the_formula(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    burst, outstanding = bench.params["burst"], bench.params["outstanding"]
    base, gapless = ram.base, 0
    for latency in (1, 2, 7, 30):
        ram.latency = latency
        beats = burst * 3 * outstanding
        orders = [(base, beats, 0), (base + PAGE, 2, 1), (base, 2 * burst, 2)]
        await transfer(bench, ram, f"latency {latency}", orders)
        cycles = bench.sinks["o"].cycles
        began = bench.sources["command"].cycles[0]
        bench.compare("first beat", cycles[0] - began, 3 + latency)
        bench.compare("first burst", ram.moves["ar"][0] - began, 2)
        lengths = [length for _, _, length in ram.bursts]
        windows = [sum(lengths[k + 1 : k + outstanding]) for k in range(len(lengths) - outstanding)]
        if min(windows) > latency and min(lengths) > 1:
            gapless += 1
            bench.compare("gaps", np.diff(cycles), np.ones(len(cycles) - 1, int))
        # A window of bursts per round trip.
        period = max(outstanding * max(burst, 2), burst + latency + 1)
        steps = np.diff(cycles[: beats : outstanding * burst])
        bench.compare(f"period at {latency}", steps, np.full(len(steps), period))
    bench.results["gapless"] = gapless


# Width, burst, outstanding, and at how many of the tested latencies there may be no gap.
CONFIGS = [(32, 16, 4, 4), (64, 256, 2, 1), (128, 5, 3, 2), (32, 1, 8, 0), (64, 8, 2, 1)]


@pytest.mark.parametrize(("data_width", "burst", "outstanding", "gapless"), CONFIGS)
def test_reads(data_width, burst, outstanding, gapless):
    seed = data_width + burst
    print(f"seed {seed}")
    config = {"data_width": data_width, "burst": burst, "outstanding": outstanding}
    unit = ReadDma(addr_width=ADDR_WIDTH, beats_width=BEATS_WIDTH, tag_width=3, **config)
    result = simulate(unit, __name__, params=config | {"seed": seed})
    print(result)
    assert result["results"] == {"gapless": gapless}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"addr_width": 31}, "addr_width must be 32 to 64, not 31"),
        ({"data_width": 48}, "data_width must be 32, 64 or 128, not 48"),
        ({"data_width": 256}, "data_width must be 32 to 128, not 256"),
        ({"burst": 257}, "burst must be 1 to 256, not 257"),
        ({"outstanding": 1}, "outstanding must be 2 to 64, not 1"),
        ({"beats_width": 33}, "beats_width must be 1 to 32, not 33"),
        ({"tag_width": 0}, "tag_width must be 1 to 32, not 0"),
    ],
)
def test_parameter_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        ReadDma(**({"addr_width": 32, "data_width": 64} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match="burst must be an integer, not 'many'"):
        ReadDma(addr_width=32, data_width=64, burst="many")
