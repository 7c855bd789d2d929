"""`rootshift explore --pick`: the artifact and the hardware of one point, checked on its RTL."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import Artifact
from ..errors import ArtifactError, ConfigError, ImageError
from ..program import Program
from ..sim.golden.model import GoldenModel
from .generate import output_files, vector_pixels, write_all
from .progress import Progress, progress_bar
from .records import accelerator_name
from .sources import evaluation_images

if TYPE_CHECKING:
    from ..sim.explore.record import Record
    from ..sim.explore.results import Exploration
    from ..sim.explore.space import Space

_CHECKED = ("cycles", "compared", "mismatches", "first", "first_cycle")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, number, status, knobs, array, commands, files, written (files that changed);
    recorded_cycles (of the cycle model, or null), and of the run on RTL, null with `--no-rtl`:
    cycles, cycles_apart (how far these are from those recorded), compared and mismatches against
    golden, first and first_cycle, where and when the first mismatch is.
    """
    from ..hw.compiler import compile_program
    from ..sim.explore.results import Exploration

    found = Exploration.load(options.out)
    record = picked(found, options.pick)
    hardware = record.point.hardware
    if len(options.image) > hardware.batch:
        raise ImageError(
            f"--image must be given at most {hardware.batch} times, as the point's batch says, "
            f"not {len(options.image)}"
        )
    with progress_bar("pick") as progress:
        artifact = artifact_of(found.space, record, options.cache, progress)
        config = hardware.config(artifact)
        program = compile_program(artifact, config, hardware.batch, batch=hardware.batch)
        pixels = batch_pixels(found.space, artifact, hardware.batch, options.image)
        made = output_files(artifact, program, pixels, progress)
        out = Path(options.out) / "picked" / str(record.number)
        artifact.save(out / "artifact")
        made["point.json"] = description(found, record)
        written = write_all(out, made)
        recorded = record.metrics.get("cycles")
        checked = dict.fromkeys((*_CHECKED, "cycles_apart"))
        if not options.no_rtl:
            checked |= check(artifact, program, pixels, record, progress)
    return {
        "out": str(out),
        "number": record.number,
        "status": str(record.status),
        "knobs": dict(record.point.values),
        "array": accelerator_name(config),
        "commands": len(program.commands),
        "files": len(made),
        "written": written,
        "recorded_cycles": recorded,
        **checked,
    }


def picked(found: "Exploration", number: int) -> "Record":
    """The record of a number; raises ConfigError where there is none, or its point failed."""
    from ..sim.explore.record import Status

    records = {record.number: record for record in found.records}
    if number not in records:
        raise ConfigError(f"--pick must be a point from 0 to {max(records)}, not {number}")
    record = records[number]
    if record.status == Status.FAILED:
        raise ConfigError(f"--pick must be a point that can be made, not {number}: {record.reason}")
    return record


def artifact_of(
    space: "Space", record: "Record", cache: str | None, progress: Progress
) -> Artifact:
    """The artifact of a record, from the cache, or quantized again.

    Raises: ArtifactError where it comes out otherwise than it was recorded; errors of loading the
    model and its calibration images.
    """
    from ..sim.explore.api import open_store
    from ..sim.explore.engine import LocalEngine
    from ..sim.explore.quantizations import Quantizations

    with open_store(cache) as store, LocalEngine(1) as engine:
        quantizations = Quantizations(space, store, engine, Counter(), progress)
        (artifact,) = quantizations.artifacts([record.point.quantization]).values()
    if isinstance(artifact, str):
        raise ArtifactError(f"point {record.number} cannot be quantized again: {artifact}")
    if artifact.digest != record.artifact:
        raise ArtifactError(
            f"point {record.number}: the artifact must be {record.artifact}, as recorded, not "
            f"{artifact.digest}: weights, images or code are not those of the exploration"
        )
    return artifact


def batch_pixels(
    space: "Space", artifact: Artifact, batch: int, paths: Sequence[str]
) -> np.ndarray:
    """Images for one run: those at `paths`, then the first of the space, then noise.

    Returns: uint8 [batch, H, W, C].
    """
    pixels = vector_pixels(artifact, batch, paths)
    if len(paths) < batch:
        folder, labels = (path and str(path) for path in (space.images.folder, space.images.labels))
        images = evaluation_images(space.model.name, folder, labels, artifact.preprocessing)
        for place in range(len(paths), min(batch, len(images))):
            pixels[place] = images.pixels(place)
    return pixels


def description(found: "Exploration", record: "Record") -> bytes:
    """`point.json`: what was asked for, what was measured, and what it was measured with."""
    from ..sim.explore.results import ORIGIN, entry

    body = {**entry(record), **{name: found.made[name] for name in ORIGIN}}
    return json.dumps(body, indent=1).encode() + b"\n"


def check(
    artifact: Artifact, program: Program, pixels: np.ndarray, record: "Record", progress: Progress
) -> dict[str, Any]:
    """Figures of the program's run on the generated design, with the memory of the point."""
    from ..sim.rtl.inference import design, infer

    progress(0, 2, "compile the design")
    design(program.config)
    progress(1, 2, "run the program")
    golden = GoldenModel(artifact).run(pixels, [operator.name for operator in artifact.operators])
    outcome = infer(artifact, program, pixels, golden, record.point.hardware.memory)
    figures = {name: outcome.figures[name] for name in _CHECKED}
    recorded = record.metrics.get("cycles")
    apart = None if recorded is None else abs(figures["cycles"] - recorded)
    return {**figures, "cycles_apart": apart}


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    knobs = ", ".join(f"{knob} {value}" for knob, value in result["knobs"].items())
    lines = [
        f"point {result['number']}, {result['status']}: {knobs}",
        f"artifact, Verilog of a {result['array']} array, a program of {result['commands']} "
        f"commands; {result['files']} files, {result['written']} new or changed -> {result['out']}",
    ]
    recorded = result["recorded_cycles"]
    if result["cycles"] is not None:
        told = "" if recorded is None else f", {recorded} recorded"
        lines += [
            f"{result['cycles']} cycles on the RTL{told}",
            f"{result['compared']} values compared with golden, {result['mismatches']} mismatches",
        ]
        lines += [f"first mismatch: {result['first']}"] if result["first"] else []
    return "\n".join(lines)
