"""Bench of the writing data mover against a model of the memory and of its failures."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

from rootshift.hw.axi import PAGE
from rootshift.hw.axi_bursts import Cause
from rootshift.hw.write_dma import WriteDma
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
ORDERS = ("any", "address", "data")


def commands(rng: random.Random, ram: AxiMemory, count: int) -> list[tuple[int, int, int, int]]:
    """(address, beats, last_bytes, tag), apart in memory: one per page, running into the next."""
    base, bytes_ = ram.base, ram.bytes
    orders = [(base, 3), (base + MOVER_SIZE - bytes_, 1)]
    for page in range(1, count - 1):
        beats = rng.choice((1, 2, rng.randint(1, 8), rng.randint(1, 40), PAGE // bytes_ // 2))
        left = (rng.randint(1, 3), beats_to_page_end(rng, bytes_), rng.randint(100, 256))
        address = base + 2 * page * PAGE - rng.choice(left) * bytes_
        orders.append((address, beats))
    rng.shuffle(orders)
    return [
        (at % ram.space, beats, rng.randrange(bytes_), rng.randrange(8)) for at, beats in orders
    ]


def written(ram: AxiMemory, orders: list[tuple], values: np.ndarray) -> bytearray:
    """Memory after the commands, which take their beats from `values` in turn."""
    after, taken = bytearray(ram.contents), 0
    for address, beats, last_bytes, _ in orders:
        stream = values[taken : taken + beats].astype(np.uint8).tobytes()
        taken += beats
        size = len(stream) - (values.shape[1] - last_bytes if last_bytes else 0)
        place = ram.place(address)
        after[place : place + size] = stream[:size]
    return after


async def send(bench: Bench, orders: list, values: np.ndarray, **patterns) -> dict:
    """Run the commands; return what came from `done`."""
    names = ("address", "beats", "last_bytes", "tag")
    beats = dict(zip(names, map(list, zip(*orders, strict=True)), strict=True))
    sources = {"command": beats, "i": values}
    watch = Watch(bench, "busy")
    done = (await bench.run(sources, {"done": len(orders)}, **patterns))["done"]
    busy = [cycle for cycle, row in watch.stop().items() if row[0]]
    work = at_work(bench.sources["command"].cycles, bench.sinks["done"].cycles)
    bench.compare("busy", busy, work)
    taken = bench.sources["i"].cycles
    ends = np.cumsum([count for _, count, *_ in orders])
    early = [
        tag
        for end, cycle, (*_, tag) in zip(ends, bench.sinks["done"].cycles, orders, strict=True)
        if end and cycle <= taken[end - 1]
    ]
    bench.compare("told before all beats were taken", early, [])
    return done


async def clear(bench: Bench) -> None:
    """Clear a failure, which a halt that comes after it does not hide."""
    cause = bench.get("cause")
    for strobe in ("halt_stb", "clear_stb"):
        bench.compare("cause kept", bench.get("cause"), cause)
        for value in (1, 0):
            bench.set(strobe, value)
            await bench.step()
    bench.compare("cleared", [bench.get("cause"), bench.get("address")], [0, 0])


def draw(rng: random.Random, orders: list[tuple], bytes_: int) -> np.ndarray:
    generator = np.random.default_rng(rng.randrange(1 << 32))
    return generator.integers(0, 256, (sum(beats for _, beats, *_ in orders), bytes_))


async def transfer(bench: Bench, ram: AxiMemory, what: str, orders: list, **patterns) -> None:
    """Run commands that succeed and hold memory against the model."""
    values = draw(random.Random(what), orders, ram.bytes)
    expected = written(ram, orders, values)
    ram.bursts.clear()
    done = await send(bench, orders, values, **patterns)
    bench.compare(f"{what}: memory", list(ram.contents), list(expected))
    whole = [b for at, n, *_ in orders for b in bursts_of(at, n, ram.bytes, ram.burst)]
    asked = [(at, count) for _, at, count in ram.bursts]
    bench.compare(f"{what}: bursts", asked, [(at % ram.space, count) for at, count in whole])
    bench.compare(f"{what}: tags", done["tag"], [tag for *_, tag in orders])
    bench.compare(f"{what}: errors", done["error"], [0] * len(orders))
    bench.compare(f"{what}: state", [bench.get("busy"), bench.get("cause")], [0, 0])


@cocotb.test()
async def memory_equals_model(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    rng = random.Random(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        await bench.disturb(seed=run)
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        ram.order = ORDERS[run % 3]
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        ram.base = BASES[run % len(BASES)]
        what = f"{idle}, {pressure}, {ram.order}"
        await transfer(bench, ram, what, commands(rng, ram, 8), **patterns)
    # All bits of the number of beats count, each way.
    for beats in ((1 << BEATS_WIDTH) - 1, 0x555, 0xAAA):
        await transfer(bench, ram, f"{beats} beats", [(ram.base, beats, 1, 5)])


@cocotb.test()
async def failures_are_told(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    rng = random.Random(bench.params["seed"] + 1)
    for run in range(12):
        idle, pressure = PAIRS[run % len(PAIRS)]
        await bench.disturb(seed=run)
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        ram.order = ORDERS[run % 3]
        ram.base = BASES[run % len(BASES)]
        orders = commands(rng, ram, 6)
        kind, at = run % 4, rng.randrange(6)
        address, beats, *rest = orders[at]
        ram.errors, bad = {}, address
        if kind < 2:
            bad = (address + rng.randrange(beats) * ram.bytes) % ram.space
            ram.errors = {bad: 2 + kind}
        elif kind == 2:
            bad = address + rng.randrange(1, ram.bytes)
            orders[at] = (bad, beats, *rest)
        else:
            # Wherever it points, it takes no beat.
            bad = address + rng.randrange(ram.bytes)
            orders[at] = (bad, 0, *rest)
        cause = (Cause.SLVERR, Cause.DECERR, Cause.UNALIGNED, Cause.EMPTY)[kind]
        values = draw(rng, orders, ram.bytes)
        before = bytes(ram.contents)
        ram.bursts.clear()
        whole = written(ram, orders[:at], values)
        done = await send(bench, orders, values, idle=idle, pressure=pressure, seed=run)
        bench.compare("tags", done["tag"], [tag for *_, tag in orders])
        bench.compare("errors", done["error"], [0] * at + [1] * (6 - at))
        bench.compare("state", [bench.get("busy"), bench.get("cause")], [0, cause])
        if kind < 2:
            # The burst that holds the beat, as the memory saw it.
            before_it = (at for _, at, _ in ram.bursts if ram.place(at) <= ram.place(bad))
            bad = max(before_it, key=ram.place)
        else:
            bench.compare("memory", list(ram.contents), list(whole))
            asked = sum(beats for _, _, beats in ram.bursts)
            bench.compare("asked for", asked, sum(beats for _, beats, *_ in orders[:at]))
        bench.compare("address", bench.get("address"), bad)
        claimed = np.zeros(MOVER_SIZE, bool)
        for number, (start, length, *_) in enumerate(orders):
            piece = slice(ram.place(start), ram.place(start) + length * ram.bytes)
            claimed[piece] = True
            if number >= at:
                continue
            bench.compare("before it", list(ram.contents[piece]), list(whole[piece]))
        after = np.frombuffer(bytes(ram.contents), np.uint8)
        bench.compare("elsewhere", after[~claimed], np.frombuffer(before, np.uint8)[~claimed])
        await clear(bench)
    ram.errors, ram.shy = {}, False
    await transfer(bench, ram, "after the failures", commands(rng, ram, 4))


@cocotb.test()
async def halt_ends_bursts_and_writes_nothing(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    ram.latency = 10
    beats = bench.params["burst"] * bench.params["outstanding"] + 900
    orders = [(ram.base, beats, 0, 5), ((ram.base + MOVER_SIZE // 2) % ram.space, 5, 0, 6)]
    values = draw(random.Random(bench.params["seed"]), orders, ram.bytes)
    seen = {}

    async def strobes() -> None:
        """Clear has no say while the unit is busy, before the halt nor after it."""
        for name, cycles in (("clear_stb", 200), ("halt_stb", 100), ("clear_stb", 2)):
            await ClockCycles(dut.clk, cycles)
            bench.set(name, 1)
            await ClockCycles(dut.clk, 1)
            bench.set(name, 0)
            seen[name] = len(ram.bursts), len(ram.written) + ram.underway

    task = cocotb.start_soon(strobes())
    done = await send(bench, orders, values, idle={"i": "random:0.7", "m_axi": "random:0.8"})
    await task
    bench.compare("errors", done["error"], [1, 1])
    bench.compare("tags", done["tag"], [5, 6])
    asked, moved = seen["halt_stb"]
    bench.compare("bursts on their way", 0 <= len(ram.bursts) - asked <= 1, True)
    strobes_ = [strobe for _, _, strobe in ram.written]
    full = (1 << ram.bytes) - 1
    count = strobes_.index(0) if 0 in strobes_ else len(strobes_)
    bench.compare("beats on their way", 0 <= count - moved <= 3, True)
    bench.compare("strobes", strobes_, [full] * count + [0] * (len(strobes_) - count))
    expected = values[:count].astype(np.uint8).tobytes()
    bench.compare("memory", list(ram.contents[: len(expected)]), list(expected))
    bench.compare("state", [bench.get("busy"), bench.get("cause")], [0, Cause.HALTED])
    await clear(bench)
    await transfer(bench, ram, "after the halt", commands(random.Random(1), ram, 4))


@cocotb.test()
async def cycles_equal_the_formula(dut):
    bench = await Bench.start(dut)
    ram = mover_memory(bench)
    burst, outstanding = bench.params["burst"], bench.params["outstanding"]
    ram.base = base = BASES[1]
    gapless = 0
    for latency in (1, 2, 7, 30):
        ram.latency = latency
        beats = burst * 3 * outstanding
        orders = [(base, beats, 0, 0), (base + 2 * PAGE, 2, 0, 1), (base + 4 * PAGE, burst, 0, 2)]
        ram.bursts.clear()
        await transfer(bench, ram, f"latency {latency}", orders)
        cycles = bench.sources["i"].cycles
        bench.compare("first beat", cycles[0] - bench.sources["command"].cycles[0], 3)
        bench.compare("first burst", ram.moves["aw"][0] - bench.sources["command"].cycles[0], 2)
        bench.compare("W", np.subtract(ram.moves["w"], cycles), np.ones(len(cycles), int))
        bench.compare("done", bench.sinks["done"].cycles[-1] - cycles[-1], 2 + latency)
        lengths = [length for _, _, length in ram.bursts]
        windows = [sum(lengths[k + 1 : k + outstanding]) for k in range(len(lengths) - outstanding)]
        if min(windows) > latency + 2 and min(lengths) > 1:
            gapless += 1
            bench.compare("gaps", np.diff(cycles), np.ones(len(cycles) - 1, int))
        period = max(outstanding * burst, burst + latency + 3)
        steps = np.diff(cycles[: beats : outstanding * burst])
        bench.compare(f"period at {latency}", steps, np.full(len(steps), period))
    bench.results["gapless"] = gapless


# Width, burst, outstanding, and at how many of the tested latencies there may be no gap.
CONFIGS = [(32, 16, 4, 4), (64, 256, 2, 0), (128, 5, 3, 2), (32, 1, 8, 0), (64, 8, 2, 0)]


@pytest.mark.parametrize(("data_width", "burst", "outstanding", "gapless"), CONFIGS)
def test_writes(data_width, burst, outstanding, gapless):
    seed = data_width + burst
    print(f"seed {seed}")
    config = {"data_width": data_width, "burst": burst, "outstanding": outstanding}
    unit = WriteDma(addr_width=ADDR_WIDTH, beats_width=BEATS_WIDTH, tag_width=3, **config)
    result = simulate(unit, __name__, params=config | {"seed": seed})
    print(result)
    assert result["results"] == {"gapless": gapless}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"addr_width": 65}, "addr_width must be 32 to 64, not 65"),
        ({"data_width": 96}, "data_width must be 32, 64 or 128, not 96"),
        ({"burst": 0}, "burst must be 1 to 256, not 0"),
        ({"outstanding": 65}, "outstanding must be 2 to 64, not 65"),
        ({"beats_width": 0}, "beats_width must be 1 to 32, not 0"),
        ({"tag_width": 33}, "tag_width must be 1 to 32, not 33"),
    ],
)
def test_parameter_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        WriteDma(**({"addr_width": 32, "data_width": 64} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"outstanding must be an integer, not 2\.0"):
        WriteDma(addr_width=32, data_width=64, outstanding=2.0)
