"""The same accelerator in three simulators: cycles per second of each, and their ratios.

    python testbench/benchmarks/simulators.py ARTIFACT [--array 16x16] [--cycles 20000]
        [--cocotb-cycles 500000] [--stock] [--image FILE] [--page FILE]

One image of a model runs on the whole generated accelerator, in this project's native runner from
start bit to interrupt with every value of every operator recorded and held against golden, and in
the others for so many cycles from the start on, or to the interrupt where it comes earlier:
Amaranth's own simulator (`--cycles`), and cocotb under Verilator with two memories
(`--cocotb-cycles`), built as the benches of `testbench/hw` are, and, with `--stock`, as cocotb's
own runner does, which takes minutes. What these did is checked, too: as many bytes read and beats
written as natively in the same cycles, or, beside a memory of other timing, that commands were
carried out; and the logits, where a run ended.

Builds are kept, so that seconds until the design is ready are those of a build only where
ROOTSHIFT_CACHE names an empty folder. Prints a table; `--page` writes it into a Markdown file,
between two markers where the file has them.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import amaranth_simulation
import numpy as np
from amaranth_simulation import SlowRun

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.errors import OutputError, RootshiftError
from rootshift.hw.compiler import compile_program
from rootshift.hw.top import Accelerator
from rootshift.images import ImageSet
from rootshift.output import write_file
from rootshift.preprocessing import load_pixels
from rootshift.program import Program
from rootshift.quant.digits import digits_images
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.rtl.inference import BASE, PAGE, compare, design, run_program
from rootshift.sim.rtl.result import RtlError, RunResult
from rootshift.testbench.hw import bench, stock_runner

LABELS = Path(__file__).resolve().parents[3] / "shared/data/imagenet_samples/labels.csv"
BENCH = "rootshift.testbench.hw.accelerator_pace"
TIMEOUT = 24 * 3600.0
"""Seconds that a simulator under cocotb is allowed."""
READ_AHEAD = 512
"""Bytes that the sequencer reads before any command has been carried out."""
BEGIN, END = "<!-- simulators: begin -->", "<!-- simulators: end -->"

NATIVE = "`rootshift.sim.rtl`: native, every value recorded"
AMARANTH = "`amaranth.sim`"
COCOTBEXT = "cocotb and Verilator, memory of cocotbext-axi"
CHECKED = "cocotb and Verilator, memory that checks every cycle"
LONG_ENOUGH = 2.0
"""Seconds below which the native run is repeated."""
STOCK = "cocotb's own runner and Verilator, memory of cocotbext-axi"
_OF_THE_BENCHES = partial(bench.simulate, timeout=TIMEOUT)
COCOTB = {
    COCOTBEXT: ("cocotbext", _OF_THE_BENCHES),
    CHECKED: ("checked", _OF_THE_BENCHES),
    STOCK: ("cocotbext", stock_runner.simulate),
}
"""Way -> `memory` of the bench, and what builds and runs it."""


@dataclass(frozen=True)
class Row:
    """One way to simulate.

    Fields:
        way: its name.
        ready: seconds until the design could run.
        cycles, seconds: simulated cycles and their wall time.
        busy: share of the cycles in which the array multiplied.
    """

    way: str
    ready: float
    cycles: int
    seconds: float
    busy: float

    @property
    def speed(self) -> float:
        """Cycles per second."""
        return self.cycles / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact")
    parser.add_argument("--array", default="16x16")
    parser.add_argument("--cycles", type=_positive, default=20_000, help="of amaranth.sim")
    parser.add_argument("--cocotb-cycles", type=_positive, default=500_000)
    parser.add_argument("--stock", action="store_true", help="cocotb's own runner, too")
    parser.add_argument("--image", help="a picture; else an evaluation image of the real data")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    try:
        if options.page:
            _parts(options.page)
        artifact = Artifact.load(options.artifact)
        config = AcceleratorConfig.for_artifact(artifact, options.array)
        pixels = one_image(artifact, options.image)
    except RootshiftError as error:
        parser.error(str(error))
    program = compile_program(artifact, config)
    cycles = {COCOTBEXT: options.cocotb_cycles, CHECKED: options.cocotb_cycles}
    cycles |= {STOCK: options.cocotb_cycles} if options.stock else {}
    cycles |= {AMARANTH: options.cycles}
    rows = measure(artifact, program, pixels, cycles)
    text = report(artifact, program, rows)
    print(text)
    if options.page:
        head, tail = _parts(options.page)
        written = f"{head}{BEGIN}\n\n{text}\n{END}{tail}".encode()
        write_file(options.page, lambda file: file.write(written))


def one_image(artifact: Artifact, path: str | None) -> np.ndarray:
    """Pixels of one image, uint8 [1, H, W, C]."""
    preprocessing = artifact.preprocessing
    if path is not None:
        return load_pixels(path, preprocessing)[None]
    if artifact.source["model"] == "digits":
        return digits_images("test", preprocessing).pixels(0)[None]
    return ImageSet.from_csv(LABELS, preprocessing, split="evaluation").pixels(0)[None]


def measure(
    artifact: Artifact, program: Program, pixels: np.ndarray, cycles: Mapping[str, int]
) -> list[Row]:
    """The native way, then those of `cycles`, one after the other, each for at most as many.

    Raises: ValueError where one of them did not do what it must.
    """
    expected = GoldenModel(artifact).run(pixels, [each.name for each in artifact.operators])
    began = time.perf_counter()
    design(program.config)
    ready = time.perf_counter() - began
    runs = [run_program(program, pixels)]
    found = compare(artifact, program, runs[0], expected)
    if found.mismatches:
        raise ValueError(f"{NATIVE}: must equal golden, differs: {found.first}")
    while sum(run.seconds for run in runs) < LONG_ENOUGH:
        runs.append(run_program(program, pixels))
    seconds = sum(run.seconds for run in runs) / len(runs)
    rows = [Row(NATIVE, ready, runs[0].cycles, seconds, busy(runs[0]))]
    image = bytes(program.memory(pixels))
    image = image.ljust(-(-len(image) // PAGE) * PAGE, b"\0")

    for way, most in cycles.items():
        run = slow_run(way, program, image, most)
        beginning = window(program, pixels, run.cycles)
        check(way, run, beginning)
        if run.finished and not np.array_equal(program.logits(run.memory), expected.logits):
            raise ValueError(f"{way}: the logits must be those of golden")
        rows.append(Row(way, run.ready, run.cycles, run.seconds, busy(beginning)))
    return rows


def window(program: Program, pixels: np.ndarray, cycles: int) -> RunResult:
    """The first cycles of the program, or all up to the interrupt, in the native runner."""
    try:
        return run_program(program, pixels, limit=cycles, probes=())
    except RtlError as error:
        if error.result is None:
            raise
        return error.result


def busy(run: RunResult) -> float:
    """Share of the cycles in which the array multiplied, as the registers count."""
    return run.counters["BUSY"]["gemm"] / run.counters["CYCLES"]["count"]


def slow_run(way: str, program: Program, image: bytes, cycles: int) -> SlowRun:
    """The program in one of the simulators that are not native."""
    accelerator = Accelerator(config=program.config)
    if way == AMARANTH:
        return amaranth_simulation.simulate(accelerator, image, BASE, cycles)
    area = program.output
    memory, simulate = COCOTB[way]
    found = simulate(
        accelerator,
        BENCH,
        params={
            "memory": memory,
            "base": BASE,
            "bus_width": program.config.bus_width,
            "cycles": cycles,
            "output": [area.offset, area.bytes],
        },
        arrays={"image": np.frombuffer(image, np.uint8)},
    )
    run = found["results"]
    written = bytearray(image)
    written[area.offset : area.offset + area.bytes] = bytes.fromhex(run.pop("output"))
    return SlowRun(ready=found["build_s"], memory=bytes(written), **run)


def check(way: str, run: SlowRun, native: RunResult) -> None:
    """Hold a run against the native one of as many cycles; raises ValueError where it differs."""
    if way in (COCOTBEXT, STOCK):  # whose memory has a timing of its own
        if run.read_bytes <= READ_AHEAD:
            raise ValueError(f"{way}: must carry out commands, not stop behind the first bytes")
        return
    got = (run.finished, run.cycles, run.read_bytes, run.write_beats)
    traffic = native.traffic
    finished = bool(native.status["done"])
    must = (finished, native.cycles, traffic.read_bytes, traffic.write_beats)
    if got != must:
        names = "finished, cycles, bytes read, beats written"
        raise ValueError(f"{way}: {names} must be {must}, not {got}")


REPORT = """\
{model} on a {rows} x {cols} array, {lanes} lanes, {bus} bits of bus, on a machine with {cores}
cores: `python testbench/benchmarks/simulators.py`. An image takes {cycles:,} cycles. A way that
shows fewer simulated the beginning alone; what it would take for an image follows from its speed.

"""


def report(artifact: Artifact, program: Program, rows: Sequence[Row]) -> str:
    """The table, as Markdown, with what was measured above it."""
    native, config = rows[0], program.config
    text = REPORT.format(
        model=f"{artifact.source['model']} {artifact.bits}",
        rows=config.rows,
        cols=config.cols,
        lanes=config.lanes,
        bus=config.bus_width,
        cores=os.cpu_count(),
        cycles=native.cycles,
    )
    head = ["simulator", "ready in", "cycles", "array busy", "time", "cycles/s"]
    head += ["an image takes", "times as long"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row.way, duration(row.ready), f"{row.cycles:,}", f"{row.busy:.0%}"]
        cells += [duration(row.seconds), f"{row.speed:,.0f}"]
        cells += [duration(native.cycles / row.speed), f"{native.speed / row.speed:,.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return text + "\n".join([*lines, ""])


def duration(seconds: float) -> str:
    """Seconds in a unit that people read."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def _parts(page: Path) -> tuple[str, str]:
    """What is before and behind the table in a page that may be new."""
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "# Simulators beside each other\n\n", "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{page}: cannot be read: {error}") from None
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise OutputError(f"{page} must have the lines {BEGIN} and {END}, or be a new file")
    return head, tail


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return value


if __name__ == "__main__":
    main()
