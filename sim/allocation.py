"""Widths under a budget: the least error for so many bytes, or cycles.

A multiple-choice knapsack: one option per layer. Of each layer only the options on the lower convex
hull of (cost, error) count; steps along the hulls are taken in the order of what they save per
cost, as long as they fit (Sinha and Zoltners 1979, doi 10.1287/opre.27.3.503). The result is within
one step of the optimum; equal for equal input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One width of a layer: what it costs and the error it adds."""

    width: int
    cost: float
    error: float


@dataclass(frozen=True)
class Allocation:
    """The chosen width of each layer, what all cost together, and their errors added up."""

    widths: Mapping[str, int]
    cost: float
    error: float


def allocate(
    options: Mapping[str, Sequence[Option]], budget: float, unit: str, fixed: float = 0.0
) -> Allocation:
    """Choose an option per layer.

    Parameters: `options` of each layer, at least one; `budget` of the sum of all costs, in `unit`;
    `fixed`, the cost that no choice changes.
    Raises: ConfigError where even the cheapest options exceed the budget.
    """
    hulls = {layer: lower_hull(found) for layer, found in options.items()}
    least = fixed + sum(hull[0].cost for hull in hulls.values())
    if least > budget:
        raise ConfigError(f"budget must be at least {least:.0f} {unit}, not {budget:.0f}")
    steps = [
        ((low.error - high.error) / (high.cost - low.cost), layer, at + 1)
        for layer, hull in hulls.items()
        for at, (low, high) in enumerate(pairwise(hull))
    ]
    # Slopes of one hull only fall, so its steps come in their order.
    steps.sort(key=lambda step: (-step[0], step[1], step[2]))
    place = dict.fromkeys(hulls, 0)
    cost = least
    for _, layer, at in steps:
        hull = hulls[layer]
        more = hull[at].cost - hull[at - 1].cost
        if place[layer] == at - 1 and cost + more <= budget:
            place[layer] = at
            cost += more
    chosen = {layer: hull[place[layer]] for layer, hull in hulls.items()}
    return Allocation(
        {layer: option.width for layer, option in chosen.items()},
        fixed + sum(option.cost for option in chosen.values()),
        sum(option.error for option in chosen.values()),
    )


def lower_hull(options: Sequence[Option]) -> list[Option]:
    """The options that are best for some price of the cost, by rising cost and falling error."""
    hull: list[Option] = []
    for option in sorted(options, key=lambda o: (o.cost, o.error, o.width)):
        if hull and option.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _slope(hull[-2], option) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        if hull and option.cost == hull[-1].cost:
            hull[-1] = option
        else:
            hull.append(option)
    return hull


def _slope(low: Option, high: Option) -> float:
    return (high.error - low.error) / (high.cost - low.cost)
