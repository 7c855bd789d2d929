"""Tables of Markdown of what is covered, and the list of what is not."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from .points import LINE, TOGGLE, Point

EXCLUSIONS = Path(__file__).with_name("exclusions.toml")
HEADER = (
    "| source | branches | covered | | toggles | covered | | excluded |",
    "|---|---|---|---|---|---|---|---|",
)


class Exclusions:
    """Points that no bench can reach: `exclusions.toml`.

    Each `[[excluded]]` has `source` and `detail`, regular expressions of a whole
    `Point.source` and `Point.detail`, `kind` and `reason`.
    """

    def __init__(self, path: Path = EXCLUSIONS) -> None:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("excluded", [])
        self._entries = [
            (each["kind"], re.compile(each["source"]), re.compile(each["detail"]))
            for each in entries
        ]

    def __contains__(self, point: Point) -> bool:
        return any(
            kind == point.kind and source.fullmatch(point.source) and detail.fullmatch(point.detail)
            for kind, source, detail in self._entries
        )


def report(counts: Mapping[Point, int], missed: Path, out: TextIO) -> None:
    """Print the table by source file, and write the points that were not reached to a file."""
    exclusions = Exclusions()
    excluded = {point for point, count in counts.items() if not count and point in exclusions}
    print("\n".join(table(counts, excluded)), file=out)
    left = sorted(point for point, count in counts.items() if not count and point not in excluded)
    missed.write_text("".join(f"{each.kind} {each.source} {each.detail}\n" for each in left))


def table(counts: Mapping[Point, int], excluded: set[Point]) -> list[str]:
    """One line per file of `hw/`, and their sum."""
    total: Counter[tuple[str, str]] = Counter()
    reached: Counter[tuple[str, str]] = Counter()
    left_out: Counter[str] = Counter()
    for point, count in counts.items():
        for name in (point.source.rsplit(":", 1)[0], "all"):
            if point in excluded:
                left_out[name] += 1
            else:
                total[name, point.kind] += 1
                reached[name, point.kind] += bool(count)
    names = sorted({name for name, _ in total} - {"all"})
    return [
        *HEADER,
        *(
            f"| {name} | {_cells(reached, total, name, LINE)} | "
            f"{_cells(reached, total, name, TOGGLE)} | {left_out[name]} |"
            for name in [*names, "all"]
        ),
    ]


def _cells(reached: Counter, total: Counter, name: str, kind: str) -> str:
    whole, part = total[name, kind], reached[name, kind]
    return f"{whole} | {part} | {100 * part / whole:.1f} %" if whole else "0 | 0 | -"
