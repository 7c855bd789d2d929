"""Images side by side on the RTL: the same values as one after the other, of fewer bytes read."""

import pytest

from rootshift.hw.compiler import compile_program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.rtl.inference import compare, run_program
from rootshift.sim.rtl.memory import MemoryTiming

from ..random_model import random_artifact, random_pixels
from ..seeds import generator
from .designs import WIDE
from .models import SIZES

IMAGES = 4


@pytest.mark.parametrize("name", SIZES)
def test_a_batch_equals_the_golden_model(name: str) -> None:
    rng = generator(list(SIZES).index(name))
    artifact = random_artifact(rng, SIZES[name], bits="W4A4")
    pixels = random_pixels(rng, artifact, IMAGES)
    golden = GoldenModel(artifact).run(pixels, [op.name for op in artifact.operators])
    slow = MemoryTiming(
        read_latency=12, extra_latency=40, hold=0.4, bandwidth=0.7, seed=int(rng.integers(1 << 32))
    )
    read = []
    for batch, timing in ((1, MemoryTiming()), (2, slow), (4, MemoryTiming())):
        program = compile_program(artifact, WIDE, IMAGES, batch=batch)
        run = run_program(program, pixels, memory=timing)
        assert run.status["done"]
        found = compare(artifact, program, run, golden)
        assert found.first is None, found
        assert all(got == expected for got, expected in found.saturated.values()), found
        read.append(run.traffic.read_bytes)
    assert read == sorted(set(read), reverse=True)
