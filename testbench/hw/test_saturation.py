"""Clamping and narrow shifting, every value of small widths against Python's integers."""

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from rootshift.hw.saturation import clamp, shift_right


def outputs(inputs: list[Signal], outcome: list, beats: list[tuple[int, ...]]) -> list[tuple]:
    """What combinational `outcome` is for each beat of `inputs`."""
    m, found = Module(), []
    results = [Signal.like(value, name=f"result_{n}") for n, value in enumerate(outcome)]
    m.d.comb += [result.eq(value) for result, value in zip(results, outcome, strict=True)]

    async def drive(ctx) -> None:
        for beat in beats:
            for signal, value in zip(inputs, beat, strict=True):
                ctx.set(signal, value)
            await ctx.delay(1e-9)
            found.append(tuple(ctx.get(result) for result in results))

    simulator = Simulator(m)
    simulator.add_testbench(drive)
    simulator.run()
    return found


def test_clamp_of_constant_and_of_given_limits():
    value, low, high = Signal(signed(7)), Signal(signed(4)), Signal(signed(4))
    positive = Signal(unsigned(3))
    beats = [
        (number, least, most, most & 7)
        for number in range(-64, 64)
        for least in range(-8, 8)
        for most in range(least, 8)
    ]
    pairs = [(low, high), (-8, 7), (0, positive), (0, 7), (-3, 5), (-8, 6), (-64, 63), (-70, 90)]
    outcome = [part for limits in pairs for part in clamp(value, *limits)]
    for beat, got in zip(beats, outputs([value, low, high, positive], outcome, beats), strict=True):
        number, least, most, cap = beat
        given = [(least, most), (-8, 7), (0, cap), *pairs[3:]]
        expected = [(min(max(number, a), b), int(not a <= number <= b)) for a, b in given]
        assert got == tuple(part for pair in expected for part in pair), beat


@pytest.mark.parametrize(("bits", "amount_bits"), [(9, 3), (9, 4), (4, 3), (12, 2)])
@pytest.mark.parametrize("width", [3, 5, 8])
def test_shift_right_is_exact_or_beyond(bits: int, amount_bits: int, width: int):
    value, amount = Signal(signed(bits)), Signal(amount_bits)
    beats = [
        (number, by)
        for number in range(-(1 << (bits - 1)), 1 << (bits - 1))
        for by in range(1 << amount_bits)
    ]
    outcome = [shift_right(value, amount, width)]
    assert len(outcome[0]) == width
    limit = 1 << (width - 2)
    for (number, by), (got,) in zip(beats, outputs([value, amount], outcome, beats), strict=True):
        exact = number >> by
        if -limit <= exact < limit:
            assert got == exact, (number, by)
        else:
            assert (got >= limit) if exact > 0 else (got < -limit), (number, by, got)
