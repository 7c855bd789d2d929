"""Bench of the read arbiter with data movers as its clients, against a model of the memory."""

import random

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import ClockCycles

from rootshift.hw.axi import PAGE, Axi4Read, forward
from rootshift.hw.axi_bursts import Cause
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.hw.read_dma import ReadDma
from rootshift.latency import BURST
from rootshift.testbench.hw.axi_memory import AxiMemory
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

REGION = 1 << 16
"""Each client has a region of its own, so that an address tells who asked."""
LONGEST = 1100
"""Beats of a command that is waited for."""


class Readers(wiring.Component):
    """Data movers that share a port; every stream of theirs is a member of its own."""

    def __init__(self, *, clients: int, data_width: int, depth: int, outstanding: int) -> None:
        widths = {"addr_width": 40, "data_width": data_width}
        # As many bursts as a client's queue holds.
        bursts = {"burst": BURST, "outstanding": depth // BURST}
        self._parts = [ReadDma(**widths, **bursts) for _ in range(clients)]
        self._arbiter = ReadArbiter(clients=clients, depth=depth, outstanding=outstanding, **widths)
        members = {"m_axi": Out(Axi4Read(**widths)), "halt": In(1), "idle": Out(1)}
        for number, part in enumerate(self._parts):
            for name in ("command", "o", "cause", "address"):
                members[f"{name}_{number}"] = part.signature.members[name]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = self._arbiter
        forward(m, self.m_axi, arbiter.m_axi)
        m.d.comb += [arbiter.halt.eq(self.halt), self.idle.eq(arbiter.idle)]
        for number, part in enumerate(self._parts):
            m.submodules[f"reader_{number}"] = part
            wiring.connect(m, part.m_axi, getattr(arbiter, f"client_{number}"))
            wiring.connect(m, wiring.flipped(getattr(self, f"command_{number}")), part.command)
            wiring.connect(m, wiring.flipped(getattr(self, f"o_{number}")), part.o)
            for name in ("cause", "address"):
                m.d.comb += getattr(self, f"{name}_{number}").eq(getattr(part, name))
        return m


class Traffic:
    """Commands of every client, and the beats that memory has for them."""

    def __init__(self, ram: AxiMemory, rng: random.Random, counts: list[int]) -> None:
        self.sources, self.sinks, self.expected = {}, {}, {}
        for client, count in enumerate(counts):
            orders = [(self._address(ram, rng, client), rng.randint(1, 50)) for _ in range(count)]
            self.add(ram, client, orders)

    def _address(self, ram: AxiMemory, rng: random.Random, client: int) -> int:
        beats = (REGION - PAGE) // ram.bytes
        return ram.base + client * REGION + rng.randrange(beats) * ram.bytes

    def add(self, ram: AxiMemory, client: int, orders: list[tuple[int, int]]) -> None:
        if not orders:
            return
        beats, failed, where = [], 0, 0
        for address, count in orders:
            for beat in range(count):
                at = address + beat * ram.bytes
                if not failed and at in ram.errors:
                    failed, where = ram.errors[at], at
                value = bytes(ram.bytes) if failed else ram.beat(at)
                beats.append([*value, int(beat == count - 1), int(failed != 0)])
        self.sources[f"command_{client}"] = {
            "address": [address for address, _ in orders],
            "beats": [count for _, count in orders],
        }
        self.sinks[f"o_{client}"] = len(beats)
        self.expected[client] = beats, failed, where

    def check(self, bench: Bench, what: str, got: dict) -> None:
        for client, (beats, failed, where) in self.expected.items():
            o = got[f"o_{client}"]
            found = np.column_stack([o["data"], o["last"], o["error"]])
            bench.compare(f"{what}: client {client}", found, np.array(beats))
            bench.compare(f"{what}: cause {client}", bench.get(f"cause_{client}"), failed)
            bench.compare(f"{what}: address {client}", bench.get(f"address_{client}"), where)


def move(ram: AxiMemory, rng: random.Random) -> None:
    """Put the memory anywhere."""
    ram.base = rng.getrandbits(40) & -4 * REGION


async def begin(dut) -> tuple[Bench, AxiMemory]:
    bench = await Bench.start(dut)
    params = bench.params
    contents = np.random.default_rng(params["seed"]).bytes(params["clients"] * REGION)
    limits = {"burst": BURST, "outstanding": params["outstanding"] + 1}
    wide = params["data_width"]
    return bench, AxiMemory(bench, "m_axi", data_width=wide, base=0, contents=contents, **limits)


def owners(ram: AxiMemory) -> list[int]:
    """The client of each burst."""
    return [(address - ram.base) // REGION for _, address, _ in ram.bursts]


@cocotb.test()
async def data_equal_memory(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"])
    watch = Watch(bench, "m_axi__rvalid", "m_axi__rready")
    for run, (idle, pressure) in enumerate(PAIRS):
        ram.latency, ram.shy = rng.choice((1, 3, 20)), bool(run & 2)
        move(ram, rng)
        traffic = Traffic(ram, rng, [rng.randint(3, 8) for _ in range(bench.params["clients"])])
        got = await bench.run(
            traffic.sources, traffic.sinks, idle=idle, pressure=pressure, seed=run
        )
        traffic.check(bench, f"{idle}, {pressure}", got)
        bench.compare("idle", bench.get("idle"), 1)
    refused = sum(valid and not ready for valid, ready in watch.stop().values())
    bench.compare("cycles in which the bus waits", refused, 0)


@cocotb.test()
async def errors_reach_the_client_that_asked(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 1)
    clients = bench.params["clients"]
    for run, (idle, pressure) in enumerate(PAIRS):
        await bench.reset()
        ram.latency = rng.choice((1, 3, 20))
        ram.errors = {}
        move(ram, rng)
        traffic = Traffic(ram, rng, [5] * clients)
        wrong = run % clients
        orders = traffic.sources[f"command_{wrong}"]
        address, beats = orders["address"][1], orders["beats"][1]
        ram.errors = {address + rng.randrange(beats) * ram.bytes: rng.choice((2, 3))}
        traffic.add(ram, wrong, list(zip(orders["address"], orders["beats"], strict=True)))
        got = await bench.run(
            traffic.sources, traffic.sinks, idle=idle, pressure=pressure, seed=run
        )
        traffic.check(bench, f"{idle}, {pressure}", got)
        bench.compare("failed", bench.get(f"cause_{wrong}") != Cause.NONE, True)


@cocotb.test()
async def a_client_that_does_not_read_blocks_no_other(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 2)
    clients, ram.latency = bench.params["clients"], 5
    for blocked in range(clients):
        # One command alone: a mover whose bursts cannot go out takes no second one.
        late = Traffic(ram, rng, [int(client == blocked) for client in range(clients)])
        rest = Traffic(ram, rng, [6 * (client != blocked) for client in range(clients)])
        sources = late.sources | rest.sources
        got = await bench.run(sources, rest.sinks, pressure={f"o_{blocked}": "random:0"})
        rest.check(bench, f"beside client {blocked}", got)
        got = await bench.run({}, late.sinks)
        late.check(bench, f"client {blocked} at last", got)


@cocotb.test()
async def clients_are_served_in_turn(dut):
    bench, ram = await begin(dut)
    clients = bench.params["clients"]
    traffic = Traffic(ram, random.Random(0), [0] * clients)
    for client in range(clients):
        traffic.add(ram, client, [(client * REGION, 20 * BURST)])
    ram.bursts.clear()
    got = await bench.run(traffic.sources, traffic.sinks)
    traffic.check(bench, "in turn", got)
    bench.compare("turns", owners(ram)[3 * clients : -3 * clients], list(range(clients)) * 14)


@cocotb.test()
async def long_commands(dut):
    """One of each client to its end; of others what is asked for while nothing is taken."""
    bench, ram = await begin(dut)
    rng, clients = random.Random(bench.params["seed"] + 4), bench.params["clients"]
    traffic = Traffic(ram, rng, [0] * clients)
    for client in range(clients):
        traffic.add(ram, client, [(client * REGION, LONGEST)])
    traffic.check(bench, "long", await bench.run(traffic.sources, traffic.sinks))
    for bit in range(10, 24):
        await bench.reset()
        move(ram, rng)
        first = [ram.base + client * REGION for client in range(clients)]
        beats = (1 << bit) + bit % 2
        orders = {f"command_{n}": {"address": [at], "beats": [beats]} for n, at in enumerate(first)}
        await bench.run(orders, {}, pressure="random:0")
        bursts = range(bench.params["depth"] // BURST)
        asked = [("ar", at + n * BURST * ram.bytes, BURST) for at in first for n in bursts]
        bench.compare("bursts", sorted(ram.bursts) == asked, True)


@cocotb.test()
async def bursts_are_as_many_as_may_be(dut):
    """Up to the first answer of a memory that is far away."""
    bench, ram = await begin(dut)
    clients, ram.latency = bench.params["clients"], 300
    traffic = Traffic(ram, random.Random(0), [0] * clients)
    for client in range(clients):
        traffic.add(ram, client, [(client * REGION, 8 * BURST)])
    watch = Watch(bench, "m_axi__arvalid", "m_axi__arready", "m_axi__rvalid")
    traffic.check(bench, "far", await bench.run(traffic.sources, traffic.sinks))
    rows = np.array(list(watch.stop().values()))
    asked = rows[: rows[:, 2].argmax(), :2].all(1).sum()
    most = min(bench.params["outstanding"], clients * (bench.params["depth"] // BURST))
    bench.compare("bursts before the first answer", asked, most)


@cocotb.test()
async def halt_ends_the_bursts(dut):
    bench, ram = await begin(dut)
    rng = random.Random(bench.params["seed"] + 3)
    for run in range(4):
        ram.latency = (1, 4, 25, 9)[run]
        traffic = Traffic(ram, rng, [8] * bench.params["clients"])
        ram.bursts.clear()
        seen = []

        async def halt(seen=seen, run=run) -> None:
            await ClockCycles(dut.clk, 40 + 7 * run)
            bench.set("halt", 1)
            await ClockCycles(dut.clk, 1)
            asked = len(ram.bursts)
            while not bench.get("idle"):
                await ClockCycles(dut.clk, 1)
            seen += [ram.left, len(ram.bursts) - asked, len(ram.bursts)]
            await ClockCycles(dut.clk, 150)
            seen += [bench.get("idle"), len(ram.bursts)]
            bench.set("halt", 0)

        task = cocotb.start_soon(halt())
        idle = ("always", "random:0.5")[run & 1]
        got = await bench.run(traffic.sources, traffic.sinks, idle=idle, seed=run)
        await task
        owed, late, before, stays, after = seen
        bench.compare("owed when idle", owed, 0)
        bench.compare("offered before the halt", late <= 1, True)
        bench.compare("asked while halted", after - before, 0)
        bench.compare("stays idle", stays, 1)
        bench.compare("halted on the way", before < len(ram.bursts), True)
        traffic.check(bench, f"after halt {run}", got)


@cocotb.test()
async def cycles_equal_the_formula(dut):
    bench, ram = await begin(dut)
    for ram.latency in (1, 7):
        traffic = Traffic(ram, random.Random(0), [0] * bench.params["clients"])
        traffic.add(ram, 0, [(0, 12 * BURST)])
        got = await bench.run(traffic.sources, traffic.sinks)
        traffic.check(bench, "alone", got)
        cycles = np.array(bench.sinks["o_0"].cycles)
        began = bench.sources["command_0"].cycles[0]
        # The mover's own 3 + L, and what the arbiter adds each way.
        bench.compare("first beat", cycles[0] - began, 3 + ram.latency + 1 + 2)
        if bench.params["depth"] >= 4 * BURST:
            bench.compare("gaps", np.diff(cycles), np.ones(len(cycles) - 1, int))


CONFIGS = [(3, 64, 64, 8), (2, 32, 32, 2), (3, 128, 48, 7), (1, 64, 64, 4)]


@pytest.mark.parametrize(("clients", "data_width", "depth", "outstanding"), CONFIGS)
def test_shared_port(clients, data_width, depth, outstanding):
    sizes = {"clients": clients, "depth": depth, "outstanding": outstanding}
    config = sizes | {"data_width": data_width}
    seed = data_width + depth
    print(f"seed {seed}")
    print(simulate(Readers(**config), __name__, params=config | {"seed": seed}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clients": 0}, "clients must be 1 to 8, not 0"),
        ({"addr_width": 31}, "addr_width must be 32 to 64, not 31"),
        ({"data_width": 48}, "data_width must be 32, 64 or 128, not 48"),
        ({"depth": 15}, "depth must be 16 to 1024, not 15"),
        ({"outstanding": 1}, "outstanding must be 2 to 64, not 1"),
    ],
)
def test_parameter_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        ReadArbiter(**({"clients": 3, "addr_width": 40, "data_width": 64} | change))


def test_parameter_of_the_wrong_kind():
    with pytest.raises(TypeError, match="depth must be an integer, not 'deep'"):
        ReadArbiter(clients=3, addr_width=40, data_width=64, depth="deep")
