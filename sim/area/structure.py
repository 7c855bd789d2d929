"""What the units are made of, counted from a configuration: widths, queues, multipliers, delays."""

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from ...config import AcceleratorConfig
from ...formats import (
    BASES,
    CODE_WIDTHS,
    attention_headroom,
    code_digits,
    psum_width,
    zero_code,
)
from ...latency import drain_lanes, drains
from .memory import Mapping, Memory, mapped

PART = 18
"""Most bits of a part of an operand: `hw.multiplication.PART`."""
EPSILON_WIDTH = 40
"""Bits of a LayerNorm's epsilon."""


def bits(count: int) -> int:
    """Bits of a number below `count`."""
    return (count - 1).bit_length()


@dataclass(frozen=True)
class Sizes:
    """Widths and numbers that follow from a configuration, named as in `hw/`."""

    config: AcceleratorConfig

    @cached_property
    def address(self) -> int:
        """Bits of a token's address."""
        return bits(self.config.token_depth)

    @cached_property
    def digits(self) -> tuple[int, int]:
        """Digits of an activation and of a weight."""
        return code_digits(self.config.activation_width), code_digits(self.config.stationary_width)

    @cached_property
    def digit_bits(self) -> int:
        """Bits of the numbers of both digits."""
        return sum(bits(count) for count in self.digits)

    @cached_property
    def psum(self) -> int:
        """Bits of a sum of the array."""
        config = self.config
        return psum_width(config.rows, config.activation_width, config.stationary_width)

    @cached_property
    def code_sum(self) -> int:
        """Bits of the sum of a token's codes in the array."""
        return psum_width(self.config.rows, self.config.activation_width)

    @cached_property
    def total(self) -> int:
        """Bits of an accumulator."""
        config, widest = self.config, CODE_WIDTHS[-1]
        activations = min(config.activation_width * self.digits[0], widest)
        weights = min(config.stationary_width * self.digits[1], widest)
        return max(psum_width(config.channel_depth, activations, weights), self.psum)

    @cached_property
    def code_total(self) -> int:
        """Bits of the accumulated sum of a token's codes."""
        config = self.config
        activations = min(config.activation_width * self.digits[0], CODE_WIDTHS[-1])
        return max(psum_width(config.channel_depth, activations), self.code_sum)

    @cached_property
    def parts(self) -> int:
        """Beats of `lanes` outputs that a token's totals take."""
        return self.config.cols // self.config.lanes

    @cached_property
    def zero(self) -> int:
        """Log code of probability zero."""
        return zero_code(self.config.log_width, self.config.base)

    @cached_property
    def parities(self) -> int:
        """Codes per octave, which shift attention adds up apart."""
        return BASES[self.config.base]

    @cached_property
    def headroom(self) -> int:
        """Left shift of log code 0 in shift attention."""
        return attention_headroom(self.zero, self.config.base)

    @cached_property
    def bucket(self) -> int:
        """Bits of a bucket's sum of one value column."""
        config = self.config
        return (config.token_depth * ((1 << config.activation_width) - 1)).bit_length()

    @cached_property
    def count(self) -> int:
        """Bits of a bucket's number of keys."""
        return self.config.token_depth.bit_length()

    @cached_property
    def drains(self) -> int:
        """Queries drained side by side."""
        return drains(self.config.cols)

    @cached_property
    def drain_lanes(self) -> int:
        """Value channels that the drain takes per cycle."""
        return drain_lanes(self.config.rows, self.drains, self.zero)

    @cached_property
    def drain_groups(self) -> int:
        """Cycles in which the drain takes all value channels."""
        return -(-self.config.rows // self.drain_lanes)


def queue(depth: int, width: int, family: str) -> tuple[Mapping, int]:
    """Memory of a queue with a register at its end (`SyncFIFOBuffered`), and bits of its
    counters."""
    counters = 2 * bits(depth - 1) + bits(depth) + 1
    return mapped(Memory(depth - 1, width), family), counters


def plain_queue(depth: int, width: int, family: str) -> tuple[Mapping, int]:
    """The same of a queue without one (`SyncFIFO`)."""
    return mapped(Memory(depth, width, sync=False), family), 2 * bits(depth) + bits(depth + 1)


def gearbox(into: int, out: int) -> tuple[int, int]:
    """Register bits of a `Gearbox` from `into` to `out` bytes, and bits of its multiplexers."""
    unit = gcd(into, out)
    taken, given = into // unit, out // unit
    count = taken + given - 1
    choices = sum(
        min(given - 1, number) - max(0, number - taken + 1) + (number + given < count)
        for number in range(count)
    )
    return 8 * unit * count, 8 * unit * choices


def delayed(stages: int, family: str) -> tuple[int, int]:
    """LUTs and flip-flops of a bit that is delayed without a reset: on 7-series and
    UltraScale+ a shift register from three stages on."""
    if family == "ecp5" or stages < 3:
        return 0, stages
    whole, rest = divmod(stages, 32)
    return whole + (rest > 1), int(rest == 1)


def multiplier(
    first: int, second: int, family: str, *, signed: bool = True, kept: int | None = None
) -> int:
    """DSP blocks of a multiplication, as Yosys (`mul2dsp.v`) cuts operands that are too wide.

    Parameters: bits of the operands, both signed or both not; those of the product that are used.
    """
    wide, narrow = max(first, second), min(first, second)
    if family != "ecp5":
        found = wide + narrow
        if (found if kept is None else min(found, kept)) < 9:
            return 0
        wide, narrow = wide + (not signed), narrow + (not signed)
    return _pieces(wide, narrow, family)


def product(
    first: int, second: int, family: str, *, signed: bool = True, kept: int | None = None
) -> int:
    """DSP blocks of `hw/multiplication.py`, which cuts the operands itself.

    Parameters: bits of the operands, and whether they are signed (the wider where one is); bits of
    the product that are used.
    """
    return sum(
        multiplier(a, b, family, kept=None if kept is None else kept - low_a - low_b)
        for low_a, a in _parts(first, signed)
        for low_b, b in _parts(second, signed)
    )


def _parts(width: int, signed: bool) -> list[tuple[int, int]]:
    """Place and bits of an operand's parts."""
    step = PART - 1
    last = max(0, -(-(width - PART + (not signed)) // step)) * step
    return [*((low, step) for low in range(0, last, step)), (last, width - last)]


_CUTS = {"ecp5": (18, 18, 18), "xc7": (25, 18, 17), "xcup": (27, 18, 17)}
"""Widest operand of a block, that of a block that takes a part of a wider one, and how much of it
the part is."""


def _pieces(wide: int, narrow: int, family: str) -> int:
    """Blocks of operands that are not put in order: the first is cut first."""
    most, part, step = _CUTS[family]
    if wide < 2 or narrow < 2:
        return 0
    if wide > most:
        cuts = -(-(wide - most) // step)
        return cuts * _pieces(part, narrow, family) + _pieces(wide - cuts * step, narrow, family)
    if narrow > 18:
        cuts = -(-(narrow - 18) // step)
        return cuts * _pieces(wide, 18, family) + _pieces(wide, narrow - cuts * step, family)
    return 1
