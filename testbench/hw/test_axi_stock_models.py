"""The data movers on memories that are not ours: cocotbext-axi's, attached by the port names."""

import logging

import cocotb
import numpy as np
import pytest
from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

from rootshift.hw.read_dma import ReadDma
from rootshift.hw.write_dma import WriteDma
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import pattern

SIZE = 1 << 16
CHANNELS = {"ReadDma": ("ar", "r"), "WriteDma": ("aw", "w", "b")}
PATTERNS = ("always", "random:0.5", "bursts:7,3")


@cocotb.test()
async def stock_memory_agrees(dut):
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bench = await Bench.start(dut)
    unit, bytes_ = bench.params["unit"], bench.params["data_width"] // 8
    rng = np.random.default_rng(bench.params["seed"])
    reading = unit == "ReadDma"
    bus, model = (AxiReadBus, AxiRamRead) if reading else (AxiWriteBus, AxiRamWrite)
    ram = model(bus.from_prefix(dut, "m_axi_"), dut.clk, size=SIZE)
    image = rng.integers(0, 256, SIZE, np.uint8)
    ram.write(0, image.tobytes())
    for run, spec in enumerate(PATTERNS):
        for index, name in enumerate(CHANNELS[unit]):
            acting = pattern(spec, 8 * run + index)
            # cocotbext-axi asks when to pause, not when to act.
            getattr(ram, f"{name}_channel").set_pause_generator(not act for act in acting)
        at, beats = (
            np.array([0, 4096 - bytes_, 20000 // 16 * 16, 40960]),
            np.array([1, 2, 90, 31]),
        )
        order = {"address": at, "beats": beats, "tag": [1, 2, 3, 4]}
        places = np.concatenate(
            [start + np.arange(n * bytes_) for start, n in zip(at, beats, strict=True)]
        )
        total = int(beats.sum())
        if reading:
            got = await bench.run({"command": order}, {"o": total}, pressure=spec, seed=run)
            bench.compare(f"data, {spec}", got["o"]["data"].reshape(-1), image[places])
            bench.compare(f"last, {spec}", np.flatnonzero(got["o"]["last"]), np.cumsum(beats) - 1)
            bench.compare(f"error, {spec}", got["o"]["error"], np.zeros(total, int))
        else:
            values = rng.integers(0, 256, (total, bytes_), np.uint8)
            sources = {"command": order, "i": values}
            got = await bench.run(sources, {"done": 4}, idle=spec, seed=run)
            image[places] = values.reshape(-1)
            memory = np.frombuffer(ram.read(0, SIZE), np.uint8)
            bench.compare(f"memory, {spec}", memory, image)
            bench.compare(f"done, {spec}", got["done"]["error"], [0] * 4)


@pytest.mark.parametrize("unit", [ReadDma, WriteDma])
@pytest.mark.parametrize("data_width", [32, 128])
def test_stock_memory_agrees(unit, data_width):
    print(f"seed {data_width}")
    params = {"unit": unit.__name__, "data_width": data_width, "seed": data_width}
    dma = unit(addr_width=40, data_width=data_width, tag_width=3)
    print(simulate(dma, __name__, params=params))
