"""Seeds of random tests: fixed, printed, and changed with the environment variable below."""

import os
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np

VARIABLE = "ROOTSHIFT_SEED"
SEED = int(os.environ.get(VARIABLE, "2212"))


def generator(*key: int) -> np.random.Generator:
    """A generator for one case of a test; pytest shows the printed line where the test fails."""
    print(f"{VARIABLE}={SEED} case={list(key)}")
    return np.random.default_rng([SEED, *key])


def explored(examples: int, *, shrink: bool = True) -> Callable[[Any], Any]:
    """Decorator: Hypothesis with the seed above, `examples` examples, and no state on disk.

    Parameters: `shrink`, look for a smaller example that fails; not where each is a long build.
    """
    less = () if shrink else (hypothesis.Phase.shrink, hypothesis.Phase.explain)
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[phase for phase in hypothesis.Phase if phase not in less],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    return lambda test: hypothesis.seed(SEED)(settings(test))
