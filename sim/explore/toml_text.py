"""TOML as text: the line where a key stands, and how values are written."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any


def line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line, from 1, where the statement begins that sets a key; None where there is none.

    Parameters: `text`, legal TOML; `keys`, the key's path, such as ("hardware", "lanes").
    """
    header = statement = ""
    begin = 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        if statement.lstrip().startswith("["):
            header = ""
        try:
            table = tomllib.loads(header + statement)
        except ValueError:  # goes on in the next line
            continue
        if _holds(table, keys):
            return begin
        if statement.lstrip().startswith("["):
            header = statement
        statement, begin = "", number + 1
    return None


def _holds(table: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def toml_key(key: str) -> str:
    """A key as it is written, in quotes where it has to be."""
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else toml_value(key)


def toml_value(value: Any) -> str:
    """A bool, int, finite float, string, path, or a list or tuple of these, as it is written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str | PurePath):
        # As in JSON, but that TOML wants DEL escaped, too.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def toml_section(name: str, table: dict[str, Any]) -> str:
    """A section of bare keys; those whose value is None are left out."""
    lines = (f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None)
    return "\n".join([f"[{name}]", *lines]) + "\n"
