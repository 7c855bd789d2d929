"""Two timelines of one program, the RTL's and the cycle model's, held against each other."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from rootshift.program import Program
from rootshift.sim.timeline import ArrayState, Timeline
from rootshift.sim.trace import names


@dataclass(frozen=True)
class Apart:
    """How far two timelines are apart.

    Fields:
        commands: how many were compared.
        worst: the largest difference of any two figures: cycles, beats, bursts or bytes.
        first: of what differs, the command that is first in time, else a total; or None.
    """

    commands: int
    worst: int
    first: str | None


def apart(program: Program, rtl: Timeline, model: Timeline) -> Apart:
    """Everything that a timeline has: cycles, commands, array, units, traffic, beats per window.

    Raises: ValueError where one of them is not of the program's commands, or the windows differ.
    """
    commands = len(program.commands) - 1
    if not len(rtl.begun) == len(model.begun) == commands or rtl.window != model.window:
        raise ValueError("both timelines must be of the program, and count in equal windows")
    worst, first = 0, _first_command(program, rtl, model)
    for what, theirs, ours in _figures(rtl, model):
        if theirs.shape != ours.shape:
            raise ValueError(f"{what}: shape must be {theirs.shape}, not {ours.shape}")
        differences = np.abs(theirs - ours)
        worst = max(worst, int(differences.max(initial=0)))
        if first is None and differences.any():
            at = tuple(np.argwhere(differences)[0].tolist())
            where = "".join(f"[{place}]" for place in at)
            first = f"{what}{where}: RTL {theirs[at]}, model {ours[at]}"
    return Apart(commands, worst, first)


def _figures(rtl: Timeline, model: Timeline) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for name in ("cycles", "begun", "done"):
        yield name, np.asarray(getattr(rtl, name)), np.asarray(getattr(model, name))
    for state in ArrayState:
        yield f"array, {state.name.lower()}", rtl.array[:, state], model.array[:, state]
    if rtl.units.keys() != model.units.keys():
        raise ValueError(f"units must be {', '.join(rtl.units)}, not {', '.join(model.units)}")
    for name, theirs in rtl.units.items():
        ours = asdict(model.units[name])
        for counter, value in asdict(theirs).items():
            yield f"{name} {counter}", np.asarray(value), np.asarray(ours[counter])
    ours = asdict(model.traffic)
    for name, value in asdict(rtl.traffic).items():
        yield name, np.asarray(value), np.asarray(ours[name])
    for name in ("reads", "writes"):
        yield f"{name} of window", getattr(rtl, name), getattr(model, name)


def _first_command(program: Program, rtl: Timeline, model: Timeline) -> str | None:
    """Of the commands that differ, the one that did so at the lowest cycle of either."""
    theirs, ours = (np.stack([each.begun, each.done]) for each in (rtl, model))
    wrong = theirs != ours
    if not wrong.any():
        return None
    earliest = np.where(wrong, np.minimum(theirs, ours), np.iinfo(np.int64).max).min(0)
    number = int(earliest.argmin())
    placed, layer = program.commands[number], names(program)[number]
    return (
        f"command {number} ({placed.command}; {layer}), first of {wrong.any(0).sum()}: "
        f"RTL {theirs[0, number]} to {theirs[1, number]}, "
        f"model {ours[0, number]} to {ours[1, number]}"
    )
