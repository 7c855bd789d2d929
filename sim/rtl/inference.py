"""A model's program on the RTL: build, run, and hold every tensor against the golden model's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...config import AcceleratorConfig
from ...csr import SATURATING
from ...formats import ACCUMULATOR_WIDTH, RESIDUAL_WIDTH
from ...program import Program
from ..golden.model import Inference
from ..machine.tensors import tensors
from .build import design_key
from .result import RtlError, RunResult
from .runner import RtlModel, RtlSession

BASE = 0xA5_1234_5000
"""Where programs lie in memory: any multiple of 4096, here with bits of the whole address."""
PAGE = 4096
LOGITS = "logits in memory"
_COUNTED_AS = {"scores": "gemm", "embed": "residual_add"}
"""Kinds of operators whose clamped values another unit's register counts."""


@dataclass(frozen=True)
class Difference:
    """A value that differs: tensor, index in `[image, ..]`, RTL's value, and golden's."""

    tensor: str
    index: tuple[int, ...]
    got: int
    expected: int

    def __str__(self) -> str:
        return f"{self.tensor}{list(self.index)}: must be {self.expected}, not {self.got}"


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


@lru_cache
def design(config: AcceleratorConfig) -> RtlModel:
    """The accelerator with its probes, built at the first use and kept on disk.

    Raises: ToolError where a tool of the build is missing or fails.
    """

    def make() -> Any:
        from ...hw.top import Accelerator

        return Accelerator(config=config, probes=True)

    return RtlModel(make, made_from=design_key("accelerator with probes", config))


def open_session(program: Program, pixels: np.ndarray, extra: bytes = b"") -> RtlSession:
    """The design after its reset, with program and images in memory from `BASE` on.

    Parameters: `pixels` uint8 [images, H, W, C]; `extra` lies behind the program's last page.
    Raises: TypeError or ValueError for other pixels; as `design`.
    """
    image = bytes(program.memory(pixels))
    image = image.ljust(-(-len(image) // PAGE) * PAGE, b"\0") + extra
    size = -(-len(image) // PAGE) * PAGE
    return RtlSession(design(program.config), image, BASE, size)


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
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run a program and compare everything that it makes.

    Parameters: `pixels` uint8 [images, H, W, C]; `golden` of these, all operators' tensors kept;
    `progress` is called now and then with the cycles so far.
    Returns: logits (int32 [images, classes], from memory), cycles, mac_utilization (of the
    multiplications of the model), cycles_per_second, compared, mismatches, first (where the first
    mismatch is, or None) and saturated (per unit).
    Raises: RtlError where the run was stopped or the design broke a rule of the bus.
    """
    run = run_program(program, pixels, progress=progress)
    if run.violation or not run.status["done"]:
        why = run.violation or f"{run.cause.name} at {run.address:#x}"
        raise RtlError(f"the run must end well: {why}", run)
    found, config = compare(artifact, program, run, golden), program.config
    macs = artifact.macs() * program.images
    return {
        "logits": program.logits(run.memory),
        "cycles": run.cycles,
        "mac_utilization": macs / (run.cycles * config.rows * config.cols),
        "cycles_per_second": round(run.cycles_per_second),
        "compared": found.compared,
        "mismatches": found.mismatches,
        "first": str(found.first) if found.first else None,
        "saturated": {unit: count for unit, (count, _) in found.saturated.items()},
    }


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
    found = tensors(program, probed(program.config, run))
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
    clamped = dict.fromkeys(SATURATING, 0)
    for name, count in golden.saturated.items():
        kind = artifact[name].kind
        clamped[_COUNTED_AS.get(kind, kind)] += count
    registers = run.counters["SATURATED"]
    saturated = {unit: (registers[unit], clamped[unit]) for unit in SATURATING}
    return Comparison(compared, mismatches, first, saturated)
