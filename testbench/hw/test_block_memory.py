"""Memory in block RAM: under a master that is not ours, at full rate, and beyond its end."""

import logging

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiBurstType, AxiBus, AxiMaster, AxiResp

from rootshift.hw.block_memory import BlockMemory
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import pattern

SIZE = 6000
"""Bytes: no multiple of a page, and over one."""
PATTERNS = ("always", "random:0.5", "bursts:7,3")


@cocotb.test()
async def stock_master_agrees(dut):
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bench = await Bench.start(dut)
    beat = bench.params["data_width"] // 8
    rng = np.random.default_rng(bench.params["seed"])
    master = AxiMaster(AxiBus.from_prefix(dut, "s_axi_"), dut.clk)
    write, read = master.write_if, master.read_if
    memory = bench.arrays["memory"].copy()
    channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
    for run, spec in enumerate(PATTERNS):
        for index, channel in enumerate(channels):
            acting = pattern(spec, 8 * run + index)
            # cocotbext-axi asks when to pause, not when to act.
            channel.set_pause_generator(not act for act in acting)
        jobs = []
        for _ in range(12):
            size = int(rng.integers(1, 700))
            at = int(rng.integers(0, SIZE - size))
            values = rng.integers(0, 256, size, np.uint8)
            jobs.append((at, values))
        # Several at once: what is asked for may overtake no other of its kind.
        pending = [master.init_write(at, values.tobytes()) for at, values in jobs]
        for (at, values), event in zip(jobs, pending, strict=True):
            await event.wait()
            assert event.data.resp == AxiResp.OKAY
            memory[at : at + len(values)] = values
        reads = [master.init_read(at, len(values)) for at, values in jobs]
        for (at, values), event in zip(jobs, reads, strict=True):
            await event.wait()
            assert event.data.resp == AxiResp.OKAY
            got = np.frombuffer(event.data.data, np.uint8)
            bench.compare(f"{spec} at {at}", got, memory[at : at + len(values)])
        await _beyond_its_end(bench, master, memory, beat)


async def _beyond_its_end(bench, master, memory, beat):
    for at in (SIZE // beat * beat + beat, 8192, 1 << 32, (1 << 39) + 64):
        assert (await master.read(at, beat)).resp == AxiResp.DECERR
        assert (await master.write(at, bytes(beat))).resp == AxiResp.DECERR
    # A burst over the end: the part inside is there, and the whole is refused.
    inside = 3 * beat
    end = -(-SIZE // beat) * beat
    answer = await master.read(end - inside, inside + 2 * beat)
    assert answer.resp == AxiResp.DECERR
    kept = memory[end - inside : SIZE]
    got = np.frombuffer(answer.data, np.uint8)
    bench.compare("beats inside", got[: len(kept)], kept)
    assert not got[inside:].any()
    for burst, size in ((AxiBurstType.FIXED, None), (AxiBurstType.INCR, 1)):
        options = {"burst": burst} | ({} if size is None else {"size": size})
        assert (await master.read(0, 2 * beat, **options)).resp == AxiResp.DECERR
        assert (await master.write(0, bytes(2 * beat), **options)).resp == AxiResp.DECERR
    whole = await master.read(0, SIZE)
    bench.compare("all that was not written", np.frombuffer(whole.data, np.uint8), memory)


@cocotb.test()
async def beats_follow_each_other(dut):
    bench = await Bench.start(dut)
    beat = bench.params["data_width"] // 8
    bursts, beats = 12, 16
    for port in ("rready", "bready"):
        bench.set(f"s_axi__{port}", 1)
    offset = beat.bit_length() - 1
    for channel in ("ar", "aw"):
        for name, value in {"len": beats - 1, "size": offset, "burst": 1}.items():
            bench.set(f"s_axi__{channel}{name}", value)
        bench.set(f"s_axi__{channel}valid", 1)
    bench.set("s_axi__wvalid", 1)
    asked = {"ar": [], "aw": []}
    moved = {"r": [], "w": [], "b": []}
    for cycle in range(bursts * beats + 40):
        await FallingEdge(dut.clk)
        for channel, cycles in (asked | moved).items():
            valid, ready = (bench.get(f"s_axi__{channel}{part}") for part in ("valid", "ready"))
            if valid and ready:
                cycles.append(cycle)
        await RisingEdge(dut.clk)
        for channel, cycles in asked.items():
            bench.set(f"s_axi__{channel}valid", len(cycles) < bursts)
        bench.set("s_axi__wvalid", len(moved["w"]) < bursts * beats)
    bench.compare("R", np.diff(moved["r"]), np.ones(bursts * beats - 1, int))
    bench.compare("W", np.diff(moved["w"]), np.ones(bursts * beats - 1, int))
    bench.compare("B", np.diff(moved["b"]), np.full(bursts - 1, beats))
    assert moved["r"][0] - asked["ar"][0] == BlockMemory.READ_LATENCY
    assert moved["b"][0] - moved["w"][beats - 1] == BlockMemory.WRITE_LATENCY


@pytest.mark.parametrize("data_width", [32, 64, 128])
def test_memory(data_width: int) -> None:
    print(f"seed {data_width}")
    content = np.random.default_rng(data_width).integers(0, 256, SIZE, np.uint8)
    unit = BlockMemory(init=content.tobytes(), addr_width=40, data_width=data_width)
    params = {"data_width": data_width, "seed": data_width}
    print(simulate(unit, __name__, params=params, arrays={"memory": content}))


def test_what_is_no_memory_is_refused() -> None:
    sizes = {"addr_width": 40, "data_width": 64}
    with pytest.raises(ValueError, match="init must be 1 to 8388608 bytes, not 0"):
        BlockMemory(init=b"", **sizes)
    with pytest.raises(TypeError, match="init must be bytes, not list"):
        BlockMemory(init=[1], **sizes)
