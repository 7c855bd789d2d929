"""The points of an exploration by columns, as the page embeds them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..metrics import METRICS
from ..point import Value
from ..record import Record, Status
from ..results import ORIGIN, Exploration, column_of

SCHEMA = 1


def collect(exploration: Exploration) -> dict[str, Any]:
    """A JSON object: `columns`, and what else the page's scripts need.

    A column has its `name`, its `kind` (number, knob, status, reason, metric or artifact) and a
    value per record, None where there is none: as `values`, or as `codes`, places in `values`.
    Metrics, those that are known of any record, also have `unit`, `meaning`, `higher` (more is
    better), `objective` ("maximize", "minimize" or "") and `limit` (the constraint as text, or "").
    `front` has the places of the records on the front of their target, `table` the names of all
    columns that `Exploration.rows` has, and `origin` those that are the same in all rows.
    """
    space, records = exploration.space, exploration.records
    columns = [_plain("number", "number", [record.number for record in records])]
    for knob, values in knob_values(space.knobs, records).items():
        found = [record.point.get(knob) for record in records]
        columns.append(_coded(column_of(knob), "knob", found, values))
    columns.append(_coded("status", "status", [str(r.status) for r in records], map(str, Status)))
    columns.append(_coded("reason", "reason", [record.reason for record in records]))
    objectives = {each.metric: each.maximize for each in space.objectives}
    limits = limits_of(exploration)
    for name, metric in METRICS.items():
        values = [_number(record.metrics.get(name)) for record in records]
        if all(value is None for value in values):
            continue
        goal = ("minimize", "maximize")[objectives[name]] if name in objectives else ""
        columns.append(
            _shorter(name, values)
            | {
                "unit": metric.unit,
                "meaning": metric.meaning,
                "higher": objectives.get(name, metric.higher),
                "objective": goal,
                "limit": limits.get(name, ""),
            }
        )
    columns.append(_coded("artifact", "artifact", [record.artifact for record in records]))
    return {
        "schema": SCHEMA,
        "count": len(records),
        "columns": columns,
        "objectives": list(objectives),
        "front": on_front(exploration),
        "table": ["number", *map(column_of, space.knobs), "status", "reason", *METRICS, "artifact",
                  "front", *ORIGIN],
        "origin": {name: str(exploration.made.get(name, "")) for name in ORIGIN},
    }  # fmt: skip


def on_front(exploration: Exploration) -> list[int]:
    """Places in the records of those that stand on the front of their target."""
    members = {record.number for record in exploration.front()}
    return [at for at, record in enumerate(exploration.records) if record.number in members]


def limits_of(exploration: Exploration) -> dict[str, str]:
    """Metric -> its constraints, such as "at least 60"."""
    return {
        name: ", ".join(f"{bound.replace('_', ' ')} {limit:.12g}" for bound, limit in each.items())
        for name, each in exploration.space.constraints.table().items()
    }


def knob_values(
    knobs: Mapping[str, Sequence[Value]], records: Sequence[Record]
) -> dict[str, list[Value]]:
    """Each knob's values that records have: numbers from the least up, others as the space has."""
    found = {}
    for knob, values in knobs.items():
        seen = {record.point.get(knob) for record in records}
        order = [value for value in values if value in seen]
        if all(isinstance(value, int | float) for value in order):
            order.sort()
        found[knob] = order
    return found


def value_text(value: Value) -> str:
    """A knob's value as the page writes it: 50, not 50.0."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _plain(name: str, kind: str, values: list[Any]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "values": values}


def _coded(
    name: str, kind: str, values: Sequence[Any], order: Iterable[Any] = ()
) -> dict[str, Any]:
    """Values as places in those that occur: in `order`, then as they come."""
    occur = dict.fromkeys(values)
    known = [value for value in order if value in occur]
    known += [value for value in occur if value not in set(known)]
    places = {value: place for place, value in enumerate(known)}
    return _plain(name, kind, known) | {"codes": [places[value] for value in values]}


def _shorter(name: str, values: list[float | None]) -> dict[str, Any]:
    """A metric as it takes fewer characters: accuracy has few values, latency many."""
    # Codes repay the list of values where each value stands twice, about.
    if len(set(values)) * 2 <= len(values):
        return _coded(name, "metric", values)
    return _plain(name, "metric", values)


def _number(value: float | None) -> float | None:
    """A number that JSON can hold, whole ones without a point."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else float(value)
