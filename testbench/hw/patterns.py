"""When a driver offers a beat and when a sink takes one: the idle and back-pressure patterns."""

import itertools
import random
from collections.abc import Iterator


def pattern(spec: str, seed: int) -> Iterator[bool]:
    """Return an endless iterator that says, cycle by cycle, whether to act.

    Parameters
    ----------
    spec : str
        `always`; `random:P` acts in each cycle with probability P; `bursts:ON,OFF` acts for ON
        cycles, then rests for OFF; `lazy:N` is for sinks only: it acts once a beat has been valid
        for N cycles, so that a source that waits for ready never moves.
    seed : int
        Of the random pattern.

    Raises
    ------
    ValueError
        No such pattern.
    """
    kind, _, rest = spec.partition(":")
    if kind == "always":
        return itertools.repeat(True)
    if kind == "random":
        chance, generator = float(rest), random.Random(seed)
        return (generator.random() < chance for _ in itertools.count())
    if kind == "bursts":
        on, off = (int(part) for part in rest.split(","))
        return itertools.cycle([True] * on + [False] * off)
    raise ValueError(f"pattern must be always, random:P, bursts:ON,OFF or lazy:N, not {spec!r}")


# A covering choice of idle x back-pressure that each bench runs within one build.
PAIRS = (
    ("always", "always"),
    ("always", "random:0.5"),
    ("random:0.5", "always"),
    ("random:0.5", "random:0.5"),
    ("bursts:7,3", "bursts:1,9"),
    ("random:0.1", "lazy:2"),
    ("always", "lazy:0"),
    ("bursts:1,9", "bursts:7,3"),
)
