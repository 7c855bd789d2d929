"""Figures of many values: histograms with the levels of a quantizer, channels, and small bars."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

from .numbers import decades, decimals, grouped, percent, power, ticks, ticks_between
from .svg import (
    HALF,
    LEFT,
    RIGHT,
    TOP,
    grid,
    mark,
    number,
    outline,
    path,
    rect,
    shape,
    svg,
    text,
)
from .tables import Markup

_APART = 3.0
"""Least distance of two levels that can be told apart."""
_MOST_CHANNELS = 192


@dataclass(frozen=True)
class Bins:
    """Counts of values in neighbouring bins, `width` wide, from `start` on."""

    start: float
    width: float
    counts: Sequence[int]

    @property
    def stop(self) -> float:
        """Where the last bin ends."""
        return self.start + self.width * len(self.counts)


@dataclass(frozen=True)
class Band:
    """Channels: least and greatest value of each, and the inner part of that, where most are."""

    low: Sequence[float]
    high: Sequence[float]
    inner_low: Sequence[float]
    inner_high: Sequence[float]


def histogram(
    bins: Bins,
    x_name: str,
    levels: Sequence[float] = (),
    *,
    logarithmic: bool = True,
    colour: str = "c0",
    width: int = HALF,
    height: int = 210,
    write: Callable[[float], str] = decimals,
) -> str:
    """Shares of values over their value, with a mark at each of `levels`.

    Where the levels stand too close to be told apart, their range is marked instead.
    Parameters: `logarithmic`, whether the axis of shares is; `write`, a value on the other axis.
    Raises: ValueError where no value is counted.
    """
    total = sum(bins.counts)
    if not total:
        raise ValueError("counts must not all be 0")
    shares = [count / total for count in bins.counts]
    bottom, right = height - 40, width - RIGHT
    low, high = min([bins.start, *levels]), max([bins.stop, *levels])
    marks = ticks_between(low, high, 6 if width <= HALF else 10)
    scale = (right - LEFT) / (high - low)

    def across(value: float) -> float:
        return LEFT + (value - low) * scale

    if logarithmic:
        floor, heights = _log_axis(shares)

        def level(share: float) -> float:
            return bottom - (log10(share) - floor) / (log10(heights[-1]) - floor) * (bottom - TOP)
    else:
        heights = ticks(max(shares), 4)

        def level(share: float) -> float:
            return bottom - share / heights[-1] * (bottom - TOP)

    parts = [grid(heights, level, power if logarithmic else percent, "share of values", right)]
    parts += [_mark_x(value, across, bottom, write) for value in marks if low <= value <= high]
    parts.append(text((LEFT + right) / 2, height - 5, x_name, "middle", "name"))
    tops = [level(share) if share else bottom for share in shares]
    area = outline(across(bins.start), bins.width * scale, tops, [bottom] * len(tops))
    tip = f"{grouped(total)} values\nfrom {write(bins.start)} to {write(bins.stop)}"
    if levels:
        tip += f"\n{len(levels)} levels, {write(min(levels))} to {write(max(levels))}"
    parts.append(mark(tip, shape(area, f"area values {colour}")))
    if levels:
        parts.append(_levels(sorted(across(value) for value in levels), bottom))
    return svg(width, height, parts, x_name, _kind(width))


def band_chart(
    band: Band,
    x_name: str,
    unit: str,
    limits: tuple[float, float] | None = None,
    *,
    colour: str = "c0",
    width: int = HALF,
    height: int = 210,
) -> str:
    """Channels side by side: the range of each, and its inner part in `colour`.

    Neighbours share a column where there are more than the figure can show.
    Parameters: `limits`, the range of a quantizer.
    """
    count = len(band.low)
    columns = min(count, _MOST_CHANNELS)
    cuts = [round(count * n / columns) for n in range(columns + 1)]

    def column(values: Sequence[float], pick: Callable) -> list[float]:
        return [pick(values[a:b]) for a, b in pairwise(cuts)]

    bottom, right = height - 40, width - RIGHT
    marks = ticks_between(min([*band.low, *(limits or ())]), max([*band.high, *(limits or ())]))

    def level(value: float) -> float:
        return bottom - (value - marks[0]) / (marks[-1] - marks[0]) * (bottom - TOP)

    def area(low: Sequence[float], high: Sequence[float], kind: str) -> str:
        tops = [level(value) for value in column(high, max)]
        feet = [level(value) for value in column(low, min)]
        return shape(outline(LEFT, (right - LEFT) / columns, tops, feet), f"area {kind}")

    tip = f"{grouped(count)} channels\nall between {decimals(min(band.low))} and "
    tip += decimals(max(band.high))
    areas = area(band.low, band.high, "faint") + area(band.inner_low, band.inner_high, colour)
    parts = [grid(marks, level, decimals, unit, right), mark(tip, areas)]
    for value in limits or ():
        parts.append(path([(LEFT, level(value)), (right, level(value))], "limit"))
    parts.append(text(LEFT, bottom + 16, "1", "middle"))
    parts.append(text(right, bottom + 16, grouped(count), "end"))
    parts.append(text((LEFT + right) / 2, height - 5, x_name, "middle", "name"))
    return svg(width, height, parts, f"{unit} over {x_name}", _kind(width))


def strip(counts: Sequence[int], colour: str = "c0") -> Markup:
    """Counts as bars of a few pixels, for a cell of a table; at most 64, neighbours together."""
    bars = min(len(counts), 64)
    cuts = [round(len(counts) * n / bars) for n in range(bars + 1)]
    sums = [sum(counts[a:b]) for a, b in pairwise(cuts)]
    top = max([*sums, 1])
    # What occurs at all shows, and what does not leaves a gap.
    heights = [16 - max(16 * value / top, 1) if value else 16 for value in sums]
    area = shape(outline(0, 96 / bars, heights, [16] * bars), f"area {colour}")
    return Markup(
        f'<svg class="strip" viewBox="0 0 96 16" preserveAspectRatio="none" role="img" '
        f'aria-label="counts">{area}</svg>'
    )


def _log_axis(shares: Sequence[float]) -> tuple[float, list[float]]:
    """Logarithm at the foot of the axis, below the smallest share, and marks above it."""
    found = [share for share in shares if share]
    marks = decades(min(found), max(found))
    floor = log10(min(found)) - 0.5
    marks = [value for value in marks if log10(value) >= floor]
    every = -(-len(marks) // 6)
    return floor, marks[(len(marks) - 1) % every :: every]


def _levels(places: Sequence[float], bottom: float) -> str:
    """Marks at places across the plot, or of their range."""
    apart = min((b - a for a, b in pairwise(places)), default=_APART)
    if apart >= _APART:
        return "".join(path([(x, TOP), (x, bottom)], "level") for x in places)
    wide = places[-1] - places[0]
    return "".join(path([(x, TOP), (x, bottom)], "level") for x in (places[0], places[-1])) + rect(
        places[0], TOP, wide, 4, "levels"
    )


def _mark_x(
    value: float, across: Callable[[float], float], bottom: float, write: Callable[[float], str]
) -> str:
    x = across(value)
    line = f'<path class="bracket" d="M{number(x)} {number(bottom)}v4"/>'
    return line + text(x, bottom + 17, write(value), "middle")


def _kind(width: int) -> str:
    return "half" if width <= HALF else "wide"
