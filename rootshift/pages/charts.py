"""Figures as SVG: columns, one stacked bar, areas over an axis, and points under roofs.

Colours are those of the style sheet, by number (`c0` ..) or name, so that a figure follows light,
dark and print by itself. Each mark carries a `title`, which the page's script shows on hover.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10

from .document import escape
from .numbers import decades, decimals, percent, prefixed, ticks
from .svg import LEFT, RIGHT, TOP, WIDTH, grid, group_marks, number, path, rect, svg, text

COLOURS = 10
"""Numbered colours of the style sheet."""


@dataclass(frozen=True)
class Series:
    """A value per column; what belongs to columns side by side is `colour` or theirs."""

    name: str
    values: Sequence[float]
    colour: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its name (on hover), the group under the axis, and its colour."""

    name: str
    group: str = ""
    colour: str = "c0"


@dataclass(frozen=True)
class Part:
    """A part of a whole."""

    name: str
    value: float
    colour: str


@dataclass(frozen=True)
class Point:
    """A point: name, place (over 0), colour, and what is shown on hover below the name."""

    name: str
    x: float
    y: float
    colour: str
    text: str = ""


@dataclass(frozen=True)
class Roof:
    """A bound min(`slope` * x, `level`) with the name of its level."""

    name: str
    slope: float
    level: float


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Names (plain) with the swatch of their colour."""
    cells = "".join(
        f'<li><span class="swatch {escape(colour)}"></span>{escape(name)}</li>'
        for name, colour in items
    )
    return f'<ul class="legend">{cells}</ul>'


def column_chart(
    columns: Sequence[Column],
    series: Sequence[Series],
    unit: str,
    write: Callable[[float], str] = prefixed,
    height: int = 250,
    line: tuple[float, str] | None = None,
    tick: Callable[[float], str] | None = None,
) -> str:
    """Stacked columns; neighbours of one group share a mark under the axis.

    Parameters: `unit`, what the axis shows; `write`, how a value is written, and `tick`, a mark of
    the axis, if otherwise; `line`, a level to mark, and its name.
    Raises: ValueError where a series has not a value per column.
    """
    for each in series:
        if len(each.values) != len(columns):
            raise ValueError(
                f"{each.name}: must have {len(columns)} values, not {len(each.values)}"
            )
    totals = [sum(each.values[at] for each in series) for at in range(len(columns))]
    marks = ticks(max([*totals, line[0] if line else 0], default=0))
    bottom, top = height - 34, max(marks[-1], 1e-30)
    plot = WIDTH - LEFT - RIGHT
    step = plot / max(1, len(columns))
    wide = min(step * 0.82, 46)

    def level(value: float) -> float:
        return bottom - value / top * (bottom - TOP)

    parts = [grid(marks, level, tick or write, unit)]
    for at, column in enumerate(columns):
        left, base, bars = LEFT + step * (at + 0.5) - wide / 2, 0.0, []
        for each in series:
            value = each.values[at]
            if value:
                colour = each.colour or column.colour
                up = max(level(base) - level(base + value), 0.4)
                bars.append(rect(left, level(base) - up, wide, up, colour))
                base += value
        rows = [f"{each.name}: {write(each.values[at])}" for each in series if each.values[at]]
        if len(rows) > 1:
            rows.append(f"total: {write(totals[at])}")
        tip = "\n".join([column.name, *rows])
        # The whole height answers, so that a small column can be hit, too.
        area = rect(LEFT + step * at, TOP, step, bottom - TOP, "hit")
        parts.append(f'<g class="mark"><title>{escape(tip)}</title>{area}{"".join(bars)}</g>')
    parts.append(group_marks([column.group for column in columns], step, bottom))
    if line:
        y = level(line[0])
        parts.append(path([(LEFT, y), (WIDTH - RIGHT, y)], "limit"))
        parts.append(text(WIDTH - RIGHT, y - 4, line[1], "end", "limit"))
    return svg(WIDTH, height, parts, unit)


def total_bar(parts: Sequence[Part], write: Callable[[float], str]) -> str:
    """A whole and its parts as one bar, and a list of them with values and shares."""
    whole = sum(part.value for part in parts) or 1
    cells, rows, at = [], [], 0.0
    for part in parts:
        share = part.value / whole
        tip = f"{part.name}\n{write(part.value)}, {percent(share)}"
        rows.append(
            f'<li><span class="swatch {escape(part.colour)}"></span>{escape(part.name)} '
            f"<b>{escape(write(part.value))}</b> <i>{percent(share)}</i></li>"
        )
        if share:
            box = rect(at * WIDTH, 0, max(share * WIDTH, 1.5), 30, part.colour)
            cells.append(f'<g class="mark"><title>{escape(tip)}</title>{box}</g>')
        at += share
    bar = (
        f'<svg class="bar" viewBox="0 0 {WIDTH} 30" preserveAspectRatio="none" role="img" '
        f'aria-label="parts of the whole">{"".join(cells)}</svg>'
    )
    return f'{bar}<ul class="legend values">{"".join(rows)}</ul>'


def area_chart(
    high: float,
    series: Sequence[Series],
    x_name: str,
    unit: str,
    height: int = 220,
    line: tuple[float, str] | None = None,
) -> str:
    """Levels over an axis from 0 to `high`, cut into as many equal steps as there are values.

    Where there are more than the figure can show, neighbours are shown as their mean.
    """
    shown = [_binned(each.values, (WIDTH - LEFT - RIGHT) // 2) for each in series]
    marks = ticks(max([*(max(means, default=0) for means in shown), line[0] if line else 0]))
    bottom, top = height - 40, max(marks[-1], 1e-30)

    def level(value: float) -> float:
        return bottom - value / top * (bottom - TOP)

    parts = [grid(marks, level, decimals, unit)]
    for each, means in zip(series, shown, strict=True):
        step = (WIDTH - LEFT - RIGHT) / max(1, len(means))
        points = [(LEFT, bottom)]
        for at, value in enumerate(means):
            points += [(LEFT + step * at, level(value)), (LEFT + step * (at + 1), level(value))]
        points.append((WIDTH - RIGHT, bottom))
        parts.append(path(points, f"area {each.colour}"))
    for mark in ticks(high, 8):
        if mark <= high:
            x = LEFT + mark / high * (WIDTH - LEFT - RIGHT)
            parts.append(text(x, bottom + 16, prefixed(mark), "middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, height - 6, x_name, "middle", "name"))
    if line:
        y = level(line[0])
        parts.append(path([(LEFT, y), (WIDTH - RIGHT, y)], "limit"))
        parts.append(text(WIDTH - RIGHT, y - 4, line[1], "end", "limit"))
    return svg(WIDTH, height, parts, unit)


def scatter(
    points: Sequence[Point],
    roofs: Sequence[Roof],
    x_name: str,
    y_name: str,
    height: int = 400,
) -> str:
    """Points under roofs, both axes logarithmic. Raises: ValueError without any point."""
    if not points:
        raise ValueError("points must not be empty")
    width, right = 720, 30
    corners = [roof.level / roof.slope for roof in roofs]
    xs = decades(min([p.x for p in points] + corners), max([p.x for p in points] + corners))
    levels = [point.y for point in points] + [roof.level for roof in roofs]
    ys = decades(min(levels), max(levels))
    bottom = height - 44

    def across(x: float) -> float:
        return LEFT + log10(x / xs[0]) / log10(xs[-1] / xs[0]) * (width - LEFT - right)

    def up(y: float) -> float:
        return bottom - log10(y / ys[0]) / log10(ys[-1] / ys[0]) * (bottom - TOP)

    parts = []
    for mark in xs:
        parts.append(path([(across(mark), TOP), (across(mark), bottom)], "grid"))
        parts.append(text(across(mark), bottom + 16, _power(mark), "middle"))
    for mark in ys:
        parts.append(path([(LEFT, up(mark)), (width - right, up(mark))], "grid"))
        parts.append(text(LEFT - 6, up(mark) + 4, _power(mark), "end"))
    parts.append(text((LEFT + width - right) / 2, height - 6, x_name, "middle", "name"))
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="name" text-anchor="middle" transform="translate(14 {number(middle)}) '
        f'rotate(-90)">{escape(y_name)}</text>'
    )
    for roof in roofs:
        corner = roof.level / roof.slope
        left = max(xs[0], ys[0] / roof.slope)
        line = [(across(left), up(roof.slope * left))] if left < corner else []
        line += [(across(max(corner, xs[0])), up(roof.level)), (width - right, up(roof.level))]
        parts.append(path(line, "roof"))
        parts.append(text(width - right - 2, up(roof.level) - 5, roof.name, "end", "limit"))
    for point in points:
        tip = f"{point.name}\n{point.text}" if point.text else point.name
        parts.append(
            f'<g class="mark"><title>{escape(tip)}</title><circle class="{escape(point.colour)}" '
            f'cx="{number(across(point.x))}" cy="{number(up(point.y))}" r="5.5"/></g>'
        )
    return svg(width, height, parts, f"{y_name} against {x_name}", "square")


def _power(mark: float) -> str:
    return prefixed(mark) if mark >= 1 else decimals(mark)


def _binned(values: Sequence[float], most: int) -> list[float]:
    """At most `most` means of as many neighbours each, weighted by how much of each is inside."""
    if len(values) <= most:
        return [float(value) for value in values]
    size, sums = len(values) / most, [0.0]
    for value in values:
        sums.append(sums[-1] + float(value))

    def until(place: float) -> float:
        whole = min(int(place), len(values) - 1)
        return sums[whole] + (place - whole) * (sums[whole + 1] - sums[whole])

    return [(until(size * (n + 1)) - until(size * n)) / size for n in range(most)]
