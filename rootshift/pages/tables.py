"""Tables that a click on a header sorts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .document import escape
from .numbers import grouped


class Markup(str):
    """A cell that is HTML already; whoever makes it escapes names in it. It is not sorted by."""


@dataclass(frozen=True)
class Header:
    """A column: its name, how a value is written, and what it means (shown on hover).

    Texts stand left, all other values right.
    """

    name: str
    write: Callable[[Any], str] | None = None
    meaning: str = ""


def table(
    headers: Sequence[Header],
    rows: Sequence[Sequence[Any]],
    total: Sequence[Any] | None = None,
    name: str = "",
) -> str:
    """HTML of a table that scrolls sideways where it is too wide; the first column stays.

    Parameters: `rows`, a value per column: text, `Markup`, a number or None (no value); `total`, a
    last row that stays last; `name` for people who hear the page.
    Raises: ValueError where a row has another number of values.
    """
    for row in [*rows, *([total] if total is not None else [])]:
        if len(row) != len(headers):
            raise ValueError(f"a row must have {len(headers)} values, not {len(row)}")
    texts = [any(isinstance(row[at], str) for row in rows) for at in range(len(headers))]
    head = "".join(
        f'<th scope="col"{_side(text)}{_title(header.meaning)}>'
        f'<button type="button">{escape(header.name)}</button></th>'
        for header, text in zip(headers, texts, strict=True)
    )
    body = "\n".join(f"<tr>{_cells(headers, texts, row)}</tr>" for row in rows)
    foot = "" if total is None else f"\n<tfoot><tr>{_cells(headers, texts, total)}</tr></tfoot>"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name or "table")}">'
        f'<table class="sortable">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{foot}'
        "\n</table></div>"
    )


def _cells(headers: Sequence[Header], texts: Sequence[bool], row: Sequence[Any]) -> str:
    cells = []
    for at, (header, text, value) in enumerate(zip(headers, texts, row, strict=True)):
        key = "" if text or value is None else f' data-key="{value!r}"'
        shown = value if isinstance(value, Markup) else escape(_written(header, value))
        tag = 'th scope="row"' if not at else "td"
        cells.append(f"<{tag}{_side(text)}{key}>{shown}</{tag.split()[0]}>")
    return "".join(cells)


def _written(header: Header, value: Any) -> str:
    if value is None:
        return "–"
    if header.write is not None and not isinstance(value, str):
        return header.write(value)
    return grouped(value) if isinstance(value, int) else str(value)


def _side(text: bool) -> str:
    return ' class="text"' if text else ""


def _title(meaning: str) -> str:
    return f' title="{escape(meaning)}"' if meaning else ""
