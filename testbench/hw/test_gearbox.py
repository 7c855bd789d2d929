"""Bench of the gearbox against the bytes in a list."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from rootshift.hw.gearbox import Gearbox
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS

SIZES = [
    (1, 1),
    (8, 8),
    (8, 2),
    (4, 16),
    (8, 12),
    (16, 6),
    (4, 1),
    (8, 48),
    (7, 5),
    (44, 28),
]


async def clear(bench: Bench) -> None:
    bench.set("clear_stb", 1)
    await bench.step()
    bench.set("clear_stb", 0)


@cocotb.test()
async def bytes_keep_their_order(dut):
    bench = await Bench.start(dut)
    size, out = bench.params["in_bytes"], bench.params["out_bytes"]
    rng = np.random.default_rng(bench.params["seed"])
    for run, (idle, pressure) in enumerate(PAIRS):
        # Most of the runs leave some bytes inside, which the clear drops.
        beats = int(rng.integers(60, 90))
        sent = rng.integers(0, 256, (beats, size))
        count = sent.size // out
        got = await bench.run({"i": sent}, {"o": count}, idle=idle, pressure=pressure, seed=run)
        expected = sent.reshape(-1)[: count * out].reshape(count, out)
        bench.compare(f"{idle}, {pressure}", got["o"].reshape(count, out), expected)
        if (idle, pressure) == ("always", "always"):
            taken, given = bench.sources["i"].cycles, bench.sinks["o"].cycles
            # The side of the smaller rate never rests.
            busy = taken if size <= out else given
            bench.compare("throughput", np.diff(busy), np.ones(len(busy) - 1))
            bench.compare("latency", given[0] - taken[-(-out // size) - 1], Gearbox.LATENCY)
        await clear(bench)


@cocotb.test()
async def clear_drops_what_is_inside(dut):
    bench = await Bench.start(dut)
    size, out = bench.params["in_bytes"], bench.params["out_bytes"]
    chance, fall = random.Random(bench.params["seed"]), FallingEdge(dut.clk)
    inside: list[int] = []
    got, expected = [], []
    for cycle in range(1500):
        # Rates change, so that some clears meet a full unit and some an empty one.
        often = (0.2, 0.5, 0.9)[cycle // 100 % 3]
        beat = chance.randbytes(size)
        strobe = chance.random() < 0.08
        bench.set("i__payload", int.from_bytes(beat, "little"))
        bench.set("i__valid", chance.random() < often)
        bench.set("o__ready", chance.random() < 1 - often)
        # A reset does the same.
        what = chance.choice(("clear_stb", "rst"))
        bench.set(what, strobe)
        await fall
        valid = bench.get("o__valid")
        got.append(valid)
        expected.append(len(inside) >= out)
        if valid and bench.get("o__ready"):
            given = list(bench.get("o__payload").to_bytes(out, "little"))
            bench.compare(f"beat in cycle {cycle}", given, inside[:out])
            del inside[:out]
        if bench.get("i__valid") and bench.get("i__ready"):
            inside += beat
        if strobe:
            inside.clear()
        await bench.step()
        bench.set(what, 0)
    bench.compare("valid", got, expected)


@pytest.mark.parametrize(("size", "out"), SIZES)
def test_bytes_keep_their_order(size, out):
    params = {"in_bytes": size, "out_bytes": out, "seed": 100 * size + out}
    print(params)
    print(simulate(Gearbox(in_bytes=size, out_bytes=out), __name__, params=params))


@pytest.mark.parametrize("name", ["in_bytes", "out_bytes"])
@pytest.mark.parametrize("value", [0, 1025])
def test_sizes_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be 1 to 1024, not {value}"):
        Gearbox(**{"in_bytes": 4, "out_bytes": 4, name: value})


def test_sizes_of_the_wrong_kind():
    with pytest.raises(TypeError, match="out_bytes must be an integer, not 'four'"):
        Gearbox(in_bytes=4, out_bytes="four")
