"""What a unit's area is told by: terms of its cells, and the fields that they depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from ...config import AcceleratorConfig


class Terms(NamedTuple):
    """Of a unit: terms of its LUTs and of its flip-flops, each behind what is known; DSP blocks,
    block RAMs, and terms of its longest path."""

    lut: tuple[float, ...]
    ff: tuple[float, ...]
    dsp: int = 0
    block_ram: int = 0
    delay: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Unit:
    """A unit: the fields of the configuration that it depends on, and its terms."""

    fields: tuple[str, ...]
    terms: Callable[[AcceleratorConfig, str], Terms]

    def __post_init__(self) -> None:
        # Two or more, for `attrgetter` to give a tuple.
        names = (*self.fields, "rows", "cols")[: max(2, len(self.fields))]
        object.__setattr__(self, "values", attrgetter(*names))
