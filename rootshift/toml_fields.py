"""Frozen dataclasses of numbers and names, read from TOML files whose keys are their fields."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")


def read_table(path: str | Path) -> dict[str, Any]:
    """The keys and values of a TOML file, in its order.

    Raises: ConfigError naming the file.
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def check_keys(table: dict[str, Any], names: list[str]) -> None:
    """Refuse a key that is none of `names`: ConfigError."""
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise ConfigError(f"key must be one of {', '.join(names)}, not {unknown[0]}")


def load_fields(cls: type[T], path: str | Path) -> T:
    """An object of the dataclass `cls`; fields left out take their defaults.

    Raises: ConfigError naming the file, and the key where one is wrong.
    """
    table = read_table(path)
    try:
        check_keys(table, [field.name for field in fields(cls)])  # type: ignore[arg-type]
        return cls(**table)
    except (ConfigError, ValueError) as error:  # ValueError: too many digits to print
        raise ConfigError(f"{path}: {error}") from None
