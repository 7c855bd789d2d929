"""Bench of the unit of GEMM commands: the vectors that it sends, and when."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.gemm_unit import GemmUnit
from rootshift.latency import word_buffer
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import Watch, command_beats, name_operands
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import WordServer

WORDS = 1 << 12
Command = dict[str, int]


def random_command(rng: np.random.Generator, p: dict[str, int]) -> Command:
    """Few tokens, many passes; words may lie in any order, even in the same place."""
    return {
        "base": int(rng.integers(0, 256)),
        "stride": int(rng.integers(0, 256)),
        "digit_stride": int(rng.integers(0, 256)),
        "tokens": int(rng.integers(1, 8)),
        "groups": int(rng.integers(1, 4)),
        "tiles": int(rng.integers(1, 4)),
        "activation_digits": int(rng.integers(1, p["activation_digits"] + 1)),
        "weight_digits": int(rng.integers(1, p["weight_digits"] + 1)),
        "shared": int(rng.integers(2)),
    }


def vectors(command: Command, bank: int, words: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """The beats of a command whose first set of parameters is in `bank`, and the next bank."""
    loops = "groups", "weight_digits", "tiles", "activation_digits", "tokens"
    sizes = [command[name] for name in loops]
    group, j, k, i, token = np.indices(sizes).reshape(5, -1)
    end = {
        name: at == command[name] - 1
        for name, at in zip(loops, (group, j, k, i, token), strict=True)
    }
    last = end["weight_digits"] & end["tiles"] & end["activation_digits"]
    address = command["base"] + i * command["digit_stride"] + k * command["stride"] + token
    retire = last & end["tokens"] & (end["groups"] | (command["shared"] == 0))
    found = {
        "codes": words[address],
        "first": (i == 0) & (token == 0),
        "start": (j == 0) & (k == 0) & (i == 0),
        "last": last,
        "activation_digit": i,
        "weight_digit": j,
        "address": token,
        "group": (bank + (0 * group if command["shared"] else group)) % 2,
        "tag": retire,
    }
    return found, (bank + int(retire.sum())) % 2


async def run(
    bench: Bench, server: WordServer, commands: list[Command], bank: int, what: str, **patterns
) -> tuple[int, dict[int, tuple[int, ...]]]:
    """Run commands, compare all vectors; returns the next bank, and what was watched."""
    found = []
    for command in commands:
        beats, bank = vectors(command, bank, bench.arrays["words"])
        found.append(beats)
    watch = Watch(
        bench, "done_stb", "busy", "stall", "takes", "waits_activations", "waits_weights",
        "waits_output",
    )  # fmt: skip
    count = sum(len(beats["first"]) for beats in found)
    sources = {"command": command_beats("GEMM", commands)}
    got = (await bench.run(sources, {"vectors": count}, **patterns))["vectors"]
    for name, values in got.items():
        expected = np.concatenate([beats[name] for beats in found])
        bench.compare(f"{name}, {what}", values.reshape(expected.shape), expected)
    return bank, watch.stop()


@cocotb.test()
async def vectors_in_order(dut):
    bench = await Bench.start(dut)
    name_operands(bench, "command", "GEMM")
    p = bench.params
    server, width = WordServer(bench, "read", p["stages"]), p["code_width"]
    words = bench.arrays["words"]
    server.words = [sum(int(code) << width * at for at, code in enumerate(w)) for w in words]
    rng, bank = np.random.default_rng(p["seed"]), 0
    for number, (idle, pressure) in enumerate(PAIRS):
        commands = [random_command(rng, p) for _ in range(8)]
        server.play(*PAIRS[-number], number)
        # Whether a tile waits decides nothing but what a wait is called.
        bench.set("weights_ready", number % 2)
        what = f"{idle}, {pressure}"
        patterns = {"idle": idle, "pressure": pressure, "seed": number}
        bank, seen = await run(bench, server, commands, bank, what, **patterns)
        table = np.array(list(seen.values()))
        done, busy, stall, takes, activations, weights, output = table.T
        bench.compare("commands done", done.sum(), len(commands))
        bench.compare("one of four", takes + activations + weights + output, busy)
        bench.compare("stall", stall, busy & ~takes)
        if number % 2:
            bench.compare("no wait for weights", weights, 0 * weights)


@cocotb.test()
async def full_speed(dut):
    bench = await Bench.start(dut)
    name_operands(bench, "command", "GEMM")
    p = bench.params
    server, width = WordServer(bench, "read", p["stages"]), p["code_width"]
    words = bench.arrays["words"]
    server.words = [sum(int(code) << width * at for at, code in enumerate(w)) for w in words]
    rng = np.random.default_rng(p["seed"])
    commands = [random_command(rng, p) for _ in range(5)]
    await run(bench, server, commands, 0, "full speed")
    moved, taken = bench.sinks["vectors"].cycles, bench.sources["command"].cycles
    sizes = [
        c["tokens"] * c["groups"] * c["tiles"] * c["activation_digits"] * c["weight_digits"]
        for c in commands
    ]
    # One cycle to ask, then the word's; the next command is taken as the last vector has left.
    expected, at, first = [], taken[0], 1 + word_buffer(p["stages"])
    for size in sizes:
        expected += range(at + first, at + first + size)
        at += size + first
    bench.compare("cycles of vectors", moved, expected)
    bench.compare("cycles of commands", taken[1:], np.array(taken[:-1]) + sizes[:-1] + first)


@pytest.mark.parametrize(
    ("rows", "code_width", "activation_digits", "weight_digits", "stages"),
    [(4, 4, 2, 2, 1), (16, 8, 1, 1, 2), (1, 3, 3, 3, 3)],
)
def test_vectors_in_order(rows, code_width, activation_digits, weight_digits, stages):
    seed = rows + code_width + activation_digits + weight_digits
    print(f"seed {seed}")
    config = {"rows": rows, "code_width": code_width, "activation_digits": activation_digits}
    config |= {"weight_digits": weight_digits, "stages": stages}
    words = np.random.default_rng(seed).integers(0, 1 << code_width, (WORDS, rows))
    unit = GemmUnit(**config, depth=16)
    params = {**config, "seed": seed}
    print(simulate(unit, __name__, params=params, arrays={"words": words}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 257}, "rows must be 1 to 256, not 257"),
        ({"code_width": 2}, "code_width must be 3 to 8, not 2"),
        ({"depth": 0}, "depth must be 1 to 4096, not 0"),
        ({"activation_digits": 4}, "activation_digits must be 1 to 3, not 4"),
        ({"weight_digits": 0}, "weight_digits must be 1 to 3, not 0"),
        ({"stages": 4}, "stages must be 1 to 3, not 4"),
    ],
)
def test_parameters_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        GemmUnit(**{"rows": 4, "code_width": 4, "depth": 16, **wrong})
