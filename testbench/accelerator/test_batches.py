"""Images side by side on the RTL: the same values as one after the other, of fewer bytes read."""

import pytest

from rootshift.sim.native.memory import MemoryTiming

from ..random_model import random_artifact, random_pixels
from ..seeds import generator
from .designs import WIDE
from .inference import Proof
from .models import SIZES

IMAGES = 4


@pytest.mark.parametrize("name", SIZES)
def test_a_batch_equals_the_golden_model(name: str) -> None:
    rng = generator(list(SIZES).index(name))
    artifact = random_artifact(rng, SIZES[name], bits="W4A4")
    pixels = random_pixels(rng, artifact, IMAGES)
    slow = MemoryTiming(
        read_latency=12, extra_latency=40, hold=0.4, bandwidth=0.7, seed=int(rng.integers(1 << 32))
    )
    read = []
    for batch, timing in ((1, MemoryTiming()), (2, slow), (4, MemoryTiming())):
        proof = Proof(artifact, WIDE, pixels, batch=batch)
        run = proof.run(memory=timing)
        proof.check(run)
        read.append(run.traffic.read_bytes)
    assert read == sorted(set(read), reverse=True)
