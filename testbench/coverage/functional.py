"""What whole inferences make the accelerator's RTL do, counted from its own registers and probes.

python -m rootshift.testbench.coverage.functional

Models of several sizes and widths run on quick and on slow memories, as they are compiled and with
their commands in other orders that are legal; every run must equal golden.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.csr import SATURATING, UNITS
from rootshift.footprint import footprint
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.isa import INSTRUCTIONS, Unit
from rootshift.operators import Embed
from rootshift.sim.native.layout import WINDOW
from rootshift.sim.native.memory import MemoryTiming
from rootshift.sim.rtl.inference import patience, probed, timeline
from rootshift.sim.rtl.result import RunResult

from ..accelerator.designs import NARROW, WIDE, timings
from ..accelerator.inference import Proof
from ..accelerator.models import SIZES
from ..accelerator.reordered import Reordered
from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator

FEW_LANES = replace(WIDE, cols=8, lanes=1, weight_width=4, activation_width=4)
"""What comes out of the array has to wait for its way to the buffers."""
ODD, MEAN = SIZES["heads fill no word"], SIZES["registers and mean"]
MODELS: tuple[tuple[str, Size, AcceleratorConfig, dict[str, int]], ...] = (
    ("W4A4", ODD, WIDE, {}),
    ("W8A8L4", MEAN, WIDE, {"norm_bands": 3}),
    ("W3A5L4", SIZES["no class token"], WIDE, {"batch": 2}),
    ("W7A3L4", SIZES["small"], WIDE, {}),
    ("W4A4", Size(image=(16, 16, 1), patch=2, width=32, heads=1), WIDE, {"norm_bands": 2}),
    ("W4A4", MEAN, NARROW, {"batch": 2, "norm_bands": 2}),
    ("W3A3L4", ODD, NARROW, {}),
    ("W4A4", Size(image=(8, 4, 1), width=40, hidden=200, prefix=0, pool="avg"), NARROW, {}),
    ("W4A4", MEAN, FEW_LANES, {}),
)
FAR = MemoryTiming(read_latency=3 * WINDOW, write_latency=3 * WINDOW)
MEMORIES = ("at once", "all channels held", "everything")
ORDERS = 3
"""Other orders of each program."""
LOUD = 40
"""Factor of the positions that makes sums of the residual stream clamp."""
LAST = "END"
IMPOSSIBLE = {
    "PATCHIFY, ATTENTION": "the words of the patches are the blocks' until their last product",
    "ATTENTION, PATCHIFY": "the patches' product, which frees their words, is before the blocks",
    "ATTENTION, LAYERNORM": "the products before a LayerNorm are behind the scores of all heads",
}
"""Units of which the first never begins while the other works, and why."""
STALLING = tuple(name for name in UNITS if name not in ("gelu_table", "residual_add"))
"""Units that can have work and wait; of the others the writes are the first in their buffer."""


class Cases:
    """Names of what can happen, by group, and how often each did."""

    def __init__(self) -> None:
        names = [instruction.name for instruction in INSTRUCTIONS if instruction.name != LAST]
        units = [unit.name for unit in Unit]
        self.groups: dict[str, Counter[str]] = {
            "instruction": _none(names),
            "instruction after instruction": _none(f"{a}, {b}" for a in names for b in names),
            "unit begins while unit works": _none(
                pair
                for pair in (f"{a}, {b}" for a in units for b in units if a != b)
                if pair not in IMPOSSIBLE
            ),
            "cause of a stall of the array": _none(("weights", "activations", "output")),
            "unit works": _none(UNITS),
            "unit stalls": _none(STALLING),
            "unit clamps": _none(SATURATING),
            "codes: least, greatest": Counter(),
            "memory port in a window": _none(("reads idle", "reads full", "writes idle")),
            "words of the buffers: first, last": Counter(),
        }

    @property
    def never(self) -> dict[str, list[str]]:
        """What has not happened, by group."""
        return {
            group: [name for name, count in counts.items() if not count]
            for group, counts in self.groups.items()
        }

    def count(self, proof: Proof, run: RunResult) -> None:
        """Add what happened in a run that ended well."""
        groups = self.groups
        commands = [placed.command for placed in proof.program.commands[:-1]]
        names = [command.name for command in commands]
        groups["instruction"].update(names)
        groups["instruction after instruction"].update(f"{a}, {b}" for a, b in pairwise(names))
        when = timeline(proof.program, run)
        units = np.array([command.instruction.unit for command in commands])
        for unit, begun in zip(units, when.begun, strict=True):
            working = units[(when.begun < begun) & (begun < when.done) & (units != unit)]
            groups["unit begins while unit works"].update(
                f"{Unit(unit).name}, {Unit(other).name}" for other in set(working.tolist())
            )
        for group, register in (
            ("cause of a stall of the array", "GEMM_STALL"),
            ("unit works", "BUSY"),
            ("unit stalls", "STALL"),
            ("unit clamps", "SATURATED"),
        ):
            groups[group].update(
                {name: count for name, count in run.counters[register].items() if count}
            )
        self._extremes(proof, run)
        groups["memory port in a window"].update(
            {
                "reads idle": int((when.reads == 0).sum()),
                "reads full": int((when.reads == WINDOW).sum()),
                "writes idle": int((when.writes == 0).sum()),
            }
        )
        touched = [footprint(command, proof.config) for command in commands]
        for region in (each for words in touched for each in words.writes):
            depth = region.space.depth(proof.config)
            groups["words of the buffers: first, last"].update(
                {
                    f"{region.space.value} first": int(region.base == 0),
                    f"{region.space.value} last": int(region.stop == depth),
                }
            )

    def _extremes(self, proof: Proof, run: RunResult) -> None:
        """Of every probe that is as wide as its type; a model may have fewer bits than that."""
        found = self.groups["codes: least, greatest"]
        config = proof.config
        codes = (0, (1 << config.activation_width) - 1)
        half = 1 << (RESIDUAL_WIDTH - 1)
        limits = {
            "layernorm": codes,
            "log2_softmax": (0, (1 << config.log_width) - 1),
            "shift_attention": codes,
            "gelu_table": codes,
            "residual": (-half, half - 1),
            "patchify": codes,
        }
        values = probed(config, run)
        for probe, ends in limits.items():
            for name, end in zip(("least", "greatest"), ends, strict=True):
                found[f"{probe} {name}"] += int((values[probe] == end).sum())


def runs() -> Iterator[tuple[Proof, RunResult]]:
    """Runs whose every value has been compared."""
    for key, (bits, size, config, options) in enumerate(MODELS):
        rng = generator(30, key)
        artifact = random_artifact(rng, size, bits=bits, base=config.base)
        pixels, memories = random_pixels(rng, artifact, 4), timings(rng)
        proofs = [
            Proof(artifact, config, pixels, **options),
            Proof(loud(artifact), config, pixels, **options),
            *(Reordered(artifact, config, pixels, rng, **options) for _ in range(ORDERS)),
        ]
        for proof in proofs:
            for timing in (*(memories[kind] for kind in MEMORIES), FAR):
                run = proof.run(memory=timing, watchdog=patience(timing))
                if difference := proof.compare(run).first:
                    raise RuntimeError(f"every value must equal golden: {difference}")
                yield proof, run


def loud(artifact: Artifact) -> Artifact:
    """The model with positions so large that sums of its residual stream clamp."""
    most = (1 << RESIDUAL_WIDTH - 1) - 1
    return replace(
        artifact,
        operators=tuple(
            replace(
                op,
                position=np.clip(op.position.astype(int) * LOUD, -most - 1, most).astype(np.int16),
            )
            if isinstance(op, Embed)
            else op
            for op in artifact.operators
        ),
    )


def counted() -> Cases:
    """What happens in all runs."""
    cases = Cases()
    for proof, run in runs():
        cases.count(proof, run)
    return cases


def table(cases: Cases) -> list[str]:
    """One line per group, with the names of what never happened."""
    rows = ["| case | all | seen | never |", "|---|---|---|---|"]
    for group, never in cases.never.items():
        count = len(cases.groups[group])
        told = "; ".join(never[:12]) + (f"; and {len(never) - 12} more" if never[12:] else "")
        rows.append(f"| {group} | {count} | {count - len(never)} | {told} |")
    return rows


def _none(names: Iterable[str]) -> Counter[str]:
    return Counter(dict.fromkeys(names, 0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.coverage.functional")
    parser.parse_args()
    # Seeds are no part of the table.
    with redirect_stdout(sys.stderr):
        cases = counted()
    print("\n".join(table(cases)))


if __name__ == "__main__":
    main()
