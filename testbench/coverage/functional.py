"""What whole inferences make the accelerator's RTL do, counted from its own registers and probes.

python -m rootshift.testbench.coverage.functional

Models of several sizes and widths run on quick and on slow memories; every run must equal golden.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from itertools import pairwise

import numpy as np

from rootshift.csr import SATURATING, UNITS
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.isa import INSTRUCTIONS, Unit
from rootshift.sim.native.layout import WINDOW
from rootshift.sim.rtl.inference import probed, timeline
from rootshift.sim.rtl.result import RunResult

from ..accelerator.designs import NARROW, WIDE, timings
from ..accelerator.inference import Proof
from ..accelerator.models import SIZES
from ..random_model import random_artifact, random_pixels
from ..seeds import generator

MODELS = (
    ("W4A4", "heads fill no word", WIDE),
    ("W8A8L4", "registers and mean", WIDE),
    ("W3A5L4", "no class token", WIDE),
    ("W7A3L4", "small", WIDE),
    ("W4A4", "registers and mean", NARROW),
    ("W3A3L4", "heads fill no word", NARROW),
)
MEMORIES = ("at once", "all channels held", "everything")
LAST = "END"


class Cases:
    """Names of what can happen, by group, and how often each did."""

    def __init__(self) -> None:
        names = [instruction.name for instruction in INSTRUCTIONS if instruction.name != LAST]
        units = [unit.name for unit in Unit]
        self.groups: dict[str, Counter[str]] = {
            "instruction": _none(names),
            "instruction after instruction": _none(f"{a}, {b}" for a in names for b in names),
            "unit begins while unit works": _none(
                f"{a}, {b}" for a in units for b in units if a != b
            ),
            "cause of a stall of the array": _none(("weights", "activations", "output")),
            "unit works": _none(UNITS),
            "unit stalls": _none(UNITS),
            "unit clamps": _none(SATURATING),
            "codes: least, greatest": Counter(),
            "memory port: idle, full": _none(
                f"{way} {state}" for way in ("reads", "writes") for state in ("idle", "full")
            ),
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
        for way, beats in (("reads", run.reads), ("writes", run.writes)):
            groups["memory port: idle, full"][f"{way} idle"] += int((beats == 0).sum())
            groups["memory port: idle, full"][f"{way} full"] += int((beats == WINDOW).sum())

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
    for key, (bits, size, config) in enumerate(MODELS):
        rng = generator(30, key)
        artifact = random_artifact(rng, SIZES[size], bits=bits, base=config.base)
        proof = Proof(artifact, config, random_pixels(rng, artifact, 2))
        memories = timings(rng)
        for kind in MEMORIES:
            run = proof.run(memory=memories[kind])
            if difference := proof.compare(run).first:
                raise RuntimeError(f"every value must equal golden: {difference}")
            yield proof, run


def table(groups: dict[str, Counter[str]]) -> list[str]:
    """One line per group, with the names of what never happened."""
    rows = ["| case | all | seen | never |", "|---|---|---|---|"]
    for group, counts in groups.items():
        never = [name for name, count in counts.items() if not count]
        told = "; ".join(never[:12]) + (f"; and {len(never) - 12} more" if never[12:] else "")
        rows.append(f"| {group} | {len(counts)} | {len(counts) - len(never)} | {told} |")
    return rows


def _none(names: Iterable[str]) -> Counter[str]:
    return Counter(dict.fromkeys(names, 0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.coverage.functional")
    parser.parse_args()
    cases = Cases()
    # Seeds are no part of the table.
    with redirect_stdout(sys.stderr):
        for proof, run in runs():
            cases.count(proof, run)
    print("\n".join(table(cases.groups)))


if __name__ == "__main__":
    main()
