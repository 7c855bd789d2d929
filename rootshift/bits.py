"""Bit widths of a quantized model: weights W, activations A, log softmax codes L."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .errors import ConfigError
from .formats import CODE_WIDTHS

_SPELLING = re.compile(r"W(\d{1,9})A(\d{1,9})(?:L(\d{1,9}))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Bits:
    """Widths, each from 3 to 8 and independent of the others.

    Parameters:
        weights: int. Width of a weight code (W).
        activations: int. Width of an activation code (A).
        log: int, optional. Width of a softmax log code (L); as wide as an activation code if left
            out.

    Raises:
        TypeError: A width is not an integer.
        ConfigError: A width lies outside 3..8.
    """

    weights: int
    activations: int
    log: int | None = None

    def __post_init__(self) -> None:
        if self.log is None:
            object.__setattr__(self, "log", self.activations)
        for name in ("weights", "activations", "log"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"bits.{name} must be an integer, not {value!r}")
            if value not in CODE_WIDTHS:
                raise ConfigError(
                    f"bits.{name} must be from {CODE_WIDTHS[0]} to {CODE_WIDTHS[-1]}, not {value!r}"
                )

    @classmethod
    def parse(cls, text: str) -> "Bits":
        """Read `W4A4` or `W4A4L5` (case does not matter; L defaults to A).

        Raises:
            TypeError: `text` is not a string.
            ConfigError: The spelling or a width is wrong.
        """
        if not isinstance(text, str):
            raise TypeError(f"bits must be a string such as 'W4A4', not {text!r}")
        match = _SPELLING.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"bits must be spelled like W4A4 or W4A4L5, not {text!r}")
        weights, activations, log = match.groups()
        return cls(int(weights), int(activations), None if log is None else int(log))

    @property
    def default(self) -> "Bits":
        """The widths of layers of which a `BitTable` says nothing: these."""
        return self

    def of(self, layer: str) -> "Bits":
        """The widths of a layer: these, whatever its name. A `BitTable` tells layers apart."""
        return self

    def check(self, layers: Iterable[str]) -> None:
        """These widths suit layers of any name; a `BitTable` may not."""

    def to_json(self) -> dict[str, int]:
        """Field -> width; `bit_table.bits_from_json` reads it back."""
        return asdict(self)

    def __str__(self) -> str:
        suffix = "" if self.log == self.activations else f"L{self.log}"
        return f"W{self.weights}A{self.activations}{suffix}"
