"""Swin transformers: the float network is timm's, its integer program computes it, others are
refused.

Parameters are random, LayerNorm gains and position biases too.
"""

import importlib
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn

from rootshift.accelerated import check_accelerated
from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.errors import ModelError, ProgramError
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.quant.calibrate import calibrate
from rootshift.quant.fake import FakeModel
from rootshift.quant.families import network_of
from rootshift.quant.nodes import Gather, ScoreBias
from rootshift.sim.golden.model import GoldenModel

from .exported import Exported, exported, preprocessing_for, shaded_pixels, traced
from .operator_check import check_operators
from .small_swin import VARIANTS, small_swin, swin

RmsNorm = importlib.import_module("timm.layers").RmsNorm

INTEGER = (
    "plain",
    "padded windows, odd merging",
    "always partitioned",
    "four stages",
    "no qkv bias",
    "width of the heads",
    "one token",
)
"""Variants that are calibrated and exported."""


@cache
def made(name: str, bits: str = "W8A8", base: str = "sqrt2", method: str = "repq") -> Exported:
    """A variant calibrated on random images."""
    print(f"variant={name!r} bits={bits} base={base} method={method}")
    model = small_swin(1, **VARIANTS[name])
    return exported(model, shaded_pixels(model, 16, 2), bits, base, method)


def normalized(model: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """What timm's model takes of uint8 pixels [B, H, W, C]."""
    preprocessing = preprocessing_for(model)
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return ((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def check_float(model: nn.Module, mode: str = "integer") -> None:
    """The network of nodes gives the logits of the model."""
    preprocessing = preprocessing_for(model)
    network = network_of(model, preprocessing.mean, preprocessing.std, mode)
    pixels = shaded_pixels(model, 3, 4)
    with torch.no_grad():
        want = model(normalized(model, pixels))
        (got,) = network.run(torch.from_numpy(pixels)).values()
    assert torch.allclose(got.flatten(1), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_float_network_is_timms(name: str) -> None:
    check_float(small_swin(5, **VARIANTS[name]))


def test_reference_mode_is_timms_too() -> None:
    check_float(small_swin(6, **VARIANTS["padded windows, odd merging"]), "reference")


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation of position biases
def test_a_model_of_another_size_than_it_was_made_for() -> None:
    model = small_swin(7)
    model.set_input_size(img_size=(28, 44), window_size=3)
    check_float(model)


def test_tokens_stay_where_windows_leave_them() -> None:
    """Gathers only where rows move: not in a window that is the grid, not in bands of rows."""
    names = {
        "plain": {"layers.1.blocks.0", "layers.1.blocks.1"},
        "windows of each stage": set(),
        "shifted along rows only": {"layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1"},
    }
    for name, still in names.items():
        model = small_swin(8, **VARIANTS[name])
        network = network_of(model, (0.5,) * 3, (0.5,) * 3)
        moved = {
            node.name.removesuffix(".attn.partition")
            for node in network.nodes
            if isinstance(node, Gather) and node.name.endswith("partition")
        }
        biased = {
            node.name.removesuffix(".attn.bias")
            for node in network.nodes
            if isinstance(node, ScoreBias)
        }
        assert biased - moved == still, name


def test_norms_are_reparameterized_through_the_windows() -> None:
    model = small_swin(9, **VARIANTS["padded windows, odd merging"])
    sites = network_of(model, (0.5,) * 3, (0.5,) * 3).norm_sites()
    blocks = [f"layers.{stage}.blocks.{block}" for stage in (0, 1) for block in (0, 1)]
    want = {f"{block}.attn.qkv.input": f"{block}.norm1" for block in blocks}
    want |= {f"{block}.mlp.fc1.input": f"{block}.norm2" for block in blocks}
    want["layers.1.downsample.reduction.input"] = "layers.1.downsample.norm"
    assert {site: norm.name for site, (norm, _) in sites.items()} == want


def test_padding_keeps_its_meaning_when_the_norm_changes_scale() -> None:
    """At 8 bits, the products of padded rows are nearly the float network's: their biases."""
    found = made("padded windows, odd merging")
    network = found.quantized.network
    pixels = shaded_pixels(found.model, 4, 3)
    trace = traced(found.quantized, pixels)
    for number in (0, 1):
        block = found.model.layers[0].blocks[number]
        name = f"layers.0.blocks.{number}.attn"
        gather = network.by_name[f"{name}.partition"]
        rows = trace.values[f"{name}.qkv"][:, gather.index[:, 0] < 0]
        assert rows.shape[1] == 64 - 35
        want = block.attn.qkv.bias.numpy()
        assert np.abs(rows - want).max() < 0.05 * trace.values[f"{name}.qkv"].std()


@pytest.mark.parametrize("name", INTEGER)
def test_every_operator_computes_its_layer(name: str) -> None:
    check(made(name))


@pytest.mark.parametrize(
    ("bits", "base", "method"),
    [("W4A4", "2", "repq"), ("W3A5L6", "sqrt2", "repq"), ("W6A6L4", "sqrt2", "repq+gptq")],
)
def test_every_operator_at_other_widths(bits: str, base: str, method: str) -> None:
    check(made("padded windows, odd merging", bits, base, method))


def check(found: Exported) -> None:
    """Each operator on the network's own codes, and that none was left out."""
    pixels = shaded_pixels(found.model, 1, 3)[0]
    # Patchify; scores and their bias in each block.
    blocks = sum(len(stage.blocks) for stage in found.model.layers)
    assert check_operators(found, pixels) == len(found.artifact.operators) - 1 - 2 * blocks


@pytest.mark.parametrize("name", INTEGER)
def test_levels_agree(name: str) -> None:
    found = made(name)
    pixels = shaded_pixels(found.model, 24, 4)
    inference = GoldenModel(found.artifact).run(pixels)
    golden = inference.logits * found.artifact.operators[-1].scale
    fake = FakeModel(found.artifact).logits(torch.from_numpy(pixels)).numpy()
    network = found.quantized.logits(torch.from_numpy(pixels)).numpy()
    with torch.no_grad():
        real = found.model(normalized(found.model, pixels)).numpy()
    agreement = {
        "golden-fake": np.corrcoef(golden.ravel(), fake.ravel())[0, 1],
        "fake-network": np.corrcoef(fake.ravel(), network.ravel())[0, 1],
        "golden-float": np.corrcoef(golden.ravel(), real.ravel())[0, 1],
    }
    print(agreement)
    # Log codes part where a score is near a boundary: more so, the more blocks there are.
    least = 0.997 if name == "four stages" else 0.999
    assert agreement["golden-fake"] > least
    assert agreement["fake-network"] > least
    assert agreement["golden-float"] > 0.98


def test_the_artifact_comes_back_from_disk(tmp_path) -> None:
    found = made("padded windows, odd merging", "W5A4L6")
    found.artifact.save(tmp_path / "a")
    pixels = shaded_pixels(found.model, 3, 6)
    np.testing.assert_array_equal(
        GoldenModel(Artifact.load(tmp_path / "a")).run(pixels).logits,
        GoldenModel(found.artifact).run(pixels).logits,
    )


def test_the_residual_stream_has_room() -> None:
    """On the calibration images no row of the stream saturates, in any of its stages."""
    found = made("four stages")
    names = [op.name for op in found.artifact.operators if op.output_width == RESIDUAL_WIDTH]
    assert {"patch_embed.norm", "layers.1.downsample.reduction", "norm", "pool"} <= set(names)
    inference = GoldenModel(found.artifact).run(shaded_pixels(found.model, 16, 2), names)
    assert not set(names) & inference.saturated.keys()


def test_the_accelerator_refuses_it() -> None:
    with pytest.raises(ProgramError, match="the accelerator has no unit for windowed attention"):
        check_accelerated(made("plain").artifact)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_layer": RmsNorm}, r"patch_embed\.norm must be LayerNorm .*, not RmsNorm"),
        (
            {"norm_layer": partial(nn.LayerNorm, bias=False)},
            r"layers\.0\.blocks\.0\.norm1 must be LayerNorm with gain and bias",
        ),
        ({"global_pool": "max"}, r"head\.global_pool must be 'avg', not 'max'"),
        ({"num_classes": 0}, r"head\.fc must be Linear, not Identity"),
        ({"img_size": 34}, r"patch_embed must have whole patches of \(4, 4\)"),
    ],
)
def test_variants_beyond_the_flow_are_refused_by_module(changes, message) -> None:
    refused(small_swin(**changes), message)


def test_changed_modules_are_refused_by_name() -> None:
    model = small_swin()
    model.layers[1].downsample.norm = nn.BatchNorm1d(32)
    refused(model, r"layers\.1\.downsample\.norm must be LayerNorm over channels, not BatchNorm1d")
    model = small_swin()
    model.layers[0].blocks[1].attn = nn.Identity()
    refused(model, r"layers\.0\.blocks\.1\.attn must be WindowAttention, not Identity")
    model = small_swin()
    model.layers[0].blocks[0].mlp.act = nn.PReLU()
    refused(model, r"layers\.0\.blocks\.0\.mlp\.act must be elementwise and without weights")
    model = small_swin()
    model.layers[1] = swin.PatchMerging(8)
    refused(model, r"layers\.1 must be a SwinTransformerStage, not PatchMerging")


def refused(model: nn.Module, message: str) -> None:
    """Before any image is looked at."""
    with pytest.raises(ModelError, match="model is not supported") as caught:
        calibrate(model, torch.zeros(0), (0.5,) * 3, (0.5,) * 3, Bits(8, 8))
    assert caught.match(message)
