"""Whole inferences on the RTL of the accelerator: values equal golden, cycles the cycle model."""

import time
from collections import Counter
from functools import cached_property

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.csr import ErrorCause
from rootshift.hw.compiler import compile_program
from rootshift.program import Program
from rootshift.sim.cycles.model import model_cycles
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.golden.model import Inference as Golden
from rootshift.sim.rtl import inference
from rootshift.sim.rtl.inference import BASE, PAGE, Comparison
from rootshift.sim.rtl.result import RunResult
from rootshift.sim.rtl.runner import RtlModel, RtlSession

from .timelines import apart

DONE = {"busy": 0, "done": 1, "error": 0}
tally = Counter(compared=0, cycles=0, build_s=0.0, run_s=0.0, modelled=0, commands=0, worst=0)
"""What the tests of this process have compared, and the seconds it took; see `conftest`.

`modelled` runs and their `commands` were held against the cycle model, which was off by `worst`.
"""


def design(config: AcceleratorConfig) -> RtlModel:
    """The accelerator with its probes, built at the first use and kept."""
    begin = time.perf_counter()
    model = inference.design(config)
    tally["build_s"] += time.perf_counter() - begin
    return model


class Proof:
    """A model, a configuration and images: the program, and what golden says of every tensor.

    Parameters: `pixels` uint8 [images, H, W, C]; `options` as `compile_program` takes them.
    Raises: ProgramError or ConfigError where the compiler refuses.
    """

    def __init__(
        self, artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, **options: int
    ) -> None:
        self.artifact, self.config, self.pixels = artifact, config, pixels
        self.program: Program = compile_program(artifact, config, len(pixels), **options)

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

    def session(self, extra: bytes = b"", base: int = BASE) -> RtlSession:
        """The design after its reset; `extra` lies in memory behind the program's pages."""
        image = self.memory + extra
        return RtlSession(design(self.config), image, base, -(-len(image) // PAGE) * PAGE)

    def run(self, **options: object) -> RunResult:
        """One run from reset on; `options` as `RtlSession.run` takes them."""
        with self.session() as session:
            return session.run(**options)

    def compare(self, run: RunResult) -> Comparison:
        """Every tensor of the run, and the logits in memory, beside the golden model's."""
        return inference.compare(self.artifact, self.program, run, self.golden)

    def check(self, run: RunResult) -> Comparison:
        """The comparison of a run that must have ended well and be equal in everything.

        That is: every value, clamped values per unit, no byte written but logits, and all that the
        cycle model tells of a run on such a memory.
        """
        assert run.violation is None
        assert (run.cause, run.address, run.status) == (ErrorCause.NONE, 0, DONE)
        found = self.compare(run)
        assert found.first is None, found
        assert all(got == expected for got, expected in found.saturated.values()), found
        self._check_memory(run)
        self._check_cycles(run)
        tally.update(compared=found.compared, cycles=run.cycles, run_s=run.seconds)
        return found

    def _check_memory(self, run: RunResult) -> None:
        area = self.program.output
        expected = bytearray(self.memory)
        for number in range(self.program.images):
            start = area.offset + number * area.stride
            expected[start : start + area.bytes] = run.memory[start : start + area.bytes]
        assert run.memory[: len(expected)] == expected
        assert run.traffic.write_bytes == self.program.images * area.bytes

    def _check_cycles(self, run: RunResult) -> None:
        rtl = inference.timeline(self.program, run)
        # Far enough to show by how much a model that is wrong is off.
        limit = 2 * run.cycles + 10_000
        found = apart(self.program, rtl, model_cycles(self.program, memory=run.timing, limit=limit))
        tally.update(modelled=1, commands=found.commands)
        tally["worst"] = max(tally["worst"], found.worst)
        assert found.first is None, f"the cycle model must equal the RTL: {found.first}"


def prove(
    artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, **options: object
) -> Comparison:
    """Compile, run on RTL from reset on, and require equality in everything.

    Parameters: `options` as `RtlSession.run` takes them.
    """
    proof = Proof(artifact, config, pixels)
    return proof.check(proof.run(**options))
