"""The values of a space's knobs: read from lists and ranges, each checked on its own."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from ...bit_table import BitTable, PartialBits, read_bits
from ...config import ARRAY_MAX, ARRAY_MULTIPLIERS, AcceleratorConfig, parse_array
from ...errors import ConfigError
from ...formats import BASES, CODE_WIDTHS, EMBEDDING_MAX
from ...methods import METHODS
from ...targets import TARGETS
from ..native.memory import MemoryTiming
from .point import CONFIG, FMAX, LEAST, MEMORY, WIDTHS, Value
from .section import Check, Section, integer, number, one_of, shown
from .sources import Files

RANGE_MAX = 10_000
"""Values of a range."""
SECTIONS = {
    "quantization": ("bits", *WIDTHS, "method", "base"),
    "hardware": ("array", *CONFIG, "batch"),
    "memory": MEMORY,
    "fpga": ("target", "clock_mhz"),
}
"""Section -> its knobs; `[quantization.layers."PATTERN"]` has `WIDTHS`, too."""
_RANGE = ("from", "to", "step", "factor")


def read_values(value: Any, check: Check[Value]) -> tuple[Value, ...]:
    """The values of a knob, from one value, a list or a range.

    Raises: ConfigError "must be X, not Y", and what `check` raises.
    """
    if isinstance(value, Mapping):
        found = tuple(map(check, _range(value)))
    elif isinstance(value, list | tuple):
        found = tuple(map(check, value))
    else:
        return (check(value),)
    if not found:
        raise ConfigError("must have at least one value, not none")
    seen: set[Value] = set()
    for each in found:
        if each in seen:
            raise ConfigError(f"must be different values, not {shown(each)} twice")
        seen.add(each)
    return found


def _range(given: Mapping[str, Any]) -> list[int | float]:
    """From `from` up to and with `to`, by a `step` or a `factor`; fractions, so nothing drifts."""
    ways = given.keys() & {"step", "factor"}
    if set(given) - set(_RANGE) or not {"from", "to"} <= given.keys() or len(ways) != 1:
        raise ConfigError(
            f"must be a range of from, to and either step or factor, not {shown(dict(given))}"
        )
    for key, value in given.items():
        try:
            number(value)
        except ConfigError as error:
            raise ConfigError(f"{key} of its range {error}") from None
    first, last = _exact(given["from"]), _exact(given["to"])
    if last < first:
        raise ConfigError(
            f"to of its range must be at least from, {given['from']}, not {given['to']}"
        )
    if "factor" in given:
        factor = given["factor"]
        if not isinstance(factor, int) or factor < 2:
            raise ConfigError(f"factor of its range must be an integer over 1, not {factor}")
        if first <= 0:
            raise ConfigError(f"from of its range must be over 0, not {given['from']}")
        values = _powers(first, last, factor)
        whole = isinstance(given["from"], int)
    else:
        step = _exact(given["step"])
        if step <= 0:
            raise ConfigError(f"step of its range must be over 0, not {given['step']}")
        count = (last - first) // step + 1
        if count > RANGE_MAX:
            raise ConfigError(f"must be a range of at most {RANGE_MAX} values, not {count}")
        values = (first + place * step for place in range(count))
        whole = isinstance(given["from"], int) and isinstance(given["step"], int)
    return [int(value) if whole else float(value) for value in values]


def _powers(first: Fraction, last: Fraction, factor: int) -> Iterator[Fraction]:
    while first <= last:
        yield first
        first *= factor


def _exact(value: int | float) -> Fraction:
    """The number as it is written."""
    return Fraction(repr(value))


def read_knobs(sections: Mapping[str, Section], files: Files) -> dict[str, tuple[Value, ...]]:
    """Knob -> its values, in the order of the TOML.

    Where bits and array are left out, which a point cannot be without, they are those of the
    commands: W4A4 and 16x16.

    Parameters: `sections`, those of `SECTIONS` that there are, in order; `files`, that tables of
    bits are found with.
    Raises: ConfigError naming the key.
    """
    checks = _CHECKS | {"bits": _bits(files)}
    knobs: dict[str, dict[str, tuple[Value, ...]]] = {
        name: {} for name in ("quantization", "hardware") if name not in sections
    }
    for name, section in sections.items():
        knobs[name] = _read_section(name, section, checks)
    quantization, hardware = knobs["quantization"], knobs["hardware"]
    if not quantization.keys() & {"bits", *WIDTHS}:
        knobs["quantization"] = {"bits": ("W4A4",)} | quantization
    else:
        _either(sections["quantization"], "bits", WIDTHS, ("weights", "activations"))
    if not hardware.keys() & {"array", "rows", "cols"}:
        knobs["hardware"] = {"array": ("16x16",)} | hardware
    else:
        _either(sections["hardware"], "array", ("rows", "cols"), ("rows", "cols"))
    if "hardware" in sections:
        _check_lanes(sections["hardware"], knobs["hardware"])
    return {knob: values for found in knobs.values() for knob, values in found.items()}


def _read_section(
    name: str, section: Section, checks: Mapping[str, Check[Value]]
) -> dict[str, tuple[Value, ...]]:
    layers = ("layers",) if name == "quantization" else ()
    home = {knob: other for other, knobs in SECTIONS.items() for knob in knobs}
    del home["seed"]  # the search has one, too
    section.check_keys((*SECTIONS[name], *layers), home)
    found: dict[str, tuple[Value, ...]] = {}
    for key in section.table:
        if key in layers:
            groups = section.inner(key)
            for pattern in groups.table:
                found |= _read_group(groups, pattern)
        else:
            found[key] = section.value(key, lambda value, k=key: read_values(value, checks[k]), ())
    return found


def _read_group(groups: Section, pattern: str) -> dict[str, tuple[Value, ...]]:
    """Widths of the layers that a pattern matches."""
    group = groups.inner(pattern)
    try:
        BitTable(read_bits("W8A8"), ((pattern, PartialBits(weights=8)),))
    except ConfigError as error:
        raise groups.error(pattern, str(error).removeprefix(f'layers."{pattern}" ')) from None
    group.check_keys(WIDTHS)
    if not group.table:
        raise groups.error(pattern, f"must have one of {', '.join(WIDTHS)}")
    return {
        f"{width}@{pattern}": group.value(width, lambda value: read_values(value, _width), ())
        for width in group.table
    }


def _either(section: Section, one: str, others: tuple[str, ...], all_of: tuple[str, ...]) -> None:
    """Refuse one knob together with others that mean the same, and these where one is missing."""
    given = [key for key in others if key in section.table]
    if one in section.table and given:
        raise section.error(one, f"must be left out where {given[0]} is given")
    for key in all_of:
        if one not in section.table and key not in section.table:
            raise section.error(key, f"must be given beside {given[0]}")


def _check_lanes(section: Section, knobs: Mapping[str, tuple[Value, ...]]) -> None:
    """Each number of lanes must suit some array, though not all of them."""
    if "array" in knobs:
        arrays = [parse_array(str(text)) for text in knobs["array"]]
    else:
        arrays = [(rows, cols) for rows in knobs["rows"] for cols in knobs["cols"]]
    for lanes in knobs.get("lanes", ()):
        if not any(rows % lanes == cols % lanes == 0 for rows, cols in arrays):
            raise section.error(
                "lanes", f"must divide rows and cols of an array of the space, not {lanes}"
            )


def _bits(files: Files) -> Check[str]:
    """Check: bits as `rootshift quantize` takes them; a file's path is made absolute."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ConfigError(f'must be a string such as "W4A4", not {shown(value)}')
        if not value.lower().endswith(".toml"):
            return str(read_bits(value))
        path = str(files.place(value))
        if files.check:
            try:
                read_bits(path)
            except ConfigError as error:
                raise ConfigError(f"must be a file of legal bits, not {error}") from None
        return path

    return check


def _array(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f'must be a string such as "16x16", not {shown(value)}')
    rows, cols = parse_array(value)
    if not (1 <= rows <= ARRAY_MAX and 1 <= cols <= ARRAY_MAX):
        raise ConfigError(f"must be from 1x1 to {ARRAY_MAX}x{ARRAY_MAX}, not {value!r}")
    return f"{rows}x{cols}"


def _field(name: str) -> Check[Value]:
    """Check: what `AcceleratorConfig` takes, or `LEAST`."""
    sized = name.endswith("_depth") or name in ("activation_width", "weight_width")

    def check(value: Any) -> Value:
        if sized and value == LEAST:
            return LEAST
        if isinstance(value, bool) or not isinstance(value, int):
            also = f' or "{LEAST}"' if sized else ""
            raise ConfigError(f"must be an integer{also}, not {shown(value)}")
        number(value)
        side = value if name == "lanes" and value in range(1, ARRAY_MAX + 1) else ARRAY_MAX
        AcceleratorConfig(**{"rows": side, "cols": side, "lanes": 1} | {name: value})
        return value

    return check


def _memory(name: str) -> Check[Value]:
    """Check: what `MemoryTiming` takes, one number for all channels."""

    def check(value: Any) -> Value:
        number(value)
        MemoryTiming(**{name: value})
        return float(value) if name in ("bandwidth", "hold") else value

    return check


def _clock(value: Any) -> Value:
    if value == FMAX:
        return FMAX
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        raise ConfigError(f'must be a number of MHz or "{FMAX}", not {shown(value)}')
    if number(value) <= 0:
        raise ConfigError(f"must be over 0, not {shown(value)}")
    return float(value)


_width = integer(CODE_WIDTHS[0], CODE_WIDTHS[-1])
_CHECKS: dict[str, Check[Value]] = {
    **dict.fromkeys(WIDTHS, _width),
    "method": one_of(name for name, method in METHODS.items() if method.integer),
    "base": one_of(BASES),
    "array": _array,
    **{name: _field(name) for name in CONFIG},
    "array_multiplier": one_of(ARRAY_MULTIPLIERS),
    # Tokens of all images of a batch lie side by side.
    "batch": integer(1, EMBEDDING_MAX),
    **{name: _memory(name) for name in MEMORY},
    "target": one_of(TARGETS),
    "clock_mhz": _clock,
}
