"""A picture of fronts for a document: one SVG that needs no style sheet and no script."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from math import ceil, floor, log10

import numpy as np

from ....pages import decimals, escape, prefixed
from ....pages.numbers import ticks_between
from ....pages.svg import number, path, rect, text
from ..metrics import METRICS
from ..pareto import front
from ..point import Value
from ..record import Record, Status
from ..results import Exploration

_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 22, 40, 50
_COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#b07700", "#4a3aa7", "#d5477f", "#008300", "#8b6a3d")
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  fill: #565b63; }
text.name, text.pick { fill: #14161a; }
text.pick { font-weight: 600; stroke: #ffffff; stroke-width: 4px; paint-order: stroke;
  stroke-linejoin: round; }
path { fill: none; stroke-linejoin: round; }
path.grid { stroke: #e6e7ea; }
path.front { stroke-width: 1.6; }
path.lead, circle.pick { stroke: #14161a; stroke-width: 1.6; fill: none; }
rect.ground { fill: #ffffff; }
circle.other { fill-opacity: 0.3; }
circle.best { stroke: #ffffff; stroke-width: 1; }
"""


@dataclass(frozen=True)
class _Axis:
    """A metric and where its values lie."""

    metric: str
    maximize: bool
    low: float
    high: float
    log: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        """Place of a value."""
        low, high, here = (log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    @property
    def marks(self) -> list[float]:
        """Round values that lie on the axis."""
        if not self.log or self.high / self.low < 4:
            marks = ticks_between(self.low, self.high, 6)
        else:
            reach = self.high / self.low
            steps = (1, 2, 3, 5, 7) if reach < 30 else (1, 2, 5) if reach < 1000 else (1,)
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            marks = [step * 10.0**power for power in powers for step in steps]
        return [mark for mark in marks if self.low <= mark <= self.high]

    @property
    def label(self) -> str:
        """The metric, its unit, and which end of the axis is better."""
        unit = METRICS[self.metric].unit
        way = "→" if self.maximize else "←"
        return f"{self.metric}{f' ({unit})' if unit else ''} {way} better"


def front_svg(
    exploration: Exploration,
    x: str,
    y: str,
    *,
    picked: Sequence[int] = (),
    x_log: bool = False,
    y_log: bool = False,
) -> str:
    """Two metrics of all complete points, and the front of each target in them as steps.

    Equal arguments give equal text. The background is white, so that it can stand on any page.

    Parameters:
        x, y: names of metrics.
        picked: numbers of records to mark and to write beside them.
        x_log, y_log: whether an axis is logarithmic.
    Raises: ValueError for a metric that is none, or where no complete point has both; for a picked
    record that is not among those; for a logarithmic axis of values that are not all over 0.
    """
    for metric in (x, y):
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    records = [
        record
        for record in exploration.records
        if record.status is Status.COMPLETE and {x, y} <= record.metrics.keys()
    ]
    if not records:
        raise ValueError(f"a complete point must have {x} and {y}, not none")
    known = {record.number: record for record in records}
    for each in picked:
        if each not in known:
            raise ValueError(f"picked must be complete points with {x} and {y}, not {each}")
    across = _axis(exploration, records, x, x_log, _LEFT, _WIDTH - _RIGHT)
    up = _axis(exploration, records, y, y_log, _HEIGHT - _BOTTOM, _TOP)
    parts = [rect(0, 0, _WIDTH, _HEIGHT, "ground"), *_frame(across, up)]
    groups: dict[Value | None, list[Record]] = {
        target: [] for target in exploration.space.knobs.get("target", (None,))
    }
    for record in records:
        groups[record.point.get("target")].append(record)

    def place(record: Record) -> tuple[float, float]:
        # Tenths: what a reader cannot tell apart is one dot.
        return round(across.at(record.metrics[x]), 1), round(up.at(record.metrics[y]), 1)

    groups = {target: group for target, group in groups.items() if group}
    others, lines, best = [], [], []
    for colour, group in zip(cycle(_COLOURS), groups.values(), strict=False):
        rows = np.array([[record.metrics[x], record.metrics[y]] for record in group])
        kept = front(rows, [across.maximize, up.maximize])
        corners = [place(record) for record, on in zip(group, kept, strict=True) if on]
        lines.append(_steps(corners, across, up, colour))
        for record, on in zip(group, kept, strict=True):
            (best if on else others).append(_dot(*place(record), on, colour))
    parts += [*dict.fromkeys(others), *lines, *dict.fromkeys(best)]
    parts += _legend(list(groups))
    parts += _picks([(str(each), *place(known[each])) for each in picked])
    name = f"{y} against {x}: {len(records)} points"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(name)}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _axis(
    exploration: Exploration,
    records: Sequence[Record],
    metric: str,
    log: bool,
    start: float,
    end: float,
) -> _Axis:
    """The axis over all values, with a little room at its ends."""
    values = [record.metrics[metric] for record in records]
    low, high = min(values), max(values)
    if log and low <= 0:
        raise ValueError(f"{metric} must be over 0 on a logarithmic axis, not {low:g}")
    goals = {each.metric: each.maximize for each in exploration.space.objectives}
    maximize = goals.get(metric, METRICS[metric].higher)
    if log:
        edge = max((high / low) ** 0.04, 1.02)
        return _Axis(metric, maximize, low / edge, high * edge, True, start, end)
    edge = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    return _Axis(metric, maximize, low - edge, high + edge, False, start, end)


def _frame(across: _Axis, up: _Axis) -> Iterator[str]:
    """Grid, marks and names of both axes."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for mark in across.marks:
        yield path([(across.at(mark), _TOP), (across.at(mark), bottom)], "grid")
        yield text(across.at(mark), bottom + 18, _written(mark), "middle")
    for mark in up.marks:
        yield path([(_LEFT, up.at(mark)), (right, up.at(mark))], "grid")
        yield text(_LEFT - 7, up.at(mark) + 4.5, _written(mark), "end")
    yield text((_LEFT + right) / 2, _HEIGHT - 10, across.label, "middle", "name")
    yield (
        f'<text class="name" text-anchor="middle" transform="translate(15 '
        f'{number((_TOP + bottom) / 2)}) rotate(-90)">{escape(up.label)}</text>'
    )


def _written(mark: float) -> str:
    return prefixed(mark) if abs(mark) >= 10_000 else decimals(mark, 4)


def _steps(places: Sequence[tuple[float, float]], across: _Axis, up: _Axis, colour: str) -> str:
    """The border of what the places dominate, from one edge of the plot to the other."""
    better = across.end if across.maximize else across.start
    order = sorted(set(places), key=lambda each: abs(each[0] - better))
    # From the best in x, which ends where y is worst, to the best in y.
    worst_x = across.start if across.maximize else across.end
    worst_y = up.start if up.maximize else up.end
    line = [(order[0][0], worst_y), order[0]]
    for here, there in pairwise(order):
        line += [(there[0], here[1]), there]
    line.append((worst_x, order[-1][1]))
    return path(line, "front").replace("<path", f'<path stroke="{colour}"')


def _dot(x: float, y: float, best: bool, colour: str) -> str:
    kind, size = ("best", 4.8) if best else ("other", 2.6)
    return f'<circle class="{kind}" fill="{colour}" cx="{number(x)}" cy="{number(y)}" r="{size}"/>'


def _legend(targets: Sequence[Value | None]) -> Iterator[str]:
    """The targets, where there are any."""
    x = float(_LEFT)
    for colour, target in zip(cycle(_COLOURS), targets, strict=False):
        if target is not None:
            yield _dot(x + 5, 20, True, colour)
            yield text(x + 15, 24.5, str(target), "start", "name")
            # About seven units a letter.
            x += 34 + 7.4 * len(str(target))


def _picks(picks: Sequence[tuple[str, float, float]]) -> Iterator[str]:
    """A ring around each, and its number where there is room."""
    taken: list[tuple[float, float, float, float]] = [
        (x - 8, y - 8, x + 8, y + 8) for _, x, y in picks
    ]
    for name, x, y in picks:
        wide = 8.0 * len(name)
        yield f'<circle class="pick" cx="{number(x)}" cy="{number(y)}" r="7.5"/>'
        spots = [
            (x + dx * far, y + dy * far, dx)
            for far in (16, 30, 46)
            for dx, dy in ((0.7, -0.7), (0.7, 0.7), (-0.7, -0.7), (-0.7, 0.7), (0, -1), (0, 1))
        ]
        boxes = [_box(*spot, wide) for spot in spots]
        box = next((each for each in boxes if _inside(each, taken)), boxes[0])
        taken.append(box)
        yield text((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 4.5, name, "middle", "pick")


def _box(x: float, y: float, side: float, wide: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a text that begins, ends or is centred at a place."""
    left = x if side > 0 else x - wide if side < 0 else x - wide / 2
    return left, y - 8, left + wide, y + 8


def _inside(
    box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]
) -> bool:
    """Whether a text is inside the plot and over nothing else."""
    left, top, right, bottom = box
    if left < _LEFT or right > _WIDTH - _RIGHT or top < _TOP - 8 or bottom > _HEIGHT - _BOTTOM:
        return False
    return all(right < a or left > c or bottom < b or top > d for a, b, c, d in taken)
