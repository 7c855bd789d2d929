"""The cycle model beside the RTL: cycles of every layer, the worst difference, and speed.

    python testbench/benchmarks/cycle_model.py ARTIFACT [--array 16x16] [--also ARTIFACT ARRAY]
        [--seed 31] [--page FILE]

One image of the model runs on the RTL, from start bit to interrupt, and in the cycle model, each
with a memory that answers at once and with one of random delays. So do the models of `--also`, and
random models of odd sizes on the two designs of the tests, with memories of every kind. Everything
in the two timelines is compared: when each command began and was done, what the array did for each
product, the counters of the units, and the traffic. No value has a say in that: images are noise.

Prints the pairs as they are compared, then the page; `--page` writes it as Markdown. Exits with 1
where anything differs, and names the first command that does.
"""

import argparse
import os
import statistics
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.errors import RootshiftError
from rootshift.hw.compiler import compile_program
from rootshift.output import write_file
from rootshift.program import Program
from rootshift.sim.cycles.model import library, model_cycles
from rootshift.sim.layers import layers
from rootshift.sim.native.memory import MemoryTiming
from rootshift.sim.rtl.inference import design, patience, run_program, timeline
from rootshift.sim.rtl.result import RtlError
from rootshift.sim.timeline import Timeline
from rootshift.testbench.accelerator.designs import NARROW, WIDE, timings
from rootshift.testbench.accelerator.models import SIZES
from rootshift.testbench.accelerator.timelines import Apart, apart
from rootshift.testbench.random_model import random_artifact, random_pixels

IDEAL, RANDOM = "at once", "random"
WIDTH = 100
REPEATS = 20
"""Runs of the model whose time is taken."""
BITS = {WIDE: ("W4A4", "W8A8L4"), NARROW: ("W4A4", "W3A3L4")}
"""Design of the tests -> what its random models have."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A program on a memory, as both engines see it.

    Fields:
        name: model, design and memory.
        config: the design.
        rtl, model: the timelines.
        found: how far they are apart.
        rtl_seconds: of the run, without build.
        model_seconds: of each run of the model; one where only the timelines are wanted.
    """

    name: str
    config: AcceleratorConfig
    rtl: Timeline
    model: Timeline
    found: Apart
    rtl_seconds: float
    model_seconds: Sequence[float]


@dataclass(frozen=True)
class Subject:
    """A model on a design, and the memories on which it runs."""

    name: str
    artifact: Artifact
    program: Program
    memories: dict[str, MemoryTiming]


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact")
    parser.add_argument("--array", default="16x16")
    parser.add_argument(
        "--also", nargs=2, action="append", default=[], metavar=("ARTIFACT", "ARRAY")
    )
    parser.add_argument("--seed", type=int, default=31, help="of what is random")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    try:
        memories = {IDEAL: MemoryTiming(), RANDOM: random_memory(options.seed)}
        named = [(options.artifact, options.array), *options.also]
        shown, *others = [loaded(*each, memories) for each in named]
        library()
    except (RootshiftError, ValueError) as error:
        parser.error(str(error))
    pairs = compared(shown, options.seed, REPEATS)
    rest = [
        pair
        for subject in (*others, *random_subjects(options.seed))
        for pair in compared(subject, options.seed).values()
    ]
    text = page(shown, pairs, [*pairs.values(), *rest])
    print(f"\n{text}")
    if options.page:
        write_file(options.page, lambda file: file.write(text.encode()))
    wrong = [pair for pair in (*pairs.values(), *rest) if pair.found.first]
    for pair in wrong:
        print(f"{pair.name}: {pair.found.first}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def random_memory(seed: int) -> MemoryTiming:
    """Delays, back-pressure on every channel and half the bandwidth."""
    return MemoryTiming(
        read_latency=9, write_latency=5, extra_latency=30, hold=0.4, bandwidth=0.5, seed=seed
    )


def loaded(folder: str, array: str, memories: dict[str, MemoryTiming]) -> Subject:
    """A model on the smallest design for it.

    Raises: RootshiftError where the artifact or the array is not legal, or the model does not fit.
    """
    artifact = Artifact.load(folder)
    program = compile_program(artifact, AcceleratorConfig.for_artifact(artifact, array))
    name = f"{artifact.source['model']} {artifact.bits}, {array}"
    return Subject(name, artifact, program, memories)


def random_subjects(seed: int) -> Iterator[Subject]:
    """Random models of odd sizes on the two designs of the tests, with memories of every kind."""
    rng = np.random.default_rng(seed)
    for config, widths in BITS.items():
        for (size_name, size), bits in zip(SIZES.items(), cycle(widths), strict=False):
            artifact = random_artifact(rng, size, bits=bits, base=config.base)
            program = compile_program(artifact, config, images=2, batch=2)
            name = f"{size_name} {bits}, {config.rows}x{config.cols}"
            yield Subject(name, artifact, program, timings(rng))


def compared(subject: Subject, seed: int, repeats: int = 1) -> dict[str, Pair]:
    """Memory -> the program on it, in both engines.

    Raises: RtlError where a run does not end.
    """
    program, pairs = subject.program, {}
    design(program.config)
    pixels = random_pixels(np.random.default_rng(seed), subject.artifact, program.images)
    for memory_name, memory in subject.memories.items():
        run = run_program(program, pixels, memory=memory, watchdog=patience(memory), probes=())
        if not run.status["done"]:
            raise RtlError(f"{subject.name}, {memory_name}: the run must end well", run)
        rtl, seconds = timeline(program, run), []
        for _ in range(repeats):
            begin = time.perf_counter()
            model = model_cycles(program, memory=memory)
            seconds.append(time.perf_counter() - begin)
        found = apart(program, rtl, model)
        name = f"{subject.name}, {memory_name}"
        print(f"{name}: {rtl.cycles:,} cycles, {found.commands:,} commands, off by {found.worst}")
        pairs[memory_name] = Pair(name, program.config, rtl, model, found, run.seconds, seconds)
    return pairs


PAGE = """\
# The cycle model beside the RTL

{name}, one image, on a memory that answers at once and on a random one: cycles of each layer as
counted on the RTL from start bit to interrupt, as the cycle model tells them, and their difference.
`python testbench/benchmarks/cycle_model.py` writes this page (`--page`), and fails where a
difference is not 0.

In all, **{pairs} pairs** of program and memory, with {commands:,} commands, were compared: those of
this page and others, on {designs} designs. Compared are the cycles in which each command began and
was done, the array's states for each product, the counters of all units, bursts, beats and bytes of
the bus, and its beats in each {window} cycles. **The worst difference is {worst}.**

The random memory: {random}.
"""


def page(shown: Subject, pairs: dict[str, Pair], everything: Sequence[Pair]) -> str:
    """Explanation, table of layers, and speed."""
    text = PAGE.format(
        name=shown.name,
        random=described(shown.memories[RANDOM]),
        pairs=len(everything),
        designs=len({pair.config for pair in everything}),
        commands=sum(pair.found.commands for pair in everything),
        window=everything[0].rtl.window,
        worst=max(pair.found.worst for pair in everything),
    )
    tables = [*table_of_layers(shown, pairs), "", *table_of_speed(pairs)]
    filled = [textwrap.fill(part, WIDTH, break_on_hyphens=False) for part in text.split("\n\n")]
    return "\n\n".join([*filled, "\n".join([*tables, ""])])


def described(memory: MemoryTiming) -> str:
    """In words."""
    return (
        f"reads after {memory.read_latency} and writes after {memory.write_latency} cycles and up "
        f"to {memory.extra_latency} more, each channel held in {memory.hold:.0%} of the cycles, "
        f"{memory.bandwidth:g} beats per cycle, seed {memory.seed}"
    )


def table_of_layers(shown: Subject, pairs: dict[str, Pair]) -> list[str]:
    """A row for each layer, and one for the run; three columns for each memory."""
    head = ["layer"]
    columns: list[list[int]] = []
    for name, pair in pairs.items():
        head += [f"{name}: RTL", "model", "difference"]
        each = [pair.rtl, pair.model]
        rtl, model = (layers(shown.artifact, shown.program, timeline) for timeline in each)
        labels = [layer.name for layer in rtl]
        cycles = [[layer.cycles for layer in found] for found in (rtl, model)]
        for found, whole in zip(cycles, each, strict=True):
            found.append(whole.cycles)
        columns += [*cycles, [b - a for a, b in zip(*cycles, strict=True)]]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * len(columns) + "|"]
    for label, *cells in zip([*labels, "**all**"], *columns, strict=True):
        lines.append(f"| {label} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return lines


def table_of_speed(pairs: dict[str, Pair]) -> list[str]:
    """Wall time and cycles per second of both engines."""
    head = ["memory", "cycles", "RTL", "cycles/s", "model, best", f"median of {REPEATS}"]
    head += ["cycles/s", "times as fast"]
    lines = [f"Time on a machine with {os.cpu_count()} cores, without builds:", ""]
    lines += [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, pair in pairs.items():
        median = statistics.median(pair.model_seconds)
        cells = [name, f"{pair.rtl.cycles:,}", f"{pair.rtl_seconds:.2f} s"]
        cells += [f"{pair.rtl.cycles / pair.rtl_seconds:,.0f}"]
        cells += [f"{min(pair.model_seconds) * 1e3:,.1f} ms", f"{median * 1e3:,.1f} ms"]
        cells += [f"{pair.model.cycles / median:,.0f}", f"{pair.rtl_seconds / median:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
