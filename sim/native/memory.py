"""How the memory behind the bus behaves: delays, back-pressure, bandwidth and failures.

All randomness is a function of seed, channel and count, so that the cycle model can draw the same:
channel c is held in cycle n of a run where `draw(seed, c, n) < hold * 2^32`, and burst number n
waits `draw(seed, 5 + c, n) % (extra_latency + 1)` cycles more, where c is R for reads and B for
writes. Cycle 0 is the one of the start strobe, burst 0 the first after it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHANNELS = ("ar", "r", "aw", "w", "b")
"""The channels, at the place of their number."""
RESPONSES = {"slverr": 2, "decerr": 3}
ACCESSES = {"read": 1, "write": 2, "any": 3}
HOLD_MAX = 0.99
LATENCY_MAX = 1 << 20
_GAMMA, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Addresses that answer with an error; such a write changes nothing, and a read gives data.

    Parameters:
        start, end: bytes; an access to any byte from `start` up to, but without, `end` fails.
        response: "slverr" or "decerr".
        access: "read", "write" or "any".
    Raises: TypeError, ValueError naming the parameter.
    """

    start: int
    end: int
    response: str = "slverr"
    access: str = "any"

    def __post_init__(self) -> None:
        _integer("start", self.start, 0, _MASK)
        _integer("end", self.end, self.start + 1, _MASK)
        if self.response not in RESPONSES:
            raise ValueError(f"response must be slverr or decerr, not {self.response!r}")
        if self.access not in ACCESSES:
            raise ValueError(f"access must be read, write or any, not {self.access!r}")


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """When the memory takes and answers; the default answers as early as AXI allows.

    Parameters:
        read_latency: cycles from the acceptance of AR to the first beat of R, 1 or more.
        write_latency: cycles from the acceptance of AW and the last beat of W to B, 1 or more.
        extra_latency: a burst waits a random number of cycles more, from 0 to this.
        hold: channel, such as "r", -> probability up to 0.99 that it stands for a cycle: ready is
            low on AR, AW and W, and nothing new is offered on R and B. A number holds for all.
        bandwidth: beats per cycle that each of R and W can move, over 0 up to 1.
        burst: most beats of a burst that the manager may ask for, 1 to 256.
        seed: of what is random, 0 to 2^64 - 1.
    Raises: TypeError, ValueError naming the parameter.
    """

    read_latency: int = 1
    write_latency: int = 1
    extra_latency: int = 0
    hold: float | Mapping[str, float] = field(default_factory=dict)
    bandwidth: float = 1.0
    burst: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        _integer("read_latency", self.read_latency, 1, LATENCY_MAX)
        _integer("write_latency", self.write_latency, 1, LATENCY_MAX)
        _integer("extra_latency", self.extra_latency, 0, LATENCY_MAX)
        _integer("burst", self.burst, 1, 256)
        _integer("seed", self.seed, 0, _MASK)
        for channel, probability in self.holds.items():
            if channel not in CHANNELS:
                names = ", ".join(CHANNELS)
                raise ValueError(f"channel of hold must be one of {names}, not {channel!r}")
            name = f"hold of {channel}" if isinstance(self.hold, Mapping) else "hold"
            _number(name, probability)
            if not 0 <= probability <= HOLD_MAX:
                raise ValueError(f"{name} must be 0 to {HOLD_MAX}, not {probability}")
        _number("bandwidth", self.bandwidth)
        if not 2**-16 <= self.bandwidth <= 1:
            raise ValueError(f"bandwidth must be 2^-16 to 1, not {self.bandwidth}")

    @property
    def holds(self) -> dict[str, float]:
        """Probability by channel, of those that are held at times."""
        if isinstance(self.hold, Mapping):
            return dict(self.hold)
        return dict.fromkeys(CHANNELS, self.hold)

    @property
    def thresholds(self) -> list[int]:
        """Of each channel, by number: it is held where `draw` is below."""
        return [int(self.holds.get(channel, 0) * (1 << 32)) for channel in CHANNELS]

    @property
    def beat_credit(self) -> int:
        """What each cycle earns, in 1 / 65536 beat; a whole beat is needed to move one.

        Before a cycle, what is left is cut to one beat and this is added; 1 beat at the start.
        """
        return round(self.bandwidth * (1 << 16))


def draw(seed: int, channel: int, count: int) -> int:
    """The random number, 0 to 2^32 - 1, of a count on a channel.

    Source: output function of splitmix64; Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014.
    """
    return _mix(_mix(seed + (channel + 1) * _GAMMA) + count * _GAMMA) >> 32


def _mix(x: int) -> int:
    x &= _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
