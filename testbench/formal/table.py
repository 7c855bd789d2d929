"""All proofs, and what came of them as a page."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import arithmetic, bus, queues, sequencer, streams
from .proof import Proof, independent

PROOFS: list[Proof] = [
    *queues.PROOFS,
    *bus.PROOFS,
    *arithmetic.PROOFS,
    *streams.PROOFS,
    *sequencer.PROOFS,
]
HEAD = ("unit", "property", "mode", "depth", "solver", "seconds", "result")


def rows(words: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a Markdown table of the proofs, each run as it is asked for.

    Parameters: `words`, of which a proof's name must hold one, where there are any.
    """
    yield _row(HEAD)
    yield _row("---" for _ in HEAD)
    for proof in PROOFS:
        if words and not any(word in proof.name for word in words):
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = proof.run(Path(folder))
        seconds = f"{time.monotonic() - begin:.1f}"
        unit = proof.unit.func.__name__
        yield _row((unit, proof.claim, proof.mode, proof.depth, proof.solver, seconds, result))
    if not words:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = [independent(unit(), Path(folder)) for unit in streams.UNITS]
        seconds = f"{time.monotonic() - begin:.1f}"
        claim = "no `valid` depends on its own `ready` within the cycle"
        result = "proven" if all(found) else "refuted"
        units = f"all {len(found)} with streams"
        yield _row((units, claim, "paths of gates", "", "Yosys", seconds, result))


def _row(cells: Iterator[object] | Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
