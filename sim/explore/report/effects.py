"""What each value of a knob does to a metric, all other knobs equal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics import METRICS
from ..point import Value
from ..record import Record


@dataclass(frozen=True)
class Effect:
    """A value of a knob, compared with its reference in pairs that differ in this knob alone.

    Fields: `pairs`, how many; `median`, quartiles `low` and `high`, `least` and `greatest` of their
    changes: metric / metric of the reference where `factor` is true, the difference otherwise.
    """

    pairs: int
    median: float
    low: float
    high: float
    least: float
    greatest: float
    factor: bool

    @property
    def none(self) -> float:
        """The change that is none."""
        return 1.0 if self.factor else 0.0


@dataclass(frozen=True)
class Knob:
    """A knob with several values: its `reference`, and by value and metric the effects.

    The reference is the value that makes most pairs, the first of those: on a grid, the knob's
    first. An effect is None where there is no pair; that of the reference itself is left out.
    """

    name: str
    reference: Value
    effects: Mapping[Value, Mapping[str, Effect | None]]


def effects(
    records: Sequence[Record], knobs: Mapping[str, Sequence[Value]], metrics: Sequence[str]
) -> list[Knob]:
    """Every knob of which `records` have two values or more.

    Parameters: `records`, complete points, each once; `knobs`, name -> values in their order;
    `metrics`, names. Changes of a percentage, or of what is not always over 0, are differences.
    """
    places = {
        name: {value: place for place, value in enumerate(values)} for name, values in knobs.items()
    }
    codes = np.array(
        [[places[name].get(r.point.get(name), -1) for name in knobs] for r in records], np.int64
    ).reshape(len(records), len(knobs))
    measured = {
        name: np.array([r.metrics.get(name, np.nan) for r in records], np.float64)
        for name in metrics
    }
    factors = {
        name: METRICS[name].unit != "%" and bool(np.all(values[~np.isnan(values)] > 0))
        for name, values in measured.items()
    }
    found = []
    for at, (name, values) in enumerate(knobs.items()):
        table = _alike(codes, at, len(values))
        taken = [place for place in range(len(values)) if np.any(table[:, place] >= 0)]
        if len(taken) < 2:
            continue
        has = table[:, taken] >= 0
        pairs = [int(has[has[:, place]].sum() - has[:, place].sum()) for place in range(len(taken))]
        reference = taken[pairs.index(max(pairs))]
        found.append(
            Knob(
                name,
                values[reference],
                {
                    values[place]: {
                        metric: _effect(table, place, reference, measured[metric], factors[metric])
                        for metric in metrics
                    }
                    for place in taken
                    if place != reference
                },
            )
        )
    return found


def _alike(codes: np.ndarray, knob: int, values: int) -> np.ndarray:
    """[G, values]: of all other knobs equal and each value, the record; -1 for none."""
    others = np.delete(codes, knob, axis=1)
    _, group = np.unique(others, axis=0, return_inverse=True)
    group = group.reshape(-1)
    table = np.full((group.max(initial=-1) + 1, values), -1, np.int64)
    own = codes[:, knob]
    known = own >= 0
    table[group[known], own[known]] = np.flatnonzero(known)
    return table


def _effect(
    table: np.ndarray, place: int, reference: int, values: np.ndarray, factor: bool
) -> Effect | None:
    both = (table[:, place] >= 0) & (table[:, reference] >= 0)
    new, old = values[table[both, place]], values[table[both, reference]]
    change = new / old if factor else new - old
    change = change[~np.isnan(change)]
    if not change.size:
        return None
    least, low, median, high, greatest = np.percentile(change, [0, 25, 50, 75, 100])
    return Effect(
        change.size, float(median), float(low), float(high), float(least), float(greatest), factor
    )
