"""Models at other image sizes than their own: position parameters as timm resamples them."""

import importlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from rootshift.bits import Bits
from rootshift.errors import ModelError
from rootshift.quant.digits import CHECKPOINT, digits_images
from rootshift.quant.models import load_model, preprocessing_of
from rootshift.quant.quantize import quantize, state_digest

from .levels import within_a_step
from .small_names import NAMES, random_weights

# After the guard in rootshift.quant, without which timm does not import beside a CPU torch.
timm = importlib.import_module("timm")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of timm itself
@pytest.mark.parametrize("size", [16, (24, 8), (32, 32), 64])
@pytest.mark.parametrize("name", NAMES)
def test_local_weights_are_resampled_as_timm_does_its_own(name, size, tmp_path) -> None:
    path = random_weights(name, tmp_path)
    model = load_model(name, path, size)
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, img_size=size
    )
    assert model.patch_embed.img_size == ((size, size) if isinstance(size, int) else size)
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_positions_really_change(tmp_path) -> None:
    """Without this, sizes at which nothing is resampled would prove nothing."""
    for name, key in (
        ("small_deit", "pos_embed"),
        ("small_distilled", "pos_embed"),
        ("small_swin", "layers.1.blocks.0.attn.relative_position_bias_table"),
    ):
        path = random_weights(name, tmp_path)
        before, after = load_file(path), load_model(name, path, 8).state_dict()
        others = {each for each in before if before[each].shape != after[each].shape}
        assert key in others
        assert all("pos" in each for each in others)
        same = before.keys() - others
        assert all(torch.equal(before[each], after[each]) for each in same)


def test_a_resampled_bias_keeps_its_middle_and_its_slope(tmp_path) -> None:
    """Windows of 4 become windows of 2: offsets -3..3 become -1..1."""
    path = random_weights("small_swin", tmp_path)
    key = "layers.1.blocks.0.attn.relative_position_bias_table"
    before = load_file(path)[key].unflatten(0, (7, 7))
    after = load_model("small_swin", path, 16).state_dict()[key].unflatten(0, (3, 3))
    torch.testing.assert_close(after[1, 1], before[3, 3])
    steep = torch.linspace(-2, 2, 7)[:, None, None].expand(7, 7, 4).flatten(0, 1)
    save_file({**load_file(path), key: steep.contiguous()}, path)
    after = load_model("small_swin", path, 16).state_dict()[key].unflatten(0, (3, 3))
    assert (after[0] < -0.5).all()
    assert after[1].abs().max() < 1e-6
    torch.testing.assert_close(after[0], -after[2])


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_the_size_asked_for_stay_as_they_are(name, tmp_path) -> None:
    path = random_weights(name, tmp_path, img_size=8)
    model = load_model(name, path, 8)
    for key, value in load_file(path).items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_without_a_size_weights_of_another_are_refused(name, tmp_path) -> None:
    path = random_weights(name, tmp_path, img_size=8)
    with pytest.raises(ModelError, match=r"keys must match the model: wrong shape: \S*pos"):
        load_model(name, path)


def test_only_positions_may_differ(tmp_path) -> None:
    path = random_weights("small_deit", tmp_path)
    tensors = load_file(path)
    for key, value in (
        ("norm.bias", torch.zeros(25)),
        ("pos_embed", torch.zeros(1, 17, 25)),
        ("pos_embed", torch.zeros(17, 24)),
        ("patch_embed.proj.weight", torch.zeros(24, 3, 2, 2)),
    ):
        save_file({**tensors, key: value}, path)
        with pytest.raises(ModelError, match=rf"small_deit: keys must .*wrong shape: .*{key}"):
            load_model("small_deit", path, 32)
    save_file({**tensors, "pos_embed": torch.zeros(1, 20, 24)}, path)
    with pytest.raises(ModelError, match="positions cannot be resampled: RuntimeError"):
        load_model("small_deit", path, 32)
    del tensors["pos_embed"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"missing: pos_embed \[1, 65, 24\]"):
        load_model("small_deit", path, 32)


@pytest.mark.parametrize("size", [0, -4, (8, 0), (8, 8, 8), (), (8.0, 8), True, "8"])
def test_a_size_that_is_none_is_refused(size) -> None:
    with pytest.raises(ModelError, match="image_size must be one or two positive integers, not"):
        load_model("digits", CHECKPOINT, size)


def test_a_size_of_broken_patches_is_refused() -> None:
    with pytest.raises(ModelError, match=r"whole patches of \(2, 2\) in its image \(16, 7\)"):
        load_model("digits", CHECKPOINT, (16, 7))


@pytest.mark.parametrize(
    ("size", "resized"), [(160, (177, 177)), ((96, 320), (106, 355)), (224, (248, 248))]
)
def test_preprocessing_follows_the_models_size(size, resized) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    preprocessing = preprocessing_of(timm.create_model("deit_tiny_patch16_224", img_size=size))
    assert preprocessing.shape == (height, width, 3)
    assert (preprocessing.resize_height, preprocessing.resize_width) == resized


def test_quantizing_at_another_size() -> None:
    def calibration(preprocessing):
        return digits_images("calibration", preprocessing)

    artifact = quantize("digits", "timm", calibration, Bits(4, 8), image_size=(16, 12), limit=4)
    assert artifact.preprocessing.shape == (16, 12, 1)
    assert artifact["embed"].position.shape == (1 + 8 * 6, 48)
    model = load_model("digits", CHECKPOINT, (16, 12))
    assert artifact.source["weights_sha256"] == state_digest(model)
    images = calibration(artifact.preprocessing).take(range(2))
    within_a_step(artifact, next(images.batches(2)))
