"""Distilled DeiT (Touvron et al., ICML 2021, arXiv 2012.12877): two tokens and two heads."""

import importlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rootshift.bits import Bits
from rootshift.errors import ModelError
from rootshift.images import ImageSet
from rootshift.operators import Gather
from rootshift.quant.fake import FakeModel
from rootshift.quant.families import check_supported, network_of
from rootshift.quant.models import load_model
from rootshift.quant.quantize import quantize
from rootshift.sim.golden.model import GoldenModel

from .exported import Exported, exported, shaded_pixels
from .levels import within_a_step
from .operator_check import check_operators
from .small_names import random_weights
from .small_vit import MEAN, STD, float_logits, randomized

# After the guard in rootshift.quant, without which timm does not import beside a CPU torch.
timm = importlib.import_module("timm")


def distilled(seed: int = 0, **changes):
    """A small random distilled DeiT."""
    print(f"seed={seed} changes={changes}")
    return randomized(timm.create_model("small_distilled", **changes), seed)


@pytest.fixture(scope="module")
def made() -> Exported:
    model = distilled(1)
    return exported(model, shaded_pixels(model, 64, 2), "W8A8", method="repq")


@pytest.mark.parametrize("mode", ["integer", "reference"])
@pytest.mark.parametrize("changes", [{}, {"init_values": 0.1}, {"img_size": (8, 24)}])
def test_float_logits_are_timms(changes, mode) -> None:
    model = distilled(3, **changes)
    pixels = torch.from_numpy(shaded_pixels(model, 4, 4))
    logits = network_of(model, MEAN, STD, mode).run(pixels)["head"].flatten(1)
    torch.testing.assert_close(logits, float_logits(model, pixels), atol=1e-5, rtol=1e-5)


def test_each_head_reads_its_own_token(made: Exported) -> None:
    """Only with both tokens in place do two different heads give timm's logits."""
    model = distilled(3)
    with torch.no_grad():
        model.head_dist.weight.neg_()
    pixels = torch.from_numpy(shaded_pixels(model, 4, 4))
    logits = network_of(model, MEAN, STD).run(pixels)["head"].flatten(1)
    torch.testing.assert_close(logits, float_logits(model, pixels), atol=1e-5, rtol=1e-5)
    moved = [op for op in made.artifact.operators if isinstance(op, Gather)]
    assert [op.index.tolist() for op in moved] == [[[0], [1]], [[0, 1]]]


@pytest.mark.parametrize("bits", ["W4A4", "W6A6"])
def test_operators_compute_their_layers(bits: str) -> None:
    model = distilled(5)
    made = exported(model, shaded_pixels(model, 8, 6), bits, method="repq")
    check_operators(made, shaded_pixels(model, 1, 7)[0])


def test_levels_agree(made: Exported) -> None:
    pixels = shaded_pixels(made.model, 6, 8)
    within_a_step(made.artifact, pixels)
    want = made.float_logits(pixels)
    fake = FakeModel(made.artifact).logits(torch.from_numpy(pixels)).numpy()
    integer = GoldenModel(made.artifact).run(pixels).logits * made.artifact["head"].scale
    for level in (fake, integer):
        assert np.corrcoef(level.ravel(), want.ravel())[0, 1] > 0.995


def test_weights_load_with_their_number_of_classes(tmp_path) -> None:
    path = random_weights("small_distilled", tmp_path, num_classes=3)
    model = load_model("small_distilled", path)
    assert model.head.out_features == model.head_dist.out_features == 3
    tensors = load_file(path)
    del tensors["head_dist.bias"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"missing: head_dist\.bias \[3\]"):
        load_model("small_distilled", path)


def test_the_published_model_is_supported() -> None:
    check_supported(timm.create_model("deit_tiny_distilled_patch16_224"))


def test_quantizing_one(tmp_path) -> None:
    def images(preprocessing):
        pixels = np.random.default_rng(9).integers(0, 256, (4, *preprocessing.shape), np.uint8)
        return ImageSet.from_arrays([str(number) for number in range(4)], pixels)

    path = random_weights("small_distilled", tmp_path)
    artifact = quantize("small_distilled", path, images, Bits(4, 4), method="repq+gptq")
    assert artifact["embed"].prefix == 2
    assert artifact.shapes()["head"] == (1, 7)
