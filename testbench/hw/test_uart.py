"""The serial line's two ends, bit by bit: rates, jitter, glitches, missing stop bits."""

from fractions import Fraction

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from rootshift.hw.uart import UartReceiver, UartTransmitter
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench

RATES = [(25_000_000, 3_000_000), (28_540_000, 290_000), (80_000_000, 3_000_000), (60, 10)]
"""Clock and baud rate: 8.33, 98.41, 26.67 and 6 cycles of a bit. At the second one, 2854 / 29, a
phase that is a few off moves a bit that is read, and sums need all their bits."""
BITS = 10
LATENCY = 3
"""From the middle of a stop bit to the byte."""


def levels(byte: int, stop: int = 1) -> list[int]:
    return [0, *(byte >> n & 1 for n in range(8)), stop]


@cocotb.test()
async def bytes_come_in(dut):
    bench = await Bench.start(dut)
    if bench.params["unit"] != "receiver":
        return
    rng = np.random.default_rng(bench.params["seed"])
    cycles = bench.params["clock"] / bench.params["baud"]
    # What is left of half a bit beside a sample's own delay, and the rounding of edges here.
    slack = 0.5 * cycles - 2.5
    seen, faults = [], 0

    async def watch():
        nonlocal faults
        while True:
            await FallingEdge(dut.clk)
            if bench.get("o__valid"):
                seen.append(bench.get("o__payload"))
            faults += bench.get("fault_stb")

    cocotb.start_soon(watch())
    at, now = 0.0, 0

    async def until(moment):
        nonlocal now
        while now < round(moment):
            await RisingEdge(dut.clk)
            now += 1

    async def send(byte, stop=1, drift=0.0, jitter=0.0):
        nonlocal at
        for place, level in enumerate(levels(byte, stop)):
            await until(at + place * cycles * (1 + drift) + rng.uniform(0, jitter))
            bench.set("rx", level)
        at += BITS * cycles * (1 + drift)

    async def pause(bits):
        nonlocal at
        at += bits * cycles
        await until(at)

    bench.set("rx", 1)
    await pause(3)
    sent = [int(byte) for byte in rng.integers(0, 256, 60 if cycles < 50 else 12)] + [0, 255]
    for byte in sent:
        # Back to back, with every edge late by up to what must still be read.
        await send(byte, jitter=slack)
    await pause(2)
    bench.compare("bytes with jitter", seen, sent)
    for sign in (1, -1):
        seen.clear()
        drift = sign * slack / cycles / 10
        for byte in sent:
            await send(byte, drift=drift)
            await pause(sign < 0)
        await pause(2)
        bench.compare(f"bytes at a drift of {drift}", seen, sent)
    assert faults == 0
    seen.clear()
    if cycles >= 8:
        bench.set("rx", 0)  # a glitch: over before the middle of a start bit
        await until(at + cycles / 4)
        bench.set("rx", 1)
        await pause(2)
    await send(0x5A)
    await send(0x00, stop=0)
    await pause(3)  # a break: the line stays low
    bench.set("rx", 1)
    await pause(2)
    await send(0xC3)
    await pause(2)
    assert seen == [0x5A, 0xC3]
    assert faults == 1


@cocotb.test()
async def bits_are_read_in_their_middle(dut):
    bench = await Bench.start(dut)
    if bench.params["unit"] != "receiver":
        return
    rng = np.random.default_rng(bench.params["seed"])
    period, step = Fraction(bench.params["clock"], bench.params["baud"]).as_integer_ratio()
    # From the first cycle of a start bit to the one in which each bit is read.
    middles = [-((period // 2 - place * period) // step) for place in range(1, BITS + 1)]
    # After the reset, in which the line was low, it is idle for longer than half a bit.
    line, expected = [1] * middles[1], []
    for stop in [1, 1, 0, 1, 0, 1]:
        byte, start = int(rng.integers(256)), len(line)
        for middle, level in zip(middles, levels(byte, stop), strict=True):
            # Each bit is what it is for that one cycle only.
            line += [1 - level] * (start + middle - len(line)) + [level]
        line[start] = 0
        expected.append((len(line) - 1 + LATENCY, byte if stop else "fault"))
        line += [stop] * int(rng.integers(middles[0])) + [1] * (not stop)
    seen = []
    for cycle, level in enumerate([*line, 1, 1, 1, 1]):
        bench.set("rx", level)
        await FallingEdge(dut.clk)
        if bench.get("o__valid"):
            seen.append((cycle, bench.get("o__payload")))
        if bench.get("fault_stb"):
            seen.append((cycle, "fault"))
        await bench.step()
    assert seen == expected


@cocotb.test()
async def bytes_go_out(dut):
    bench = await Bench.start(dut)
    if bench.params["unit"] != "transmitter":
        return
    rng = np.random.default_rng(bench.params["seed"])
    sent = rng.integers(0, 256, 40)
    line = []

    async def watch():
        while True:
            await FallingEdge(dut.clk)
            line.append(bench.get("tx"))

    cycles = bench.params["clock"] / bench.params["baud"]
    assert bench.get("tx") == 1
    watching = cocotb.start_soon(watch())
    patience = int(20 * cycles) + 100
    await bench.run({"i": sent}, {}, stuck=patience, drain=int(12 * cycles))
    watching.cancel()
    period, step = Fraction(bench.params["clock"], bench.params["baud"]).as_integer_ratio()
    start = line.index(0)
    # Without a pause, and without an error that grows: every bit is where the rate puts it.
    places = np.arange(len(line) - start) * step // period
    bits = np.concatenate([*(levels(int(byte)) for byte in sent), [1] * (places[-1] + 1)])
    bench.compare("line", line, [1] * start + list(bits[places]))


@pytest.mark.parametrize(("clock", "baud"), RATES)
def test_bytes_of_a_line(clock: int, baud: int) -> None:
    print(f"seed {baud}")
    params = {"unit": "receiver", "clock": clock, "baud": baud, "seed": baud}
    simulate(UartReceiver(clock=clock, baud=baud), __name__, params=params)


@pytest.mark.parametrize(("clock", "baud"), RATES)
def test_a_line_of_bytes(clock: int, baud: int) -> None:
    print(f"seed {baud}")
    params = {"unit": "transmitter", "clock": clock, "baud": baud, "seed": baud}
    simulate(UartTransmitter(clock=clock, baud=baud), __name__, params=params)


@pytest.mark.parametrize("unit", [UartReceiver, UartTransmitter])
def test_rates_that_a_clock_cannot_make_are_refused(unit: type) -> None:
    most = "baud must be at most 4166666 at 25000000 Hz, not 4166667"
    with pytest.raises(ValueError, match=most):
        unit(clock=25_000_000, baud=4_166_667)
    with pytest.raises(TypeError, match=r"baud must be an integer, not 1\.5"):
        unit(clock=25_000_000, baud=1.5)
