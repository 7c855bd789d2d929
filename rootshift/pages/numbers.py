"""Numbers as people read them: groups of digits, prefixes of units, ticks of an axis."""

from math import ceil, floor, log10

SPACE = "\u202f"
"""Narrow, and no line breaks at it."""
_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def grouped(value: int) -> str:
    """A whole number in groups of three digits: 4 985 184."""
    return f"{value:,}".replace(",", SPACE)


def decimals(value: float, digits: int = 3) -> str:
    """A number of `digits` significant digits, without exponent; those before the point all stay.

    0 is "0"; whole numbers lose no digit.
    """
    if not value:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", SPACE)


def prefixed(value: float, unit: str = "", digits: int = 3) -> str:
    """A number with a decimal prefix: 3.81 MB, 12.5 µJ."""
    power = 0
    if value:
        # Of the rounded number: 999.7 k is 1 M in three digits.
        shown = float(f"{abs(value):.{digits - 1}e}")
        power = min(max(3 * floor(log10(shown) / 3), min(_PREFIXES)), max(_PREFIXES))
    text = decimals(value / 10**power, digits)
    word = _PREFIXES[power] + unit
    return f"{text}{SPACE}{word}" if word else text


def percent(share: float) -> str:
    """A share of 1 as 98.2 %, with more places where it is small."""
    value = 100 * share
    if value and abs(value) < 0.001:
        return f"<{SPACE}0.001{SPACE}%"
    places = 1 if abs(value) >= 1 or not value else 3 if abs(value) < 0.1 else 2
    return f"{value:.{places}f}{SPACE}%"


def power(value: float) -> str:
    """A power of ten as 10⁻³; 1 is "1"."""
    exponent = round(log10(value))
    digits = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(abs(exponent)))
    return f"10{'⁻' if exponent < 0 else ''}{digits}" if exponent else "1"


def ticks(high: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to the first at or above `high`, about `count` steps."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / count
    power = 10.0 ** floor(log10(raw))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= raw * (1 - 1e-9))
    return [number * step for number in range(ceil(high / step - 1e-9) + 1)]


def ticks_between(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from the last at or below `low` to the first at or above `high`."""
    if high <= low:
        low, high = low - 0.5, low + 0.5
    step = ticks(high - low, count)[1]
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from the last at or below `low` to the first at or above `high`."""
    first, last = floor(log10(low) + 1e-9), ceil(log10(high) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]
