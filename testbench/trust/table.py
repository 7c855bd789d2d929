"""What the tests of this folder have tried: two tables in Markdown.

pytest testbench/trust && python testbench/trust/table.py > testbench/trust/table.md
"""

import json
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "trust"
TRIED = ("accepted", "refused")
KILLS = ("kills", "survived")


def total() -> dict[str, Counter[str]]:
    """Target -> outcome -> how often, over all tests that have left a file."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(FOLDER.glob("*.json")):
        for target, counts in json.loads(path.read_text())["counts"].items():
            sums[target].update(counts)
    return dict(sorted(sums.items()))


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Numbers to the right, and their sums at the end."""
    sums = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(map(_shown, row)) + " |" for row in [*rows, sums]]
    return "\n".join(lines)


def _shown(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def text() -> str:
    """Both tables."""
    sums = total()
    inputs = [
        (target, sum(counts[each] for each in TRIED), *(counts[each] for each in TRIED))
        for target, counts in sums.items()
        if any(counts[each] for each in TRIED)
    ]
    kills = [
        (target, *(counts[each] for each in KILLS))
        for target, counts in sums.items()
        if counts[KILLS[0]]
    ]
    runs = [(target, counts["equal"]) for target, counts in sums.items() if counts["equal"]]
    parts = [
        (("target", "inputs tried", "accepted", "refused with one line"), inputs),
        (("killed", "kills", "survived"), kills),
        (("made again under", "trees equal"), runs),
    ]
    return "\n\n".join(table(head, rows) for head, rows in parts if rows)


if __name__ == "__main__":
    print(text())
