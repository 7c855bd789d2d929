"""Where the model and the images of an exploration come from."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...images import EMBEDDED
from .section import Check, Section, integer, shown, text

TIMM = "timm"
"""The weights that timm has for a model."""
_COUNT_MAX = (1 << 31) - 1
_SIDE_MAX = 1 << 14


@dataclass(frozen=True)
class ModelSource:
    """The model.

    Fields: `name`, of timm, or "digits"; `weights`, "timm" or the path of a file; `image_size`,
    height and width in pixels, None for the model's own.
    """

    name: str
    weights: str = TIMM
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Images:
    """Where images come from; what is None is the model's own (digits only).

    Fields: `calibration`, a folder, or a CSV whose rows say so; `labels`, a CSV of the images to
    measure accuracy on; `folder`, of these, None for that of the CSV; `first`, use so many of them,
    None for all; `few`, images of the first look at accuracy.
    """

    calibration: Path | None = None
    labels: Path | None = None
    folder: Path | None = None
    first: int | None = None
    few: int = 32


@dataclass(frozen=True)
class Files:
    """The folder that relative paths count from, and whether files must be there (`check`)."""

    folder: Path
    check: bool

    def place(self, name: str) -> Path:
        """Absolute path of a file or folder."""
        return Path(os.path.abspath(self.folder / name))

    def existing(self, what: str, suits: Callable[[Path], bool]) -> Check[Path]:
        """Check: the name of something that is there; it is kept as an absolute path."""

        def check(value: Any) -> Path:
            path = self.place(text(os.fspath(value) if isinstance(value, os.PathLike) else value))
            if self.check and not suits(path):
                raise ConfigError(f"must be {what}, not {str(path)!r}")
            return path

        return check


def read_model(section: Section, files: Files) -> ModelSource:
    """From `[model]`; raises ConfigError naming the key."""
    section.check_keys(("name", "weights", "image_size"))
    name = section.value("name", text, "")
    if not name:
        raise section.error("name", f'must be given, such as name = "{EMBEDDED}"')
    existing = files.existing(f'"{TIMM}" or a file', os.path.isfile)
    return ModelSource(
        name=name,
        weights=section.value("weights", lambda value: _weights(value, existing), TIMM),
        image_size=section.value("image_size", _size, None),
    )


def _weights(value: Any, existing: Check[Path]) -> str:
    return TIMM if value == TIMM else str(existing(value))


def _size(value: Any) -> tuple[int, int]:
    """Check: one side, or height and width."""
    sides = value if isinstance(value, list | tuple) else [value, value]
    try:
        height, width = map(integer(1, _SIDE_MAX), sides)
    except (ConfigError, ValueError):
        raise ConfigError(
            f"must be a side or [height, width] from 1 to {_SIDE_MAX}, not {shown(value)}"
        ) from None
    return height, width


def read_images(section: Section, model: ModelSource, files: Files) -> Images:
    """From `[images]`; raises ConfigError naming the key."""
    section.check_keys(("calibration", "labels", "folder", "first", "few"))
    needs: Mapping[str, str] = {"calibration": "a folder or a CSV file", "labels": "a CSV file"}
    for key, what in needs.items():
        if model.name != EMBEDDED and key not in section.table:
            raise section.error(key, f"must be given for {model.name}: {what}")
    if "folder" in section.table and "labels" not in section.table:
        raise section.error("folder", "must be left out where there are no labels")
    count = integer(1, _COUNT_MAX)
    return Images(
        calibration=section.value(
            "calibration", files.existing(needs["calibration"], _is_image_source), None
        ),
        labels=section.value("labels", files.existing(needs["labels"], _is_csv), None),
        folder=section.value("folder", files.existing("a folder", os.path.isdir), None),
        first=section.value("first", count, None),
        few=section.value("few", count, Images.few),
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and os.path.isfile(path)


def _is_image_source(path: Path) -> bool:
    return _is_csv(path) or os.path.isdir(path)
