"""How fast the whole accelerator runs under cocotb: the coroutine of `benchmarks/simulators.py`.

One run of a program for so many cycles, beside the memory of cocotbext-axi, which works when there
is something to do, or beside `AxiMemory`, which holds the bus to its rules in every cycle.
"""

import logging
import time

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from rootshift import csr

from .accelerator_host import CYCLE_NS, Window
from .axi_memory import AxiMemory, Wire
from .harness import Bench

BURST, OUTSTANDING = 256, 64
"""More than the accelerator asks for; its limits are checked elsewhere."""


class CountedWindow(Window):
    """A memory that counts what goes in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = self.writes = 0

    def __getitem__(self, place: slice) -> bytes:
        found = super().__getitem__(place)
        self.read_bytes += len(found)
        return found

    def __setitem__(self, place: slice, data: bytes) -> None:
        super().__setitem__(place, data)
        self.writes += 1


@cocotb.test()
async def a_program_runs(dut):
    logging.getLogger("cocotb").setLevel(logging.ERROR)
    bench = await Bench.start(dut)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk)
    run = {"cocotbext": beside_cocotbext, "checked": beside_checked}[bench.params["memory"]]
    bench.results |= await run(bench, master)
    bench.results["finished"] = bool(bench.get("irq"))


async def write(master: AxiLiteMaster, register: str, **fields: int) -> None:
    """Write a register; fields left out are 0."""
    offsets = csr.find_register(register).offsets
    for offset, word in zip(offsets, csr.pack(register, **fields), strict=True):
        await master.write(offset, word.to_bytes(4, "little"))


async def prepare(master: AxiLiteMaster, entry: int) -> None:
    """All that is written before the start."""
    await write(master, "ENTRY", address=entry)
    await write(master, "INTERRUPT_ENABLE", done=1, error=1)


async def beside_cocotbext(bench: Bench, master: AxiLiteMaster) -> dict:
    """Nothing of ours runs between start and interrupt."""
    memory, dut = CountedWindow(), bench.dut
    memory.base = bench.params["base"]
    memory.bytes = bytearray(bench.arrays["image"].tobytes())
    AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, mem=memory)
    await prepare(master, memory.base)
    begin, first = time.perf_counter(), get_sim_time("ns")
    await write(master, "CONTROL", start=1, clear_counters=1)
    await First(RisingEdge(dut.irq), ClockCycles(dut.clk, bench.params["cycles"]))
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "cycles": round(get_sim_time("ns") - first) // CYCLE_NS,
        "read_bytes": memory.read_bytes,
        "write_beats": memory.writes,
        "output": output(bench, memory.bytes),
    }


async def beside_checked(bench: Bench, master: AxiLiteMaster) -> dict:
    """The memory looks at the wires and drives them in every cycle."""
    params, dut = bench.params, bench.dut
    image = bench.arrays["image"].tobytes()
    memory = AxiMemory(
        bench,
        "m_axi",
        data_width=params["bus_width"],
        base=params["base"],
        contents=image,
        burst=BURST,
        outstanding=OUTSTANDING,
    )
    await prepare(master, params["base"])
    irq, answered = Wire(dut, "irq", 1), Wire(dut, "s_axil__bvalid", 1)
    fall = FallingEdge(dut.clk)

    async def step() -> None:
        await bench.step()
        memory.drive()
        await fall
        memory.sample(bench.cycle)

    cocotb.start_soon(write(master, "CONTROL", start=1, clear_counters=1))
    await step()
    while answered.bits() == "0":
        await step()
    # The start strobe is in the cycle in which the answer to the write is offered first.
    begin, cycle = time.perf_counter(), 0
    while irq.bits() == "0" and cycle < params["cycles"]:
        await step()
        cycle += 1
    seconds = time.perf_counter() - begin
    beats = sum(beats for channel, _, beats in memory.bursts if channel == "ar")
    return {
        "seconds": seconds,
        "cycles": cycle,
        "read_bytes": beats * memory.bytes,
        "write_beats": len(memory.written),
        "output": output(bench, memory.contents),
    }


def output(bench: Bench, memory: bytearray) -> str:
    """The bytes of the logits, in hexadecimal."""
    first, size = bench.params["output"]
    return memory[first : first + size].hex()
