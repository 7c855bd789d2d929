"""Distilled DeiT on the RTL: two tokens side by side in one product, bit-exact."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.sim.native.memory import MemoryTiming

from ..quant import small_names
from ..quant.exported import exported, shaded_pixels
from ..quant.small_vit import randomized
from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import NARROW, WIDE, timings
from .inference import Proof
from .models import SIZES

SLOW = MemoryTiming(read_latency=12, extra_latency=40, hold=0.4, bandwidth=0.7, seed=5)


def gathered(proof: Proof) -> None:
    """The golden tensors, which a check has compared, are what the model's gathers say."""
    tensors = proof.golden.tensors
    stream = tensors[proof.artifact["pool"].inputs[0]]
    np.testing.assert_array_equal(tensors["pool"], stream[:, :2])
    both = tensors["norm"].reshape(len(stream), 1, -1)
    np.testing.assert_array_equal(tensors["head.tokens"], both)
    assert (tensors["norm"][:, 0] != tensors["norm"][:, 1]).any()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("config", "bits", "size"),
    [
        (WIDE, "W4A4", SIZES["distilled"]),
        (WIDE, "W8A8L4", replace(SIZES["distilled"], width=16, heads=2, classes=1)),
        (NARROW, "W4A4", SIZES["distilled"]),
        # Three prefix tokens, and a token's channels in one word.
        (NARROW, "W8A4", Size(width=6, heads=1, hidden=9, prefix=3, pool="distilled", depth=2)),
    ],
    ids=["4x4", "4x4, whole words", "8x4, digits of pixels", "8x4, digits of weights"],
)
def test_random_models(config: AcceleratorConfig, bits: str, size: Size, batch: int) -> None:
    rng = generator(50, batch)
    artifact = random_artifact(rng, size, bits=bits, base=config.base)
    pixels = random_pixels(rng, artifact, 3)
    proof = Proof(artifact, config, pixels, batch=batch)
    with proof.session() as session:
        for timing in (MemoryTiming(), SLOW):
            session.memory[:] = np.frombuffer(proof.memory, np.uint8)
            proof.check(session.run(memory=timing))
    gathered(proof)


def calibrated(bits: str, base: str) -> tuple[Artifact, np.ndarray]:
    """A distilled DeiT as timm makes it, calibrated, and images that did not calibrate it."""
    model = randomized(small_names.timm.create_model("small_distilled"), 3)
    pixels = shaded_pixels(model, 11, 4)
    return exported(model, pixels[:8], bits, base, "repq").artifact, pixels[8:]


@pytest.mark.parametrize(
    ("config", "bits", "batch"), [(WIDE, "W8A8L4", 1), (NARROW, "W4A4", 1), (WIDE, "W4A4", 3)]
)
def test_timm(config: AcceleratorConfig, bits: str, batch: int) -> None:
    artifact, pixels = calibrated(bits, config.base)
    proof = Proof(artifact, config, pixels, batch=batch)
    memory = timings(generator(51))["everything"]
    found = proof.check(proof.run(memory=memory))
    gathered(proof)
    assert found.compared > 10_000
