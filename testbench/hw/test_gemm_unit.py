"""Bench of the unit of GEMM commands: the vectors that it sends, and when."""

import cocotb
import numpy as np
import pytest

from rootshift.hw.gemm_unit import GemmUnit
from rootshift.isa import BY_NAME, WORD_ADDRESS_WIDTH
from rootshift.latency import word_buffer, words_waiting
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import (
    Watch,
    command_beats,
    name_operands,
    of_all_lengths,
)
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS
from rootshift.testbench.hw.word_server import WordServer

WORDS = 1 << 12
LAST_WORD = (1 << WORD_ADDRESS_WIDTH) - 1
LONGEST = {name: BY_NAME["GEMM"].places[name][1].range[1] for name in ("tiles", "groups")}
Command = dict[str, int]


def random_command(rng: np.random.Generator, p: dict[str, int]) -> Command:
    """Few tokens, many passes; words may lie anywhere, in any order, even in the same place."""
    return {
        "base": int(rng.integers(0, LAST_WORD)),
        "stride": int(rng.integers(0, LAST_WORD)),
        "digit_stride": int(rng.integers(0, LAST_WORD)),
        "tokens": int(rng.integers(1, 8)),
        "groups": int(rng.integers(1, 4)),
        "tiles": int(rng.integers(1, 4)),
        "activation_digits": int(rng.integers(1, p["activation_digits"] + 1)),
        "weight_digits": int(rng.integers(1, p["weight_digits"] + 1)),
        "shared": int(rng.integers(2)),
    }


def vectors(command: Command, bank: int) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """The beats of a command whose first set of parameters is in `bank`, all but their codes; the
    words where those are, and the next bank.
    """
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
        "first": (i == 0) & (token == 0),
        "start": (j == 0) & (k == 0) & (i == 0),
        "last": last,
        "activation_digit": i,
        "weight_digit": j,
        "address": token,
        "group": (bank + (0 * group if command["shared"] else group)) % 2,
        "tag": retire,
    }
    return found, address & LAST_WORD, (bank + int(retire.sum())) % 2


async def run(
    bench: Bench, server: WordServer, commands: list[Command], bank: int, what: str, **patterns
) -> int:
    """Run commands, compare all vectors and each cycle's wires; returns the next bank."""
    found, addresses = [], []
    for command in commands:
        beats, address, bank = vectors(command, bank)
        found.append(beats)
        addresses.append(address)
    sizes = [len(address) for address in addresses]
    at = np.concatenate(addresses)
    expected = {name: np.concatenate([beats[name] for beats in found]) for name in found[0]}
    expected["codes"] = bench.arrays["words"][at % WORDS]
    watch = Watch(
        bench, "vectors__valid", "done_stb", "busy", "stall", "takes", "waits_activations",
        "waits_weights", "waits_output",
    )  # fmt: skip
    sources = {"command": command_beats("GEMM", commands)}
    got = (await bench.run(sources, {"vectors": len(at)}, **patterns))["vectors"]
    for name, values in got.items():
        wanted = expected[name]
        bench.compare(f"{name}, {what}", values.reshape(wanted.shape), wanted)
    bench.compare(f"addresses, {what}", server.asked, at)
    rows = watch.stop()
    cycles, columns = np.array(list(rows)), np.array(list(rows.values())).T
    valid, done, busy, stall, takes, activations, weights, output = columns
    moved = np.array(bench.sinks["vectors"].cycles)
    ends = moved[np.cumsum(sizes) - 1]
    bench.compare("done", cycles[done == 1], ends)
    spans = zip(bench.sources["command"].cycles, ends, strict=True)
    at_work = [range(taken + 1, end + 1) for taken, end in spans]
    bench.compare("busy", cycles[busy == 1], np.concatenate(at_work))
    bench.compare("takes", cycles[takes == 1], moved)
    bench.compare("stall", stall, busy & ~takes)
    bench.compare("activations", activations, busy & (1 - valid))
    # The vector that is offered, or was the last one.
    offered = np.minimum(np.searchsorted(moved, cycles), len(moved) - 1)
    waits = valid & ~takes
    for_weights = waits & expected["first"][offered] & (1 - bench.get("weights_ready"))
    bench.compare("weights", weights, for_weights)
    bench.compare("output", output, waits & ~for_weights)
    return bank


async def start(dut) -> tuple[Bench, WordServer]:
    bench = await Bench.start(dut)
    name_operands(bench, "command", "GEMM")
    server, width = (
        WordServer(bench, "read", bench.params["stages"], endless=True),
        bench.params["code_width"],
    )
    words = bench.arrays["words"]
    server.words = [sum(int(code) << width * at for at, code in enumerate(w)) for w in words]
    return bench, server


@cocotb.test()
async def vectors_in_order(dut):
    bench, server = await start(dut)
    p = bench.params
    rng, bank = np.random.default_rng(p["seed"]), 0
    for number, (idle, pressure) in enumerate(PAIRS):
        commands = [random_command(rng, p) for _ in range(8)]
        server.play(*PAIRS[-number], number)
        # Whether a tile waits decides nothing but what a wait is called.
        bench.set("weights_ready", number % 2)
        what = f"{idle}, {pressure}"
        patterns = {"idle": idle, "pressure": pressure, "seed": number}
        bank = await run(bench, server, commands, bank, what, **patterns)
    bench.compare("words asked for ahead", server.most, words_waiting(p["stages"]))


@cocotb.test()
async def loops_of_all_lengths(dut):
    """Each loop by itself, from few turns to all that its operand can count; and twice."""
    bench, server = await start(dut)
    p = bench.params
    rng, commands = np.random.default_rng(p["seed"]), []
    most = {"tokens": p["depth"], "tiles": LONGEST["tiles"], "groups": LONGEST["groups"]}
    once = {name: 1 for name in (*most, "activation_digits", "weight_digits")}
    for loop, longest in most.items():
        lengths = [{loop: turns} for turns in of_all_lengths(rng, longest)]
        commands += [random_command(rng, p) | once | length for length in lengths]
    for loop, around in (("tokens", "tiles"), ("tiles", "groups")):
        # But for one bit they would end at once.
        lengths = [1 + (1 << bit) for bit in range(12) if 1 << bit < most[loop]]
        commands += [random_command(rng, p) | once | {loop: n, around: 2} for n in lengths]
    await run(bench, server, commands, 0, "long loops")


@cocotb.test()
async def full_speed(dut):
    bench, server = await start(dut)
    p = bench.params
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
    ("rows", "code_width", "activation_digits", "weight_digits", "stages", "depth"),
    [(4, 4, 1, 1, 1, 16), (16, 8, 3, 3, 2, 4096), (1, 3, 2, 3, 3, 300)],
)
def test_vectors_in_order(rows, code_width, activation_digits, weight_digits, stages, depth):
    seed = rows + code_width + activation_digits + weight_digits
    print(f"seed {seed}")
    config = {"rows": rows, "code_width": code_width, "activation_digits": activation_digits}
    config |= {"weight_digits": weight_digits, "stages": stages, "depth": depth}
    words = np.random.default_rng(seed).integers(0, 1 << code_width, (WORDS, rows))
    unit = GemmUnit(**config)
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
