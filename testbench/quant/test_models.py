"""Loading models: the right weights, or one clear refusal that names what is wrong."""

import importlib
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rootshift.errors import ModelError
from rootshift.images import ImageSet
from rootshift.quant.families import check_supported
from rootshift.quant.models import load_model, preprocessing_of

# After the guard in rootshift.quant, without which timm does not import beside a CPU torch.
timm = importlib.import_module("timm")

SMALL = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 5,
}


@pytest.fixture(scope="module")
def digits_weights() -> dict[str, torch.Tensor]:
    return load_model("digits", "timm").state_dict()


@pytest.fixture
def saved(tmp_path, digits_weights):
    """Saves a changed copy of the weights of `digits`, by the suffix's format."""

    def save(suffix: str = ".safetensors", **changes: torch.Tensor | None):
        tensors = {**digits_weights, **changes}
        tensors = {k: v.clone() for k, v in tensors.items() if v is not None}
        path = tmp_path / f"weights{suffix}"
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
        return path

    return save


def small_vit(**changes) -> nn.Module:
    return timm.models.VisionTransformer(**SMALL | changes)


def test_guard_is_idempotent_and_timm_works():
    from rootshift.quant.torchvision_guard import ensure_torchvision_imports

    first = ensure_torchvision_imports()
    assert ensure_torchvision_imports() == first
    assert timm.is_model("deit_tiny_patch16_224")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_local_file_gives_the_same_model(saved, digits_weights, suffix):
    model = load_model("digits", saved(suffix))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, digits_weights[key]), key


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_wrapped_pickle_is_unwrapped(tmp_path, digits_weights, wrapper):
    path = tmp_path / "wrapped.pth"
    torch.save({wrapper: digits_weights, "epoch": 3}, path)
    assert torch.equal(load_model("digits", path).head.weight, digits_weights["head.weight"])


def test_half_precision_weights_become_float32(tmp_path, digits_weights):
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in digits_weights.items()}, path)
    model = load_model("digits", path)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, digits_weights["head.weight"].half().float())


def test_number_of_classes_follows_the_file(saved):
    path = saved(**{"head.weight": torch.ones(3, 48), "head.bias": torch.zeros(3)})
    assert load_model("digits", path).head.out_features == 3


def test_pickled_code_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth: cannot be read: UnpicklingError"):
        load_model("digits", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.weight": None}, r"missing: norm\.weight \[48\]"),
        ({"dist.weight": torch.ones(2, 3)}, r"unexpected: dist\.weight \[2, 3\]"),
        (
            {"blocks.0.mlp.fc1.weight": torch.ones(100, 48)},
            r"wrong shape: blocks\.0\.mlp\.fc1\.weight \[192, 48\] is \[100, 48\]",
        ),
        (
            {f"extra.{i}": torch.ones(1) for i in range(7)},
            r"unexpected: extra\.0 \[1\], .*extra\.3 \[1\] and 3 more",
        ),
        ({"cls_token": torch.full((1, 1, 48), torch.nan)}, "cls_token has 48 values that are NaN"),
        (
            {"norm.bias": torch.tensor([torch.inf] + [0.0] * 47)},
            r"norm\.bias has 1 values that are NaN or infinite",
        ),
        (
            {"norm.bias": torch.zeros(48, dtype=torch.int32)},
            r"norm\.bias must be a floating-point tensor, not torch\.int32",
        ),
    ],
)
def test_bad_tensor_is_refused_by_key(saved, changes, message):
    with pytest.raises(ModelError, match=r"weights\.safetensors") as caught:
        load_model("digits", saved(**changes))
    assert caught.match(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_weights_are_refused_by_name(saved, tmp_path, suffix):
    content = saved(suffix).read_bytes()
    for size in (0, 4, 200, len(content) // 2, len(content) - 1):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(content[:size])
        with pytest.raises(ModelError, match=rf"cut{suffix}: cannot be read") as caught:
            load_model("digits", path)
        assert "\n" not in str(caught.value)


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.safetensors: no such file"):
        load_model("digits", tmp_path / "absent.safetensors")
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(ModelError, match=r"suffix must be one of .*, not '.npz'"):
        load_model("digits", tmp_path / "weights.npz")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(ModelError, match=r"list\.pt: must hold tensors by name, not list"):
        load_model("digits", tmp_path / "list.pt")


def test_unknown_model_is_refused_with_the_closest_names():
    with pytest.raises(ModelError, match=r"'deit_tiny_patch16' .*deit_tiny_patch16_224"):
        load_model("deit_tiny_patch16", "timm")


def test_unreachable_pretrained_weights_end_in_one_error(tmp_path):
    code = (
        "from rootshift.errors import ModelError\n"
        "from rootshift.quant.models import load_model\n"
        "try:\n    load_model('vit_tiny_patch16_224', 'timm')\n"
        "except ModelError as error:\n    print(error)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("model vit_tiny_patch16_224: timm's weights cannot be loaded: ")
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qkv_bias": False},
        {"proj_bias": False},
        {"init_values": 0.1},
        {"global_pool": "avg"},
        {"global_pool": "avg", "class_token": False},
        {"reg_tokens": 4},
        {"reg_tokens": 4, "no_embed_class": True},
        {"fc_norm": True},
        {"act_layer": nn.ReLU},
        {"act_layer": partial(nn.GELU, approximate="tanh")},
        {"act_layer": "quick_gelu"},
        {"act_layer": nn.Hardswish},
        {"drop_path_rate": 0.1, "proj_drop_rate": 0.1},
        {"img_size": (16, 8), "patch_size": (8, 2), "in_chans": 1},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-6)},
    ],
)
def test_plain_variants_are_supported(changes):
    check_supported(small_vit(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qk_norm": True}, r"blocks\.0\.attn\.q_norm must be Identity, not LayerNorm"),
        ({"scale_attn_norm": True}, r"blocks\.0\.attn\.norm must be Identity"),
        ({"scale_mlp_norm": True}, r"blocks\.0\.mlp\.norm must be Identity"),
        ({"pre_norm": True}, "norm_pre must be Identity, not LayerNorm"),
        ({"embed_norm_layer": nn.LayerNorm}, r"patch_embed\.norm must be Identity"),
        ({"final_norm": False}, "norm must be LayerNorm over channels, not Identity"),
        ({"norm_layer": "rmsnorm"}, r"blocks\.0\.norm1 must be LayerNorm .*, not RmsNorm"),
        (
            {"norm_layer": partial(nn.LayerNorm, bias=False)},
            r"blocks\.0\.norm1 must be LayerNorm with gain and bias",
        ),
        ({"act_layer": partial(nn.Softmax, dim=-1)}, r"blocks\.0\.mlp\.act must be elementwise"),
        ({"act_layer": nn.PReLU}, r"blocks\.0\.mlp\.act must be .* without weights, not PReLU"),
        ({"mlp_layer": "swiglu"}, r"blocks\.0\.mlp must be an Mlp, not SwiGLU"),
        ({"block_fn": "parallel"}, r"blocks\.0 must be a Block, not ParallelScalingBlock"),
        ({"attn_layer": "diff"}, r"blocks\.0\.attn must be an Attention, not DiffAttention"),
        ({"global_pool": "max"}, "global_pool must be 'token' or 'avg', not 'max'"),
        ({"global_pool": "map"}, "global_pool must be 'token' or 'avg', not 'map'"),
        ({"global_pool": "avg", "fc_norm": False}, "fc_norm must be LayerNorm"),
        (
            {"global_pool": "avg", "pool_include_prefix": True},
            "global_pool must average patch tokens only",
        ),
        ({"num_classes": 0}, "head must be Linear, not Identity"),
        ({"pos_embed": "none"}, "pos_embed must be learned, not absent"),
        ({"dynamic_img_size": True}, "patch_embed must take one image size"),
        ({"img_size": 18}, r"patch_embed must have whole patches of \(4, 4\)"),
        ({"patch_drop_rate": 0.5}, "patch_drop must be Identity, not PatchDropout"),
    ],
)
def test_variant_beyond_the_flow_is_refused_by_module(changes, message):
    kinds = {
        "swiglu": timm.layers.SwiGLU,
        "parallel": timm.models.vision_transformer.ParallelScalingBlock,
    }
    for field in ("mlp_layer", "block_fn"):
        if field in changes:
            changes = {field: kinds[changes[field]]}
    with pytest.raises(ModelError, match="model is not supported") as caught:
        check_supported(small_vit(**changes))
    assert caught.match(message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_atto", "must be a timm VisionTransformer, .* or SwinTransformer, not ConvNeXt"),
        ("swinv2_tiny_window8_256", "SwinTransformer, not SwinTransformerV2"),
        ("vit_tiny_r_s16_p8_224", "patch_embed must be a PatchEmbed, not HybridEmbed"),
    ],
)
def test_other_architectures_are_refused_before_weights_are_read(tmp_path, name, message):
    save_file({"head.weight": torch.ones(1000, 192)}, tmp_path / "any.safetensors")
    with pytest.raises(ModelError, match=message):
        load_model(name, tmp_path / "any.safetensors")


def test_overlapping_patches_are_refused():
    model = small_vit()
    model.patch_embed.proj = nn.Conv2d(3, 24, kernel_size=4, stride=2, padding=1)
    with pytest.raises(ModelError, match=r"patch_embed\.proj must have its stride equal"):
        check_supported(model)


def test_preprocessing_comes_from_the_checkpoint():
    expected = preprocessing_of(timm.create_model("deit_tiny_patch16_224"))
    assert expected.shape == (224, 224, 3)
    assert (expected.resize_height, expected.resize_width) == (248, 248)
    assert expected.interpolation == "bicubic"
    assert expected.mean == (0.485, 0.456, 0.406)
    half = preprocessing_of(timm.create_model("vit_tiny_patch16_224"))
    assert half.mean == half.std == (0.5, 0.5, 0.5)


def test_preprocessing_that_does_not_fit_is_refused():
    model = timm.create_model("digits", in_chans=3)
    with pytest.raises(ModelError, match="must have the 3 channels that patch_embed takes, not 1"):
        preprocessing_of(model)
    model = timm.create_model("digits")
    model.pretrained_cfg = {**model.pretrained_cfg, "crop_mode": "border"}
    with pytest.raises(ModelError, match="crop_mode must be one of center, squash, not 'border'"):
        preprocessing_of(model)


def test_deit_gives_the_reference_logits(shared):
    model = load_model(
        "deit_tiny_patch16_224", shared / "data/deit_tiny/deit_tiny_patch16_224.safetensors"
    )
    expected = preprocessing_of(model)
    labels = shared / "data/imagenet_samples/labels.csv"
    images = ImageSet.from_csv(labels, expected, split="evaluation").take(range(8))
    reference = np.load(shared / "reference/float.npz")["logits"][:8]
    pixels = torch.from_numpy(next(images.batches(8))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (expected.mean, expected.std))
    logits = model((pixels - mean) / std).numpy()
    np.testing.assert_allclose(logits, reference, atol=2e-3)
