"""A run as a trace in the Trace Event Format, for Perfetto (ui.perfetto.dev) and chrome://tracing.

One cycle is one microsecond of the trace. Per unit a track of its commands, above them one of the
products that the array works on; waits are flows from the command waited for; counters tell the
memory bus, the array and what the buffers hold.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..artifact import Artifact
from ..isa import COUNT_WIDTH, Command, Mode, Unit
from ..output import write_file
from ..program import Placed, Program
from .buffer_fill import buffer_fill
from .timeline import ArrayState, Timeline

PROCESS = 1
PRODUCTS = 2
"""Thread of the track of products; the next ones are the units'. None is the process itself, which
viewers would take for a main thread."""
Event = dict[str, Any]
_render = json.JSONEncoder(separators=(",", ":")).encode


def write_trace(
    path: str | Path,
    program: Program,
    timeline: Timeline,
    artifact: Artifact | None = None,
    *,
    engine: str | None = None,
) -> None:
    """Write the trace of a run; `docs/guide.md` says what it shows.

    Parameters: `artifact`, whose model's name and operators' kinds are noted; `engine`, what the
    timeline comes from, to be noted too.
    Raises: OutputError where the file cannot be written; ValueError where the timeline is not of
    the program's commands.
    """
    count = len(program.commands) - 1
    if not len(timeline.begun) == len(timeline.done) == count:
        raise ValueError(
            f"timeline must be of the program's {count} commands, not {len(timeline.begun)}"
        )
    other = {
        "rootshift": __version__,
        "engine": engine,
        "model": artifact.source.get("model") if artifact else None,
        "images": program.images,
        "cycles": timeline.cycles,
        "traffic": asdict(timeline.traffic),
        "config": asdict(program.config),
    }
    head = {
        "displayTimeUnit": "ms",
        "otherData": {key: value for key, value in other.items() if value is not None},
    }
    events = [*_tracks(), *_sorted(program, timeline, artifact)]
    lines = ",\n".join(_render(event) for event in events)
    text = f'{_render(head)[:-1]},"traceEvents":[\n{lines}\n]}}\n'
    write_file(path, lambda file: file.write(text.encode()))


def names(program: Program) -> list[str]:
    """What each command does for the model: the operator whose values it makes or brings, its head
    where it is of one, and its image where a run has several; the segment that a FETCH brings."""
    found = [""] * len(program.commands)
    products: dict[str, list[int]] = {name: [] for name in ("WEIGHTS", "GEMM", "STORE")}
    segments = sorted((at, name) for name, (at, _) in program.segments.items())
    offsets = [at for at, _ in segments]
    tables: list[int] = []
    for number, placed in enumerate(program.commands):
        command = placed.command
        found[number] = _name(placed, program)
        if command.name in products:
            products[command.name].append(number)
        if command.name == "FETCH":
            before = bisect_right(offsets, command["offset"])
            found[number] = segments[before - 1][1] if before else command.name
        elif command.name == "TABLE":
            tables.append(number)
        elif command.name == "STORE" and command["mode"] == Mode.GELU and placed.operators:
            for table in tables:
                found[table] = placed.operators[-1]
            tables.clear()
    # A STORE takes the outputs of one GEMM, and this the weights of one WEIGHTS.
    for trio in zip(*products.values(), strict=False):
        for number in trio:
            found[number] = found[trio[-1]]
    return found


def waits(commands: Sequence[Command]) -> list[dict[Unit, int]]:
    """Per command: unit that it waits for -> number, in the program, of the command whose end it
    waits for. Waits for no command at all, of count 0, are left out."""
    of_unit: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    for number, command in enumerate(commands):
        if command.instruction.unit is not None:
            of_unit[command.instruction.unit].append(number)
    issued, found, half = dict.fromkeys(Unit, 0), [], 1 << COUNT_WIDTH - 1
    for command in commands:
        ends = {}
        for unit, count in command.after.items():
            # Counts are modulo 2^16, and never that far from what was issued before.
            ahead = (count - issued[unit] + half) % (2 * half) - half
            which = issued[unit] + ahead
            if 1 <= which <= len(of_unit[unit]):
                ends[unit] = of_unit[unit][which - 1]
        found.append(ends)
        if command.instruction.unit is not None:
            issued[command.instruction.unit] += 1
    return found


def _name(placed: Placed, program: Program, head: bool = True) -> str:
    command = placed.command
    if not placed.operators:
        return command.name
    words = [placed.operators[0]]
    if head and (command.name == "ATTENTION" or command.operands.get("mode") == Mode.SCORES):
        words.append(f"head {placed.head}")
    if program.images > 1:
        words.append(f"image {placed.image}")
    return " ".join(words)


def _thread(unit: Unit) -> int:
    return PRODUCTS + 1 + unit


def _tracks() -> Iterator[Event]:
    """Names and order of the tracks."""

    def meta(what: str, thread: int, **args: Any) -> Event:
        return {"ph": "M", "name": what, "pid": PROCESS, "tid": thread, "ts": 0, "args": args}

    yield meta("process_name", PRODUCTS, name="accelerator")
    for thread, name in [(PRODUCTS, "products"), *((_thread(unit), unit.name) for unit in Unit)]:
        yield meta("thread_name", thread, name=name)
        yield meta("thread_sort_index", thread, sort_index=thread)


def _sorted(program: Program, timeline: Timeline, artifact: Artifact | None) -> list[Event]:
    """Slices before the flows that begin or end in them, then the counters, all by time."""
    named = names(program)
    ended = waits([placed.command for placed in program.commands])
    events = [
        *_products(program, timeline, artifact),
        *_slices(program, timeline, named, ended),
        *_flows(program, timeline, ended),
        *_counters(program, timeline),
    ]
    return sorted(events, key=lambda event: event["ts"])


def _slice(name: str, category: str, thread: int, begin: int, end: int, args: Event) -> Event:
    return {
        "ph": "X", "name": name, "cat": category, "pid": PROCESS, "tid": thread,
        "ts": begin, "dur": end - begin, "args": args,
    }  # fmt: skip


def _slices(
    program: Program, timeline: Timeline, named: list[str], ended: list[dict[Unit, int]]
) -> Iterator[Event]:
    """The commands."""
    begun, done = timeline.begun.tolist(), timeline.done.tolist()
    number, free = dict.fromkeys(Unit, 0), dict.fromkeys(Unit, 0)
    numbers: list[int] = []
    for placed in program.commands[:-1]:
        unit = placed.command.instruction.unit
        number[unit] += 1
        numbers.append(number[unit])
    for at, placed in enumerate(program.commands[:-1]):
        command, unit = placed.command, placed.command.instruction.unit
        args: Event = {"command": f"{unit.name} {numbers[at]}, {at} of the program"}
        if placed.operators:
            args["makes"] = ", ".join(placed.operators)
            args["image"] = placed.image
            args["first token"] = placed.token
        args["operands"] = {
            name: operand.values(command[name]).name if operand.values else command[name]
            for name, (_, operand) in command.instruction.places.items()
        }
        args["unit free since"] = free[unit]
        if ended[at]:
            args["waits for"] = {
                f"{other.name} {numbers[end]}": f"{named[end]}, done in cycle {done[end]}"
                for other, end in ended[at].items()
            }
        free[unit] = done[at]
        yield _slice(named[at], command.name, _thread(unit), begun[at], done[at], args)


def _products(program: Program, timeline: Timeline, artifact: Artifact | None) -> Iterator[Event]:
    """One slice for the GEMMs of a product that follow each other; those of all heads are one."""
    gemms = [at for at, each in enumerate(program.commands) if each.command.name == "GEMM"]
    stores = [each for each in program.commands if each.command.name == "STORE"]
    named = [_name(store, program, head=False) for store in stores]
    kinds = {operator.name: operator.kind for operator in artifact.operators} if artifact else {}
    for name, group in groupby(range(len(gemms)), key=lambda at: named[at]):
        part = list(group)
        store = stores[part[0]]
        states = timeline.array[part].sum(axis=0)
        args: Event = {"GEMM commands": len(part), "image": store.image}
        if store.operators and store.operators[0] in kinds:
            args["kind"] = kinds[store.operators[0]]
        args["cycles"] = {
            "busy": int(states[ArrayState.BUSY]),
            "waits for weights": int(states[ArrayState.WEIGHTS]),
            "waits for activations": int(states[ArrayState.ACTIVATIONS]),
            "waits for the output": int(states[ArrayState.OUTPUT]),
            "idle before": int(states[ArrayState.IDLE]),
        }
        begin, end = int(timeline.begun[gemms[part[0]]]), int(timeline.done[gemms[part[-1]]])
        yield _slice(name, "product", PRODUCTS, begin, end, args)


def _flows(program: Program, timeline: Timeline, ended: list[dict[Unit, int]]) -> Iterator[Event]:
    """From the end of the command waited for to the begin of the one that waited."""
    flow = 0
    for at, ends in enumerate(ended[: len(timeline.begun)]):
        unit = program.commands[at].command.instruction.unit
        for other, end in ends.items():
            flow += 1
            # In its last cycle, for at its end the next command may have begun.
            last = max(int(timeline.begun[end]), int(timeline.done[end]) - 1)
            common = {"name": "wait", "cat": "wait", "id": flow, "pid": PROCESS}
            yield {"ph": "s", **common, "tid": _thread(other), "ts": last}
            begin = int(timeline.begun[at])
            yield {"ph": "f", "bp": "e", **common, "tid": _thread(unit), "ts": begin}


def _counters(program: Program, timeline: Timeline) -> Iterator[Event]:
    """Steps of every counter; each ends with 0 at the end of the run."""

    def steps(name: str, cycles: np.ndarray, **series: np.ndarray) -> Iterator[Event]:
        columns = {key: values.tolist() for key, values in series.items()}
        last = None
        for at, cycle in enumerate(cycles.tolist()):
            values = {key: column[at] for key, column in columns.items()}
            if values != last:
                yield {
                    "ph": "C", "name": name, "pid": PROCESS, "tid": PRODUCTS,
                    "ts": cycle, "args": values,
                }  # fmt: skip
            last = values

    for space, fill in buffer_fill(program, timeline).items():
        yield from steps(space.value, fill.cycles, words=fill.words)
    begins = timeline.window * np.arange(len(timeline.reads))
    # The last window is as long as the run lasts.
    length = np.clip(timeline.cycles - begins, 1, timeline.window)
    at = np.append(begins, timeline.cycles)
    rates = {
        name: np.append(np.round(beats / length, 4), 0)
        for name, beats in (("read", timeline.reads), ("written", timeline.writes))
    }
    yield from steps("memory bus, beats per cycle", at, **rates)
    beat = program.config.bus_width // 8
    rates = {name: np.round(beat * rate, 4) for name, rate in rates.items()}
    yield from steps("memory bus, bytes per cycle", at, **rates)
    gemm = [placed.command.name == "GEMM" for placed in program.commands[:-1]]
    ends = np.concatenate([[0], timeline.done[gemm]])
    states = timeline.array[:-1]
    total = np.maximum(states.sum(axis=1), 1)
    busy = np.append(np.round(100 * states[:, ArrayState.BUSY] / total, 2), 0)
    yield from steps("array", ends, **{"busy, percent": busy})
