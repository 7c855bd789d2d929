"""A model's program on the RTL: build, run, and hold every tensor against the golden model's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...config import AcceleratorConfig
from ...csr import SATURATING, UNITS
from ...formats import ACCUMULATOR_WIDTH, RESIDUAL_WIDTH
from ...isa import Unit
from ...program import Program
from ..golden.model import Inference
from ..layers import mac_utilization
from ..machine.tensors import tensors, value_cycles
from ..native.layout import WINDOW, every_window
from ..native.memory import MemoryTiming
from ..timeline import Timeline, UnitCycles
from .build import design_key
from .result import RtlError, RunResult
from .runner import IDEAL, RtlModel, RtlSession

BASE = 0xA5_1234_5000
"""Where programs lie in memory: any multiple of 4096, here with bits of the whole address."""
PAGE = 4096
WATCHDOG = 1 << 20
LOGITS = "logits in memory"
_COUNTED_AS = {"scores": "gemm", "embed": "residual_add"}
"""Kinds of operators whose clamped values another unit's register counts."""


@dataclass(frozen=True)
class Difference:
    """A value that differs: tensor, index in `[image, ..]`, RTL's value, golden's, and the cycle.

    Fields: `cycle` is that of the beat that brought the value, None for what no probe saw.
    """

    tensor: str
    index: tuple[int, ...]
    got: int
    expected: int
    cycle: int | None = None

    def __str__(self) -> str:
        when = "" if self.cycle is None else f" (cycle {self.cycle})"
        return f"{self.tensor}{list(self.index)}: must be {self.expected}, not {self.got}{when}"


@dataclass(frozen=True)
class Comparison:
    """A run beside the golden model.

    Fields:
        compared, mismatches: values of all tensors, and of the logits in memory.
        first: the first that differs, in the order of the operators, or None.
        saturated: unit -> clamped values as its register says, and by golden.
    """

    compared: int
    mismatches: int
    first: Difference | None
    saturated: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A run that ended well, beside the golden model.

    Fields:
        logits: int32 [images, classes], from memory.
        timeline: when each command was at work.
        first: the first value that differs, or None.
        figures: for JSON: cycles, mac_utilization (of the multiplications of the model),
            cycles_per_second, compared, mismatches, first (a text, or None), first_cycle (or None)
            and saturated (per unit).
    """

    logits: np.ndarray
    timeline: Timeline
    first: Difference | None
    figures: Mapping[str, Any]


@lru_cache
def design(config: AcceleratorConfig, waves: str = "") -> RtlModel:
    """The accelerator with its probes, built at the first use and kept on disk.

    Parameters: `waves` as `RtlModel` takes it.
    Raises: ToolError where a tool of the build is missing or fails.
    """

    def make() -> Any:
        from ...hw.top import Accelerator

        return Accelerator(config=config, probes=True)

    return RtlModel(make, made_from=design_key("accelerator with probes", config), waves=waves)


def open_session(
    program: Program, pixels: np.ndarray, extra: bytes = b"", waves: str = ""
) -> RtlSession:
    """The design after its reset, with program and images in memory from `BASE` on.

    Parameters: `pixels` uint8 [images, H, W, C]; `extra` lies behind the program's last page;
    `waves` as `design` takes it.
    Raises: TypeError or ValueError for other pixels; as `design`.
    """
    image = bytes(program.memory(pixels))
    image = image.ljust(-(-len(image) // PAGE) * PAGE, b"\0") + extra
    size = -(-len(image) // PAGE) * PAGE
    return RtlSession(design(program.config, waves), image, BASE, size)


def run_program(program: Program, pixels: np.ndarray, **options: Any) -> RunResult:
    """One run from reset on.

    Parameters: `pixels` uint8 [images, H, W, C]; `options` as `RtlSession.run` takes them.
    Raises: as `open_session` and `RtlSession.run`.
    """
    with open_session(program, pixels) as session:
        return session.run(**options)


def infer(
    artifact: Artifact,
    program: Program,
    pixels: np.ndarray,
    golden: Inference,
    memory: MemoryTiming = IDEAL,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run a program and compare everything that it makes.

    Parameters: `pixels` uint8 [images, H, W, C]; `golden` of these, all operators' tensors kept;
    `memory`, when it takes and answers; `progress` is called now and then with the cycles so far.
    Raises: RtlError where the run was stopped or the design broke a rule of the bus.
    """
    run = run_program(program, pixels, memory=memory, watchdog=patience(memory), progress=progress)
    if run.violation or not run.status["done"]:
        why = run.violation or f"{run.cause.name} at {run.address:#x}"
        raise RtlError(f"the run must end well: {why}", run)
    found, when = compare(artifact, program, run, golden), timeline(program, run)
    figures = {
        "cycles": run.cycles,
        "mac_utilization": mac_utilization(artifact, program, when),
        "cycles_per_second": round(run.cycles_per_second),
        "compared": found.compared,
        "mismatches": found.mismatches,
        "first": str(found.first) if found.first else None,
        "first_cycle": found.first.cycle if found.first else None,
        "saturated": {unit: count for unit, (count, _) in found.saturated.items()},
    }
    return Outcome(program.logits(run.memory), when, found.first, figures)


def patience(memory: MemoryTiming) -> int:
    """Cycles without progress after which a run on this memory has come to a stop."""
    return WATCHDOG + memory.read_latency + memory.write_latency + 2 * memory.extra_latency


def timeline(program: Program, run: RunResult) -> Timeline:
    """When each command of the program was at work.

    Raises: ValueError where the units took or finished more or fewer commands than it has, as in a
    run that was stopped.
    """
    units = np.array([p.command.instruction.unit for p in program.commands[:-1]], np.int64)
    counters = (run.counters["BUSY"], run.counters["STALL"])
    return Timeline(
        cycles=run.cycles,
        begun=_by_command("begun", units, run.begun),
        done=_by_command("done", units, run.done),
        units={name: UnitCycles(*(counter[name] for counter in counters)) for name in UNITS},
        array=run.array,
        traffic=run.traffic,
        window=WINDOW,
        reads=every_window(run.reads, run.cycles),
        writes=every_window(run.writes, run.cycles),
    )


def _by_command(what: str, units: np.ndarray, strobes: np.ndarray) -> np.ndarray:
    """The cycle of each command's strobe: a unit takes, and finishes, its commands in order."""
    cycles = np.zeros(len(units), np.int64)
    for unit in Unit:
        places, seen = np.flatnonzero(units == unit), strobes[strobes[:, 1] == unit, 0]
        if len(places) != len(seen):
            raise ValueError(f"{unit.name}: commands {what} must be {len(places)}, not {len(seen)}")
        cycles[places] = seen
    return cycles


def probed(config: AcceleratorConfig, run: RunResult) -> dict[str, np.ndarray]:
    """The probes' beats as `tensors` takes them: int64 [beats, payload]."""
    codes = (config.activation_width, False)
    fields = {
        "gemm": (ACCUMULATOR_WIDTH, True),
        "layernorm": codes,
        "log2_softmax": (config.log_width, False),
        "shift_attention": codes,
        "gelu_table": codes,
        "residual": (RESIDUAL_WIDTH, True),
        "patchify": codes,
    }
    return {
        name: run.beats[name].fields(width, signed=signed)
        for name, (width, signed) in fields.items()
    }


def compare(artifact: Artifact, program: Program, run: RunResult, golden: Inference) -> Comparison:
    """Every tensor of a run that was recorded with all probes, and the logits in memory.

    Parameters: `golden` of the same images, with the tensors of all operators kept.
    Raises: ValueError where the probes gave another number of beats than the program makes.
    """
    beats = probed(program.config, run)
    found = tensors(program, beats)
    pairs = {name: (found[name], golden.tensors[name]) for name in found}
    pairs[LOGITS] = (program.logits(run.memory), golden.logits)
    compared = mismatches = 0
    first = None
    for name, (got, expected) in pairs.items():
        if got.shape != expected.shape:
            raise ValueError(f"{name}: shape must be {expected.shape}, not {got.shape}")
        wrong = np.argwhere(got != expected)
        compared, mismatches = compared + got.size, mismatches + len(wrong)
        if first is None and len(wrong):
            at = tuple(wrong[0].tolist())
            first = Difference(name, at, int(got[at]), int(expected[at]))
    if first and first.tensor != LOGITS:
        stamps = {name: run.beats[name].cycles for name in beats}
        cycles = value_cycles(program, beats, stamps)[first.tensor]
        first = replace(first, cycle=int(cycles[first.index]))
    clamped = dict.fromkeys(SATURATING, 0)
    for name, count in golden.saturated.items():
        kind = artifact[name].kind
        clamped[_COUNTED_AS.get(kind, kind)] += count
    registers = run.counters["SATURATED"]
    saturated = {unit: (registers[unit], clamped[unit]) for unit in SATURATING}
    return Comparison(compared, mismatches, first, saturated)
