"""Bench of the word buffer against an array, access by access in the order of the cycles."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge

from rootshift import latency
from rootshift.hw import verilog
from rootshift.hw.word_buffer import ReadPort, WordBuffer, chunk_write, write_stream
from rootshift.isa import WORD_ADDRESS_WIDTH
from rootshift.latency import BLOCK_WORDS
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.damaged_buffer import DamagedBuffer
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.verilate import lint

CODES = {
    "depth": 45,
    "word_width": 12,
    "parts": 3,
    "banks": 4,
    "readers": ("gemm", "attention", "weights"),
    "writers": ("store", "layernorm", "attention", "patchify"),
    "stages": 1,
}
RESIDUALS = {
    "depth": 16,
    "word_width": 32,
    "parts": 1,
    "banks": 1,
    "readers": ("store", "layernorm"),
    "writers": ("store",),
    "stages": 2,
}
DEEP = {**RESIDUALS, "depth": 2 * BLOCK_WORDS + 90, "stages": 1}
TINY = {
    "depth": 1,
    "word_width": 1,
    "parts": 1,
    "banks": 2,
    "readers": ("x",),
    "writers": ("x", "y"),
    "stages": 3,
}
SIZES = {
    "codes": CODES,
    "codes, two stages": {**CODES, "stages": 2},
    "codes, three stages": {**CODES, "stages": 3},
    "residuals": RESIDUALS,
    "residuals in blocks": DEEP,
    "residuals in blocks, two stages": {**DEEP, "stages": 2},
    "codes in blocks, three stages": {**CODES, "depth": 4 * BLOCK_WORDS + 5, "stages": 3},
    "narrow parts in blocks, two stages": {
        **CODES,
        "word_width": 8,
        "parts": 2,
        "depth": 8 * BLOCK_WORDS + 9,
        "stages": 2,
    },
    "tiny": TINY,
    "codes, parity": {**CODES, "parity": True},
    "residuals in blocks, two stages, parity": {**DEEP, "stages": 2, "parity": True},
    "tiny, parity": {**TINY, "parity": True},
}


class FlatBuffer(wiring.Component):
    """A word buffer whose streams are members of their own, as the bench wants them.

    `chunk` writes a chunk of a word and zeros above it, by the last of the writers.
    """

    def __init__(self, sizes: dict[str, Any]) -> None:
        self.buffer = DamagedBuffer(**sizes)
        self._told = ("fault", "parity") if self.buffer.parity else ("fault",)
        width, parts = self.buffer.word_width, self.buffer.parts
        address = stream.Signature(WORD_ADDRESS_WIDTH)
        chunk = {"address": WORD_ADDRESS_WIDTH, "place": range(parts), "chunk": width // parts}
        members = {"chunk": In(stream.Signature(data.StructLayout(chunk)))}
        for name in self.buffer.readers:
            members |= {f"ask_{name}": In(address), f"word_{name}": Out(stream.Signature(width))}
        for name in self.buffer.writers[:-1]:
            members[f"write_{name}"] = In(write_stream(width, parts))
        members["flip"] = In(len(self.buffer.flip))
        for what in self._told:
            members |= {f"{what}_stb": Out(1), f"{what}_address": Out(WORD_ADDRESS_WIDTH)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = self.buffer
        for name in buffer.readers:
            port = ReadPort(buffer.word_width).create()
            wiring.connect(m, port, getattr(buffer, f"read_{name}"))
            m.d.comb += [
                port.address.payload.eq(getattr(self, f"ask_{name}").payload),
                port.address.valid.eq(getattr(self, f"ask_{name}").valid),
                getattr(self, f"ask_{name}").ready.eq(port.address.ready),
                getattr(self, f"word_{name}").payload.eq(port.word.payload),
                getattr(self, f"word_{name}").valid.eq(port.word.valid),
                port.word.ready.eq(getattr(self, f"word_{name}").ready),
            ]
        for name in buffer.writers[:-1]:
            outside = wiring.flipped(getattr(self, f"write_{name}"))
            wiring.connect(m, outside, getattr(buffer, f"write_{name}"))
        last, chunk = getattr(buffer, f"write_{buffer.writers[-1]}"), self.chunk
        values, mask = chunk_write(chunk.p.place, chunk.p.chunk, buffer.parts)
        m.d.comb += [
            last.p.address.eq(chunk.p.address),
            last.p.data.eq(values),
            last.p.mask.eq(mask),
            last.valid.eq(chunk.valid),
            chunk.ready.eq(last.ready),
            buffer.flip.eq(self.flip),
        ]
        for what in self._told:
            for name in (f"{what}_stb", f"{what}_address"):
                m.d.comb += getattr(self, name).eq(getattr(buffer, name))
        return m


class Model:
    """What the words are, and all that a run must give, from the cycles in which it accepted."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.depth, self.parts = params["depth"], params["parts"]
        self.part_width = params["word_width"] // params["parts"]
        self.readers, self.writers = params["readers"], params["writers"]
        self.banks = params["banks"]
        self.words = np.zeros(self.depth, np.int64)

    def replay(
        self, beats: dict[str, Any], cycles: dict[str, list[int]]
    ) -> tuple[dict[str, list[int]], list[tuple[int, int]]]:
        """Words per reader, and (cycle, address) of the faults; a read is made in the cycle after
        its turn, a write two after it was accepted, behind a read in the same."""
        events = []
        turns = self.turns(beats, cycles)
        for rank, name in enumerate(self.readers):
            for cycle, at in zip(turns[name], beats[f"ask_{name}"], strict=True):
                events.append((cycle + 1, rank, name, int(at), 0, 0))
        for name in [*(f"write_{writer}" for writer in self.writers[:-1]), "chunk"]:
            for cycle, write in zip(cycles[name], self._writes(beats[name]), strict=True):
                events.append((cycle + 2, len(self.readers), "", *write))
        words: dict[str, list[int]] = {name: [] for name in self.readers}
        told: list[tuple[int, int, int]] = []
        for cycle, rank, name, at, value, mask in sorted(events):
            if at >= self.depth:
                told.append((cycle + (1 if name else 0), rank, at))
            if name:
                words[name].append(int(self.words[at]) if at < self.depth else 0)
            elif at < self.depth:
                self.words[at] = self.words[at] & ~mask | value & mask
        faults: dict[int, int] = {}
        for cycle, _, at in sorted(told):
            faults.setdefault(cycle, at)
        return words, sorted(faults.items())

    def turns(self, beats: dict[str, Any], cycles: dict[str, list[int]]) -> dict[str, list[int]]:
        """Per reader the cycle in which each address has its bank: from the one after it was
        accepted on, in order, when no reader before waits for the same bank."""
        waiting = {
            name: list(zip(cycles[f"ask_{name}"], beats[f"ask_{name}"], strict=True))[::-1]
            for name in self.readers
        }
        found: dict[str, list[int]] = {name: [] for name in self.readers}
        cycle = 0
        while any(waiting.values()):
            wanted: set[int] = set()
            for name, queue in waiting.items():
                if not queue or queue[-1][0] >= cycle:
                    continue
                bank = int(queue[-1][1]) % self.banks
                if bank not in wanted:
                    queue.pop()
                    found[name].append(cycle)
                wanted.add(bank)
            cycle += 1
        return found

    def _writes(self, beats: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
        """Address, data and mask in bits of each write."""
        ones = (1 << self.part_width) - 1
        if "place" in beats:
            for at, place, chunk in zip(*beats.values(), strict=True):
                below = place * self.part_width
                above = (1 << self.parts * self.part_width) - (1 << below)
                yield int(at), int(chunk) << int(below), above
        else:
            for at, value, mask in zip(*beats.values(), strict=True):
                spread = [ones << part * self.part_width for part in range(self.parts)]
                yield int(at), int(value), sum(s for p, s in enumerate(spread) if mask >> p & 1)


def accesses(rng: np.random.Generator, params: dict[str, Any], beats: int) -> dict[str, Any]:
    """Random beats of every stream, a few of them beyond the depth, the others in a few words."""
    few = rng.integers(0, params["depth"], 24)

    def addresses() -> np.ndarray:
        near = rng.choice(few, beats)
        # Beyond the depth by one bit in some, so that each bit of an address counts.
        far = near | 1 << rng.integers(0, WORD_ADDRESS_WIDTH, beats)
        ends = rng.choice([params["depth"], params["depth"] + 1, (1 << 20) - 1], beats)
        far = np.where((far < params["depth"]) | (rng.random(beats) < 0.3), ends, far)
        return np.where(rng.random(beats) < 0.1, far, near)

    width, parts = params["word_width"], params["parts"]
    found: dict[str, Any] = {f"ask_{name}": addresses() for name in params["readers"]}
    for name in params["writers"][:-1]:
        values = rng.integers(0, 1 << width, beats)
        masks = rng.integers(0, 1 << parts, beats)
        found[f"write_{name}"] = {"address": addresses(), "data": values, "mask": masks}
    places = rng.integers(0, parts, beats)
    chunks = rng.integers(0, 1 << width // parts, beats)
    return found | {"chunk": {"address": addresses(), "place": places, "chunk": chunks}}


async def watch(bench: Bench, what: str, seen: list[tuple[int, int]]) -> None:
    """Cycle and address of each `fault` or `parity` that is told."""
    fall = FallingEdge(bench.dut.clk)
    while True:
        await fall
        if bench.get(f"{what}_stb"):
            seen.append((bench.cycle, bench.get(f"{what}_address")))


@cocotb.test()
async def reads_see_the_writes_before_them(dut):
    bench = await Bench.start(dut)
    params = bench.params
    rng = np.random.default_rng(params["seed"])
    model, faults, changed = Model(params), [], []
    every = np.arange(params["depth"])
    await bench.run({"chunk": {"address": every, "place": 0 * every, "chunk": 0 * every}}, {})
    cocotb.start_soon(watch(bench, "fault", faults))
    if params.get("parity"):
        cocotb.start_soon(watch(bench, "parity", changed))
    for run, (idle, pressure) in enumerate(PAIRS):
        beats = accesses(rng, params, 120)
        words = {f"word_{name}": 120 for name in params["readers"]}
        got = await bench.run(beats, words, idle=idle, pressure=pressure, seed=run)
        cycles = {name: source.cycles for name, source in bench.sources.items()}
        expected, failed = model.replay(beats, cycles)
        for name in params["readers"]:
            bench.compare(f"{name}, {idle}, {pressure}", got[f"word_{name}"], expected[name])
        bench.compare(f"faults, {idle}, {pressure}", faults, failed)
        bench.compare("no bit has changed", changed, [])
        faults.clear()


@cocotb.test()
async def a_bit_that_changes_is_told(dut):
    """When its word is read, in the cycle after that in which it enters the queue of its reader."""
    bench = await Bench.start(dut)
    params = bench.params
    if not params.get("parity"):
        assert "parity_stb" not in bench.ports
        return
    rng, told = np.random.default_rng(params["seed"]), []
    every = np.arange(min(params["depth"], 50))
    places, values = 0 * every, rng.integers(0, 1 << params["word_width"] // params["parts"], 50)
    cocotb.start_soon(watch(bench, "parity", told))
    for bit in range(bench.ports["flip"][1]):
        sound = {"address": every, "place": places, "chunk": values[: len(every)]}
        await bench.run({"chunk": sound}, {})
        wrong = int(rng.choice(every))
        bench.set("flip", 1 << bit)
        await bench.run({"chunk": {key: column[[wrong]] for key, column in sound.items()}}, {})
        bench.set("flip", 0)
        beats = {f"ask_{name}": rng.permutation(every) for name in params["readers"]}
        words = {f"word_{name}": len(every) for name in params["readers"]}
        await bench.run(beats, words)
        turns = Model(params).turns(beats, {name: bench.sources[name].cycles for name in beats})
        due = {
            turns[name][list(beats[f"ask_{name}"]).index(wrong)] + params["stages"] + 2
            for name in params["readers"]
        }
        bench.compare(f"bit {bit}", told, [(cycle, wrong) for cycle in sorted(due)])
        told.clear()


@cocotb.test()
async def readers_that_count_up_share_the_banks(dut):
    """Each keeps one word per cycle, but for a wait or two; of one bank the first has all."""
    bench = await Bench.start(dut)
    params, count = bench.params, 40
    readers, banks = params["readers"], params["banks"]
    for phase in range(banks):
        counts = {
            f"ask_{name}": (np.arange(count) + phase * rank) % params["depth"]
            for rank, name in enumerate(readers)
        }
        await bench.run(counts, {f"word_{name}": count for name in readers})
        cycles = {name: source.cycles for name, source in bench.sources.items()}
        turns = Model(params).turns(counts, cycles)
        began = turns[readers[0]][0]
        after = latency.word_buffer(params["stages"]) - latency.CREDIT_QUEUE
        for rank, name in enumerate(readers):
            given, turn = np.array(bench.sinks[f"word_{name}"].cycles), np.array(turns[name])
            bench.compare(f"{name}: latency", given - turn, np.full(count, after))
            if rank == 0:
                taken = np.array(cycles[f"ask_{name}"])
                bench.compare(f"{name}: never waits", turn - taken, np.ones(count))
            if banks == 1:
                alone = began + rank * count + np.arange(count)
                bench.compare(f"{name}: in its turn", turn, alone)
            else:
                waits = int(turn[-1] - began - count + 1)
                bench.compare(f"{name}: waits {waits}, phase {phase}", 0 <= waits <= rank, True)


@cocotb.test()
async def writers_take_turns_by_priority(dut):
    bench = await Bench.start(dut)
    params = bench.params
    beats = accesses(np.random.default_rng(1), params, 20)
    writes = {name: beat for name, beat in beats.items() if not name.startswith("ask")}
    await bench.run(writes, {})
    names = [f"write_{name}" for name in params["writers"][:-1]] + ["chunk"]
    cycles = [cycle for name in names for cycle in bench.sources[name].cycles]
    bench.compare("cycles of writes", np.diff(cycles), np.ones(20 * len(names) - 1))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_word_buffer(sizes):
    seed = sizes["depth"]
    print(f"seed {seed}")
    print(simulate(FlatBuffer(sizes), __name__, params={**sizes, "seed": seed}))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_verilog_is_clean(sizes):
    assert lint(verilog.convert(WordBuffer(**sizes), "WordBuffer"), "WordBuffer") == ""


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("depth", (1 << 20) + 1, ValueError, "depth must be 1 to 1048576, not 1048577"),
        ("depth", 4.0, TypeError, "depth must be an integer, not 4.0"),
        ("word_width", 0, ValueError, "word_width must be 1 to 4096, not 0"),
        ("parts", 5, ValueError, "parts must divide the 12 bits of a word, not 5"),
        ("banks", 3, ValueError, "banks must be a power of two, not 3"),
        ("readers", "gemm", TypeError, "readers must be a sequence of names, not 'gemm'"),
        ("readers", (), ValueError, r"readers must be one or more different names, not \(\)"),
        ("writers", ("a", "a"), ValueError, "writers must be one or more different names, not"),
        ("writers", (1,), TypeError, "writers must be names, not 1"),
        ("stages", 0, ValueError, "stages must be 1 to 3, not 0"),
        ("parity", 1, TypeError, "parity must be True or False, not 1"),
        ("writers", ("a b",), ValueError, "writers must be identifiers, not 'a b'"),
    ],
)
def test_wrong_parameters(name, value, error, message):
    with pytest.raises(error, match=message):
        WordBuffer(**{**CODES, name: value})
