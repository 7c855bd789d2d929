"""Whole inferences on the RTL of the accelerator, held value for value against the golden model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.csr import SATURATING, ErrorCause
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.hw.compiler import compile_program
from rootshift.hw.top import Accelerator
from rootshift.program import Program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.golden.model import Inference as Golden
from rootshift.sim.machine.tensors import tensors
from rootshift.sim.rtl.build import design_key
from rootshift.sim.rtl.result import RunResult
from rootshift.sim.rtl.runner import RtlModel, RtlSession
from rootshift.testbench.hw.compared import record

BASE = 0xA5_1234_5000
"""Where programs lie in memory: any multiple of 4096, here with bits of the whole address."""
PAGE = 4096
DONE = {"busy": 0, "done": 1, "error": 0}
COUNTED_AS = {"scores": "gemm", "embed": "residual_add"}
"""Kinds of operators whose clamped values another unit's counter has."""


@lru_cache
def design(config: AcceleratorConfig) -> RtlModel:
    """The accelerator with its probes, built at the first use and kept."""
    begin = time.perf_counter()
    model = RtlModel(
        lambda: Accelerator(config=config, probes=True),
        made_from=design_key("accelerator with probes", config),
    )
    record("accelerator builds", counts(build_s=time.perf_counter() - begin))
    return model


def counts(
    compared: int = 0, cycles: int = 0, build_s: float = 0, run_s: float = 0
) -> dict[str, float]:
    """What `compared.record` takes."""
    return {"compared": compared, "cycles": cycles, "build_s": build_s, "run_s": run_s}


@dataclass(frozen=True)
class Difference:
    """A value that differs: tensor, index in `[image, ..]`, RTL's value, and golden's."""

    tensor: str
    index: tuple[int, ...]
    got: int
    expected: int


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


def probed(config: AcceleratorConfig, run: RunResult) -> dict[str, np.ndarray]:
    """The probes' beats as `tensors` takes them: integers [beats, payload]."""
    codes = (config.activation_width, False)
    fields = {
        "gemm": (32, True),
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


class Proof:
    """A model, a configuration and images: the program, and what golden says of every tensor.

    Parameters: `pixels` uint8 [images, H, W, C]; `norm_bands` as `compile_program` takes it.
    Raises: ProgramError or ConfigError where the compiler refuses.
    """

    def __init__(
        self,
        artifact: Artifact,
        config: AcceleratorConfig,
        pixels: np.ndarray,
        norm_bands: int = 1,
    ) -> None:
        self.artifact, self.config, self.pixels = artifact, config, pixels
        self.program: Program = compile_program(artifact, config, len(pixels), norm_bands)

    @cached_property
    def golden(self) -> Golden:
        """Logits, all tensors and clamped values."""
        names = [operator.name for operator in self.artifact.operators]
        return GoldenModel(self.artifact).run(self.pixels, names)

    @property
    def memory(self) -> bytes:
        """The memory from `BASE` on, in whole pages."""
        image = bytes(self.program.memory(self.pixels))
        return image.ljust(-(-len(image) // PAGE) * PAGE, b"\0")

    def session(self, extra: bytes = b"") -> RtlSession:
        """The design after its reset; `extra` lies in memory behind the program's pages."""
        image = self.memory + extra
        return RtlSession(design(self.config), image, BASE, -(-len(image) // PAGE) * PAGE)

    def run(self, **options: object) -> RunResult:
        """One run from reset on; `options` as `RtlSession.run` takes them."""
        with self.session() as session:
            return session.run(**options)

    def compare(self, run: RunResult) -> Comparison:
        """Every tensor of the run, and the logits in memory, beside the golden model's."""
        golden = self.golden
        found = tensors(self.program, probed(self.config, run))
        assert found.keys() == golden.tensors.keys()
        pairs = {name: (found[name], golden.tensors[name]) for name in found}
        pairs["logits in memory"] = (self.program.logits(run.memory), golden.logits)
        compared = mismatches = 0
        first = None
        for name, (got, expected) in pairs.items():
            assert got.shape == expected.shape, name
            wrong = np.argwhere(got != expected)
            compared, mismatches = compared + got.size, mismatches + len(wrong)
            if first is None and len(wrong):
                at = tuple(wrong[0].tolist())
                first = Difference(name, at, int(got[at]), int(expected[at]))
        registers = run.counters["SATURATED"]
        clamped = dict.fromkeys(SATURATING, 0)
        for name, count in golden.saturated.items():
            kind = self.artifact[name].kind
            clamped[COUNTED_AS.get(kind, kind)] += count
        saturated = {unit: (registers[unit], clamped[unit]) for unit in SATURATING}
        return Comparison(compared, mismatches, first, saturated)

    def check(self, run: RunResult) -> Comparison:
        """The comparison of a run that must have ended well and be equal in everything.

        That is: every value, clamped values per unit, and no byte written but logits.
        """
        assert run.violation is None
        assert (run.cause, run.address, run.status) == (ErrorCause.NONE, 0, DONE)
        found = self.compare(run)
        assert found.first is None, found
        assert all(got == expected for got, expected in found.saturated.values()), found
        self._check_memory(run)
        record("accelerator", counts(found.compared, run.cycles, run_s=run.seconds))
        return found

    def _check_memory(self, run: RunResult) -> None:
        area = self.program.output
        expected = bytearray(self.memory)
        for number in range(self.program.images):
            start = area.offset + number * area.stride
            expected[start : start + area.bytes] = run.memory[start : start + area.bytes]
        assert run.memory[: len(expected)] == expected
        assert run.traffic.write_bytes == self.program.images * area.bytes


def prove(
    artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, **options: object
) -> Comparison:
    """Compile, run on RTL from reset on, and require equality in everything.

    Parameters: `options` as `RtlSession.run` takes them.
    """
    proof = Proof(artifact, config, pixels)
    return proof.check(proof.run(**options))
