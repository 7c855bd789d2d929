"""Frozen dataclasses of numbers and names, read from TOML files whose keys are their fields."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")


def load_fields(cls: type[T], path: str | Path) -> T:
    """An object of the dataclass `cls`; fields left out take their defaults.

    Raises: ConfigError naming the file, and the key where one is wrong.
    """
    try:
        table: dict[str, Any] = tomllib.loads(Path(path).read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise ConfigError(f"{path}: key must be one of {', '.join(names)}, not {unknown[0]}")
    try:
        return cls(**table)
    except (ConfigError, ValueError) as error:  # ValueError: too many digits to print
        raise ConfigError(f"{path}: {error}") from None
