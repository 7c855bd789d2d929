"""What figures are drawn with: elements of SVG as text, grids with their axis, and marks of groups.

Classes are those of the style sheet, and whatever text goes in is escaped here.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from .document import escape

WIDTH, LEFT, RIGHT, TOP = 960, 72, 16, 14
"""A wide figure and the margins of its plot."""
HALF = 470
"""Width of a figure of which two stand side by side."""


def svg(width: int, height: int, parts: Sequence[str], name: str, kind: str = "wide") -> str:
    """A figure that scrolls sideways where it is too wide; `name` for people who hear the page."""
    return (
        f'<div class="scroll"><svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}">\n' + "\n".join(parts) + "\n</svg></div>"
    )


def grid(
    marks: Sequence[float],
    level: Callable[[float], float],
    write: Callable[[float], str],
    unit: str,
    right: float = WIDTH - RIGHT,
) -> str:
    """Lines across the plot at `marks`, what they stand for, and the axis' name."""
    lines = []
    for mark in marks:
        lines.append(path([(LEFT, level(mark)), (right, level(mark))], "grid"))
        lines.append(text(LEFT - 6, level(mark) + 4, write(mark), "end"))
    middle = (level(marks[0]) + level(marks[-1])) / 2
    lines.append(
        f'<text class="name" text-anchor="middle" transform="translate(11 {number(middle)}) '
        f'rotate(-90)">{escape(unit)}</text>'
    )
    return "".join(lines)


def group_marks(groups: Sequence[str], step: float, bottom: float) -> str:
    """A bracket under neighbours of one group, `step` wide each, and the group's name."""
    found, at = [], 0
    for name, members in groupby(groups):
        count = len(list(members))
        left, right = LEFT + step * at + 1, LEFT + step * (at + count) - 1
        if name:
            found.append(path([(left, bottom + 5), (right, bottom + 5)], "bracket"))
            # About seven units a letter; a name that has no room is told on hover alone.
            if len(name) * 6.6 + 4 <= right - left:
                found.append(text((left + right) / 2, bottom + 20, name, "middle"))
        at += count
    return "".join(found)


def outline(left: float, width: float, levels: Sequence[float], back: Sequence[float]) -> str:
    """Path data of an area in steps `width` wide: along `levels` to the right, and `back` again.

    Heights are those of the figure, from its top down.
    """
    data, step = [f"M{number(left)} {_short(back[0])}"], f"{width:.3f}".rstrip("0").rstrip(".")
    for there, value in [("", v) for v in levels] + [("-", v) for v in reversed(back)]:
        data.append(f"V{_short(value)}h{there}{step}")
    return "".join(data) + "Z"


def mark(title: str, content: str) -> str:
    """What shows `title` on hover."""
    return f'<g class="mark"><title>{escape(title)}</title>{content}</g>'


def shape(data: str, kind: str) -> str:
    """A path of given data."""
    return f'<path class="{escape(kind)}" d="{data}"/>'


def rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    """A filled rectangle."""
    return (
        f'<rect class="{escape(colour)}" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
        f'height="{number(height)}"/>'
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Straight lines from point to point."""
    line = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return shape(f"M{line}", kind)


def text(x: float, y: float, content: str, anchor: str, kind: str = "") -> str:
    """Text at its `anchor`: start, middle or end."""
    name = f' class="{kind}"' if kind else ""
    place = f'x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"'
    return f"<text{name} {place}>{escape(content)}</text>"


def number(value: float) -> str:
    """A coordinate: two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
