"""Bench of the unit that executes FETCH, against a model of the memory and of its failures."""

import random

import cocotb
import numpy as np
import pytest

from rootshift.hw.axi_bursts import Cause
from rootshift.hw.fetch_unit import FetchUnit
from rootshift.isa import OFFSET_WIDTH, Destination
from rootshift.latency import BURST
from rootshift.testbench.hw.axi_memory import AxiMemory, bursts_of
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, command_beats, name_operands
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.streams import ProtocolError

SIZE = 1 << 17
LONGEST = 3000
"""Beats of a command that is waited for."""
STREAMS = {destination: destination.name.lower() for destination in Destination}
MOVES = [f"{name}__{wire}" for name in STREAMS.values() for wire in ("valid", "ready")]

FIRST = {"pressure": "bursts:60,1000000"}
"""Some beats are taken, and then none."""


async def move(bench: Bench, ram: AxiMemory, rng: random.Random) -> int:
    """Put the memory anywhere, and `base` too: the offset of the memory's first byte."""
    ram.base = rng.getrandbits(40) & -SIZE
    offset = rng.randrange((1 << OFFSET_WIDTH) - SIZE) & -ram.bytes
    bench.set("base", ram.base - offset)
    await bench.step()
    return offset


def commands(rng: random.Random, bytes_: int, first: int, count: int) -> list[dict[str, int]]:
    """FETCHes of one beat, of a few bursts, up to the memory's end, to random destinations."""
    chosen = []
    while len(chosen) < count:
        beats = rng.choice((1, 2, BURST, rng.randint(1, 3 * BURST)))
        offset = rng.choice((rng.randrange(SIZE // bytes_ - beats) * bytes_, SIZE - beats * bytes_))
        destination = rng.choice(list(Destination))
        chosen.append({"offset": first + offset, "beats": beats, "destination": destination})
    return chosen


def model(bench: Bench, ram: AxiMemory, orders: list[dict[str, int]]) -> tuple[dict, int, int]:
    """Beats of each destination, cause and address."""
    base = bench.get("base")
    beats, cause, where = {destination: [] for destination in Destination}, Cause.NONE, 0
    for order in orders:
        fault = Cause.UNALIGNED if order["offset"] % ram.bytes else Cause.NONE
        fault = fault if order["beats"] else Cause.EMPTY
        for beat in range(max(order["beats"], 1)):
            at = (base + order["offset"] + beat * ram.bytes) % (1 << 40)
            if not cause and (fault or at in ram.errors):
                cause, where = fault or ram.errors[at], at
            beats[order["destination"]].append(list(bytes(ram.bytes) if cause else ram.beat(at)))
    return beats, cause, where


def bursts(bench: Bench, ram: AxiMemory, orders: list[dict[str, int]]) -> list[tuple[int, int]]:
    """Address and beats of all that the commands ask for."""
    sound = [order for order in orders if order["offset"] % ram.bytes == 0]
    runs = [((bench.get("base") + order["offset"]) % ram.space, order["beats"]) for order in sound]
    return [
        (at % ram.space, count) for run in runs for at, count in bursts_of(*run, ram.bytes, BURST)
    ]


async def begin(dut) -> tuple[Bench, AxiMemory]:
    bench = await Bench.start(dut)
    width = bench.params["bus_width"]
    contents = np.random.default_rng(width).bytes(SIZE)
    limits = {"burst": BURST, "outstanding": bench.params["outstanding"]}
    ram = AxiMemory(bench, "m_axi", data_width=width, base=0, contents=contents, **limits)
    name_operands(bench, "command", "FETCH")
    return bench, ram


async def fetch(bench: Bench, ram: AxiMemory, what: str, orders: list, **patterns) -> None:
    """Run the commands; hold data, failure and what the unit tells of itself against the model."""
    expected, cause, where = model(bench, ram, orders)
    ram.bursts.clear()
    watch = Watch(bench, "busy", "stall", "done_stb", *MOVES)
    sinks = {STREAMS[destination]: len(beats) for destination, beats in expected.items()}
    got = await bench.run({"command": command_beats("FETCH", orders)}, sinks, **patterns)
    for destination, beats in expected.items():
        found = got[STREAMS[destination]]
        bench.compare(f"{what}: {destination.name}", found, np.reshape(beats, found.shape))
    bench.compare(f"{what}: cause", bench.get("cause"), cause)
    bench.compare(f"{what}: address", bench.get("address"), where)
    asked = [(at, count) for _, at, count in ram.bursts]
    whole = bursts(bench, ram, orders)
    bench.compare(f"{what}: bursts", asked, whole[: len(asked)] if cause else whole)
    rows = np.array(list(watch.stop().values()))
    busy, stall, done, moves = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:]
    moved = (moves[:, 0::2] & moves[:, 1::2]).any(1)
    bench.compare(f"{what}: commands done", done.sum(), len(orders))
    bench.compare(f"{what}: busy at the end", busy[-1], 0)
    bench.compare(f"{what}: stall", stall, busy & ~moved)
    bench.compare(f"{what}: busy while at work", busy[moved | (done == 1)].all(), True)


@cocotb.test()
async def streams_equal_memory(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        first = await move(bench, ram, rng)
        orders = commands(rng, ram.bytes, first, 12)
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await fetch(bench, ram, f"{idle}, {pressure}", orders, **patterns)


@cocotb.test()
async def errors_give_zeros_and_their_place(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 1)
    for run, cause in enumerate(4 * (Cause.SLVERR, Cause.DECERR, Cause.UNALIGNED, Cause.EMPTY)):
        idle, pressure = PAIRS[run % len(PAIRS)]
        await bench.reset()
        ram.latency, ram.errors = rng.choice((1, 3, 20)), {}
        first = await move(bench, ram, rng)
        orders = commands(rng, ram.bytes, first, 8)
        wrong = rng.choice(orders)
        # So many short ones that all the places in which a command waits are taken.
        orders += [
            order | {"beats": 1}
            for order in commands(rng, ram.bytes, first, 2 * bench.params["outstanding"])
        ]
        if cause == Cause.UNALIGNED:
            wrong["offset"] += rng.randrange(1, ram.bytes)
        elif cause == Cause.EMPTY:
            wrong["beats"] = 0
        else:
            at = ram.base + wrong["offset"] - first + rng.randrange(wrong["beats"]) * ram.bytes
            ram.errors = {at: cause}
        patterns = {"idle": idle, "pressure": pressure, "seed": run}
        await fetch(bench, ram, f"{idle}, {pressure}", orders, **patterns)
        bench.compare("failed", bench.get("cause"), cause)


@cocotb.test()
async def long_commands(dut):
    """One to its end, where it fails at last; of others the first beats, and none of the next."""
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 2)
    offset = await move(bench, ram, rng)
    order = {"offset": offset, "beats": LONGEST, "destination": Destination.EMBED}
    ram.errors = {ram.base + (LONGEST - 2) * ram.bytes: Cause.SLVERR}
    await fetch(bench, ram, "long", [order])
    for bit in range(11, 24):
        for beats in (1 << bit, (1 << bit) + 2 * BURST + 1):
            await bench.reset()
            offset = await move(bench, ram, rng)
            orders = [order | {"offset": offset, "beats": beats}]
            orders += [orders[0] | {"destination": Destination.WEIGHTS}]
            beats_of = {"embed": beats, "weights": beats}
            with pytest.raises(ProtocolError, match="nothing moved"):
                await bench.run(
                    {"command": command_beats("FETCH", orders)}, beats_of, stuck=20, **FIRST
                )
            taken = len(bench.sinks["embed"].beats)
            values = [value.to_bytes(ram.bytes, "little") for value in bench.sinks["embed"].beats]
            held = [ram.beat(ram.base + n * ram.bytes) for n in range(taken)]
            bench.compare("first beats", values == held, True)
            bench.compare("beats of the next", bench.sinks["weights"].beats, [])
            asked = taken // BURST + bench.params["outstanding"]
            places = [(ram.base + n * BURST * ram.bytes, BURST) for n in range(asked)]
            bench.compare("bursts", [(at, count) for _, at, count in ram.bursts], places)


@cocotb.test()
async def cycles_equal_the_formula(dut):
    bench, ram = await begin(dut)
    first = await move(bench, ram, random.Random(bench.params["seed"] + 3))
    for ram.latency in (1, 4):
        orders = [
            {"offset": first + 4096 * index, "beats": BURST, "destination": Destination.EMBED}
            for index in range(7)
        ]
        await fetch(bench, ram, f"latency {ram.latency}", orders)
        cycles, began = bench.sinks["embed"].cycles, bench.sources["command"].cycles
        bench.compare("commands", np.diff(began[:4]), [2, 2, 2])
        # ARVALID in cycle 3, accepted at once, and a cycle from R to the stream.
        bench.compare("first beat", cycles[0] - began[0], 3 + ram.latency + 1)
        bench.compare("gaps", np.diff(cycles), np.ones(len(cycles) - 1, int))
    # So far away that bursts are waited for.
    ram.latency, bursts = 300, bench.params["outstanding"]
    await fetch(bench, ram, "far", [orders[0] | {"beats": 3 * bursts * BURST}])
    cycles = np.array(bench.sinks["embed"].cycles)
    whole = cycles[bursts * BURST :] - cycles[: -bursts * BURST]
    bench.compare("cycles of a round", whole, np.full(len(whole), BURST + ram.latency + 1))


@pytest.mark.parametrize(("bus_width", "outstanding"), [(32, 4), (64, 2), (128, 8)])
def test_fetches(bus_width, outstanding):
    config = {"bus_width": bus_width, "outstanding": outstanding}
    print(f"seed {bus_width}")
    print(simulate(FetchUnit(**config), __name__, params=config | {"seed": bus_width}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bus_width": 48}, "data_width must be 32, 64 or 128, not 48"),
        ({"addr_width": 31}, "addr_width must be 32 to 64, not 31"),
        ({"outstanding": 1}, "outstanding must be 2 to 64, not 1"),
    ],
)
def test_parameter_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        FetchUnit(**({"bus_width": 64} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match="outstanding must be an integer, not 'many'"):
        FetchUnit(bus_width=64, outstanding="many")
