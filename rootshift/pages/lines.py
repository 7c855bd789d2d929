"""Lines over a sequence, such as the layers of a model from first to last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .document import escape
from .numbers import decimals, ticks_between
from .svg import LEFT, RIGHT, TOP, WIDTH, grid, group_marks, mark, number, path, svg


@dataclass(frozen=True)
class Stop:
    """A place on the axis: its name (on hover) and the group under the axis."""

    name: str
    group: str = ""


@dataclass(frozen=True)
class Line:
    """A value per stop, None where there is none, and the colour; `joined`, or points alone."""

    name: str
    values: Sequence[float | None]
    colour: str
    joined: bool = True


def line_chart(
    stops: Sequence[Stop],
    lines: Sequence[Line],
    unit: str,
    write: Callable[[float], str] = decimals,
    height: int = 280,
) -> str:
    """A point per value; those of one line are joined, over stops where it has none, too.

    Parameters: `unit`, what the axis shows; `write`, how a value is written.
    Raises: ValueError where a line has not a value or None per stop, or none has a value.
    """
    for line in lines:
        if len(line.values) != len(stops):
            raise ValueError(f"{line.name}: must have {len(stops)} values, not {len(line.values)}")
    values = [value for line in lines for value in line.values if value is not None]
    if not values:
        raise ValueError("lines must have a value")
    marks = ticks_between(min(values), max(values))
    bottom, step = height - 34, (WIDTH - LEFT - RIGHT) / len(stops)

    def across(at: int) -> float:
        return LEFT + step * (at + 0.5)

    def level(value: float) -> float:
        return bottom - (value - marks[0]) / (marks[-1] - marks[0]) * (bottom - TOP)

    parts = [grid(marks, level, write, unit)]
    at = 0
    for _, members in groupby(stops, key=lambda stop: stop.group):
        at += len(list(members))
        if at < len(stops):
            x = LEFT + step * at
            parts.append(path([(x, TOP), (x, bottom)], "grid"))
    dots = []
    for line in lines:
        points = [
            (across(at), level(value), value, stops[at].name)
            for at, value in enumerate(line.values)
            if value is not None
        ]
        if line.joined and len(points) > 1:
            parts.append(path([(x, y) for x, y, *_ in points], f"line {line.colour}"))
        for x, y, value, name in points:
            dot = f'<circle class="{escape(line.colour)}" cx="{number(x)}" cy="{number(y)}" r="4"/>'
            dots.append(mark(f"{name}\n{line.name}: {write(value)}", dot))
    # Above all lines, so that each can be hit.
    parts += dots
    parts.append(group_marks([stop.group for stop in stops], step, bottom))
    return svg(WIDTH, height, parts, unit)
