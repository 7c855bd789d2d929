"""All numbers of a report, as the page embeds them: what figures and tables are made from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ... import __version__
from ...artifact import Artifact
from ...isa import Unit
from ...program import Program
from ..costs import LayerCosts
from ..costs import costs as count_costs
from ..energy import Energy
from ..layers import END, layers, owners
from ..timeline import Timeline
from ..trace import names

SCHEMA = 1
KINDS = {
    "weight_bytes": "weights",
    "parameter_bytes": "parameters",
    "table_bytes": "GELU tables",
    "position_bytes": "positions",
    "image_bytes": "image",
    "logit_bytes": "logits",
    "program_bytes": "commands",
}
"""Counts of `LayerCosts` that cross the memory bus, and what they bring."""
_MEMBER = re.compile(r"(?:.*?\.)?[^.\d]*(\d+)\.(.+)|(.+)\.(\d+)", re.ASCII | re.DOTALL)


def collect(
    artifact: Artifact,
    program: Program,
    timeline: Timeline,
    engine: str,
    costs: Sequence[LayerCosts] | None = None,
    energy: Energy | None = None,
    bandwidth: float = 1.0,
) -> dict[str, Any]:
    """A JSON object of plain numbers, texts and lists.

    Parameters: as `write_report`.
    Raises: ValueError where the timeline is not of the program's commands.
    """
    count = len(program.commands) - 1
    if not len(timeline.begun) == len(timeline.done) == count:
        raise ValueError(
            f"timeline must be of the program's {count} commands, not {len(timeline.begun)}"
        )
    config = program.config
    macs = artifact.macs() * program.images
    cells = config.rows * config.cols
    table = _layers(artifact, program, timeline, costs)
    if energy is not None:
        _add_energy(table, energy)
    number = {layer["name"]: place for place, layer in enumerate(table)}
    return {
        "schema": SCHEMA,
        "rootshift": __version__,
        "engine": engine,
        "model": str(artifact.source.get("model", "")),
        "bits": str(artifact.bits),
        "input": list(artifact.preprocessing.shape),
        "images": program.images,
        "config": asdict(config),
        "bandwidth": bandwidth,
        "cycles": timeline.cycles,
        "macs": macs,
        "utilization": macs / (timeline.cycles * cells),
        "busy": sum(layer["busy"] for layer in table) / timeline.cycles,
        "traffic": asdict(timeline.traffic),
        "units": {name: asdict(cycles) for name, cycles in timeline.units.items()},
        "energy": None
        if energy is None
        else {"total": energy.total, "static": energy.static, "parts": dict(energy.parts)},
        "layers": table,
        "commands": _commands(artifact, program, timeline, number),
        "window": timeline.window,
        "reads": timeline.reads.tolist(),
        "writes": timeline.writes.tolist(),
    }


def role(name: str) -> tuple[str, str]:
    """Group and role of a layer: "blocks.3.mlp.fc1" is "3" and "mlp.fc1", "head" "" and "head"."""
    found = _MEMBER.fullmatch(name)
    if found is None:
        return "", name
    group, member, stem, last = found.groups()
    return (last, stem) if group is None else (group, member)


def _layers(
    artifact: Artifact,
    program: Program,
    timeline: Timeline,
    costs: Sequence[LayerCosts] | None,
) -> list[dict[str, Any]]:
    """The layers of `sim.layers`, with their traffic; what reads commands counts to the end."""
    counted = count_costs(artifact, program) if costs is None else costs
    moved = {cost.name: {KINDS[name]: getattr(cost, name) for name in KINDS} for cost in counted}
    cells = program.config.rows * program.config.cols
    table = []
    for layer in layers(artifact, program, timeline):
        group, which = role(layer.name)
        kinds = moved.pop(layer.name, None) or dict.fromkeys(KINDS.values(), 0)
        if layer.name == END:
            for others in moved.values():
                kinds = {kind: kinds[kind] + others[kind] for kind in kinds}
        size = sum(kinds.values())
        cycles = layer.cycles
        table.append(
            asdict(layer)
            | {
                "group": group,
                "role": which,
                "cycles": cycles,
                "macs_per_cycle": layer.macs / cycles if cycles else 0.0,
                "utilization": layer.macs / (cycles * cells) if cycles else 0.0,
                "bytes": kinds,
                "traffic": size,
                "macs_per_byte": layer.macs / size if size else None,
            }
        )
    return table


def _add_energy(table: list[dict[str, Any]], energy: Energy) -> None:
    """pJ of each layer by part; those of no layer count to the end."""
    parts = list(energy.parts)
    spent = {layer.name: {part: getattr(layer, part) for part in parts} for layer in energy.layers}
    for layer in table:
        layer["energy"] = spent.pop(layer["name"], None) or dict.fromkeys(parts, 0.0)
    end = table[-1]["energy"]
    for others in spent.values():
        for part in parts:
            end[part] += others[part]


def _commands(
    artifact: Artifact, program: Program, timeline: Timeline, number: Mapping[str, int]
) -> dict[str, Any]:
    """The commands by columns; `layer` is a place in the layers or -1, `what` one in `names`."""
    working = owners(artifact, program)[:-1]
    named = names(program)[:-1]
    known = {name: place for place, name in enumerate(dict.fromkeys(named))}
    placed = program.commands[:-1]
    kinds = {
        name: place for place, name in enumerate(dict.fromkeys(p.command.name for p in placed))
    }
    return {
        "names": list(known),
        "kinds": list(kinds),
        "units": [unit.name for unit in Unit],
        "unit": [int(p.command.instruction.unit) for p in placed],
        "kind": [kinds[p.command.name] for p in placed],
        "what": [known[name] for name in named],
        "layer": [number.get(owner, -1) for owner in working],
        "begun": timeline.begun.tolist(),
        "done": timeline.done.tolist(),
        "token": _first_tokens(program),
        "tokens": [_tokens(p.command.operands) for p in placed],
    }


def _first_tokens(program: Program) -> list[int]:
    """The first token of each command but END, -1 where it has none."""
    stores = (p.token for p in program.commands if p.command.name == "STORE")
    return [
        next(stores) if p.command.name == "GEMM" else p.token if p.operators else -1
        for p in program.commands[:-1]
    ]


def _tokens(operands: Mapping[str, int]) -> int:
    for name in ("tokens", "queries", "rows"):
        if name in operands:
            return operands[name]
    return 0


def per_cycle(beats: Sequence[int], window: int, cycles: int, size: int) -> list[float]:
    """Bytes per cycle in each window, the last one as long as the run lets it."""
    lengths = np.full(len(beats), window, np.float64)
    if len(beats):
        lengths[-1] = min(window, max(1, cycles - window * (len(beats) - 1)))
    return (np.asarray(beats, np.float64) * size / lengths).tolist()
