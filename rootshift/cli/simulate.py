"""`rootshift simulate`: one image through an engine."""

import argparse
import time
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..errors import ConfigError
from ..output import write_file
from ..sim.golden.model import GoldenModel
from ..sim.native.memory import MemoryTiming
from ..sim.timeline import Timeline
from .memory import OPTIONS, add_memory_arguments, memory_timing, option
from .progress import Progress, progress_bar
from .records import RECORDS, accelerator_name, add_record_arguments, check_records, write_records
from .sources import accelerator_config, add_config_arguments, one_image, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument("--image", required=True, type=place, metavar="FILE")
    parser.add_argument("--engine", choices=["golden", "cycles", "rtl"], default="golden")
    add_config_arguments(parser)
    add_memory_arguments(parser)
    add_record_arguments(parser)
    waves = parser.add_argument_group("waves", "for the engine rtl")
    waves.add_argument(
        "--waves", type=place, metavar="FILE", help="write signals, to a file.fst or file.vcd"
    )
    waves.add_argument(
        "--wave-cycles",
        type=cycles,
        metavar="A:B",
        help="from cycle A up to B, else those around the first mismatch, or the run's first",
    )
    parser.add_argument(
        "--tensors",
        type=place,
        metavar="FILE.npz",
        help="write every intermediate tensor, integers, by name",
    )


def cycles(text: str) -> tuple[int, int]:
    """Argument type: the first cycle and the one after the last."""
    words = text.split(":")
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"must be two cycles A:B, not {text!r}")
    begin, end = map(int, words)
    if begin >= end:
        raise argparse.ArgumentTypeError(f"must end after it begins, not {text!r}")
    return begin, end


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: engine, label (class number), logits (real values), seconds, saturated, tensors.

    Those of the engine golden are also those of `cycles`, which has no values of its own. With the
    engines cycles and rtl also array, cycles, mac_utilization, cycles_per_second (of simulation),
    frames_per_second, energy_microjoules, trace and report. With the engine rtl also compared and
    mismatches against golden, first and first_cycle, where and when the first mismatch is, and
    waves: null, or file, begin and end (the cycle after the last).
    """
    check_options(options)
    artifact = Artifact.load(options.artifact)
    artifact.require_classifier()
    pixels = one_image(options.image, artifact.preprocessing)
    keep = list(artifact.shapes()) if options.tensors or options.engine == "rtl" else []
    start = time.perf_counter()
    inference = GoldenModel(artifact).run(pixels, keep)
    found: dict[str, Any] = {
        "logits": inference.logits,
        "seconds": time.perf_counter() - start,
        "saturated": dict(inference.saturated),
    }
    if options.engine != "golden":
        found |= _run_program(options, artifact, pixels, inference)
    if options.tensors:
        write_file(
            options.tensors,
            lambda file: np.savez(file, **{k: v[0] for k, v in inference.tensors.items()}),
        )
    values = found.pop("logits")[0] * artifact.operators[-1].scale
    return {
        "engine": options.engine,
        "label": int(values.argmax()),
        "logits": [round(float(value), 6) for value in values],
        "seconds": round(found.pop("seconds"), 4),
        "tensors": len(inference.tensors) if options.tensors else 0,
        **found,
    }


def check_options(options: argparse.Namespace) -> None:
    """Raises: ConfigError naming an option that is not legal, or useless beside the others."""
    needs = dict.fromkeys((*OPTIONS, *RECORDS), ("cycles", "rtl"))
    needs |= dict.fromkeys(("waves", "wave_cycles"), ("rtl",))
    for name, engines in needs.items():
        if getattr(options, name) is not None and options.engine not in engines:
            wanted = " or ".join(engines)
            raise ConfigError(f"{option(name)} needs --engine {wanted}, not {options.engine}")
    if options.wave_cycles and not options.waves:
        raise ConfigError("--wave-cycles needs --waves")
    memory_timing(options)
    check_records(options)


def _run_program(
    options: argparse.Namespace, artifact: Artifact, pixels: np.ndarray, golden: Any
) -> dict[str, Any]:
    """Figures of the compiled program's run, on the design or on its cycle model."""
    from ..hw.compiler import compile_program

    config = accelerator_config(options, artifact)
    program, memory = compile_program(artifact, config), memory_timing(options)
    if options.engine == "rtl":
        timeline, found = _run_rtl(options, artifact, program, pixels, golden, memory)
    else:
        timeline, found = _count_cycles(artifact, program, memory)
    found |= write_records(options, artifact, program, timeline, memory)
    return {"array": accelerator_name(config), **found}


def _count_cycles(
    artifact: Artifact, program: Any, memory: MemoryTiming
) -> tuple[Timeline, dict[str, Any]]:
    """Those of the cycle model; its seconds are those of the model alone."""
    from ..sim.cycles.model import library, model_cycles
    from ..sim.layers import mac_utilization

    with progress_bar("simulate") as progress:
        progress(0, 1, "compile the cycle model")
        library()
    start = time.perf_counter()
    timeline = model_cycles(program, memory=memory)
    seconds = time.perf_counter() - start
    return timeline, {
        "seconds": seconds,
        "cycles": timeline.cycles,
        "mac_utilization": mac_utilization(artifact, program, timeline),
        "cycles_per_second": round(timeline.cycles / seconds),
    }


def _run_rtl(
    options: argparse.Namespace,
    artifact: Artifact,
    program: Any,
    pixels: np.ndarray,
    golden: Any,
    memory: MemoryTiming,
) -> tuple[Timeline, dict[str, Any]]:
    """Those of a run on the generated design; its seconds are those after the build."""
    from ..sim.rtl.inference import design, infer
    from ..sim.rtl.waves import waves_format

    kind = waves_format(options.waves) if options.waves else None
    steps = 4 if kind else 2
    with progress_bar("simulate") as progress:
        progress(0, steps, "compile the design")
        design(program.config)
        progress(1, steps, "run the program")
        start = time.perf_counter()
        outcome = infer(artifact, program, pixels, golden, memory)
        seconds = time.perf_counter() - start
        waves = None
        if kind:
            waves = _write_waves(options, program, pixels, outcome, memory, progress)
    found = {"logits": outcome.logits, "seconds": seconds, "waves": waves}
    return outcome.timeline, {**found, **outcome.figures}


def _write_waves(
    options: argparse.Namespace,
    program: Any,
    pixels: np.ndarray,
    outcome: Any,
    memory: Any,
    progress: Progress,
) -> dict[str, Any]:
    """Where the waves are, and of which cycles."""
    from ..sim.rtl.inference import design
    from ..sim.rtl.waves import wave_cycles, waves_format, write_waves

    begin, end = wave_cycles(outcome, options.wave_cycles)
    progress(2, 4, "compile the design with waves")
    design(program.config, waves_format(options.waves))
    progress(3, 4, f"write waves of cycles {begin} to {end - 1}")
    write_waves(program, pixels, options.waves, (begin, end), memory)
    return {"file": options.waves, "begin": begin, "end": end}


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    top = sorted(enumerate(result["logits"]), key=lambda item: -item[1])[:5]
    lines = [f"label {result['label']}   ({result['engine']}, {result['seconds']:.3f} s)"]
    lines += [f"  class {index:4d}   logit {value:9.4f}" for index, value in top]
    total = sum(result["saturated"].values())
    what = "units" if result["engine"] == "rtl" else "operators"
    lines.append(f"saturated values: {total} in {len(result['saturated'])} {what}")
    if result["engine"] != "golden":
        lines += [
            f"{result['cycles']} cycles on a {result['array']} array, "
            f"{result['mac_utilization']:.1%} of the multipliers' time, "
            f"{result['cycles_per_second']} cycles/s",
            f"{result['frames_per_second']:.2f} images/s at the clock, "
            f"{result['energy_microjoules']:.1f} uJ an image (estimate)",
        ]
    if result["engine"] == "rtl":
        compared, wrong = result["compared"], result["mismatches"]
        lines.append(f"{compared} values compared with golden, {wrong} mismatches")
        lines += [f"first mismatch: {result['first']}"] if result["first"] else []
    lines += [f"{name}: {result[name]}" for name in ("trace", "report") if result.get(name)]
    if result.get("waves"):
        waves = result["waves"]
        lines.append(f"waves of cycles {waves['begin']} to {waves['end'] - 1}: {waves['file']}")
    return "\n".join(lines)
