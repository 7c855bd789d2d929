"""Bit widths layer by layer: mixed precision, read from a TOML file.

    default = "W4A4"
    [layers]
    "blocks.0.*" = "W6A6"            # every layer whose name matches; later lines win
    "blocks.*.attn.softmax" = "L5"

Layers are named as in the model. A linear layer (`blocks.0.attn.qkv`, `blocks.0.mlp.fc2`, `head`)
has W, the width of its weights, and A, that of its input codes; `<block>.attn.scores` has A, of
queries and keys; `<block>.attn.softmax` has L; `<block>.attn.mix` has A, of the values.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .bits import Bits
from .errors import ConfigError
from .toml_fields import check_keys, read_table

PATCH_EMBEDDING = "patch_embed.proj"
"""The layer that takes pixels: its widths are 8 bits in every integer model."""

_SPELLING = re.compile(r"(?:W(\d{1,9}))?(?:A(\d{1,9}))?(?:L(\d{1,9}))?", re.IGNORECASE | re.ASCII)
LETTERS = {"weights": "W", "activations": "A", "log": "L"}
"""Field of `Bits` -> its letter in a spelling such as W4A4L5."""
_ATTENTION = {"scores": ("activations",), "softmax": ("log",), "mix": ("activations",)}
"""Parts of attention, by the last part of their names -> their widths."""
_LINEAR = ("weights", "activations")


def widths_of(layer: str) -> tuple[str, ...]:
    """Fields of `Bits` that the layer of this name has."""
    return _ATTENTION.get(layer.rpartition(".")[2], _LINEAR)


def layer_of(operator: str) -> str:
    """Name under which a table knows the gemm `operator`: query, key and value are one layer."""
    attention, _, part = operator.rpartition(".")
    return f"{attention}.qkv" if part in ("q", "k", "v") else operator


@dataclass(frozen=True)
class PartialBits:
    """Some of the widths of `Bits`; what is None stays as it is elsewhere.

    Parameters: `weights`, `activations`, `log`, from 3 to 8 or None, not all None.
    Raises: TypeError where a width is not an integer; ConfigError where it lies outside 3..8, or
    none is given.
    """

    weights: int | None = None
    activations: int | None = None
    log: int | None = None

    def __post_init__(self) -> None:
        if not self.widths():
            raise ConfigError("bits must have a width, not none")
        self.over(Bits(8, 8))

    def widths(self) -> dict[str, int]:
        """Field -> width, of those that are given."""
        return {name: width for name, width in asdict(self).items() if width is not None}

    def over(self, bits: Bits) -> Bits:
        """`bits` with these widths in their places."""
        return replace(bits, **self.widths())

    @classmethod
    def parse(cls, text: str) -> "PartialBits":
        """Read `W6A6`, `W8`, `A6`, `L5` or the like.

        Raises: ConfigError where kind, spelling or a width is wrong.
        """
        match = _SPELLING.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None or not any(match.groups()):
            raise ConfigError(f"bits must be spelled like W6A6, W8, A6 or L5, not {text!r}")
        return cls(*(None if width is None else int(width) for width in match.groups()))

    def __str__(self) -> str:
        return "".join(f"{LETTERS[name]}{width}" for name, width in self.widths().items())


@dataclass(frozen=True)
class BitTable:
    """Widths of each layer: those of `default`, changed by every line whose pattern matches.

    Parameters:
        default: Bits. Of layers that no pattern matches.
        layers: (pattern, widths) pairs, in order: later ones win. A pattern is a layer's name, or
            has `*`, `?` and `[...]` as file names do; a `*` matches dots, too.
        path: file that the table was read from, named in messages.
    Raises: ConfigError for a pattern that is empty, not printable, or names `patch_embed.proj`.
    """

    default: Bits
    layers: tuple[tuple[str, PartialBits], ...] = ()
    path: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for pattern, _ in self.layers:
            if not pattern or not pattern.isprintable():
                raise self._error(pattern, f"must be printable text, not {pattern!r}")
            if pattern == PATCH_EMBEDDING:
                raise self._error(
                    pattern, "must be left out: pixels and their weights always have 8 bits"
                )

    def of(self, layer: str) -> Bits:
        """The widths of a layer. Those of `patch_embed.proj` are not changed by any pattern."""
        found = self.default
        if layer != PATCH_EMBEDDING:
            for pattern, widths in self.layers:
                if fnmatchcase(layer, pattern):
                    found = widths.over(found)
        return found

    def check(self, layers: Iterable[str]) -> None:
        """Refuse a table that does not suit a model of these layers.

        Raises: ConfigError naming file and pattern where it matches no layer, or where it gives a
        width that none of the layers it matches has.
        """
        names = [name for name in layers if name != PATCH_EMBEDDING]
        for pattern, bits in self.layers:
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
                raise self._error(pattern, f"must match a layer{_suggestion(pattern, names)}")
            for name, width in bits.widths().items():
                if not any(name in widths_of(layer) for layer in matched):
                    has = " and ".join(LETTERS[each] for each in widths_of(matched[0]))
                    raise self._error(
                        pattern,
                        f"must give widths that its layers have, {has} for {matched[0]}, "
                        f"not {LETTERS[name]}{width}",
                    )

    def _error(self, pattern: str, what: str) -> ConfigError:
        where = f"{self.path}: " if self.path else ""
        return ConfigError(f'{where}layers."{pattern}" {what}')

    @classmethod
    def load(cls, path: str | Path) -> "BitTable":
        """Read a TOML file.

        Raises: ConfigError naming the file, and the key where one is wrong.
        """
        return cls._from_table(read_table(path), str(path))

    @classmethod
    def parse(cls, text: str) -> "BitTable":
        """Read TOML text; raises as `load` does."""
        try:
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"not TOML: {error}") from None
        return cls._from_table(table, None)

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "BitTable":
        """Read what `to_json` has made; raises ConfigError where it is something else."""
        lines = item.get("layers")
        if item.keys() != {"default", "layers"} or not isinstance(lines, list):
            raise ConfigError(f"bits must have a default and a list of layers, not {item!r}")
        for line in lines:
            if not (isinstance(line, list) and list(map(type, line)) == [str, str]):
                raise ConfigError(f"bits.layers must be pairs of pattern and bits, not {line!r}")
        return cls._read(item["default"], lines, None)

    @classmethod
    def _from_table(cls, table: dict[str, Any], path: str | None) -> "BitTable":
        where = f"{path}: " if path else ""
        layers = table.get("layers", {})
        try:
            check_keys(table, ["default", "layers"])
            if not isinstance(layers, dict):
                raise ConfigError(f"layers must be a table of patterns, not {layers!r}")
        except (ConfigError, ValueError) as error:  # ValueError: too many digits to print
            raise ConfigError(f"{where}{error}") from None
        if "default" not in table:
            raise ConfigError(f"{where}default must be given, such as default = 'W4A4'")
        return cls._read(table["default"], layers.items(), path)

    @classmethod
    def _read(cls, default: Any, lines: Iterable[tuple[str, Any]], path: str | None) -> "BitTable":
        where, key = f"{path}: " if path else "", "default"
        layers = []
        try:
            bits = Bits.parse(default)
            for pattern, text in lines:
                key = f'layers."{pattern}"'
                if isinstance(text, dict):
                    raise ConfigError("a pattern with dots must stand in quotes")
                layers.append((pattern, PartialBits.parse(text)))
        except (ConfigError, TypeError, ValueError) as error:  # ValueError: as above
            raise ConfigError(f"{where}{key}: {error}") from None
        return cls(bits, tuple(layers), path)

    def to_toml(self) -> str:
        """The TOML text that `parse` reads back to an equal table.

        Raises: ConfigError where two lines have the same pattern, which TOML cannot hold.
        """
        patterns = [pattern for pattern, _ in self.layers]
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                raise self._error(pattern, "must stand in one line, not in two")
        lines = [f'default = "{self.default}"']
        if self.layers:
            lines += ["", "[layers]"]
        # What is printable is written in TOML as in JSON.
        lines += [f'{json.dumps(p, ensure_ascii=False)} = "{bits}"' for p, bits in self.layers]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON values: `default`, and `layers` as a list, because their order counts."""
        return {
            "default": str(self.default),
            "layers": [[pattern, str(bits)] for pattern, bits in self.layers],
        }

    def __str__(self) -> str:
        return f"{self.default} mixed" if self.layers else str(self.default)


def read_bits(text: str) -> Bits | BitTable:
    """Widths as the command line takes them: `W4A4`, or the path of a TOML file.

    Raises: ConfigError for a wrong spelling or file, TypeError for what is no string.
    """
    if isinstance(text, str) and text.lower().endswith(".toml"):
        return BitTable.load(text)
    return Bits.parse(text)


def bits_from_json(item: Mapping[str, Any]) -> Bits | BitTable:
    """What `to_json` of either has made.

    Raises: ConfigError or TypeError where it is something else.
    """
    if "default" in item or "layers" in item:
        return BitTable.from_json(item)
    for key in sorted(LETTERS.keys() ^ item.keys()):
        raise ConfigError(f"bits: field {key!r} is {'missing' if key in LETTERS else 'unknown'}")
    return Bits(**item)


def _suggestion(pattern: str, names: list[str]) -> str:
    """What looks like `pattern`: names, or where it is open, names with their numbers open."""
    if any(character in pattern for character in "*?["):
        names = list(dict.fromkeys(re.sub(r"\b\d+\b", "*", name) for name in names))
    close = get_close_matches(pattern, names, cutoff=0.7)
    return f" of the model, such as {', '.join(close)}" if close else " of the model"
