"""The skeleton of a page: head, style, sections, figures, embedded data and scripts."""

import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..output import write_file

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""What a browser lets the page do: nothing outside itself."""


def escape(text: object) -> str:
    """Text as it may stand between tags and in a quoted attribute."""
    return html.escape(str(text))


def embedded_data(name: str, data: Any) -> str:
    """JSON in a `script` element with the id `name`, which scripts of the page read.

    Raises: TypeError or ValueError for what JSON cannot hold.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # Nothing that could end the element or begin a comment.
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


@cache
def asset(package: str, name: str) -> str:
    """A text file that is installed beside the modules of a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


class Page:
    """A page that is put together from the top down, and then written.

    Strings named `content`, `figure` and `text` are HTML: whoever makes them escapes names in
    them; titles, captions and facts are plain text.

    Parameters: `title` of the window and the page; `subtitle`, a line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._sections: list[tuple[str, str, list[str]]] = []
        self._top: list[str] = []
        self._data: list[str] = []
        self._scripts: list[str] = [asset(__package__, "page.js")]
        self._styles: list[str] = [asset(__package__, "page.css")]

    def facts(self, items: Sequence[tuple[str, str, str]]) -> None:
        """Large figures at the top: name, value (HTML), and a note on it (plain)."""
        cells = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{value}</dd>"
            + (f'<dd class="note">{escape(note)}</dd>' if note else "")
            + "</div>"
            for name, value, note in items
        )
        self.add(f'<dl class="facts">{cells}</dl>')

    def section(self, name: str, title: str, text: str = "") -> None:
        """Begin a section with an anchor `name`; what is added from now on belongs to it."""
        self._sections.append((name, title, []))
        if text:
            self.add(f'<p class="lead">{text}</p>')

    def add(self, content: str) -> None:
        """Add HTML where the page now ends."""
        (self._sections[-1][2] if self._sections else self._top).append(content)

    def figure(self, figure: str, title: str, text: str = "") -> None:
        """Add a figure with its title, and a text that says how to read it."""
        caption = f"<strong>{escape(title)}</strong>" + (f" {text}" if text else "")
        self.add(f"<figure><figcaption>{caption}</figcaption>{figure}</figure>")

    def details(self, title: str, content: str) -> None:
        """Add what is folded away until it is asked for."""
        self.add(f"<details><summary>{escape(title)}</summary>{content}</details>")

    def data(self, name: str, data: Any) -> None:
        """Embed what scripts read."""
        self._data.append(embedded_data(name, data))

    def script(self, text: str) -> None:
        """Add a script; it runs when all of the page is there."""
        if "</script" in text.lower():
            raise ValueError("script must not hold </script")
        self._scripts.append(text)

    def style(self, text: str) -> None:
        """Add rules behind those of every page."""
        if "</style" in text.lower():
            raise ValueError("style must not hold </style")
        self._styles.append(text)

    def render(self) -> str:
        """The HTML; equal for equal content."""
        links = "".join(
            f'<a href="#{escape(name)}">{escape(title)}</a>' for name, title, _ in self._sections
        )
        sections = "\n".join(
            f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n'
            + "\n".join(content)
            + "\n</section>"
            for name, title, content in self._sections
        )
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(self.title)}</title>
<style>
{chr(10).join(self._styles)}</style>
</head>
<body>
<header>
<h1>{escape(self.title)}</h1>
{subtitle}
{chr(10).join(self._top)}
</header>
<nav aria-label="Sections">{links}</nav>
<main>
{sections}
</main>
{chr(10).join(self._data)}
{"".join(f"<script>{chr(10)}{text}</script>{chr(10)}" for text in self._scripts)}</body>
</html>
"""

    def write(self, path: str | Path) -> None:
        """Write the page, whole or not at all. Raises: OutputError where that cannot be done."""
        content = self.render().encode()
        write_file(path, lambda file: file.write(content))


def choices(name: str, items: Sequence[tuple[str, str]]) -> str:
    """One of several contents (HTML) by their names (plain); all of them where no script runs."""
    options = "".join(
        f'<option value="{place}">{escape(each)}</option>' for place, (each, _) in enumerate(items)
    )
    contents = "".join(f'<div class="choice">{content}</div>' for _, content in items)
    return (
        f'<div class="choices"><p class="tools"><label>{escape(name)} <select>{options}</select>'
        f"</label></p>{contents}</div>"
    )


def definitions(items: Mapping[str, str]) -> str:
    """Names and their values (HTML) in two columns."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in items.items())
    return f'<dl class="pairs">{rows}</dl>'
