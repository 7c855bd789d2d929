"""Counts the values that benches compared with golden; run as a script it prints the total.

    python testbench/hw/compared.py

Each test leaves one file under `build/compared`, so that a test run again counts once and workers
never share a file. Runs of the whole accelerator are compared with the cycle model, too: how many,
their commands, and the worst difference.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "build" / "compared"

SUMS = ("compared", "cycles", "build_s", "run_s", "modelled", "commands")
"""What is added up: values, cycles, seconds, and what the cycle model was held against."""
MOST = "worst"
"""What counts by its largest: the cycles that the cycle model was off."""

_runs: dict[str, list[dict[str, Any]]] = {}


def record(unit: str, result: dict[str, Any]) -> None:
    """Add one simulation's counts to the file of the test that is running."""
    if "PYTEST_CURRENT_TEST" not in os.environ:
        return
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    counts = {key: result[key] for key in (*SUMS, MOST) if key in result}
    _runs.setdefault(test, []).append({"unit": unit, **counts})
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{hashlib.sha256(test.encode()).hexdigest()[:20]}.json"
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({"test": test, "runs": _runs[test]}, indent=1))
    aside.replace(path)


def total() -> dict[str, dict[str, float]]:
    """Return per unit, and for `all`, the sums over every recorded simulation."""
    sums: dict[str, dict[str, float]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        for run in json.loads(path.read_text())["runs"]:
            for unit in (run["unit"], "all"):
                into = sums.setdefault(unit, {})
                into["runs"] = into.get("runs", 0) + 1
                for key in SUMS:
                    if key in run:
                        into[key] = round(into.get(key, 0) + run[key], 3)
                if MOST in run:
                    into[MOST] = max(into.get(MOST, 0), run[MOST])
    return sums


if __name__ == "__main__":
    print(json.dumps(total(), indent=1))
