"""What a point must keep to, and what the search is after."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError
from ...targets import TARGETS
from .metrics import METRICS
from .point import FMAX, Value
from .section import Check, Section, flag, number, one_of, shown

CLOCKED = ("latency_ms", "images_per_second", "bandwidth_mb_s", "clock_mhz")
"""Metrics that need a clock."""
GOALS = tuple(name for name in METRICS if name != "images")
"""Metrics that can be limits or objectives: all that say something of a point."""
_RESOURCES = ("lut", "ff", "dsp", "block_ram")
_BOUNDS = ("at_most", "at_least")


@dataclass(frozen=True)
class Objective:
    """A metric to make large (`maximize`) or small."""

    metric: str
    maximize: bool


@dataclass(frozen=True)
class Constraints:
    """Limits of metrics.

    Fields: `fits`, whether a point must fit its target, at its clock; `at_most` and `at_least`,
    metric -> limit.
    """

    fits: bool = False
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def violations(self, metrics: Mapping[str, float]) -> list[str]:
        """A text for each limit that a metric breaks, of the metrics that are known.

        Whether a point fits is not among them: the area model says that.
        """
        return [
            f"{name} must be {bound.replace('_', ' ')} {_text(limit)}, not {_text(metrics[name])}"
            for bound, name, limit in self._limits()
            if name in metrics and not _excess(bound, metrics[name], limit) <= 0
        ]

    def excess(self, metrics: Mapping[str, float], target: str | None = None) -> list[float]:
        """By how much each limit is broken, relative to it: over 0 where it is, as Optuna has it.

        Always as many numbers: 0 where a metric is not known. Where points must fit, five more:
        for each resource of `target`, and for the clock.
        """
        found = [
            _excess(bound, metrics[name], limit) if name in metrics else 0.0
            for bound, name, limit in self._limits()
        ]
        if self.fits:
            have = {"clock_mhz": metrics.get("fmax_mhz", math.inf)}
            if target is not None:
                have |= {name: getattr(TARGETS[target], name) for name in _RESOURCES}
            found += [
                _excess("at_most", metrics[name], have[name])
                if name in metrics and math.isfinite(have.get(name, math.inf))
                else 0.0
                for name in (*_RESOURCES, "clock_mhz")
            ]
        return found

    def table(self) -> dict[str, dict[str, float]]:
        """Metric -> bound -> limit, as a space's TOML has it."""
        found: dict[str, dict[str, float]] = {}
        for bound, name, limit in self._limits():
            found.setdefault(name, {})[bound] = limit
        return found

    def _limits(self) -> list[tuple[str, str, float]]:
        """Bound, metric, limit, in the order of `METRICS`: a study that goes on counts on it."""
        return [
            (bound, name, getattr(self, bound)[name])
            for name in METRICS
            for bound in _BOUNDS
            if name in getattr(self, bound)
        ]


def _excess(bound: str, value: float, limit: float) -> float:
    over = value - limit if bound == "at_most" else limit - value
    return over / (abs(limit) or 1)


def _text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.10g}"


def read_constraints(section: Section, knobs: Mapping[str, tuple[Value, ...]]) -> Constraints:
    """From `[constraints]`; raises ConfigError naming the key."""
    section.check_keys(("fits", *GOALS))
    has_target = "target" in knobs
    fits = section.value("fits", flag, has_target)
    if fits and not has_target:
        raise section.error("fits", "must be false where [fpga] has no target")
    limits: dict[str, dict[str, float]] = {bound: {} for bound in _BOUNDS}
    for name in section.table:
        if name == "fits":
            continue
        for bound, limit in section.value(name, _limit(name), {}).items():
            limits[bound][name] = limit
        if (missing := _missing(name, knobs)) is not None:
            raise section.error(name, f"must be left out where [fpga] has no {missing}")
    return Constraints(fits, **limits)


def _limit(metric: str) -> Check[dict[str, float]]:
    """Check: the bounds of a metric."""

    def check(value: Any) -> dict[str, float]:
        if not isinstance(value, Mapping):
            raise ConfigError(f"must be a table such as {{ at_most = 50 }}, not {shown(value)}")
        if not value or set(value) - set(_BOUNDS):
            raise ConfigError(f"must have at_most or at_least, not {shown(dict(value))}")
        for bound, limit in value.items():
            try:
                number(limit)
            except ConfigError as error:
                raise ConfigError(f"{bound} {error}") from None
            if METRICS[metric].unit == "%" and not 0 <= limit <= 100:
                raise ConfigError(f"{bound} must be from 0 to 100 percent, not {limit}")
        if len(value) == 2 and value["at_least"] > value["at_most"]:
            raise ConfigError(
                f"at_least must be no more than at_most, {value['at_most']}, "
                f"not {value['at_least']}"
            )
        return dict(value)

    return check


def read_objectives(
    section: Section, knobs: Mapping[str, tuple[Value, ...]]
) -> tuple[Objective, ...]:
    """From `[objectives]`, in its order; raises ConfigError naming the key."""
    section.check_keys(("maximize", "minimize"))
    found: list[Objective] = []
    for way in section.table:
        for name in section.value(way, _metrics, ()):
            if name in (objective.metric for objective in found):
                raise section.error(way, f"must be different metrics, not {name} twice")
            if (missing := _missing(name, knobs)) is not None:
                raise section.error(way, f"must be without {name} where [fpga] has no {missing}")
            found.append(Objective(name, way == "maximize"))
    if not found:
        raise section.error("maximize", "must have a metric where minimize has none")
    return tuple(found)


def _metrics(value: Any) -> list[str]:
    """Check: a metric or a list of them."""
    check = one_of(GOALS)
    return [check(name) for name in (value if isinstance(value, list | tuple) else [value])]


def _missing(metric: str, knobs: Mapping[str, tuple[Value, ...]]) -> str | None:
    """The knob that the metric needs and the space has not."""
    if "target" in knobs:
        return None
    if METRICS[metric].of_target:
        return "target"
    return "clock_mhz" if metric in CLOCKED and "clock_mhz" not in knobs else None


def check_clock(section: Section, knobs: Mapping[str, tuple[Value, ...]]) -> None:
    """Refuse the area model's estimate for a clock where there is no target to estimate for."""
    if "target" not in knobs and FMAX in knobs.get("clock_mhz", ()):
        raise section.error("clock_mhz", f'must be a number where there is no target, not "{FMAX}"')
