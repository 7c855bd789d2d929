"""Bench of the control and status registers against a model made from their table."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, Timer

from rootshift.config import AcceleratorConfig
from rootshift.csr import REGISTERS, Access, find_register, pack, pack_config, unpack, unpack_config
from rootshift.hw import csr
from rootshift.hw.csr import CsrBank
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.csr_bench import (
    INPUTS,
    OKAY,
    SLVERR,
    STARTS,
    Master,
    Model,
    Read,
    Write,
    reset,
    run,
    table,
)
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

CONFIG = AcceleratorConfig(rows=12, cols=256, lanes=4, log_width=5, base="2", channel_depth=16384)
OFFSETS = [offset for register in REGISTERS for offset in register.offsets]
UNMAPPED = [offset for offset in range(0, 4096, 4) if offset not in OFFSETS]


async def started(dut: Any) -> tuple[Bench, Master, Model, random.Random]:
    """All that a test needs, after reset."""
    bench = await Bench.start(dut)
    config = unpack("CONFIG", pack_config(AcceleratorConfig(**bench.params["config"])))
    model = Model(table(bench.params["starts"]), config)
    master = Master(bench)
    await reset(bench, master, model)
    return bench, master, model, random.Random(bench.params["seed"])


def quiet() -> Mapping[str, int]:
    """No input is up."""
    return {}


def noise(bench: Bench, rng: random.Random, chance: float) -> Mapping[str, int]:
    """Levels are anything; each event is up with this chance."""
    values = {name: rng.getrandbits(bench.ports[name][1]) for name in INPUTS}
    if rng.random() >= chance:
        values["interrupt_stb"] = 0
    return values


def addresses(rng: random.Random, count: int) -> Iterator[int]:
    """Mostly registers, of them the ones that can be written more often, at any byte."""
    writable = [o for r in REGISTERS if r.access.writable for o in r.offsets]
    for _ in range(count):
        pool = rng.choice((OFFSETS, writable, writable, UNMAPPED, OFFSETS))
        yield rng.choice(pool) + rng.choice((0, 0, 0, rng.randrange(4)))


async def read_register(bench: Bench, master: Master, model: Model, name: str) -> dict[str, int]:
    """Read the words of a register, lowest first, with no input up."""
    master.load([], [Read(offset) for offset in find_register(name).offsets])
    return unpack(name, [got[0] for _, got in await run(bench, master, model, quiet)])


@cocotb.test()
async def registers_by_access(dut):
    """Each register: reset value, each bit and byte written, and what must not be."""
    bench, master, model, _ = await started(dut)
    for register in model.registers:
        values = await read_register(bench, master, model, register.name)
        for field in register.fields:
            if field.reset is not None:
                what = f"reset of {register.name}.{field.name}"
                bench.compare(what, values[field.name], field.reset)
        if register.name == "CONFIG":
            assert asdict(unpack_config(pack("CONFIG", **values))) == bench.params["config"]
    for register in model.registers:
        for offset in register.offsets:
            values = [0xFFFFFFFF, 0, 0xA5A5A5A5, 0x5A5A5A5A]
            if register.access.writable:
                values += [1 << bit for bit in range(32)]
            writes = [Write(offset, value) for value in values]
            writes += [Write(offset, 0xFFFFFFFF, 1 << lane) for lane in range(4)]
            writes += [Write(offset, 0), Write(offset, 0xFFFFFFFF, 0)]
            for write in writes:
                master.load([write], [])
                ((_, response),) = await run(bench, master, model, quiet, after=1)
                bench.compare("response", response, OKAY if register.access.writable else SLVERR)
                master.load([], [Read(offset)])
                await run(bench, master, model, quiet, after=1)


@cocotb.test()
async def random_traffic_equals_model(dut):
    bench, master, model, rng = await started(dut)
    for index, (idle, pressure) in enumerate(PAIRS):
        writes = [
            Write(address, rng.getrandbits(32), rng.choice((15, 15, 15, rng.randrange(16))))
            for address in addresses(rng, 150)
        ]
        # A clear now and then leaves the counters something to count.
        for write in writes[:]:
            if write.address & ~3 == find_register("CONTROL").offset and rng.random() < 0.8:
                writes.remove(write)
        reads = [Read(address) for address in addresses(rng, 150)]
        master.load(writes, reads, idle, pressure, seed=index)
        await run(bench, master, model, lambda: noise(bench, rng, 0.3))


@cocotb.test()
async def low_word_keeps_the_high_word(dut):
    """A count read as low, then high, with others read between, is one that it has had."""
    bench, master, model, _ = await started(dut)
    low, high = find_register("CYCLES").offsets
    busy = find_register("BUSY").offsets[0]
    counts = []
    for gap in range(40):
        master.load([], [Read(low), *[Read(busy)] * (1 + gap % 7), Read(high)])
        log = await run(bench, master, model, lambda: {"cycles": 1, "busy": 255})
        words = [data for _, (data, _) in log]
        counts.append(words[0] | words[-1] << 32)
    steps = np.diff(np.array(counts, np.uint64))
    assert steps.min() > 0
    assert steps.max() < 50
    if bench.params["starts"] != "as shipped":
        upper = sorted({count >> 32 for count in counts})
        bench.compare("high words", upper, [counts[0] >> 32, (counts[0] >> 32) + 1])
    if bench.params["starts"] == "near their end":
        bench.compare("counter at its end", words[1], 0xFFFFFFFF)


@cocotb.test()
async def counters_are_read_as_they_count(dut):
    """Each again and again, from its start and from 0."""
    bench, master, model, rng = await started(dut)
    offsets = [o for r in model.registers if r.access is Access.COUNTER for o in r.offsets]
    clear = [Write(find_register("CONTROL").offset, pack("CONTROL", start=0, clear_counters=1)[0])]
    for writes in ([], clear):
        master.load(writes, [Read(offset) for _ in range(8) for offset in offsets])
        await run(bench, master, model, lambda: noise(bench, rng, 0))


@cocotb.test()
async def event_beside_its_acknowledge_stays(dut):
    """An event in any cycle around an acknowledge: cleared only where it came before it."""
    bench, master, model, _ = await started(dut)
    enable, pending = (find_register(n).offset for n in ("INTERRUPT_ENABLE", "INTERRUPT"))
    for events in (1, 2, 3):
        left = []
        for at in range(10):
            master.load([Write(enable, 3), Write(pending, 3)], [])
            await run(bench, master, model, quiet)
            began = bench.cycle
            master.load([Write(pending, 3)], [])
            await run(
                bench,
                master,
                model,
                lambda at=at, began=began, events=events: {
                    "interrupt_stb": events if bench.cycle == began + at else 0
                },
                cycles=12,
            )
            # It takes effect in the cycle before the answer is offered.
            stays = began + at >= master.answered_at["b"][0] - 1
            got = await read_register(bench, master, model, "INTERRUPT")
            bench.compare("pending", pack("INTERRUPT", **got)[0], events if stays else 0)
            bench.compare("irq", bench.get("irq"), int(stays))
            left.append(stays)
        assert left[0] is False
        assert left[-1] is True


@cocotb.test()
async def interrupt_is_a_level(dut):
    bench, master, model, _ = await started(dut)
    enable, pending = (find_register(n).offset for n in ("INTERRUPT_ENABLE", "INTERRUPT"))

    async def irq_after(*writes: Write, events: int = 0) -> int:
        master.load(writes, [])
        await run(bench, master, model, lambda: {"interrupt_stb": events}, cycles=1)
        await run(bench, master, model, quiet, after=20)
        return bench.get("irq")

    steps = [
        ("disabled", await irq_after(events=3), 0),
        ("enabled later", await irq_after(Write(enable, 2)), 1),
        ("stays", await irq_after(), 1),
        ("another acknowledged", await irq_after(Write(pending, 1)), 1),
        ("its byte not written", await irq_after(Write(pending, 2, 14)), 1),
        ("acknowledged", await irq_after(Write(pending, 2)), 0),
        ("event", await irq_after(events=2), 1),
        ("disabled again", await irq_after(Write(enable, 0)), 0),
    ]
    for what, got, expected in steps:
        bench.compare(what, got, expected)


@cocotb.test()
async def latency_and_throughput(dut):
    bench, master, model, _ = await started(dut)
    master.load([Write(0, 0)] * 20, [Read(0)] * 20)
    await run(bench, master, model, quiet)
    for requests, answers in (("aw", "b"), ("w", "b"), ("ar", "r")):
        asked, answered = (
            np.array(at[name])
            for at, name in ((master.accepted_at, requests), (master.answered_at, answers))
        )
        bench.compare("latency", answered - asked, np.full(20, CsrBank.LATENCY))
        bench.compare("cycles per access", np.diff(answered), np.full(19, 2))


@cocotb.test()
async def reset_drops_what_is_under_way(dut):
    bench, master, model, rng = await started(dut)
    for index in range(24):
        writes = [Write(address, rng.getrandbits(32)) for address in addresses(rng, 20)]
        reads = [Read(address) for address in addresses(rng, 20)]
        master.load(writes, reads, *PAIRS[index % len(PAIRS)], seed=index)
        await run(bench, master, model, lambda: noise(bench, rng, 0.3), cycles=1 + index % 13)
        await reset(bench, master, model)
        await run(bench, master, model, quiet, cycles=6)
        bench.compare("answers to nothing", master.answers["b"] + master.answers["r"], 0)
        master.load([], [Read(offset) for offset in OFFSETS])
        log = await run(bench, master, model, quiet)
        bench.compare("answers", len(log), len(OFFSETS))


@cocotb.test()
async def no_output_depends_on_an_input_of_the_cycle(dut):
    bench, master, _, rng = await started(dut)
    writes = [Write(address, rng.getrandbits(32)) for address in addresses(rng, 60)]
    reads = [Read(address) for address in addresses(rng, 60)]
    master.load(writes, reads, "random:0.5", "random:0.5")
    inputs = [p for p, (kind, _) in bench.ports.items() if kind == "i" and p not in ("clk", "rst")]
    outputs = [port for port, (kind, _) in bench.ports.items() if kind == "o"]
    for _ in range(200):
        await FallingEdge(dut.clk)
        before = {port: bench.get(port) for port in inputs}
        settled = [bench.get(port) for port in outputs]
        for port in inputs:
            bench.set(port, ~before[port])
        await Timer(1, unit="ns")
        assert all(bench.get(port) != value for port, value in before.items())
        assert [bench.get(port) for port in outputs] == settled
        for port, value in before.items():
            bench.set(port, value)
        await bench.step()
        master.sample()
        master.drive()


@pytest.mark.parametrize("starts", STARTS)
def test_registers_equal_model(starts, monkeypatch):
    monkeypatch.setattr(csr, "REGISTERS", table(starts))
    params = {"config": asdict(CONFIG), "starts": starts, "seed": 7 + STARTS.index(starts)}
    print(f"seed {params['seed']}")
    print(simulate(CsrBank(config=CONFIG), __name__, params=params))


def test_config_of_the_wrong_kind():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 'small'"):
        CsrBank(config="small")
