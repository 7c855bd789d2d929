"""The fake level: the artifact's own operators in float, each within a step of golden."""

import numpy as np
import pytest
import torch

from rootshift.quant.fake import FakeModel
from rootshift.sim.golden.model import GoldenModel

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .exported import exported_variant, shaded_pixels
from .levels import within_a_step

SIZES = {
    "token": Size(image=(8, 8, 3), width=24, depth=2),
    "average": Size(image=(4, 12, 1), width=15, heads=3, prefix=2, pool="avg"),
}


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("bits", ["W3A3L8", "W4A4", "W5A6L3", "W8A8"])
@pytest.mark.parametrize("size", SIZES)
def test_operators_of_random_models(size: str, bits: str, base: str) -> None:
    rng = generator(len(size), *map(ord, bits))
    artifact = random_artifact(rng, SIZES[size], bits=bits, base=base)
    within_a_step(artifact, random_pixels(rng, artifact, 3))


@pytest.mark.parametrize("variant", ["deep", "no class token", "odd widths", "silu"])
def test_operators_of_exported_models(variant: str) -> None:
    made = exported_variant(variant, "W4A5L6")
    within_a_step(made.artifact, shaded_pixels(made.model, 4, 7))


def test_logits_are_real_and_near_the_integers() -> None:
    made = exported_variant("average", "W8A8", images=32)
    pixels = shaded_pixels(made.model, 24, 8)
    logits = FakeModel(made.artifact).logits(torch.from_numpy(pixels))
    assert logits.dtype == torch.float32
    assert logits.shape == (24, 7)
    golden = GoldenModel(made.artifact).run(pixels).logits * made.artifact.operators[-1].scale
    assert np.corrcoef(logits.numpy().ravel(), golden.ravel())[0, 1] > 0.99
    expected = made.float_logits(pixels)
    assert np.corrcoef(logits.numpy().ravel(), expected.ravel())[0, 1] > 0.985


def test_a_run_leaves_no_trace() -> None:
    """In-place arithmetic must not reach the artifact, the pixels or the next run."""
    artifact = random_artifact(generator(9), SIZES["token"])
    pixels = torch.from_numpy(random_pixels(generator(10), artifact, 4))
    arrays = {
        f"{op.name}.{k}": v.copy() for op in artifact.operators for k, v in op.tensors().items()
    }
    before, model = pixels.clone(), FakeModel(artifact)
    first = model.logits(pixels)
    assert torch.equal(first, model.logits(pixels))
    assert torch.equal(first[1:2], model.logits(pixels[1:2]))
    assert torch.equal(pixels, before)
    for op in artifact.operators:
        for key, value in op.tensors().items():
            np.testing.assert_array_equal(value, arrays[f"{op.name}.{key}"])
