"""Tries inputs on the product and counts what came of them, for `table.py`.

Each test leaves one file under `build/trust`, so that a test run again counts once and workers
never share a file.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rootshift.errors import RootshiftError

FOLDER = Path(__file__).resolve().parents[2] / "build" / "trust"
ACCEPTED, REFUSED = "accepted", "refused"
KILLED, SURVIVED = "kills", "survived"

T = TypeVar("T")
_counts: defaultdict[str, Counter[str]] = defaultdict(Counter)


def attempt(target: str, load: Callable[[], T]) -> T | None:
    """What `load` gives, or None where it refuses as bad input must be refused.

    Any exception but a `RootshiftError` with a message of one line comes through: a traceback in
    the user's face.
    """
    try:
        found = load()
    except RootshiftError as error:
        message = str(error)
        assert message.strip()
        assert "Traceback" not in message
        count(target, REFUSED)
        return None
    count(target, ACCEPTED)
    return found


def count(target: str, *outcomes: str) -> None:
    """Add one input, or one kill, and what came of it."""
    _counts[target].update(outcomes)


def write() -> None:
    """Leave the counts of the test that is running, and begin anew."""
    if not _counts:
        return
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{hashlib.sha256(test.encode()).hexdigest()[:20]}.json"
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({"test": test, "counts": _counts}, indent=1))
    aside.replace(path)
    _counts.clear()
