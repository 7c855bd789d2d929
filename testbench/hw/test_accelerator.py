"""The whole accelerator beside a host that is not ours: cocotbext-axi's memory and master.

A host that follows `docs/csr.md` starts programs one after the other, with pauses on every channel,
and a run that is stopped leaves nothing behind. All that the units give is the machine's, and so
the golden model's.
"""

import logging
from dataclasses import replace
from math import prod
from typing import Any

import cocotb
import numpy as np
import pytest

from rootshift import csr
from rootshift.config import AcceleratorConfig, residual_words
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.hw.compiler import compile_program
from rootshift.hw.top import Accelerator
from rootshift.isa import COMMAND_BYTES, OPCODE_WIDTH
from rootshift.program import LOGIT_BYTES, Program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.machine.machine import Machine, MachineRun
from rootshift.sim.machine.tensors import tensors
from rootshift.testbench.hw.accelerator_host import Host
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.random_model import Size, random_artifact, random_pixels
from rootshift.testbench.seeds import SEED, generator

LIMIT = 200_000
IMAGES = 2
READ_AHEAD = 512
"""Bytes that the sequencer may read beyond END."""
DONE, STOPPED = {"busy": 0, "done": 1, "error": 0}, {"busy": 0, "done": 0, "error": 1}
ENTRIES = (0x3000, 0xA5_1234_5000, 0)
"""Where the programs lie, one after the other."""
PACES = ("always", "random:0.5", "bursts:3,5")
CASES = {
    "W4A4 on 32 bits": ("4x4", 2, "W4A4", 32, Size()),
    "W8A8 on 128 bits": ("4x6", 2, "W8A8", 128, Size(prefix=0, pool="avg", heads=3)),
}
"""Array, lanes, bits, width of the bus, and model."""


@cocotb.test()
async def a_host_runs_programs(dut):
    logging.getLogger("cocotb").setLevel(logging.ERROR)
    bench = await Bench.start(dut)
    params = bench.params
    host = Host(bench, {name: tuple(field) for name, field in params["fields"].items()})
    assert await host.read("IDENTITY") == {"magic": csr.MAGIC}
    assert await host.read("VERSION") == {"major": csr.MAJOR, "minor": csr.MINOR}
    assert list(await host.words("CONFIG")) == params["config"]
    runs = len(PACES)
    for run, (entry, spec) in enumerate(zip(ENTRIES, PACES, strict=True)):
        host.pace(spec, params["seed"] + run)
        await sound_run(bench, host, run, entry)
        # Stopped runs between sound ones; nothing is reset from outside.
        if run < runs - 1:
            await bad_opcode(bench, host, entry)
            await short_memory(bench, host, entry)


async def sound_run(bench: Bench, host: Host, run: int, entry: int) -> None:
    """A run that ends well, with all that it must have given."""
    params, image = bench.params, bench.arrays["images"][run].tobytes()
    possible = await host.run(entry, image, LIMIT)
    assert await host.read("STATUS") == DONE
    assert await host.read("ERROR") == {"cause": csr.ErrorCause.NONE, "address": 0}
    for name in params["fields"]:
        bench.compare(f"{name}, run {run}", host.beats(name), bench.arrays[f"{name}{run}"])
    logits = np.frombuffer(host.memory.bytes, np.uint8)[bench.arrays["places"]].view("<i4")
    bench.compare(f"logits, run {run}", logits, bench.arrays["logits"][run])
    expected = bytearray(image)
    for place, value in zip(bench.arrays["places"].reshape(-1), logits.tobytes(), strict=True):
        expected[place] = value
    assert host.memory.bytes == expected, "no other byte may be written"
    cycles = (await host.read("CYCLES"))["count"]
    assert cycles in possible
    assert await host.read("SATURATED") == params["saturated"][run]
    busy = await host.read("BUSY")
    assert {unit: busy[unit] for unit in params["busy"]} == params["busy"]
    assert busy["write_dma"] == host.traffic["w"]
    assert busy["read_dma"] == host.traffic["r"]
    assert params["reads"] <= busy["read_dma"] <= params["reads"] + params["ahead"]
    assert await host.acknowledge() == {"done": 1, "error": 0}
    bench.results[f"cycles{run}"] = cycles


async def bad_opcode(bench: Bench, host: Host, entry: int) -> None:
    """A command in the middle of the program that is none."""
    image = bytearray(bench.arrays["images"][0].tobytes())
    at = bench.params["commands"] // 2 * COMMAND_BYTES
    image[at] |= (1 << OPCODE_WIDTH) - 1
    await stopped_run(host, entry, image, csr.ErrorCause.BAD_OPCODE, entry + at)


async def short_memory(bench: Bench, host: Host, entry: int) -> None:
    """A memory that ends where the input begins, and answers SLVERR beyond."""
    at = bench.params["input"]
    image = bench.arrays["images"][0].tobytes()[:at]
    await stopped_run(host, entry, image, csr.ErrorCause.READ_SLVERR, entry + at)


async def stopped_run(
    host: Host, entry: int, image: bytes, cause: csr.ErrorCause, address: int
) -> None:
    """A run that an error stops; behind the interrupt nothing goes over the bus."""
    await host.run(entry, image, LIMIT)
    traffic = dict(host.traffic)
    assert await host.read("ERROR") == {"cause": cause, "address": address}
    assert await host.read("STATUS") == STOPPED
    assert await host.acknowledge() == {"done": 0, "error": 1}
    await host.bench.step(50)
    assert host.traffic == traffic


@pytest.mark.parametrize("case", CASES)
def test_a_host_runs_programs(case):
    array, lanes, bits, bus, size = CASES[case]
    rng = generator(list(CASES).index(case))
    artifact = random_artifact(rng, size, bits=bits)
    config = replace(
        AcceleratorConfig.for_artifact(artifact, array),
        lanes=lanes,
        bus_width=bus,
        residual_depth=residual_words(artifact, lanes),
    )
    program = compile_program(artifact, config, images=IMAGES)
    names = [operator.name for operator in artifact.operators]
    arrays: dict[str, list[Any]] = {"images": [], "logits": []}
    drawn = random_pixels(rng, artifact, len(PACES) * IMAGES)
    beats, runs = {}, []
    for number in range(len(PACES)):
        pixels = drawn[number * IMAGES :][:IMAGES]
        golden, machine = GoldenModel(artifact).run(pixels, names), Machine(program).run(pixels)
        for name, tensor in tensors(program, machine.beats).items():
            np.testing.assert_array_equal(tensor, golden.tensors[name], err_msg=name)
        arrays["images"].append(memory(program, pixels, rng))
        arrays["logits"].append(golden.logits)
        beats |= {f"{name}{number}": values for name, values in machine.beats.items()}
        runs.append(machine)
    params = {
        "config": csr.pack_config(config),
        "seed": SEED,
        "fields": fields(config, runs[0]),
        "commands": len(program.commands),
        "input": program.input.offset,
        "saturated": [{u: run.saturated[u] for u in csr.SATURATING} for run in runs],
        "busy": busy(program, runs[0]),
        "reads": reads(program),
        "ahead": READ_AHEAD * 8 // bus,
    }
    stacked = {name: np.stack(values) for name, values in arrays.items()}
    arrays = stacked | beats | {"places": places(program)}
    accelerator = Accelerator(config=config, probes=True)
    print(simulate(accelerator, __name__, params=params, arrays=arrays))


def memory(program: Program, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The program with these images, and with noise where the logits are to be."""
    image = np.frombuffer(program.memory(pixels), np.uint8).copy()
    image[places(program)] = rng.integers(0, 256, places(program).shape)
    return image


def places(program: Program) -> np.ndarray:
    """Bytes of the logits, [images, bytes]."""
    area = program.output
    first = area.offset + area.stride * np.arange(program.images)
    return first[:, None] + np.arange(program.classes * LOGIT_BYTES)


def fields(config: AcceleratorConfig, run: MachineRun) -> dict[str, tuple[int, int, bool, int]]:
    """Offset, width, sign and number of a probe's values."""
    widths = {"gemm": 32, "residual": RESIDUAL_WIDTH, "log2_softmax": config.log_width}
    return {
        name: (
            0,
            widths.get(name, config.activation_width),
            name in ("gemm", "residual"),
            values.shape[1],
        )
        for name, values in run.beats.items()
    }


def busy(program: Program, run: MachineRun) -> dict[str, int]:
    """Cycles of work that follow from the program alone, by unit."""
    beat = program.config.bus_width // 8
    factors = ("tokens", "groups", "tiles", "activation_digits", "weight_digits")
    products = [placed.command for placed in program.commands if placed.command.name == "GEMM"]
    return {
        "gemm": sum(prod(command[factor] for factor in factors) for command in products),
        "log2_softmax": len(run.beats["log2_softmax"]),
        "gelu_table": len(run.beats["gelu_table"]),
        "residual_add": len(run.beats["residual"]),
        "write_dma": program.images * -(-program.output.bytes // beat),
    }


def reads(program: Program) -> int:
    """Beats of program, constants and images."""
    code = len(program.code) * 8 // program.config.bus_width
    commands = [placed.command for placed in program.commands]
    return code + sum(c["beats"] for c in commands if c.name in ("FETCH", "PATCHIFY"))
