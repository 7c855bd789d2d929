"""Tables of Markdown of what is covered, and the list of what is not."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from .points import LINE, TOGGLE, Point

HEADER = (
    "| source | branches | covered | | toggles | covered | |",
    "|---|---:|---:|---:|---:|---:|---:|",
)


def report(counts: Mapping[Point, int], missed: Path, out: TextIO) -> None:
    """Print the table by source file, and write the points that were not reached to a file."""
    print("\n".join(table(counts)), file=out)
    left = sorted(point for point, count in counts.items() if not count)
    missed.write_text("".join(f"{each.kind} {each.source} {each.detail}\n" for each in left))


def table(counts: Mapping[Point, int]) -> list[str]:
    """One line per file of `hw/`, and their sum."""
    total: Counter[tuple[str, str]] = Counter()
    reached: Counter[tuple[str, str]] = Counter()
    for point, count in counts.items():
        for name in (point.source.rsplit(":", 1)[0], "all"):
            total[name, point.kind] += 1
            reached[name, point.kind] += bool(count)
    names = sorted({name for name, _ in total} - {"all"})
    return [
        *HEADER,
        *(
            f"| {name} | {_cells(reached, total, name, LINE)} | "
            f"{_cells(reached, total, name, TOGGLE)} |"
            for name in [*names, "all"]
        ),
    ]


def _cells(reached: Counter, total: Counter, name: str, kind: str) -> str:
    whole, part = total[name, kind], reached[name, kind]
    return f"{whole} | {part} | {100 * part / whole:.1f} %" if whole else "0 | 0 | -"
