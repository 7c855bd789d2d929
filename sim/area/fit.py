"""Factors of the area model's terms, fitted to the synthesis runs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import numpy as np

from .runs import WHOLE, Run, read_runs
from .units import UNITS


@dataclass(frozen=True)
class Factors:
    """Fitted factors of a unit's terms on a family; the first of `lut` and of `ff` is 1."""

    lut: tuple[float, ...]
    ff: tuple[float, ...]
    delay: tuple[float, ...]


@lru_cache(maxsize=1)
def fitted() -> dict[tuple[str, str], Factors]:
    """Factors by unit and family, of the runs that are kept."""
    return fit(read_runs())


def fit(runs: Sequence[Run]) -> dict[tuple[str, str], Factors]:
    """Factors by unit and family, of those of `runs` that are not held out; every run weighs as
    its relative error does."""
    kept = [run for run in runs if run.split == "fit" and run.unit != WHOLE]
    kinds = defaultdict(list)
    for run in kept:
        kinds[run.unit, run.family].append(run)
    share = route_share(kept)
    found = {}
    for (unit, family), group in kinds.items():
        terms = [UNITS[unit].terms(run.config, family) for run in group]
        timed = [number for number, run in enumerate(group) if run.logic_ns is not None]
        found[unit, family] = Factors(
            lut=_known([term.lut for term in terms], [run.lut for run in group]),
            ff=_known([term.ff for term in terms], [run.ff for run in group]),
            # Few runs have a delay: no more terms than runs.
            delay=_factors(
                [terms[number].delay[: len(timed)] for number in timed],
                [delay(group[number], share) for number in timed],
            ),
        )
    return found


def route_share(runs: Sequence[Run]) -> float:
    """Time on routes over time in logic, of the paths that were placed and routed."""
    return median(run.route_ns / run.logic_ns for run in runs if run.route_ns and run.logic_ns)


def delay(run: Run, share: float) -> float:
    """A run's longest path, ns; where routes are not known, `share` of its logic's is theirs."""
    return run.logic_ns + (run.route_ns if run.route_ns is not None else share * run.logic_ns)


def _known(rows: list[tuple[float, ...]], counts: list[int]) -> tuple[float, ...]:
    """Factors where that of the first term is 1."""
    rest = [count - row[0] for row, count in zip(rows, counts, strict=True)]
    return (1.0, *_factors([row[1:] for row in rows], rest, counts))


def _factors(
    rows: list[tuple[float, ...]], values: list[float], scale: list[float] | None = None
) -> tuple[float, ...]:
    """The factors, none negative, of the least sum of squares of errors relative to `scale`."""
    # Here, since it takes longer than all the rest.
    from scipy.optimize import nnls

    if not rows:
        return ()
    weight = 1 / np.array(scale or values, float)
    return tuple(nnls(np.array(rows, float) * weight[:, None], values * weight)[0].tolist())
