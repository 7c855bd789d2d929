"""What a simulated run leaves behind beside its figures: an energy estimate, a trace, a report."""

import argparse
import math
import shlex
from pathlib import Path
from typing import Any

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ConfigError
from ..program import Program
from ..sim.native.memory import MemoryTiming
from ..sim.timeline import Timeline
from .memory import OPTIONS, option
from .sources import place

CLOCK_MHZ = 100.0
RECORDS = ("trace", "report", "energy_table", "clock")
"""Options that need a run that counts cycles."""


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `RECORDS`; what is left out is None."""
    group = parser.add_argument_group("records", "for engines that count cycles")
    group.add_argument(
        "--trace", type=place, metavar="FILE.json", help="write a trace that opens in Perfetto"
    )
    group.add_argument(
        "--report", type=place, metavar="FILE.html", help="write a page about the run"
    )
    group.add_argument(
        "--energy-table",
        type=place,
        metavar="FILE.toml",
        help="energies of operations and accesses, else those of docs/energy.md",
    )
    group.add_argument(
        "--clock", type=float, metavar="MHZ", help=f"of the design, {CLOCK_MHZ:g} if not given"
    )


def check_records(options: argparse.Namespace) -> None:
    """Raises: ConfigError where the clock is not a positive number, or a file of energies is not
    legal."""
    clock = options.clock
    if clock is not None and not 0 < clock < math.inf:
        raise ConfigError(f"--clock must be a positive number, not {clock:g}")
    _energy_table(options)


def write_records(
    options: argparse.Namespace,
    artifact: Artifact,
    program: Program,
    timeline: Timeline,
    memory: MemoryTiming,
) -> dict[str, Any]:
    """Write what the options ask for.

    Returns: frames_per_second (at the clock), energy_microjoules (an estimate, per image), trace
    and report, the files, or null.
    Raises: OutputError where a file cannot be written.
    """
    from ..sim.costs import costs
    from ..sim.energy import energy
    from ..sim.report import write_report
    from ..sim.trace import write_trace

    hertz = (options.clock or CLOCK_MHZ) * 1e6
    counts = costs(artifact, program)
    estimate = energy(
        counts, program.config, program.images, _energy_table(options), timeline.cycles / hertz
    )
    if options.trace:
        write_trace(options.trace, program, timeline, artifact, engine=options.engine)
    if options.report:
        write_report(
            options.report,
            artifact,
            program,
            timeline,
            options.engine,
            counts,
            estimate,
            bandwidth=memory.bandwidth,
            clock=options.clock or CLOCK_MHZ,
            command=_command(options),
        )
    return {
        "frames_per_second": round(program.images * hertz / timeline.cycles, 3),
        "energy_microjoules": round(estimate.microjoules, 3),
        "trace": options.trace,
        "report": options.report,
    }


def accelerator_name(config: AcceleratorConfig) -> str:
    """Rows and columns, such as 16x16."""
    return f"{config.rows}x{config.cols}"


def _energy_table(options: argparse.Namespace) -> Any:
    from ..sim.energy import DEFAULT, EnergyTable

    return EnergyTable.load(options.energy_table) if options.energy_table else DEFAULT


def _command(options: argparse.Namespace) -> str:
    """The command that makes the page again; files by their names alone, wherever they lie."""
    words = ["rootshift", "simulate", Path(options.artifact).name]
    words += ["--image", Path(options.image).name, "--engine", options.engine]
    if options.config:
        words += ["--config", Path(options.config).name]
    else:
        words += ["--array", options.array]
    for name in (*OPTIONS, "clock"):
        value = getattr(options, name)
        if value is not None:
            words += [option(name), f"{value:g}" if isinstance(value, float) else str(value)]
    for name in ("energy_table", "report"):
        if getattr(options, name):
            words += [option(name), Path(getattr(options, name)).name]
    return shlex.join(words)
