"""Waves of a run, as a file that a viewer shows: which cycles, and in which format."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import OutputError
from ...output import write_file
from ...program import Program
from ..native.memory import MemoryTiming
from .build import WAVES, check_waves
from .inference import Outcome, open_session, patience
from .runner import IDEAL

BEFORE, AFTER = 200, 50
"""Cycles around a mismatch that are written."""
WHOLE = 20_000
"""Cycles that are written where nothing is asked for and nothing differs."""


def waves_format(path: str) -> str:
    """The format that the ending of a file's name asks for, one of `WAVES`.

    Raises: OutputError for another ending; ToolError where that format cannot be written here.
    """
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in WAVES:
        raise OutputError(f"{path}: name of waves must end in .fst or .vcd")
    check_waves(ending)
    return ending


def wave_cycles(outcome: Outcome, asked: tuple[int, int] | None = None) -> tuple[int, int]:
    """The first cycle to write, and the one after the last.

    Those that are asked for, as far as the run goes; else those around the first mismatch; else the
    first `WHOLE` of the run.

    Raises: OutputError where the run ends before what is asked for.
    """
    cycles, first = outcome.timeline.cycles, outcome.first
    if asked is not None:
        begin, end = asked
        if begin > cycles:
            raise OutputError(
                f"waves must begin in the run's {cycles} cycles, not in cycle {begin}"
            )
    elif first is not None:
        # What no probe saw is found in memory, at the end.
        found = cycles if first.cycle is None else first.cycle
        begin, end = found - BEFORE, found + AFTER
    else:
        begin, end = 1, WHOLE + 1
    return max(1, begin), min(end, cycles + 1)


def write_waves(
    program: Program,
    pixels: np.ndarray,
    path: str,
    cycles: tuple[int, int],
    memory: MemoryTiming = IDEAL,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Run a program once more, up to the last of these cycles, and write their waves.

    Parameters: `pixels` uint8 [images, H, W, C]; `path` as `waves_format` takes it; `cycles`, the
    first and the one after the last; `memory` as in the run itself, or cycles are others;
    `progress` is called now and then with the cycles so far.
    Raises: OutputError where the file cannot be written; ToolError as `inference.design`.
    """
    kind = waves_format(path)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, f"waves.{kind}")
        with open_session(program, pixels, waves=kind) as session:
            options = {"memory": memory, "watchdog": patience(memory)}
            session.trace(made, *cycles, progress=progress, **options)
        with made.open("rb") as source:
            write_file(path, lambda file: shutil.copyfileobj(source, file))
