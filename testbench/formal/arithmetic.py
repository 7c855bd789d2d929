"""Proofs that units compute what `docs/numerics.md` says, of all inputs at small widths.

The formats of the parameters are fixed; a proof drives them from narrower signals.
"""

from functools import partial
from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rootshift.formats import SCORE_WIDTH, attention_headroom, zero_code
from rootshift.hw.log2_softmax import CONSTANT_WIDTH, OCTAVE, Log2Softmax
from rootshift.hw.pipeline import delay
from rootshift.hw.requantizer import Requantizer
from rootshift.hw.saturation import clamp, shift_right
from rootshift.hw.shift_attention import ShiftAttention
from rootshift.latency import product

from .bench import Bench
from .proof import Proof


def _narrow(bench: Bench, values: dict[str, tuple[Value, Any]]) -> dict[str, Signal]:
    """Drive wide inputs from constants that are narrower, each of any value; return these."""
    constants = {name: bench.constant(shape, name) for name, (_, shape) in values.items()}
    for name, (value, _) in values.items():
        bench.m.d.comb += value.eq(constants[name])
    return constants


def _clamp(value: Value, low: Value | int, high: Value | int) -> Value:
    return Mux(value < low, low, Mux(value > high, high, value))


def _rounded(value: Value, shift: Value) -> Value:
    """`(value + half(shift)) >> shift`."""
    half = Mux(shift == 0, 0, Const(1, 48) << shift >> 1)
    return (value + half) >> shift


def _cycle(bench: Bench, most: int) -> Signal:
    """The cycle since the reset."""
    cycle = Signal(range(most + 1), name="cycle")
    bench.m.d.sync += cycle.eq(cycle + (cycle != most))
    return cycle


def requantizer(bench: Bench) -> None:
    """A channel in cycle 0, a beat in cycle 1, among beats of any kind in the others."""
    unit = bench.unit
    channel = unit.parameters.payload
    due = 1 + unit.LATENCY
    cycle = _cycle(bench, due + 1)
    parameters = _narrow(
        bench,
        {
            "bias": (channel.bias, signed(5)),
            "weight_zero": (channel.weight_zero, signed(3)),
            "multiplier": (channel.multiplier, 3),
            "zero": (unit.zero, signed(4)),
            "shift": (unit.shift, 6),
        },
    )
    bias, weight_zero, multiplier, zero, shift = parameters.values()
    first = cycle == 0
    bench.assume(unit.shift <= 47)
    bench.assume(unit.parameters.valid == first)
    bench.assume(unit.low <= unit.high)
    bench.assume((cycle != 1) | unit.i.valid)
    bench.assume(unit.o.ready)
    beat = bench.keep(unit.i.payload, cycle == 1)
    low, high = bench.keep(unit.low, cycle == 2), bench.keep(unit.high, cycle == 2)
    given = unit.i.payload.shape()(beat)
    t = given.acc[0] - weight_zero * given.sum + bias
    y = _clamp(zero + _rounded(t * multiplier, shift), low, high)
    # Each step of the unit, so that the solver need not find the way from one end to the other.
    at = 1 + 1 + product(unit.stages, wide=True) + 1
    bench.check((cycle != at) | (bench.inside("corrected_0") == t))
    at += product(unit.stages, wide=True)
    bench.check((cycle != at) | (bench.inside("product_0") == t * multiplier))
    expected = Mux(multiplier == 0, 0, y)
    bench.check((cycle != due) | (unit.o.valid & (unit.o.payload.y[0] == expected)))
    bench.cover((cycle == due) & (unit.o.payload.y[0] == zero - 1))


class Shifter(wiring.Component):
    """`shift_right` and the clamp behind it, without registers."""

    def __init__(self, width: int, out: int) -> None:
        self.out = out
        super().__init__(
            {"value": In(signed(width)), "amount": In(6), "o": Out(signed(out)), "outside": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        low, high = -(1 << self.out - 1), (1 << self.out - 1) - 1
        found, outside = clamp(shift_right(self.value, self.amount, self.out + 2), low, high)
        m.d.comb += [self.o.eq(found), self.outside.eq(outside)]
        return m


def shifter(bench: Bench) -> None:
    unit = bench.unit
    low, high = -(1 << unit.out - 1), (1 << unit.out - 1) - 1
    shifted = unit.value >> unit.amount
    bench.check(unit.o == _clamp(shifted, low, high))
    bench.check(unit.outside == ((shifted < low) | (shifted > high)))
    bench.cover(unit.outside)


class CodeStep(Log2Softmax):
    """The second pass alone: a key's code from its score and its row's constant, free signals."""

    def __init__(self, base: str) -> None:
        super().__init__(lanes=1, depth=2, code_width=3, base=base)
        self.constant = Signal(signed(CONSTANT_WIDTH))
        self.score = Signal(signed(SCORE_WIDTH))
        self.code = Signal(self.code_width)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._second_pass(m, self.constant, self.score, self.code)
        return m


def code_step(bench: Bench) -> None:
    """`clamp(((R - t) * steps + 128) >> 8, 0, Z)`, where the constant is R and half a code."""
    unit = bench.unit
    bench.inputs += [unit.constant, unit.score]
    steps = 2 if unit.base == "sqrt2" else 1
    row = unit.constant - OCTAVE // steps // 2
    late = bench.past(bench.past((row - unit.score) * steps + OCTAVE // 2)) >> 8
    cycle = _cycle(bench, 3)
    expected = _clamp(late.as_signed(), 0, zero_code(3, unit.base))
    bench.check((cycle < 2) | (unit.code == expected))
    bench.cover((cycle >= 2) & (unit.code == 3))


def shift_attention(bench: Bench) -> None:
    """A tile of two keys, of any codes and values, at once after the reset."""
    unit = bench.unit
    zero, steps = zero_code(unit.code_width, unit.base), 2
    headroom = attention_headroom(zero, unit.base)
    parameters = _narrow(
        bench,
        {
            "value_zero": (unit.value_zero, signed(2)),
            "zero": (unit.zero, signed(3)),
            "even": (unit.multiplier_even, 2),
            "odd": (unit.multiplier_odd, 2),
            "shift": (unit.shift, 3),
            "high": (unit.high, unit.value_width),
        },
    )
    value_zero, output_zero, even, odd, shift, high = parameters.values()
    taken = Signal(2)
    accepts = unit.i.valid & unit.i.ready
    bench.m.d.sync += taken.eq(taken + accepts)
    i = unit.i.payload
    bench.assume(unit.i.valid == (taken < 2))
    bench.assume(i.last == (taken == 1))
    bench.assume((i.rows_used == 1) & (i.cols_used == 1))
    bench.assume(i.codes[0] <= zero)
    bench.assume(unit.o.ready)
    code = i.codes[0]
    weight = Array([*(1 << (headroom - c // steps) for c in range(zero)), 0])[code]
    sums, totals = {}, {}
    for parity, name in enumerate("EO"):
        mine = accepts & (code % steps == parity)
        total, keys = Signal(10, name=f"sum_{name}"), Signal(6, name=f"keys_{name}")
        bench.m.d.sync += [
            total.eq(total + Mux(mine, i.values[0] * weight, 0)),
            keys.eq(keys + Mux(mine, weight, 0)),
        ]
        totals[name] = total
        sums[name] = total - value_zero * keys
    whole = sums["E"] * even + sums["O"] * odd
    y = _clamp(output_zero + _rounded(whole, shift), 0, high)
    # Each step of the drain, so that the solver need not find the way from one end to the other.
    enters, width = bench.inside("drain.taken_stb"), unit._drain.sum_width
    place, at = bench.inside("drain.place_0"), product(unit.stages, wide=True)
    subtracted, weighted = (
        delay(bench.m, enters, cycles, name=f"enters_{cycles}", reset_less=False)
        for cycles in (at + 1, 2 * at + 2)
    )
    pairs = (("E", "even", place[:width]), ("O", "odd", place[width:]))
    for name, parity, drained in pairs:
        bench.check(~enters | (drained == totals[name]))
        bench.check(~subtracted | (bench.inside(f"drain.less_{parity}_0") == sums[name]))
    bench.check(~weighted | (bench.inside("drain.total_0") == whole))
    bench.check(~unit.o.valid | ((unit.o.payload.codes[0] == y) & unit.o.payload.last))
    begun = Signal(range(unit.latency() + 2))
    bench.m.d.sync += begun.eq(begun + ((taken == 2) & (begun != unit.latency() + 1)))
    bench.check((begun != unit.latency() - 1) | unit.o.valid)
    bench.cover(unit.o.valid & (unit.o.payload.codes[0] == 2))


PROOFS = [
    Proof(
        "shift_right",
        partial(Shifter, 20, 6),
        "shift and clamp equal `clamp(value >> amount)` and tell what is outside; 20 to 6 bits",
        shifter,
        "prove",
        1,
        slow=True,
    ),
    *(
        Proof(
            f"softmax_code_{base}",
            partial(CodeStep, base),
            f"base {base}: the code of every score and row constant equals the formula",
            code_step,
            "bmc",
            4,
        )
        for base in ("sqrt2", "2")
    ),
    Proof(
        "requantizer",
        partial(Requantizer, lanes=1, groups=1, acc_width=3, sum_width=2, out_width=4),
        "y equals the formula, of 3 bits of acc, 2 of sum, 5 of bias, 3 of weight zero, 3 of "
        "multiplier, 4 of zero point, every shift and all limits; among beats of any kind",
        requantizer,
        "bmc",
        13,
    ),
    Proof(
        "shift_attention",
        partial(ShiftAttention, rows=1, cols=1, code_width=3, value_width=3, depth=2),
        "a tile of two keys of any codes and values equals the formula, in `latency()` cycles; "
        "zero points of 2 and 3 bits, multipliers of 2, shifts to 7",
        shift_attention,
        "bmc",
        38,
        slow=True,
    ),
]
