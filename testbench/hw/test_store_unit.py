"""Bench of the store unit among models of the buffers, the softmax and the memory."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.gemm import Gemm
from rootshift.hw.log2_softmax import Log2Softmax
from rootshift.hw.store_unit import StoreUnit
from rootshift.hw.write_dma import WriteDma
from rootshift.latency import word_buffer
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.clamped_count import begin_near_the_end
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.store_bench import INSIDE, StoreBench
from rootshift.testbench.hw.store_model import MOST, WORDS
from rootshift.testbench.seeds import SEED

KINDS = ("CODES", "GELU", "RESIDUAL", "SCORES", "LOGITS", "EMBED", "POOL")


@cocotb.test()
async def mixed_commands_equal_model(dut):
    store = StoreBench(await Bench.start(dut))
    model = store.model
    for run, (idle, pressure) in enumerate(PAIRS):
        kinds = [*KINDS, *model.rng.choice(KINDS, 5)]
        model.rng.shuffle(kinds)
        # A table outlives a reset: the first run fills it first of all, the third once more.
        if run in (0, 2):
            kinds.insert(2 * run, "TABLE")
        jobs = [model.draw(kind) for kind in kinds]
        await store.run(jobs, run, idle=idle, pressure=pressure)


@cocotb.test()
async def one_beat_per_cycle(dut):
    store = StoreBench(await Bench.start(dut))
    bench, model = store.bench, store.model
    await store.run([model.draw("TABLE")])
    for kind in ("CODES", "GELU", "RESIDUAL", "SCORES"):
        sizes = {"tokens": 12, "groups": 2, "chunks": 2 * model.parts, "log2_scale": 5}
        if kind != "SCORES":
            del sizes["log2_scale"]
        jobs = [model.draw(kind, **sizes) for _ in range(3)]
        await store.run(jobs)
        cycles = np.reshape(bench.sources["outputs"].cycles, (3, -1))
        bench.compare(f"{kind}: one beat per cycle", np.diff(cycles), np.ones_like(cycles[:, 1:]))
        pauses = cycles[1:, 0] - cycles[:-1, -1]
        drain = word_buffer(1) + 1 if kind == "RESIDUAL" else 0
        bench.compare(f"{kind}: pause", pauses, [3 + drain] * 2)
        if kind in ("CODES", "GELU"):
            latency = np.subtract(bench.sinks["codes"].cycles, cycles.ravel())
            bench.compare(f"{kind}: latency", latency, np.ones(cycles.size, int))


@cocotb.test()
async def the_softmax_offset_waits_for_its_scores(dut):
    store = StoreBench(await Bench.start(dut))
    bench, model = store.bench, store.model
    scales = (0, 9, 9, -9)
    await store.run([model.draw("SCORES", tokens=4, groups=1, log2_scale=s) for s in scales])
    cycles = np.reshape(bench.sinks["scores"].cycles, (4, 4))
    pauses = cycles[1:, 0] - cycles[:-1, -1]
    # Parts of a key that come before its last one do not wait.
    soonest = 2 + model.parts
    bench.compare("equal offsets", pauses[1], soonest)
    bench.compare("other offsets", pauses[[0, 2]] > INSIDE, [True, True])


@cocotb.test()
async def the_softmax_offset_changes_by_any_bit(dut):
    store = StoreBench(await Bench.start(dut))
    # Up and down again: a bit comes, or goes, with all others as they were.
    scales = [(1 << bit) - 1 for bit in range(16)] + [-1]
    scales += scales[-2::-1]
    sizes = {"tokens": 1, "groups": 1}
    await store.run([store.model.draw("SCORES", **sizes, log2_scale=scale) for scale in scales])


@cocotb.test()
async def logits_of_any_number_of_bytes(dut):
    """Of more beats than anyone would wait for, as many as a few outputs bring."""
    store = StoreBench(await Bench.start(dut))
    for bit in range((MOST["STORE"]["bytes"] // store.model.bytes).bit_length()):
        for beats in (1 << bit, (1 << bit) + 1):
            await store.begin_logits(min(beats * store.model.bytes, MOST["STORE"]["bytes"]), bit)


@cocotb.test()
async def loops_of_all_lengths(dut):
    """Each loop by itself, with as many turns as its operand can count, or many."""
    store = StoreBench(await Bench.start(dut))
    model, most = store.model, MOST["STORE"]
    if model.lanes < 3 or model.parts == 1:
        return
    tokens = {"tokens": most["tokens"], "groups": 1, "chunks": 1}
    groups = {"tokens": 1, "groups": most["groups"], "chunks": most["groups"] * model.parts}
    jobs = [model.draw("RESIDUAL", **tokens), model.draw("CODES", **groups)]
    jobs.append(model.draw("EMBED", words=(1 << 13) + 1))
    # The same word in each row.
    word = model.draw("EMBED", words=1)
    mean = {"rows": 1 << 12, "chunks": 1, "stride": WORDS, "shift": 27, "multiplier": 1 << 15}
    base = word.command["base"] % WORDS
    out = (base + 1) % WORDS
    await store.run([*jobs, word, model.draw("POOL", **mean, base=base, out=out)])


@pytest.mark.parametrize(
    ("rows", "cols", "lanes", "code_width", "bus_width"),
    [(8, 4, 2, 4, 64), (8, 8, 4, 8, 128), (4, 4, 4, 3, 32), (6, 6, 3, 5, 64), (3, 2, 1, 4, 128)],
)
def test_store_unit(rows, cols, lanes, code_width, bus_width, monkeypatch):
    begin_near_the_end(monkeypatch)
    params = {"rows": rows, "cols": cols, "lanes": lanes, "code_width": code_width}
    params |= {"bus_width": bus_width}
    unit = StoreUnit(**params, depth=16)
    print(f"seed {SEED}")
    print(simulate(unit, __name__, params=params | {"seed": SEED}))


def test_lanes_that_do_not_divide():
    with pytest.raises(ValueError, match="lanes must divide 8 rows and 6 cols, not 4"):
        StoreUnit(rows=8, cols=6, lanes=4, code_width=4, bus_width=64, depth=16)


@pytest.mark.parametrize("name", ["rows", "cols", "lanes", "code_width"])
def test_parameters_of_the_wrong_kind(name):
    sizes = {"rows": 4, "cols": 4, "lanes": 4, "code_width": 4, "bus_width": 64, "depth": 16}
    with pytest.raises(TypeError, match=f"{name} must be an integer, not 'four'"):
        StoreUnit(**(sizes | {name: "four"}))


def test_streams_fit_their_neighbours():
    array = {"rows": 8, "cols": 12, "lanes": 4}
    unit = StoreUnit(**array, code_width=4, bus_width=64, depth=16)
    gemm = Gemm(
        **array, activation_width=4, weight_width=4, depth=16, k_max=64, groups=2, tag_width=1
    )
    softmax = Log2Softmax(lanes=12, depth=16, code_width=4)
    dma = WriteDma(addr_width=40, data_width=64)
    pairs = [(unit.outputs, gemm.o), (unit.scores, softmax.i), (unit.write_command, dma.command)]
    pairs += [(unit.write_data, dma.i), (unit.write_done, dma.done)]
    for ours, theirs in pairs:
        assert ours.p.shape() == theirs.p.shape()
