"""Points that Verilator counts, named by the Python source of the RTL.

Verilog is made anew for each configuration, with names and lines of its own. A point's name is that
of the register or wire it belongs to, so what one configuration reaches counts for all.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LINE, TOGGLE = "line", "toggle"
_FIELD = re.compile("\x01([^\x02]*)\x02([^\x01']*)")
_NAME = r"(\\\S+|\w+)"
_SOURCE = re.compile(r'\(\* src = "([^"|]*)[^"]*" \*\)')
_DECLARED = re.compile(rf"\s*(?:(?:input|output|wire|reg|signed)\s+)+(?:\[[^]]*\]\s*)?{_NAME}")
_NEXT = re.compile(rf"\s*{_NAME}\s*<=\s*{_NAME}\s*;")
_ASSIGNED = re.compile(rf"\s*{_NAME}\s*(?:\[[^]]*\]\s*)?=(?!=)")
_UNNAMED = "\\$"


@dataclass(frozen=True, order=True)
class Point:
    """One thing that is reached or not.

    Attributes
    ----------
    kind : str
        `LINE` (a branch) or `TOGGLE` (an edge of one bit).
    source : str
        Where its register or wire is made, `hw/<file>.py:<line>`.
    detail : str
        Which branch, or which bit and edge.
    """

    kind: str
    source: str
    detail: str


class Sources:
    """Where each line of Verilog, as Yosys writes it, comes from.

    Parameters: `verilog`, with attributes `src`; `root`, the folder that sources are relative to.
    """

    def __init__(self, verilog: str, root: Path) -> None:
        self._lines = verilog.splitlines()
        self._root = f"{root}/"
        self.declarations: dict[int, str] = {}
        """Line -> source of the wire that it declares, of those that have a name in Python."""
        self.branches: dict[int, tuple[str, int]] = {}
        """Line -> source of what its block, or its expression, gives a value, and first line."""
        begins = [n for n, line in enumerate(self._lines) if line.startswith("module ")]
        for begin, end in zip(begins, [*begins[1:], len(self._lines)], strict=True):
            self._read(begin, end, self._values(begin, end))

    def _values(self, begin: int, end: int) -> dict[str, str]:
        """Name -> source of each wire of a module; a register's next value is the register's."""
        known, attribute = {}, ""
        for number in range(begin, end):
            line = self._lines[number]
            if found := _DECLARED.match(line):
                source = known.setdefault(found[1], attribute)
                if not found[1].startswith(_UNNAMED):
                    self.declarations[number + 1] = source
            elif (found := _NEXT.match(line)) and "always" in self._lines[number - 1]:
                known[found[2]] = self._source(self._lines[number - 2])
            attribute = self._source(line) if line.lstrip().startswith("(*") else ""
        return known

    def _read(self, begin: int, end: int, known: dict[str, str]) -> None:
        source, first = "", begin
        for number in range(begin, end):
            line = self._lines[number]
            if line.startswith(("  always ", "  initial ")):
                source, first = "", number
            elif line.startswith("  assign "):
                source, first = self._source(line), number
            elif not source and (found := _ASSIGNED.match(line)):
                source = known.get(found[1], "")
                # The line of a branch may come before that of the block's first assignment.
                self.branches |= {each + 1: (source, first) for each in range(first, number)}
            self.branches[number + 1] = source, first

    def _source(self, line: str) -> str:
        found = _SOURCE.search(line)
        return found[1].removeprefix(self._root) if found else ""


def read(data: str, sources: Sources) -> Counter[Point]:
    """Counts of Verilator's `coverage.dat`, of those points that have a source."""
    counts: Counter[Point] = Counter()
    order: Counter[tuple[str, int]] = Counter()
    for line in data.splitlines():
        if not line.startswith("C "):
            continue
        described, _, count = line.rpartition(" ")
        field = dict(_FIELD.findall(described))
        number, kind = int(field["l"]), field["page"].split("/")[0]
        if kind == "v_toggle":
            source, detail = sources.declarations.get(number, ""), field["o"]
            point = Point(TOGGLE, source, detail)
        else:
            source, first = sources.branches[number]
            order[source, first] += 1
            point = Point(LINE, source, f"{field['o']} {order[source, first]}")
        if source:
            counts[point] += int(count)
    return counts
