"""Area and clock of an accelerator as a function of its configuration: `docs/area.md`.

Of every unit the number of its DSP blocks and block RAMs follows from its structure, LUTs and
flip-flops are sums of structural terms whose factors are fitted to `runs.csv` at the first use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import mul
from types import MappingProxyType

from ...config import AcceleratorConfig
from ...errors import ConfigError
from ...targets import Target
from .fit import fitted
from .terms import Unit
from .units import FAMILIES, FITTED, UNITS


@dataclass(frozen=True)
class Resources:
    """What a unit or a whole design takes.

    Fields: `lut` and `ff`, estimates; `dsp`, MULT18X18D or DSP48; `block_ram` of 18 kbit. What
    counts as how many LUTs: `docs/area.md`.
    """

    lut: float
    ff: float
    dsp: int
    block_ram: int

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.block_ram + other.block_ram,
        )


@dataclass(frozen=True)
class Area:
    """An accelerator's area.

    Fields: resources of its `units` by name, their `total`, the longest path of each in ns
    (`delays`), and the clock `fmax_mhz` of the `slowest` unit. All but DSP blocks and block RAMs
    are estimates.
    """

    units: Mapping[str, Resources]
    total: Resources
    delays: Mapping[str, float]
    fmax_mhz: float
    slowest: str


def area(config: AcceleratorConfig, family: str) -> Area:
    """What `config` takes on one of `FAMILIES`; raises ConfigError for another family."""
    if family not in FAMILIES:
        raise ConfigError(f"family must be one of {', '.join(FAMILIES)}, not {family}")
    units: dict[str, Resources] = {}
    delays: dict[str, float] = {}
    lut = ff = 0.0
    dsp = block_ram = 0
    for name, unit in UNITS.items():
        found, delays[name] = _unit(name, family, _Key(unit, config))
        units[name] = found
        lut, ff = lut + found.lut, ff + found.ff
        dsp, block_ram = dsp + found.dsp, block_ram + found.block_ram
    total, slowest = Resources(lut, ff, dsp, block_ram), max(delays, key=delays.__getitem__)
    return Area(
        MappingProxyType(units),
        total,
        MappingProxyType(delays),
        1000 / delays[slowest],
        slowest,
    )


def fits(total: Resources, target: Target) -> str | None:
    """None where `total` fits `target`; else what does not, such as "lut must be at most 83640
    for ecp5-85k, not 91234"."""
    for field in fields(Resources):
        need, most = getattr(total, field.name), getattr(target, field.name)
        if need > most:
            return f"{field.name} must be at most {most} for {target.name}, not {need:.0f}"
    return None


class _Key:
    """The values of the fields that a unit depends on, by which its area is remembered, and a
    configuration that has them."""

    __slots__ = ("config", "values")

    def __init__(self, unit: Unit, config: AcceleratorConfig) -> None:
        self.config, self.values = config, unit.values(config)

    def __hash__(self) -> int:
        return hash(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.values == other.values


@lru_cache(maxsize=1 << 16)
def _unit(name: str, family: str, key: _Key) -> tuple[Resources, float]:
    """Resources of a unit, and the ns of its longest path."""
    factors, terms = fitted()[name, FITTED[family]], UNITS[name].terms(key.config, family)
    resources = Resources(
        lut=sum(map(mul, factors.lut, terms.lut)),
        ff=sum(map(mul, factors.ff, terms.ff)),
        dsp=terms.dsp,
        block_ram=terms.block_ram,
    )
    return resources, sum(map(mul, factors.delay, terms.delay))
