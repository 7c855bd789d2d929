"""Single bit flips in memory while the machine runs from it: what becomes of each.

    python -m rootshift.testbench.accelerator.flips [--flips 500] [--seed 1] [--crc]

prints the table of docs/verification.md. Nothing tells the machine of a flip, but `program_crc`
where the design has it: it ends in a defined state, with an error or with logits, and the next run,
with the bit put back, is exact.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from rootshift.config import AcceleratorConfig
from rootshift.csr import ErrorCause
from rootshift.isa import COMMAND_BYTES
from rootshift.sim.rtl.result import RunResult

from ..random_model import Size, random_artifact, random_pixels
from .designs import WIDE
from .inference import DONE, Proof

WATCHDOG = 20_000
"""Cycles without progress; a run of the model has fewer in all."""
LIMIT = 1 << 19
"""Cycles in which even the slowest of all stops has come."""
STOPPED = {"busy": 0, "done": 0, "error": 1}


@dataclass(frozen=True)
class Flip:
    """A bit of the memory, `offset` bytes behind the program's begin, and what it belongs to."""

    region: str
    offset: int
    bit: int


class Campaign:
    """A small model whose program has every instruction, and its memory.

    Parameters: `rng` draws the model and the flips; `config` is that of the design.
    """

    def __init__(self, rng: np.random.Generator, config: AcceleratorConfig = WIDE) -> None:
        self.rng = rng
        artifact = random_artifact(self.rng, Size(pool="avg"))
        self.proof = Proof(artifact, config, random_pixels(self.rng, artifact, 1))
        program, self.memory = self.proof.program, self.proof.memory
        self.session = self.proof.session()
        end = len(program.commands) * COMMAND_BYTES
        pixels = range(program.input.offset, program.input.offset + program.input.bytes)
        logits = range(program.output.offset, program.output.offset + program.output.bytes)
        constants = np.ones(len(program.image), bool)
        for area in (range(end), pixels, logits):
            constants[area.start : area.stop] = False
        self.logits = slice(logits.start, logits.stop)
        self.regions = {
            "commands": np.arange(end),
            "weights and parameters": np.flatnonzero(constants),
            "pixels": np.arange(pixels.start, pixels.stop),
        }
        self.label = self._label(self.run(None))

    def draw(self, region: str) -> Flip:
        """A bit of `region`."""
        return Flip(region, int(self.rng.choice(self.regions[region])), int(self.rng.integers(8)))

    def run(self, flip: Flip | None) -> RunResult:
        """One run, without a reset before it, with this bit flipped."""
        self.session.memory[: len(self.memory)] = np.frombuffer(self.memory, np.uint8)
        if flip:
            self.session.memory[flip.offset] ^= 1 << flip.bit
        return self.session.run(limit=LIMIT, watchdog=WATCHDOG)

    def outcome(self, flip: Flip) -> str:
        """What becomes of a flip; the machine has to be in order then, and the next run exact.

        Raises: AssertionError where it is not, `RtlError` where no interrupt comes.
        """
        run = self.run(flip)
        assert run.violation is None, (flip, run.violation)
        if run.cause is ErrorCause.NONE:
            assert (run.address, run.status) == (0, DONE), flip
            found = self._of_logits(flip, run)
        else:
            assert run.status == STOPPED, flip
            found = f"stopped: {run.cause.name.lower().replace('_', ' ')}"
        self.proof.check(self.run(None))
        return found

    def _of_logits(self, flip: Flip, run: RunResult) -> str:
        before, after = bytearray(self.memory), bytearray(run.memory)
        before[flip.offset] ^= 1 << flip.bit
        logits = bytes(after[self.logits])
        before[self.logits] = after[self.logits] = bytes(len(logits))
        if before != after[: len(before)]:
            return "logits written elsewhere"
        if logits == self._golden():
            return "exact"
        return "other logits" if self._label(run) == self.label else "another label"

    def _golden(self) -> bytes:
        return self.proof.golden.logits.astype("<i4").tobytes()

    def _label(self, run: RunResult) -> int:
        words = np.frombuffer(run.memory[self.logits], "<i4")
        return int(words[: self.proof.program.classes].argmax())


def main() -> None:
    """Draw, run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=500, help="of each region")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crc", action="store_true", help="a design with `program_crc`")
    options = parser.parse_args()
    config = replace(WIDE, program_crc=options.crc)
    campaign = Campaign(np.random.default_rng(options.seed), config)
    found = {
        region: Counter(campaign.outcome(campaign.draw(region)) for _ in range(options.flips))
        for region in campaign.regions
    }
    outcomes = sorted({outcome for counts in found.values() for outcome in counts})
    print("| what becomes of it |", " | ".join(found), "|")
    print("|---|" + "---|" * len(found))
    for outcome in outcomes:
        print(f"| {outcome} |", " | ".join(str(counts[outcome]) for counts in found.values()), "|")


if __name__ == "__main__":
    main()
