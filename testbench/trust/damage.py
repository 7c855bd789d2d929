"""Valid files, damaged: what disks, transfers, editors and malice make of them."""

from typing import Any

import hypothesis.strategies as st

LEVELS = 8
"""How deep the values are sought that are replaced."""
DEPTHS = (50, 200, 450, 900, 3000)
"""Levels of nesting, up to and beyond what Python's own recursion allows."""

NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from(
        [-1, 1 << 15, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 40, 1 << 63, 1 << 64, -(1 << 70)]
    ),
    st.sampled_from([10**30, 10**400, -(10**400)]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324, 0.5, 1.5]),
    st.booleans(),
)
WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "\0", "a\0b", "\n", "\x1b[31m", "\u202e", "é", "İ", "𝟜", "../..", "/etc/passwd", "~"]
    ),
    st.sampled_from(["x" * 300, "9" * 5000, "NaN", "1e999", "0x10", "W4A4", "8x8", "true"]),
)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


VALUES = st.one_of(
    st.none(),
    NUMBERS,
    WORDS,
    st.lists(st.one_of(NUMBERS, WORDS), max_size=3),
    st.dictionaries(WORDS, st.one_of(NUMBERS, WORDS), max_size=3),
    st.sampled_from(DEPTHS[:3]).map(nested),
)
"""Any JSON value, the strange ones first."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """`content` with up to `most` damages: flips, cuts, repeats, insertions, moved pieces."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["flip", "flip", "set", "cut", "drop", "insert", "copy"]))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            byte = draw(st.sampled_from([0x00, 0xFF, 0x7F, 0x80, 0x0A, 0x22, 0x39]))
            data[at : at + size] = bytes([byte]) * len(data[at : at + size])
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + size]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "copy":
            start = draw(st.integers(0, max(len(data) - 1, 0)))
            data[at:at] = data[start : start + size]
    return bytes(data)


Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> list[Place]:
    """Where all that a JSON value holds can be found."""
    if len(at) == LEVELS or not isinstance(value, dict | list):
        return [at]
    keys = value if isinstance(value, dict) else range(len(value))
    inner = [place for key in keys for place in places(value[key], (*at, key))]
    return [at, *inner] if at else inner


@st.composite
def replaced(draw: st.DrawFn, table: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A JSON value of which one or two of the values inside are others, missing or double."""
    changed = _copied(table)
    for _ in range(draw(st.integers(1, 2))):
        found = places(changed)
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        holder = changed
        for key in way:
            holder = holder[key]
        kind = draw(st.sampled_from(["value", "value", "value", "drop", "more"]))
        if kind == "value":
            holder[last] = draw(values)
        elif kind == "drop":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = draw(values)
        else:
            holder.insert(last, holder[last])
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
