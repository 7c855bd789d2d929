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
ADDR_WIDTH = 40
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
        for size in (SIZE, *rng.integers(1, 700, 12).tolist()):
            at = int(rng.integers(0, SIZE - size + 1))
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
        await _beyond_its_end(bench, master, memory, beat, rng)


async def _beyond_its_end(bench, master, memory, beat, rng):
    for at in (SIZE // beat * beat + beat, *(1 << bit for bit in range(13, ADDR_WIDTH))):
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
    values = rng.integers(0, 256, inside + 2 * beat, np.uint8)
    answer = await master.write(end - inside, values.tobytes())
    assert answer.resp == AxiResp.DECERR
    memory[end - inside :] = values[: SIZE - end + inside]
    for burst, size in ((AxiBurstType.FIXED, None), (AxiBurstType.INCR, 1)):
        options = {"burst": burst} | ({} if size is None else {"size": size})
        assert (await master.read(0, 2 * beat, **options)).resp == AxiResp.DECERR
        assert (await master.write(0, bytes(2 * beat), **options)).resp == AxiResp.DECERR
    whole = await master.read(0, SIZE)
    bench.compare("all that was not written", np.frombuffer(whole.data, np.uint8), memory)


async def traffic(bench, places: dict[str, np.ndarray], words: np.ndarray, **acts: str) -> dict:
    """Bursts of `words` to the places `aw`, and as long ones from the places `ar`, at once; places
    are numbers of words. A channel offers and takes as its pattern in `acts` says, always where
    there is none; with nothing to offer it carries noise.

    Returns the cycles in which each channel moved, the identities of answers, and what was read.
    """
    (bursts, beats, beat) = words.shape
    data = [int.from_bytes(word.tobytes(), "little") for word in words.reshape(-1, beat)]
    limits = {"ar": bursts, "aw": bursts, "w": bursts * beats}
    moved = {channel: [] for channel in ("ar", "r", "aw", "w", "b")}
    read, names = [], {"r": [], "b": []}
    willing = {channel: pattern(acts.get(channel, "always"), 0) for channel in moved}
    offered = dict.fromkeys(limits, -1)
    for channel in ("ar", "aw"):
        for name, value in {"len": beats - 1, "size": beat.bit_length() - 1, "burst": 1}.items():
            bench.set(f"s_axi__{channel}{name}", value)
    bench.set("s_axi__wstrb", -1)

    def show() -> None:
        for channel, will in willing.items():
            acting, number = next(will), len(moved[channel])
            if channel not in limits:
                bench.set(f"s_axi__{channel}ready", acting)
                continue
            # An offer is never taken back.
            there = number < limits[channel] and (acting or offered[channel] == number)
            offered[channel] = number if there else -1
            bench.set(f"s_axi__{channel}valid", there)
            if channel == "w":
                bench.set("s_axi__wdata", data[number] if there else -1)
            else:
                bench.set(f"s_axi__{channel}addr", places[channel][number] * beat if there else -1)
                bench.set(f"s_axi__{channel}id", number)

    show()
    for cycle in range((bursts * beats + 40) * (10 if acts else 1)):
        await FallingEdge(bench.dut.clk)
        for channel, cycles in moved.items():
            if all(bench.get(f"s_axi__{channel}{part}") for part in ("valid", "ready")):
                cycles.append(cycle)
                if channel in names:
                    names[channel].append(bench.get(f"s_axi__{channel}id"))
                if channel == "r":
                    read.append(bench.get("s_axi__rdata").to_bytes(beat, "little"))
        await RisingEdge(bench.dut.clk)
        show()
    identities = np.arange(bursts) % 2
    bench.compare("identities of R", names["r"], np.repeat(identities, beats))
    bench.compare("identities of B", names["b"], identities)
    return moved | {"read": np.frombuffer(b"".join(read), np.uint8).reshape(words.shape)}


@cocotb.test()
async def beats_follow_each_other(dut):
    bench = await Bench.start(dut)
    beat = bench.params["data_width"] // 8
    bursts, beats = 12, 16
    # One half is written while the other is read, then the other way round.
    rng, half = np.random.default_rng(bench.params["seed"]), SIZE // beat // 2
    written = rng.integers(0, half - beats, bursts)
    words = rng.integers(0, 256, (bursts, beats, beat), np.uint8)
    await traffic(bench, {"aw": written, "ar": half + written}, words)
    read = rng.permutation(written)
    moved = await traffic(bench, {"aw": half + written, "ar": read}, words)
    bench.compare("what was written before", moved["read"], expected_at(read, written, words))
    bench.compare("R", np.diff(moved["r"]), np.ones(bursts * beats - 1, int))
    bench.compare("W", np.diff(moved["w"]), np.ones(bursts * beats - 1, int))
    bench.compare("B", np.diff(moved["b"]), np.full(bursts - 1, beats))
    assert moved["r"][0] - moved["ar"][0] == BlockMemory.READ_LATENCY
    assert moved["b"][0] - moved["w"][beats - 1] == BlockMemory.WRITE_LATENCY


@cocotb.test()
async def channels_wait_for_each_other(dut):
    """Data long before its address or long after it, and answers that nobody takes."""
    bench = await Bench.start(dut)
    beat = bench.params["data_width"] // 8
    rng, half = np.random.default_rng(bench.params["seed"]), SIZE // beat // 2
    written = rng.integers(0, half - 3, 40)
    words = rng.integers(0, 256, (40, 3, beat), np.uint8)
    waits = {"aw": "bursts:7,30", "w": "bursts:25,25", "b": "bursts:3,40", "r": "bursts:9,13"}
    await traffic(bench, {"aw": written, "ar": half + written}, words, **waits)
    got = await traffic(bench, {"aw": half + written, "ar": written}, words, **waits)
    bench.compare("what was written", got["read"], expected_at(written, written, words))


def expected_at(read: np.ndarray, written: np.ndarray, words: np.ndarray) -> list[np.ndarray]:
    """What bursts from the places `read` give once `words` have been written, in turn."""
    memory = {}
    for place, burst in zip(written, words, strict=True):
        memory |= {place + index: word for index, word in enumerate(burst)}
    return [[memory[place + index] for index in range(words.shape[1])] for place in read]


@pytest.mark.parametrize("data_width", [32, 64, 128])
def test_memory(data_width: int) -> None:
    print(f"seed {data_width}")
    content = np.random.default_rng(data_width).integers(0, 256, SIZE, np.uint8)
    unit = BlockMemory(init=content.tobytes(), addr_width=ADDR_WIDTH, data_width=data_width)
    params = {"data_width": data_width, "seed": data_width}
    print(simulate(unit, __name__, params=params, arrays={"memory": content}))


def test_what_is_no_memory_is_refused() -> None:
    sizes = {"addr_width": 40, "data_width": 64}
    with pytest.raises(ValueError, match="init must be 1 to 8388608 bytes, not 0"):
        BlockMemory(init=b"", **sizes)
    with pytest.raises(TypeError, match="init must be bytes, not list"):
        BlockMemory(init=[1], **sizes)
