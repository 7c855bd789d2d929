"""Widths under a budget: against every combination, and what must always hold."""

import itertools

import numpy as np
import pytest

from rootshift.errors import ConfigError
from rootshift.sim.allocation import Option, allocate, lower_hull


def drawn(layers: int, seed: int) -> dict[str, list[Option]]:
    """Layers of random size whose error falls with the width, with some noise."""
    print(f"seed={seed} layers={layers}")
    rng = np.random.default_rng(seed)
    found = {}
    for layer in range(layers):
        size, weight = rng.integers(1, 50), rng.exponential()
        found[f"layer{layer}"] = [
            Option(w, float(size * w), float(weight * 4.0**-w * rng.uniform(0.5, 1.5)))
            for w in range(3, 9)
        ]
    return found


def best(options: dict[str, list[Option]], budget: float) -> float:
    """Least error of all combinations within the budget."""
    return min(
        sum(o.error for o in chosen)
        for chosen in itertools.product(*options.values())
        if sum(o.cost for o in chosen) <= budget
    )


@pytest.mark.parametrize("seed", range(12))
def test_error_is_within_one_step_of_the_least(seed: int) -> None:
    options = drawn(4, seed)
    least = sum(min(o.cost for o in found) for found in options.values())
    most = sum(max(o.cost for o in found) for found in options.values())
    for part in (0.0, 0.2, 0.5, 0.8, 1.0):
        budget = least + part * (most - least)
        found = allocate(options, budget, "bytes")
        assert found.cost <= budget
        step = max(
            high.error - low.error
            for hull in map(lower_hull, options.values())
            for high, low in itertools.pairwise(hull)
        )
        assert best(options, budget) <= found.error <= best(options, budget) + step


def test_all_of_the_budget_buys_the_least_error() -> None:
    options = drawn(6, 3)
    found = allocate(options, 1e9, "bytes")
    for layer, width in found.widths.items():
        assert width == min(options[layer], key=lambda o: o.error).width


def test_wider_that_is_not_better_is_never_chosen() -> None:
    options = {"a": [Option(4, 4, 1.0), Option(6, 6, 1.5), Option(8, 8, 0.1)]}
    assert [o.width for o in lower_hull(options["a"])] == [4, 8]
    assert allocate(options, 7, "bytes").widths == {"a": 4}


def test_same_cost_takes_the_least_error() -> None:
    options = {"a": [Option(3, 1.0, 3.0), Option(4, 1.0, 1.0), Option(8, 2.0, 0.5)]}
    assert allocate(options, 1, "cycles").widths == {"a": 4}


def test_budget_below_the_cheapest_is_refused() -> None:
    options = {"a": [Option(3, 30, 1.0)], "b": [Option(3, 12, 1.0)]}
    with pytest.raises(ConfigError, match="budget must be at least 42 bytes, not 41"):
        allocate(options, 41, "bytes")
