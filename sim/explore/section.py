"""Sections of a space's TOML, and checks of their values, whose errors say where and what."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from ...errors import ConfigError
from .toml_text import line_of, toml_key

T = TypeVar("T")
Check = Callable[[Any], T]
"""Gives a legal value as it is kept; ConfigError, TypeError or ValueError "must be X, not Y"."""
_SHOWN = 80


def shown(value: Any) -> str:
    """A value for a message: its repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


@dataclass(frozen=True)
class Source:
    """Where a table comes from.

    Fields: `text`, of the TOML, None for a table made in Python; `path`, of the file, if it is one.
    """

    text: str | None = None
    path: str | None = None

    def where(self, keys: tuple[str, ...]) -> str:
        """In front of a message about a key: file and line, or what is known of these.

        The line is that of the section where the key is left out.
        """
        line = None
        while self.text is not None and keys and line is None:
            line, keys = line_of(self.text, keys), keys[:-1]
        if self.path is None:
            return "" if line is None else f"line {line}: "
        return f"{self.path}: " if line is None else f"{self.path}:{line}: "


@dataclass(frozen=True)
class Section:
    """A table of the TOML, and the keys that lead to it."""

    source: Source
    keys: tuple[str, ...]
    table: Mapping[str, Any]

    def error(self, key: str, what: str) -> ConfigError:
        """The error "file:line: [section] key must be X, not Y".

        Parameters: `what`, from "must" on, or the whole of it if it begins with the key.
        """
        said = what if what.startswith((f"{key} ", f"{key}.")) else f"{toml_key(key)} {what}"
        if not self.keys:
            said = f"[{key}] {what}"
        return self._error(key, said)

    def _error(self, key: str, said: str) -> ConfigError:
        name = f"[{'.'.join(map(toml_key, self.keys))}] " if self.keys else ""
        return ConfigError(f"{self.source.where((*self.keys, key))}{name}{said}")

    def value(self, key: str, check: Check[T], default: T) -> T:
        """The value of a key as `check` gives it, or `default` where it is left out.

        Raises: ConfigError naming the key.
        """
        if key not in self.table:
            return default
        try:
            return check(self.table[key])
        except (ConfigError, TypeError, ValueError) as error:
            raise self.error(key, str(error)) from None

    def check_keys(self, names: Iterable[str], home: Mapping[str, str] | None = None) -> None:
        """Refuse a key that is none of `names`: ConfigError, with the key that it looks like.

        Parameters: `home`, key -> section where it belongs, of the keys of other sections.
        """
        names = list(names)
        for key, value in self.table.items():
            if key in names:
                continue
            if home and key in home:
                raise self.error(key, f"must stand in [{home[key]}]")
            close = get_close_matches(key, names, n=1)
            legal = close[0] if close else f"one of {', '.join(names)}"
            what = f"{'key' if self.keys else 'section'} must be {legal}, not {toml_key(key)}"
            if isinstance(value, Mapping) and len(self.keys) > 2:
                what += "; a pattern with dots must stand in quotes"
            raise self._error(key, what)

    def inner(self, key: str) -> "Section":
        """The table of a key, empty where it is left out; ConfigError where it is no table."""
        found = self.value(key, table, {})
        return Section(self.source, (*self.keys, key), found)


def table(value: Any) -> Mapping[str, Any]:
    """Check: a table."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"must be a table, not {shown(value)}")
    return value


def flag(value: Any) -> bool:
    """Check: true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"must be true or false, not {shown(value)}")
    return value


def text(value: Any) -> str:
    """Check: a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"must be a string that is not empty, not {shown(value)}")
    return value


def number(value: Any) -> int | float:
    """Check: a finite number; integers of at most 64 bits."""
    legal = isinstance(value, int | float) and not isinstance(value, bool)
    if not legal or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"must be a finite number, not {shown(value)}")
    if isinstance(value, int) and abs(value) >= 1 << 64:
        raise ConfigError(f"must be below 2^64, not {shown(value)}")
    return value


def integer(low: int, high: int) -> Check[int]:
    """Check: an integer from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"must be an integer from {low} to {high}, not {shown(value)}")
        return value

    return check


def one_of(names: Iterable[str]) -> Check[str]:
    """Check: one of these strings."""
    names = tuple(names)

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ConfigError(f'must be a string such as "{names[0]}", not {shown(value)}')
        if value not in names:
            raise ConfigError(f"must be one of {', '.join(names)}, not {shown(value)}")
        return value

    return check
