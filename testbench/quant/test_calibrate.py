"""Calibration of whole models: any supported shape, both modes, and clear refusals."""

import copy

import pytest
import torch

from rootshift.bits import Bits
from rootshift.errors import CalibrationError, ModelError
from rootshift.quant.calibrate import calibrate
from rootshift.quant.quantizers import LogQuantizer
from rootshift.quant.vit import QuantizedViT

from .small_vit import MEAN, STD, float_logits, random_pixels, small_vit

SHAPES = {
    "plain": {},
    "no qkv bias": {"qkv_bias": False, "proj_bias": False},
    "layer scale": {"init_values": 0.5},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "average pool": {"global_pool": "avg", "class_token": False},
    "average pool with a class token": {"global_pool": "avg"},
    "one head, one block, odd width": {"embed_dim": 21, "num_heads": 1, "depth": 1},
    "other activation": {"act_layer": "silu"},
    "patches of 8 x 4": {"patch_size": (8, 4), "mlp_ratio": 2.5},
    "one class": {"num_classes": 1},
}


def quantized(model, pixels: torch.Tensor, bits: str = "W8A8", **options) -> QuantizedViT:
    return calibrate(model, pixels, MEAN, STD, Bits.parse(bits), **options)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).square().mean() / expected.square().mean())


class FloatStages:
    """No quantizer at all."""

    def __init__(self, vit: QuantizedViT) -> None:
        self._vit = vit
        self.residuals: dict[str, float] = {}

    def activation(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._vit.float_linear(name, x)

    def residual(self, name: str, x: torch.Tensor) -> None:
        self.residuals[name] = float(x.abs().max())


@pytest.mark.parametrize("mode", ["integer", "reference"])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_quantizers_it_computes_the_model(shape: str, mode: str) -> None:
    model, pixels = small_vit(**SHAPES[shape]), random_pixels(3)
    vit = QuantizedViT(model, MEAN, STD, Bits(8, 8), mode)
    assert torch.allclose(
        vit.walk(pixels, FloatStages(vit)), float_logits(model, pixels), atol=1e-4
    )


@pytest.mark.parametrize("options", [{"mode": "reference"}, {}, {"rounding": "second-moment"}])
@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_are_near_float(shape: str, options: dict[str, str]) -> None:
    model, pixels = small_vit(**SHAPES[shape]), random_pixels(12)
    vit = quantized(model, pixels, **options)
    with torch.no_grad():
        assert relative_error(vit(pixels), float_logits(model, pixels)) < 0.02


@pytest.mark.parametrize("options", [{}, {"rounding": "second-moment"}])
def test_the_folds_keep_the_function(options: dict[str, str]) -> None:
    # The embedding's bias is exact for its rounded weights only; compensation and bias correction
    # change the function on purpose. At 8 bits all of it is little.
    model, pixels = small_vit(), random_pixels(8)
    vit = quantized(model, pixels, **options)
    unquantized = vit.walk(pixels, FloatStages(vit))
    assert relative_error(unquantized, float_logits(model, pixels)) < (0.01 if options else 1e-3)


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("bits", ["W3A3L8", "W4A6L5", "W8A3L3", "W5A8L4"])
def test_integer_mode_gives_integers_of_the_widths_asked_for(bits: str, base: str) -> None:
    vit = quantized(small_vit(), random_pixels(4), bits, base=base)
    widths = Bits.parse(bits)
    assert list(vit.activation) == vit.activation_sites()
    for name, quantizer in vit.activation.items():
        assert quantizer.scale.shape == ()
        assert quantizer.scale > 0
        if name.endswith("matmul2.A"):
            assert isinstance(quantizer, LogQuantizer)
            assert (quantizer.bits, quantizer.base) == (widths.log, base)
            assert quantizer.top_code_is_zero
        else:
            assert quantizer.bits == (8 if name.endswith("act.input") else widths.activations)
            assert float(quantizer.zero).is_integer()
    for name, (codes, quantizer) in vit.weight.items():
        assert codes.dtype == torch.uint8
        assert codes.shape == vit.linears[name].weight.shape
        assert quantizer.bits == (8 if name == "patch_embed.proj" else widths.weights)
        assert int(codes.max()) < 2**quantizer.bits
        assert quantizer.scale.shape == quantizer.zero.shape == (len(codes), 1)
        assert torch.equal(quantizer.zero, quantizer.zero.round())


def test_reference_mode_quantizes_as_published() -> None:
    vit = quantized(small_vit(), random_pixels(4), "W4A4", mode="reference")
    assert vit.activation["patch_embed.proj.input"].bits == 8
    assert vit.weight["patch_embed.proj"][1].bits == 4
    assert not vit.activation["blocks.0.attn.matmul2.A"].top_code_is_zero
    assert "blocks.0.mlp.act.input" not in vit.activation
    averaged = [vit.activation[site].zero for site in vit.norm_sites()]
    assert any(not float(zero).is_integer() for zero in averaged)


def test_black_and_mean_pixels_have_the_floats_embedding() -> None:
    model, pixels = small_vit(), random_pixels(4)
    vit = quantized(model, pixels, "W4A4")
    layer, (codes, grid) = vit.linears["patch_embed.proj"], vit.weight["patch_embed.proj"]
    mean = vit.pixel_mean()
    assert torch.allclose(
        grid.dequantize(codes).double() @ mean + layer.bias,
        model.patch_embed.proj.bias.double(),
        atol=1e-5,
    )


def test_residual_absmax_covers_every_tensor_of_the_stream() -> None:
    model, pixels = small_vit(), random_pixels(4)
    vit = quantized(model, pixels, "W8A8")
    stages = FloatStages(vit)
    vit.walk(pixels, stages)
    assert list(vit.residual_absmax) == list(stages.residuals)
    for name, greatest in stages.residuals.items():
        assert vit.residual_absmax[name] == pytest.approx(greatest, rel=0.2)
    assert len(vit.residual_absmax) == 1 + 4 * vit.architecture.depth


@pytest.mark.parametrize("options", [{"mode": "reference"}, {}, {"rounding": "second-moment"}])
def test_the_same_input_gives_the_same_result_and_leaves_the_model(
    options: dict[str, str],
) -> None:
    model, pixels = small_vit(), random_pixels(4)
    before = copy.deepcopy(model.state_dict())
    first, second = (quantized(model, pixels, "W4A4", **options) for _ in range(2))
    assert torch.equal(first(pixels), second(pixels))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_second_moment_rounding_is_nearer_to_float_than_nearest() -> None:
    model, pixels, others = small_vit(), random_pixels(32), random_pixels(32, seed=1)
    expected = float_logits(model, others)
    with torch.no_grad():
        nearest = relative_error(quantized(model, pixels, "W3A8")(others), expected)
        fitted = quantized(model, pixels, "W3A8", rounding="second-moment")
        assert relative_error(fitted(others), expected) < 0.7 * nearest


@pytest.mark.parametrize("options", [{"mode": "reference"}, {}, {"rounding": "second-moment"}])
def test_progress_counts_up_to_its_total(options: dict[str, str]) -> None:
    seen = []
    quantized(
        small_vit(), random_pixels(2), "W4A4", progress=lambda *step: seen.append(step), **options
    )
    done, totals, names = zip(*seen, strict=True)
    assert list(done) == list(range(1, len(seen) + 1))
    assert set(totals) == {len(seen)}
    assert names[-1]


@pytest.mark.parametrize("rounding", ["nearest", "second-moment"])
def test_one_image_one_colour(rounding: str) -> None:
    pixels = torch.full((1, 16, 16, 3), 77, dtype=torch.uint8)
    vit = quantized(small_vit(), pixels, "W4A4", rounding=rounding)
    assert vit(pixels).isfinite().all()


@pytest.mark.parametrize("rounding", ["nearest", "second-moment"])
def test_dead_channels_and_zero_rows(rounding: str) -> None:
    model, pixels = small_vit(), random_pixels(4)
    with torch.no_grad():
        model.blocks[0].norm1.weight[3] = 0
        model.blocks[0].norm2.weight[:] = 0
        model.blocks[0].norm2.bias[5] = 0
        model.blocks[0].attn.qkv.weight[:10] = 0
        model.blocks[1].mlp.fc1.weight[2] = 0.25
        model.blocks[1].mlp.fc2.weight[:] = 0
        model.head.weight[1] = 0
    vit = quantized(model, pixels, rounding=rounding)
    with torch.no_grad():
        assert relative_error(vit(pixels), float_logits(model, pixels)) < 0.02


@pytest.mark.parametrize("options", [{"mode": "reference"}, {}, {"rounding": "second-moment"}])
@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("patch_embed.proj.weight", "patch_embed.proj.weight"),
        ("patch_embed.proj.bias", "patch_embed.proj.bias"),
        ("pos_embed", "blocks.0.attn.qkv.input"),
        ("blocks.0.norm2.bias", "blocks.0.mlp.fc1.input"),
        ("blocks.1.attn.proj.weight", "blocks.1.attn.proj.weight"),
        ("blocks.1.mlp.fc2.bias", "blocks.1.mlp.fc2.bias"),
        ("norm.weight", "head.input"),
        ("head.bias", "head.bias"),
    ],
)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_name_their_layer(
    parameter: str, layer: str, bad: float, options: dict[str, str]
) -> None:
    model = small_vit()
    with torch.no_grad():
        model.get_parameter(parameter).flatten()[-1] = bad
    with pytest.raises(CalibrationError, match=f"^{layer}: values must be finite"):
        quantized(model, random_pixels(2), **options)


def test_what_is_no_calibration_is_refused() -> None:
    model, pixels = small_vit(), random_pixels(2)
    with pytest.raises(CalibrationError, match="images must be at least one, not none"):
        quantized(model, pixels[:0])
    with pytest.raises(TypeError, match=r"pixels must be a uint8 tensor, not torch\.float32"):
        quantized(model, pixels.float())
    with pytest.raises(TypeError, match="pixels must be a uint8 tensor, not ndarray"):
        quantized(model, pixels.numpy())
    with pytest.raises(ValueError, match=r"shape \[images, 16, 16, 3\], not \[2, 3, 16, 16\]"):
        quantized(model, pixels.permute(0, 3, 1, 2))
    with pytest.raises(ValueError, match="mode must be one of integer, reference, not 'float'"):
        quantized(model, pixels, mode="float")
    with pytest.raises(ValueError, match="base must be one of sqrt2, 2, not 'e'"):
        quantized(model, pixels, base="e")
    with pytest.raises(ValueError, match="rounding must be one of nearest, not 'second-moment'"):
        quantized(model, pixels, mode="reference", rounding="second-moment")
    with pytest.raises(ModelError, match="must be a timm VisionTransformer, not Linear"):
        quantized(torch.nn.Linear(2, 2), pixels)


def test_pixels_of_another_size_are_refused_after_calibration_too() -> None:
    vit = quantized(small_vit(), random_pixels(2))
    with pytest.raises(ValueError, match="pixels must have the shape"):
        vit(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
