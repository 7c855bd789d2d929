"""Feature extractors: timm's maps in float, and quantized ones in the place of a backbone.

Whole detectors and segmenters on a quantized backbone are in `test_detection.py`.
"""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.errors import ArtifactError, ModelError
from rootshift.quant.digits import digits_images
from rootshift.quant.extractors import feature_extractor
from rootshift.quant.families import check_supported, network_of
from rootshift.quant.features import FeatureBackbone
from rootshift.quant.models import load_model, preprocessing_of
from rootshift.quant.quantize import quantize, state_digest
from rootshift.sim.golden.model import GoldenModel

from .exported import Exported, exported, preprocessing_for, shaded_pixels
from .features import correlation, float_maps, images_of
from .levels import within_a_step
from .operator_check import check_operators
from .small_names import random_weights
from .small_swin import small_swin
from .small_vit import MEAN, STD, randomized, small_vit

# After the guard in rootshift.quant, without which timm does not import beside a CPU torch.
timm = importlib.import_module("timm")
getter = importlib.import_module("timm.models._features").FeatureGetterNet


def listed(**changes: Any) -> nn.Module:
    """timm's rewritten Swin transformer, as `features_only=True` gives it."""
    return randomized(timm.create_model("small_swin", features_only=True, **changes), 1)


EXTRACTORS = {
    "blocks": lambda: feature_extractor(small_vit(depth=4), (0, 2)),
    "the last block": lambda: feature_extractor(small_vit(), (-1,)),
    "registers": lambda: feature_extractor(small_vit(reg_tokens=3), (0, 1)),
    "no class token": lambda: feature_extractor(
        small_vit(class_token=False, global_pool="avg"), (1,)
    ),
    "oblong": lambda: feature_extractor(small_vit(img_size=(8, 16), patch_size=(2, 4)), (1,)),
    "normalized": lambda: getter(small_vit(), 2, norm=True),
    "whole": lambda: getter(small_vit(depth=3), [2, 0], prune=False),
    "distilled": lambda: randomized(
        timm.create_model("small_distilled", features_only=True, out_indices=(0, 1)), 1
    ),
    "stages": lambda: feature_extractor(small_swin(depths=(2, 2, 1), num_heads=(1, 2, 4)), (0, 2)),
    "the first stage": lambda: feature_extractor(small_swin(), (0,)),
    "normalized stages": lambda: getter(small_swin(), 2, norm=True),
    "odd stages": lambda: feature_extractor(small_swin(img_size=(20, 28)), (0, 1)),
    "listed stages": lambda: listed(out_indices=(0, 1)),
    "one listed stage": lambda: listed(out_indices=(-2,)),
}


@pytest.fixture(scope="module")
def made() -> Exported:
    """A Swin transformer of three stages at 8 bits."""
    model = small_swin(2, img_size=48, depths=(2, 2, 2), num_heads=(1, 2, 4), embed_dim=12)
    extractor = feature_extractor(model, (0, 1, 2))
    return exported(extractor, shaded_pixels(extractor, 16, 3), "W8A8", method="repq")


@pytest.fixture(scope="module")
def pixels(made: Exported) -> np.ndarray:
    return shaded_pixels(made.model, 3, 4)


def golden(artifact: Artifact) -> FeatureBackbone:
    """The backbone at the integer level."""
    return FeatureBackbone(artifact, lambda pixels: GoldenModel(artifact).run(pixels).outputs)


@pytest.mark.parametrize("mode", ["integer", "reference"])
@pytest.mark.parametrize("name", EXTRACTORS)
def test_float_maps_are_timms(name: str, mode: str) -> None:
    extractor = EXTRACTORS[name]()
    check_supported(extractor)
    preprocessing = preprocessing_for(extractor)
    pixels = shaded_pixels(extractor, 2, 5)
    network = network_of(extractor, preprocessing.mean, preprocessing.std, mode)
    outputs = network.run(torch.from_numpy(pixels))
    wanted = float_maps(extractor, pixels)
    assert len(wanted) == len(network.features) == len(outputs)
    for feature, want in zip(network.features, wanted, strict=True):
        assert feature.grid == want.shape[2:]
        got = outputs[feature.tensor][:, feature.prefix :].unflatten(1, feature.grid)
        torch.testing.assert_close(got.permute(0, 3, 1, 2), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_nothing_is_computed_that_no_map_needs(name: str) -> None:
    network = network_of(EXTRACTORS[name](), MEAN, STD)
    assert network.nodes[-1].name == network.outputs[-1]
    used = {each for node in network.nodes for each in node.inputs} | set(network.outputs)
    assert used >= set(network.by_name)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_operators_compute_their_layers_and_levels_agree(name: str) -> None:
    extractor = EXTRACTORS[name]()
    made = exported(extractor, shaded_pixels(extractor, 8, 6), "W6A6", method="repq")
    pixels = shaded_pixels(extractor, 2, 7)
    assert [output.grid for output in made.artifact.outputs] == [
        each.shape[2:] for each in float_maps(extractor, pixels)
    ]
    check_operators(made, pixels[0])
    within_a_step(made.artifact, pixels)


def test_a_classifiers_weights_load(tmp_path) -> None:
    for name in ("small_deit", "small_distilled", "small_swin"):
        path = random_weights(name, tmp_path)
        model = load_model(name, path, features=(0, -1))
        assert not model.training
        expected = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path)},
            features_only=True,
            out_indices=(0, 1),
        )
        pixels = shaded_pixels(model, 1, 8)
        for got, want in zip(float_maps(model, pixels), float_maps(expected, pixels), strict=True):
            assert torch.equal(got, want)
        assert preprocessing_of(model) == preprocessing_of(load_model(name, path))
        check_supported(expected)


def test_only_the_head_may_be_missing(tmp_path) -> None:
    for name in ("small_deit", "small_distilled", "small_swin"):
        path = random_weights(name, tmp_path)
        whole = load_model(name, path, features=(0, 1))
        tensors = {k: v for k, v in load_file(path).items() if not k.startswith("head")}
        save_file(tensors, path)
        assert state_digest(load_model(name, path, features=(0, 1))) == state_digest(whole)
        with pytest.raises(ModelError, match=r"missing: head\S*weight"):
            load_model(name, path)
        del tensors["norm.bias"]
        save_file(tensors, path)
        with pytest.raises(ModelError, match=r"missing: norm\.bias"):
            load_model(name, path, features=(0, 1))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((), "features must be ascending, at least one, not"),
        ((1, 0), r"features must be ascending, at least one, not \[1, 0\]"),
        ((1, -1), "features must be ascending"),
        ((2,), "features must be numbers from -2 to 1 of blocks or stages, not 2"),
        ((-3,), "not -3"),
        ((True,), "not True"),
        (("0",), "not '0'"),
    ],
)
def test_features_that_are_none_are_refused(features, message, tmp_path) -> None:
    with pytest.raises(ModelError, match=message):
        load_model("small_deit", random_weights("small_deit", tmp_path), features=features)


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        (lambda: getter(small_vit(qk_norm=True), 1), r"blocks\.0\.attn\.q_norm must be Identity"),
        (
            lambda: getter(timm.create_model("swinv2_tiny_window8_256", depths=(1, 1)), 1),
            "not SwinTransformerV2",
        ),
        (
            lambda: timm.create_model("resnet10t", features_only=True),
            "not FeatureListNet",
        ),
    ],
)
def test_extractors_beyond_the_flow_are_refused(extractor, message) -> None:
    with pytest.raises(ModelError, match=message):
        check_supported(extractor())


def test_quantizing_tells_which_features() -> None:
    def calibration(preprocessing):
        return digits_images("calibration", preprocessing)

    artifact = quantize("digits", "timm", calibration, Bits(8, 8), features=(1, -1), limit=4)
    assert artifact.source["features"] == [1, -1]
    model = load_model("digits", "timm", features=(1, -1))
    assert artifact.source["weights_sha256"] == state_digest(model)
    assert [(output.grid, output.prefix) for output in artifact.outputs] == [((4, 4), 1)] * 2
    assert not artifact.is_classifier


def test_the_backbone_gives_maps_by_number(made: Exported, pixels: np.ndarray) -> None:
    backbone = FeatureBackbone(made.artifact)
    maps = backbone(images_of(pixels))
    assert list(maps) == ["0", "1", "2"]
    assert [tuple(each.shape) for each in maps.values()] == [
        (3, 12, 12, 12), (3, 24, 6, 6), (3, 48, 3, 3),
    ]  # fmt: skip
    assert backbone.channels == [12, 24, 48]
    for each, want in zip(maps.values(), float_maps(made.model, pixels), strict=True):
        assert each.dtype == torch.float32
        assert correlation(each, want) > 0.998


def test_integer_maps_are_goldens_codes(made: Exported, pixels: np.ndarray) -> None:
    maps = golden(made.artifact)(images_of(pixels))
    codes = GoldenModel(made.artifact).run(pixels).outputs
    for each, output in zip(maps.values(), made.artifact.outputs, strict=True):
        want = output.feature_map(codes[output.name]) * made.artifact[output.name].scale
        np.testing.assert_array_equal(each.permute(0, 2, 3, 1), want.astype(np.float32))


def test_rounding_of_images_finds_the_pixels_back(made: Exported) -> None:
    seen = []

    def record(pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(pixels)
        return GoldenModel(made.artifact).run(pixels).outputs

    ramp = np.arange(48 * 48 * 3, dtype=np.int64).reshape(1, 48, 48, 3).astype(np.uint8)
    backbone = FeatureBackbone(made.artifact, record)
    backbone(images_of(ramp))
    backbone(images_of(ramp) + 0.4 / 255)
    backbone(images_of(ramp).double() * 9 - 4)
    np.testing.assert_array_equal(seen[0], ramp)
    np.testing.assert_array_equal(seen[1], ramp)
    assert seen[2].dtype == np.uint8
    assert set(seen[2][ramp < 100]) == {0}
    assert set(seen[2][ramp > 150]) == {255}


def test_what_stands_behind_a_backbone_can_be_trained(made: Exported, pixels: np.ndarray) -> None:
    head = nn.Conv2d(12, 2, 1)
    images = images_of(pixels).requires_grad_()
    head(FeatureBackbone(made.artifact)(images)["0"]).square().mean().backward()
    assert head.weight.grad.abs().sum() > 0
    assert images.grad is None


@pytest.mark.parametrize("shape", [(3, 48, 48), (1, 48, 48, 3), (1, 3, 48, 47), (1, 1, 48, 48)])
def test_images_of_another_size_are_refused(made: Exported, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the shape \[images, 3, 48, 48\], not"):
        FeatureBackbone(made.artifact)(torch.zeros(shape))


def test_a_classifier_is_no_backbone() -> None:
    model = small_vit(depth=1)
    artifact = exported(model, shaded_pixels(model, 2, 1), "W8A8", method="repq").artifact
    with pytest.raises(ArtifactError, match="must be of a feature extractor, not of a classifier"):
        FeatureBackbone(artifact)
