"""When a point can be given up before it is measured: it cannot come onto the front any more."""

import math
from collections.abc import Mapping, Sequence
from functools import cache

from .constraints import Objective
from .metrics import METRICS, Stage
from .pareto import fronts
from .point import Point
from .record import Record
from .space import Space

CONFIDENCE = 0.99
"""Of a bound: where it alone decides, at most one point in a hundred is given up wrongly."""


@cache
def upper_bound(hits: int, images: int) -> float:
    """The share of hits that all images together do not exceed, with `CONFIDENCE`.

    The share at which so few hits, or fewer, become as rare as 1 - `CONFIDENCE`: upper end of the
    exact interval, one-sided (C. J. Clopper and E. S. Pearson, The use of confidence or fiducial
    limits illustrated in the case of the binomial, Biometrika 26, 1934). Wilson's interval is
    narrower, but near 100 % its upper end fails up to twelve times as often as it says.
    """
    if hits == images:
        return 1.0
    low, high = hits / images, 1.0
    while high - low > 1e-9:
        share = (low + high) / 2
        if _at_most(hits, images, share) > 1 - CONFIDENCE:
            low = share
        else:
            high = share
    return high


def _at_most(hits: int, images: int, share: float) -> float:
    """Probability of `hits` or fewer of so many `images`, each a hit with probability `share`."""
    ways = math.lgamma(images + 1)
    return sum(
        math.exp(
            ways - math.lgamma(n + 1) - math.lgamma(images - n + 1)
            + n * math.log(share) + (images - n) * math.log1p(-share)
        )
        for n in range(hits + 1)
    )  # fmt: skip


class Pruning:
    """The rule, with what is known when a batch of points begins.

    What a point can still reach is, of a metric that is measured, its value; of an accuracy on a
    few images its `upper_bound`; of all others anything. It is given up where that breaks a
    constraint, or where a complete record of its target is at least as good in every objective and
    better in one.

    Parameters: `space`; `records`, those of earlier batches.
    """

    def __init__(self, space: Space, records: Sequence[Record]) -> None:
        self._space = space
        # What a record beats, one on its front beats, too.
        self._fronts = fronts(records, space.objectives)

    def reason(self, point: Point, stage: Stage, metrics: Mapping[str, float]) -> str | None:
        """Why a point is given up that has reached `stage` with `metrics`, or None."""
        if stage >= Stage.ALL_IMAGES:
            return None
        if stage == Stage.FEW_IMAGES:
            for name, limit in self._space.constraints.at_least.items():
                if METRICS[name].unit == "%" and (bound := _bound(name, metrics)) < limit:
                    return (
                        f"{name} must be at least {limit:g}, not {metrics[name]:.1f} of "
                        f"{metrics['images']} images, which makes {bound:.1f} at most"
                    )
        objectives = self._space.objectives
        possible = [_possible(each, stage, metrics) for each in objectives]
        for record in self._fronts.get(point.get("target"), ()):
            values = [_signed(each, record.metrics[each.metric]) for each in objectives]
            pairs = list(zip(values, possible, strict=True))
            if all(a >= b for a, b in pairs) and any(a > b for a, b in pairs):
                return f"point {record.number} is better, whatever is not measured yet"
        return None


def _possible(objective: Objective, stage: Stage, metrics: Mapping[str, float]) -> float:
    """The best that an objective can still become, as a number to maximize."""
    metric = METRICS[objective.metric]
    if metric.stage <= stage and metric.stage < Stage.FEW_IMAGES:
        return _signed(objective, metrics[metric.name])
    if metric.unit == "%" and objective.maximize:
        return _bound(metric.name, metrics) if stage == Stage.FEW_IMAGES else 100.0
    return math.inf if objective.maximize else 0.0


def _bound(accuracy: str, metrics: Mapping[str, float]) -> float:
    """What an accuracy can become on all images, in percent."""
    images = int(metrics["images"])
    return 100.0 * upper_bound(round(metrics[accuracy] / 100.0 * images), images)


def _signed(objective: Objective, value: float) -> float:
    return value if objective.maximize else -value
