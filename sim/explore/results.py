"""What an exploration found: its records, its fronts, and the files that keep them."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...output import write_file
from .metrics import METRICS
from .pareto import fronts
from .point import Value
from .record import Record, Status
from .section import number
from .space import Space

if TYPE_CHECKING:
    import pyarrow

SPACE = "space.toml"
"""File of the space in an exploration's folder."""
SCHEMA = 1
"""Version of `exploration.json`."""
ORIGIN = ("seed", "version", "code")
"""Columns that say where a row comes from: the search's seed, rootshift's version, its code."""
_OTHERS = ("number", "status", "reason", *METRICS, "artifact", "front", *ORIGIN)
_ENTRY = {
    "number": int, "point": dict, "status": str, "reason": str, "metrics": dict, "artifact": str,
}  # fmt: skip
_SHOWN = 20


@dataclass(frozen=True)
class Exploration:
    """All that came of a space.

    Fields: `space`; `records`, by number; `made`, how: `version` of rootshift, digest of its
    `code`, `seed` of the search, `engine`, `workers`, `seconds`, and `counts` of what was computed.
    """

    space: Space
    records: tuple[Record, ...]
    made: Mapping[str, Any]

    def fronts(self) -> dict[Value | None, list[Record]]:
        """Target -> the complete records that no other of that target beats in all objectives.

        None stands for the target where the space has none.
        """
        return {target: list(found) for target, found in self._fronts.items()}

    def front(self, target: str | None = None) -> list[Record]:
        """The front of a target, or the fronts of all where it is left out; by number.

        Raises: ValueError for a target that the space does not have.
        """
        known = self.space.knobs.get("target", ())
        if target is not None and target not in known:
            raise ValueError(f"target must be one of {', '.join(map(str, known))}, not {target!r}")
        found = [self._fronts.get(target, [])] if target is not None else self._fronts.values()
        return sorted((each for group in found for each in group), key=lambda each: each.number)

    @cached_property
    def _fronts(self) -> dict[Value | None, list[Record]]:
        return fronts(self.records, self.space.objectives)

    def rows(self) -> list[dict[str, Value | bool | None]]:
        """A flat row per record, all with the same columns, None where a value is not known.

        Columns: number; the knobs, by `column_of`; status, reason; all of `METRICS`; artifact;
        `front`, whether the record is on the front of its target; and `ORIGIN`.
        """
        front = {each.number for each in self.front()}
        origin = {name: self.made.get(name) for name in ORIGIN}
        return [
            {
                "number": record.number,
                **{column_of(knob): record.point.get(knob) for knob in self.space.knobs},
                "status": str(record.status),
                "reason": record.reason,
                **{name: record.metrics.get(name) for name in METRICS},
                "artifact": record.artifact,
                "front": record.number in front,
                **origin,
            }
            for record in self.records
        ]

    def table(self) -> "pyarrow.Table":
        """The rows as a typed table, whose metadata has `ORIGIN` and the space's TOML.

        A knob is int64, float64, or a string where any of its values is one; a metric is int64
        where all that is known of it are integers, float64 otherwise.
        """
        import pyarrow

        rows = self.rows()
        kinds: dict[str, type] = {"number": int}
        kinds |= {column_of(knob): _kind(values) for knob, values in self.space.knobs.items()}
        kinds |= {"status": str, "reason": str}
        kinds |= {name: _kind([r[name] for r in rows if r[name] is not None]) for name in METRICS}
        kinds |= {"artifact": str, "front": bool, "seed": int, "version": str, "code": str}
        types = {
            int: pyarrow.int64(),
            float: pyarrow.float64(),
            str: pyarrow.string(),
            bool: pyarrow.bool_(),
        }
        columns = {
            name: pyarrow.array(
                [None if row[name] is None else kind(row[name]) for row in rows], types[kind]
            )
            for name, kind in kinds.items()
        }
        origin = {f"rootshift.{name}": str(self.made.get(name, "")) for name in ORIGIN}
        return pyarrow.table(columns, metadata=origin | {"rootshift.space": self.space.text})

    def write(self, out: str | Path) -> None:
        """Write `space.toml`, `exploration.json`, `points.parquet`, `points.csv`, `report.html`.

        Raises: OutputError where a file cannot be written; what it held before is kept.
        """
        import pyarrow.csv
        import pyarrow.parquet

        from .report import write_exploration_report

        out, table = Path(out), self.table()
        body = {
            "schema": SCHEMA,
            "made": dict(self.made),
            "space": self.space.text,
            "records": [entry(record) for record in self.records],
        }
        content = json.dumps(body, allow_nan=False).encode() + b"\n"
        write_file(out / SPACE, lambda file: file.write(self.space.text.encode()))
        write_file(out / "exploration.json", lambda file: file.write(content))
        write_file(out / "points.parquet", lambda file: pyarrow.parquet.write_table(table, file))
        write_file(out / "points.csv", lambda file: pyarrow.csv.write_csv(table, file))
        write_exploration_report(out / "report.html", self)

    @classmethod
    def load(cls, out: str | Path) -> "Exploration":
        """What `write` wrote to a folder; the files that the space names need not be there.

        Raises: ConfigError where `exploration.json` is missing, or is none.
        """
        path = Path(out) / "exploration.json"
        try:
            body = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not JSON: {error}") from None
        schema = body.get("schema") if isinstance(body, dict) else None
        if schema != SCHEMA:
            raise ConfigError(f"{path}: schema must be {SCHEMA}, not {schema!r}")
        try:
            space = Space.parse(body["space"], path=path, check_files=False)
            records = tuple(read_entry(each, space) for each in body["records"])
            made = dict(body["made"])
            if missing := [name for name in ORIGIN if name not in made]:
                raise KeyError(missing[0])
            return cls(space, records, made)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path}: not an exploration: {error!r}") from None

    def _repr_html_(self) -> str:
        """The front as a small table: what differs between points, and the objectives."""
        knobs = [knob for knob, values in self.space.knobs.items() if len(values) > 1]
        metrics = [each.metric for each in self.space.objectives]
        front = self.front()
        heads = ["number", *knobs, *(f"{name} {METRICS[name].unit}".strip() for name in metrics)]
        lines = [
            [each.number, *map(each.point.get, knobs), *map(each.metrics.get, metrics)]
            for each in front[:_SHOWN]
        ]
        title = f"{len(front)} of {len(self.records)} points on the front"
        if len(front) > _SHOWN:
            title += f", the first {_SHOWN}"
        body = "".join(_html_row("td", line) for line in lines)
        return (
            f"<table><caption>{title}</caption><thead>{_html_row('th', heads)}</thead>"
            f"<tbody>{body}</tbody></table>"
        )


def column_of(knob: str) -> str:
    """Column of a knob: its name, or `knob_NAME` where another column has that name.

    So `clock_mhz` is the clock that latency counts with, `knob_clock_mhz` the one asked for.
    """
    return f"knob_{knob}" if knob in _OTHERS else knob


def entry(record: Record) -> dict[str, Any]:
    """A record as a JSON object."""
    return {
        "number": record.number,
        "point": dict(record.point.values),
        "status": str(record.status),
        "reason": record.reason,
        "metrics": dict(record.metrics),
        "artifact": record.artifact,
    }


def read_entry(body: Mapping[str, Any], space: Space) -> Record:
    """The record of a point of `space` that `entry` made; raises KeyError, TypeError, ValueError
    or AttributeError where it did not."""
    for name, kind in _ENTRY.items():
        if type(body[name]) is not kind:
            raise TypeError(f"{name} must be of type {kind.__name__}, not {body[name]!r}")
    try:
        point = space.point(body["point"])
        metrics = {name: number(value) for name, value in body["metrics"].items()}
    except ConfigError as error:
        raise ValueError(str(error)) from None
    status = Status(body["status"])
    return Record(body["number"], point, status, body["reason"], metrics, body["artifact"])


def _kind(values: Iterable[Value]) -> type:
    """Type of a column: int, float where there is none, or str."""
    found = {type(value) for value in values}
    if str in found:
        return str
    return int if found == {int} else float


def _html_row(cell: str, values: Sequence[Any]) -> str:
    texts = (f"{each:.6g}" if isinstance(each, float) else str(each) for each in values)
    return "<tr>" + "".join(f"<{cell}>{html.escape(each)}</{cell}>" for each in texts) + "</tr>"
