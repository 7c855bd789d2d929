"""Wide multiplications of every shape and number of stages, against Python's integers."""

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from rootshift.config import PIPELINE_STAGES
from rootshift.hw.multiplication import multiply
from rootshift.latency import product

SHAPES = [
    (unsigned(1), signed(1)),
    (signed(18), unsigned(17)),
    (unsigned(18), signed(16)),
    (signed(33), unsigned(16)),
    (signed(26), signed(26)),
    (unsigned(54), unsigned(9)),
]


def ends(shape: object) -> list[int]:
    """The numbers of a shape next to where its sign or one of its parts changes."""
    low = -1 << (shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    near = {n + d for n in (low, 0, 1 << 17, 1 << 34, high) for d in (-1, 0, 1)}
    return sorted(n for n in near if low <= n <= high)


@pytest.mark.parametrize("stages", PIPELINE_STAGES)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products_come_after_their_cycles(shapes: tuple, stages: int) -> None:
    pairs = [(a, b) for a in ends(shapes[0]) for b in ends(shapes[1])]
    # A narrow one may have any width, and then is a sum of products within a cycle.
    for wide in (False, True):
        m, a, b = Module(), Signal(shapes[0]), Signal(shapes[1])
        result = Signal((a * b).shape())
        found = multiply(m, a, b, stages=stages, wide=wide, name="product")
        m.d.comb += result.eq(found)
        got: list[int] = []

        async def drive(ctx, a=a, b=b, result=result, got=got, wide=wide) -> None:
            for pair in [*pairs, *[(0, 0)] * product(stages, wide)]:
                ctx.set(a, pair[0])
                ctx.set(b, pair[1])
                got.append(ctx.get(result))
                await ctx.tick()

        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(drive)
        simulator.run()
        assert got[product(stages, wide) :] == [x * y for x, y in pairs]
