"""Bench of the read arbiter, against a model of the memory and the rule of who is served."""

import random

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import ClockCycles

from rootshift.hw.axi import LEN_WIDTH, MAX_BURST, PAGE, RESP_WIDTH, Axi4Read, forward
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.latency import BURST
from rootshift.testbench.hw.axi_memory import AxiMemory, bursts_of
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, of_all_lengths
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

REGION = 1 << 16
"""Each client has a region of its own, so that an address tells who asked."""
ADDR_WIDTH = 40


class Readers(wiring.Component):
    """The arbiter with two streams at the port of each client: bursts to it and beats from it.

    A burst is asked for once the client's queue has room for all of its beats.
    """

    def __init__(self, *, clients: int, data_width: int, depth: int, outstanding: int) -> None:
        widths = {"addr_width": ADDR_WIDTH, "data_width": data_width}
        self._arbiter = ReadArbiter(clients=clients, depth=depth, outstanding=outstanding, **widths)
        burst = data.StructLayout({"address": ADDR_WIDTH, "len": LEN_WIDTH})
        bytes_ = data.ArrayLayout(8, data_width // 8)
        beat = data.StructLayout({"data": bytes_, "resp": RESP_WIDTH, "last": 1})
        members = {"m_axi": Out(Axi4Read(**widths)), "halt": In(1), "idle": Out(1)}
        for number in range(clients):
            members[f"burst_{number}"] = In(stream.Signature(burst))
            members[f"o_{number}"] = Out(stream.Signature(beat))
        super().__init__(members | {"asking": Out(clients), "served": Out(clients)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = self._arbiter
        forward(m, self.m_axi, arbiter.m_axi)
        m.d.comb += [arbiter.halt.eq(self.halt), self.idle.eq(arbiter.idle)]
        ports = [getattr(arbiter, f"client_{number}") for number in range(arbiter.clients)]
        for number, port in enumerate(ports):
            burst, o = getattr(self, f"burst_{number}"), getattr(self, f"o_{number}")
            owed, room = Signal(range(arbiter.depth + 1)), Signal()
            beats = burst.payload.len + 1
            m.d.comb += [
                room.eq(owed + beats <= arbiter.depth),
                port.arvalid.eq(burst.valid & room),
                port.araddr.eq(burst.payload.address),
                port.arlen.eq(burst.payload.len),
                burst.ready.eq(port.arready & room),
                o.valid.eq(port.rvalid),
                o.payload.data.as_value().eq(port.rdata),
                o.payload.resp.eq(port.rresp),
                o.payload.last.eq(port.rlast),
                port.rready.eq(o.ready),
            ]
            asked = Mux(burst.valid & burst.ready, beats, 0)
            m.d.sync += owed.eq(owed + asked - (o.valid & o.ready))
        m.d.comb += [
            self.asking.eq(Cat(port.arvalid for port in ports)),
            self.served.eq(Cat(port.arvalid & port.arready for port in ports)),
        ]
        return m


class Traffic:
    """Bursts of every client, and the beats that memory has for them."""

    def __init__(self, ram: AxiMemory) -> None:
        self.sources, self.sinks, self._expected, self._ram = {}, {}, {}, ram

    def add(self, client: int, bursts: list[tuple[int, int]]) -> None:
        """Address and beats of each."""
        ram, beats = self._ram, []
        for address, count in bursts:
            for beat in range(count):
                at = address + beat * ram.bytes
                beats.append([*ram.beat(at), ram.errors.get(at, 0), int(beat == count - 1)])
        self.sources[f"burst_{client}"] = {
            "address": [address for address, _ in bursts],
            "len": [count - 1 for _, count in bursts],
        }
        self.sinks[f"o_{client}"] = len(beats)
        self._expected[client] = beats

    def check(self, bench: Bench, what: str, got: dict) -> None:
        for client, beats in self._expected.items():
            o = got[f"o_{client}"]
            found = np.column_stack([o["data"], o["resp"], o["last"]])
            bench.compare(f"{what}: client {client}", found, np.array(beats))


class Rig:
    """The unit, its memory, and the rule of who is served, which holds in every cycle."""

    PORTS = (
        *("asking", "served", "halt", "idle", "m_axi__arvalid", "m_axi__arready"),
        *("m_axi__rvalid", "m_axi__rready", "m_axi__rlast"),
    )

    def __init__(self, bench: Bench, ram: AxiMemory) -> None:
        self.bench, self.ram = bench, ram
        self.clients, self.depth = bench.params["clients"], bench.params["depth"]
        self.outstanding = bench.params["outstanding"]
        self.rng = random.Random(bench.params["seed"])
        self._last = self.clients - 1

    @classmethod
    async def start(cls, dut) -> "Rig":
        bench = await Bench.start(dut)
        params = bench.params
        contents = np.random.default_rng(params["seed"]).bytes(params["clients"] * REGION)
        limits = {"burst": MAX_BURST, "outstanding": params["outstanding"]}
        wide = params["data_width"]
        ram = AxiMemory(bench, "m_axi", data_width=wide, base=0, contents=contents, **limits)
        return cls(bench, ram)

    def move(self) -> None:
        """Put the memory anywhere, with any responses."""
        ram = self.ram
        ram.base = self.rng.getrandbits(ADDR_WIDTH) & -4 * REGION
        places = range(0, self.clients * REGION, ram.bytes)
        chosen = self.rng.sample(places, len(places) // 4)
        ram.errors = {ram.base + place: self.rng.randint(1, 3) for place in chosen}

    def first(self, client: int) -> int:
        """Address of a client's region."""
        return self.ram.base + client * REGION

    def some(self, client: int, count: int) -> list[tuple[int, int]]:
        """Bursts anywhere in a client's region."""
        bursts = []
        for _ in range(count):
            longest = self.rng.choice((1, BURST, min(self.depth, MAX_BURST)))
            at = self.rng.randrange((REGION - PAGE) // self.ram.bytes) * self.ram.bytes
            beats = self.rng.randint(1, 3 * BURST)
            bursts += bursts_of(self.first(client) + at, beats, self.ram.bytes, longest)
        return bursts

    async def run(self, what: str, traffic: Traffic, **patterns) -> dict[int, tuple[int, ...]]:
        """Run it to its end; returns the ports in every cycle."""
        watch = Watch(self.bench, *self.PORTS)
        got = await self.bench.run(traffic.sources, traffic.sinks, **patterns)
        rows = watch.stop()
        self._hold_turns(what, list(rows.values()))
        traffic.check(self.bench, what, got)
        return rows

    def _hold_turns(self, what: str, rows: list[tuple[int, ...]]) -> None:
        owed, expected = 0, []
        for asking, _, halt, _, arvalid, arready, rvalid, rready, rlast in rows:
            free = (not arvalid or arready) and owed < self.outstanding and not halt
            turns = [(self._last + 1 + after) % self.clients for after in range(self.clients)]
            turn = [client for client in turns if asking >> client & 1][:1] if free else []
            expected.append((sum(1 << client for client in turn), not arvalid and not owed))
            for self._last in turn:
                owed += 1
            owed -= rvalid & rready & rlast
        got = np.array(rows)
        self.bench.compare(f"{what}: who is served, idle", got[:, [1, 3]], np.array(expected))
        self.bench.compare(f"{what}: the bus waits", (got[:, 6] & ~got[:, 7]).any(), False)


@cocotb.test()
async def beats_equal_memory(dut):
    rig = await Rig.start(dut)
    for run, (idle, pressure) in enumerate(PAIRS):
        rig.ram.latency, rig.ram.shy = rig.rng.choice((1, 3, 20)), bool(run & 2)
        rig.move()
        traffic = Traffic(rig.ram)
        for client in range(rig.clients):
            traffic.add(client, rig.some(client, rig.rng.randint(3, 8)))
        await rig.run(f"{idle}, {pressure}", traffic, idle=idle, pressure=pressure, seed=run)


@cocotb.test()
async def bursts_of_any_length(dut):
    rig = await Rig.start(dut)
    generator = np.random.default_rng(rig.bench.params["seed"])
    for pressure in ("always", "random:0.5"):
        rig.move()
        traffic = Traffic(rig.ram)
        for client in range(rig.clients):
            lengths = [1, *of_all_lengths(generator, min(rig.depth, MAX_BURST))]
            places = [rig.first(client) + PAGE * place for place in range(len(lengths))]
            traffic.add(
                client, list(zip(places, rig.rng.sample(lengths, len(lengths)), strict=True))
            )
        await rig.run("any length", traffic, pressure=pressure)


@cocotb.test()
async def a_client_that_does_not_read_blocks_no_other(dut):
    rig = await Rig.start(dut)
    rig.ram.latency = 5
    for blocked in range(rig.clients):
        rig.move()
        # As much as its queue holds.
        late, rest = Traffic(rig.ram), Traffic(rig.ram)
        late.add(blocked, bursts_of(rig.first(blocked), rig.depth, rig.ram.bytes, BURST))
        for client in set(range(rig.clients)) - {blocked}:
            rest.add(client, rig.some(client, 6))
        rest.sources |= late.sources
        late.sources = {}
        await rig.run(f"beside client {blocked}", rest, pressure={f"o_{blocked}": "random:0"})
        await rig.run(f"client {blocked} at last", late)


@cocotb.test()
async def bursts_are_as_many_as_may_be(dut):
    """Up to the first answer of a memory that is far away."""
    rig = await Rig.start(dut)
    rig.move()
    rig.ram.latency = 300
    traffic = Traffic(rig.ram)
    for client in range(rig.clients):
        places = [rig.first(client) + PAGE * place for place in range(rig.outstanding + 1)]
        traffic.add(client, [(place, 1) for place in places])
    rows = np.array(list((await rig.run("far", traffic)).values()))
    asked = rows[: rows[:, 6].argmax(), 1].astype(bool).sum()
    rig.bench.compare("bursts before the first answer", asked, rig.outstanding)


@cocotb.test()
async def halt_ends_the_bursts(dut):
    rig = await Rig.start(dut)
    bench = rig.bench
    for run in range(4):
        rig.ram.latency = (1, 4, 25, 9)[run]
        traffic = Traffic(rig.ram)
        for client in range(rig.clients):
            traffic.add(client, rig.some(client, 8))
        stays = []

        async def halt(run=run, stays=stays) -> None:
            for cycle in (40 + 7 * run, 9, 1):
                await ClockCycles(dut.clk, cycle)
                bench.set("halt", 1)
                while not bench.get("idle"):
                    await ClockCycles(dut.clk, 1)
                await ClockCycles(dut.clk, 150)
                stays.append(bench.get("idle"))
                bench.set("halt", 0)

        task = cocotb.start_soon(halt())
        idle = ("always", "random:0.5")[run & 1]
        await rig.run(f"halt {run}", traffic, idle=idle, seed=run)
        await task
        bench.compare("stays idle", stays, [1, 1, 1])


@cocotb.test()
async def cycles_equal_the_formula(dut):
    rig = await Rig.start(dut)
    for rig.ram.latency in (1, 7):
        rig.move()
        traffic = Traffic(rig.ram)
        for client in range(rig.clients):
            traffic.add(client, rig.some(client, 6))
        await rig.run("at once", traffic)
        began = min(rig.bench.sources[name].cycles[0] for name in traffic.sources)
        rig.bench.compare(
            "first beat on the bus", rig.ram.moves["r"][0] - began, 1 + rig.ram.latency
        )
        taken = sorted(cycle for sink in rig.bench.sinks.values() for cycle in sink.cycles)
        rig.bench.compare("beats", np.array(taken) - rig.ram.moves["r"], np.full(len(taken), 2))


CONFIGS = [(3, 64, 256, 8), (2, 32, 32, 2), (3, 128, 300, 7), (1, 64, 64, 4)]


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
