"""The reciprocal root of normalized numbers, digit by digit, against Python's integers."""

from itertools import pairwise
from math import isqrt
from random import Random

import pytest
from amaranth.sim import Simulator

from rootshift.hw.reciprocal_root import ReciprocalRoot

LOW, HIGH = 1 << 30, (1 << 32) - 1
SEED = 1


@pytest.mark.parametrize("digits", [1, 2])
def test_every_number_and_its_cycles(digits: int) -> None:
    """Around squares, where a digit changes, at both ends, and anywhere."""
    print(f"seed {SEED}")
    roots = [(1 << 15) + step for step in (1, 2, 3, 5, 100, 1 << 14, (1 << 15) - 1)]
    values = [LOW, LOW + 1, HIGH - 1, HIGH]
    values += [root * root + step for root in roots for step in (-1, 0, 1)]
    random = Random(SEED)
    values += [random.randrange(LOW, HIGH + 1) for _ in range(200)]
    unit = ReciprocalRoot(tag_width=8, digits=digits)
    taken: list[int] = []
    given: list[int] = []
    found: list[tuple[int, int]] = []

    async def drive(ctx) -> None:
        ctx.set(unit.i.valid, 1)
        ctx.set(unit.o.ready, 1)
        cycle = 0
        while len(found) < len(values):
            number = min(len(taken), len(values) - 1)
            ctx.set(unit.i.payload.value, values[number])
            ctx.set(unit.i.payload.tag, number % 256)
            if ctx.get(unit.i.ready):
                taken.append(cycle)
            if ctx.get(unit.o.valid):
                given.append(cycle)
                found.append((ctx.get(unit.o.payload.value), ctx.get(unit.o.payload.tag)))
            await ctx.tick()
            cycle += 1

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert found == [((1 << 32) // isqrt(value), n % 256) for n, value in enumerate(values)]
    assert given[0] - taken[0] == unit.latency()
    assert {b - a for a, b in pairwise(given[5:])} == {unit.period()}
