"""The methods that RepQ-ViT compares with: observers, PTQ4ViT and APQ-ViT, at the fake level."""

import pytest
import torch

from rootshift.bits import Bits
from rootshift.errors import CalibrationError
from rootshift.methods import METHODS
from rootshift.quant.calibrate import calibrate
from rootshift.quant.methods import CLASSES
from rootshift.quant.methods.apq import Judge, greatest
from rootshift.quant.methods.branches import branches
from rootshift.quant.network import PIXELS
from rootshift.quant.nodes import Linear, Mix
from rootshift.quant.quantizers import TwinUniformQuantizer, UniformQuantizer
from rootshift.quant.vit import vit_network

from .small_swin import small_swin
from .small_vit import MEAN, SHAPES, STD, float_logits, random_pixels, small_vit

BASELINES = ("minmax", "percentile", "ptq4vit", "apq")


def run(model, pixels, bits: str, method: str):
    return calibrate(model, pixels, MEAN, STD, Bits.parse(bits), method=method)


def float_operands(quantized, pixels) -> dict[str, torch.Tensor]:
    """What the float network gives each quantizer, by site."""
    found = {}

    def execute(node, operands):
        found.update({s: x for s, x in zip(node.sites, operands, strict=True) if s is not None})
        return node.forward(*operands)

    quantized.network.run(pixels, execute)
    return found


def test_baselines_have_no_integer_form():
    assert not any(METHODS[name].integer for name in BASELINES)


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("method", BASELINES)
def test_a_model_of_any_shape_is_near_the_float_one_at_8_bits(method, changes):
    model, pixels = small_vit(**changes), random_pixels(4)
    expected = float_logits(model, pixels)
    found = run(model, pixels, "W8A8", method).logits(pixels)
    assert (found - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("method", BASELINES)
def test_windows_are_calibrated_too(method):
    model, pixels = small_swin(img_size=16), random_pixels(2)
    quantized = run(model, pixels, "W8A8", method)
    expected = float_logits(model, pixels)
    assert (quantized.logits(pixels) - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("method", BASELINES)
def test_more_bits_are_better(method):
    model, pixels = small_vit(), random_pixels(8)
    expected = float_logits(model, pixels)
    coarse, fine = (run(model, pixels, bits, method).logits(pixels) for bits in ("W3A3", "W8A8"))
    assert (fine - expected).norm() < 0.3 * (coarse - expected).norm()


@pytest.mark.parametrize("method", BASELINES)
def test_the_same_images_give_the_same_quantizers(method):
    model, pixels = small_vit(), random_pixels(4)
    once, again = (run(model, pixels, "W4A4", method) for _ in range(2))
    assert torch.equal(once.logits(pixels), again.logits(pixels))
    for name, (codes, _) in once.weight.items():
        assert torch.equal(codes, again.weight[name][0]), name


@pytest.mark.parametrize("method", BASELINES)
def test_images_may_come_in_parts(method):
    model, pixels = small_vit(), random_pixels(6)
    whole = run(model, pixels, "W4A4", method)
    parts = run(model, pixels.split(4), "W4A4", method)
    assert torch.allclose(whole.logits(pixels), parts.logits(pixels), atol=1e-4)


@pytest.mark.parametrize("method", BASELINES)
def test_not_a_number_is_refused_with_the_name_of_its_tensor(method):
    model = small_vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight[3] = float("nan")
    with pytest.raises(CalibrationError, match=r"blocks\.0\.mlp\.fc[12]\.(weight|input)"):
        run(model, random_pixels(2), "W4A4", method)


def test_minmax_clips_nothing():
    model, pixels = small_vit(), random_pixels(4)
    quantized = run(model, pixels, "W4A4", "minmax")
    for site, x in float_operands(quantized, pixels).items():
        quantizer = quantized.activation[site]
        error = (quantizer.fake(x) - x).abs().max()
        assert error <= 0.5001 * quantizer.scale, site
        spread = x.max() - x.min()
        assert torch.isclose(quantizer.scale * quantizer.top, spread, rtol=1e-5), site
    for name, linear in quantized.network.linears.items():
        codes, grid = quantized.weight[name]
        error = (grid.dequantize(codes) - linear.weight).abs()
        assert (error <= 0.5001 * grid.scale).all(), name
        assert (codes.amax(1) == grid.top).all(), name
        assert (codes.amin(1) == 0).all(), name


def test_percentile_clips_a_lone_outlier():
    model, pixels = small_vit(), random_pixels(24)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[5] = 400.0
    widest, clipped = (run(model, pixels, "W4A4", method) for method in ("minmax", "percentile"))
    operands = float_operands(widest, pixels)
    for site, x in operands.items():
        assert clipped.activation[site].scale <= widest.activation[site].scale * 1.0001, site
        low, high = (torch.quantile(x.double().flatten(), q) for q in (1e-5, 1 - 1e-5))
        found = clipped.activation[site].scale * clipped.activation[site].top
        assert torch.isclose(found.double(), high - low, rtol=1e-3), site


def test_ptq4vit_puts_twin_ranges_behind_softmax_and_gelu_only():
    model, pixels = small_vit(), random_pixels(4)
    quantized = run(model, pixels, "W4A5L6", "ptq4vit")
    for site, quantizer in quantized.activation.items():
        twin = site.endswith(("matmul2.A", "mlp.fc2.input"))
        assert isinstance(quantizer, TwinUniformQuantizer if twin else UniformQuantizer), site
        if site.endswith("matmul2.A"):
            assert quantizer.bits == 6
            assert torch.isclose(quantizer.scale * (quantizer.half - 1), torch.tensor(1.0))
        elif twin:
            assert quantizer.bits == 5
            assert quantizer.signed
            lowest = float_operands(quantized, pixels)[site].min()
            assert quantizer.fine * (quantizer.half - 1) >= -lowest
        else:
            assert quantizer.zero == 2 ** (quantizer.bits - 1)


def test_ptq4vit_scales_query_key_and_value_weights_apart():
    model, pixels = small_vit(), random_pixels(4)
    quantized = run(model, pixels, "W4A4", "ptq4vit")
    scale = quantized.weight["blocks.0.attn.qkv"][1].scale.reshape(3, -1)
    assert (scale == scale[:, :1]).all()
    assert len(scale[:, 0].unique()) == 3
    assert len(quantized.weight["blocks.0.attn.proj"][1].scale.unique()) == 1
    assert len(quantized.weight["patch_embed.proj"][1].scale.unique()) > 1


def test_apq_quantizes_softmax_linearly_from_0():
    quantized = run(small_vit(), random_pixels(4), "W4A4L5", "apq")
    for node in quantized.network.nodes:
        if isinstance(node, Mix):
            quantizer = quantized.activation[node.sites[0]]
            assert isinstance(quantizer, UniformQuantizer)
            assert quantizer.zero == 0
            assert quantizer.bits == 5


def test_branches_are_attention_and_mlp():
    network = vit_network(small_vit(), MEAN, STD, "reference")
    found = branches(network)
    names = {name: branch.output for name, branch in found.items()}
    assert names["blocks.1.attn.qkv"] == names["blocks.1.attn.mix"] == "blocks.1.attn.proj"
    assert names["blocks.1.mlp.fc1"] == "blocks.1.mlp.fc2"
    assert names["head"] == "head"
    assert names["patch_embed.proj"] == "patch_embed.proj"
    first = found["blocks.1.attn.qkv"].nodes[0]
    assert first.name == "blocks.1.norm1"
    assert {n.name for n in network.nodes if n.name in names} == set(names)
    assert PIXELS not in names


@pytest.mark.parametrize(("share", "expected"), [(1.0, 15.0), (0.5, 9.0), (0.01, 5.0), (0.4, 9.0)])
def test_only_the_greatest_errors_count(share, expected):
    errors = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0])
    assert greatest(errors, share) == expected


def test_equal_errors_count_as_often_as_their_share():
    assert greatest(torch.ones(10), 0.3) == pytest.approx(3.0)


def test_apq_lessens_the_error_of_every_block(monkeypatch):
    model, pixels = small_vit(), random_pixels(4)
    seen = []
    move = CLASSES["apq"].move

    def watched(self, judge: Judge, node, side, group):
        def error():
            return float(judge.errors(node, side, [self.found[node.name][side].index]))

        before = error()
        move(self, judge, node, side, group)
        seen.append((before, error(), isinstance(node, Linear)))

    monkeypatch.setattr(CLASSES["apq"], "move", watched)
    run(model, pixels, "W4A4", "apq")
    assert len(seen) == 2 * (6 + 2 + 2 + 2 + 2)
    assert all(after <= before for before, after, _ in seen)
    assert any(after < 0.99 * before for before, after, _ in seen)
