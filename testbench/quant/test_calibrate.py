"""Calibration of whole models: any supported shape, both modes, and clear refusals."""

import copy

import pytest
import torch

from rootshift.bit_table import BitTable
from rootshift.bits import Bits
from rootshift.errors import CalibrationError, ConfigError, ModelError
from rootshift.methods import METHODS
from rootshift.quant.calibrate import calibrate
from rootshift.quant.network import QuantizedNetwork
from rootshift.quant.quantizers import LogQuantizer

from .small_vit import MEAN, SHAPES, STD, float_logits, random_pixels, small_vit

INTEGER = [name for name, method in METHODS.items() if method.integer]
WAYS = [{"mode": "reference"}, *({"method": name} for name in INTEGER)]
"""Every way that the engine itself takes; fake-level methods have tests of their own."""

SCORES, MIX = ("matmul1.A", "matmul1.B"), ("matmul2.A", "matmul2.B")


def quantized(model, pixels: torch.Tensor, bits: str = "W8A8", **options) -> QuantizedNetwork:
    return calibrate(model, pixels, MEAN, STD, Bits.parse(bits), **options)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).square().mean() / expected.square().mean())


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_are_near_float(shape: str, options: dict[str, str]) -> None:
    model, pixels = small_vit(**SHAPES[shape]), random_pixels(12)
    found = quantized(model, pixels, **options).logits(pixels)
    assert relative_error(found, float_logits(model, pixels)) < 0.02


@pytest.mark.parametrize("method", INTEGER)
def test_the_folds_keep_the_function(method: str) -> None:
    # The embedding's bias is exact for its rounded weights only; compensation and bias correction
    # change the function on purpose. At 8 bits all of it is little.
    model, pixels = small_vit(), random_pixels(8)
    (unquantized,) = quantized(model, pixels, method=method).network.run(pixels).values()
    error = relative_error(unquantized.flatten(1), float_logits(model, pixels))
    assert error < (1e-3 if method == "repq" else 0.01)


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("bits", ["W3A3L8", "W4A6L5", "W8A3L3", "W5A8L4"])
def test_integer_mode_gives_integers_of_the_widths_asked_for(bits: str, base: str) -> None:
    found = quantized(small_vit(), random_pixels(4), bits, base=base)
    widths = Bits.parse(bits)
    assert list(found.activation) == sites_of(depth=2)
    for name, quantizer in found.activation.items():
        assert quantizer.scale.shape == ()
        assert quantizer.scale > 0
        if name.endswith("matmul2.A"):
            assert isinstance(quantizer, LogQuantizer)
            assert (quantizer.bits, quantizer.base) == (widths.log, base)
            assert quantizer.top_code_is_zero
        else:
            assert quantizer.bits == (8 if name.endswith("act.input") else widths.activations)
            assert float(quantizer.zero).is_integer()
    assert list(found.weight) == list(found.network.linears)
    for name, (codes, quantizer) in found.weight.items():
        assert codes.dtype == torch.uint8
        assert codes.shape == found.network.linears[name].weight.shape
        assert quantizer.bits == (8 if name == "patch_embed.proj" else widths.weights)
        assert int(codes.max()) < 2**quantizer.bits
        assert quantizer.scale.shape == quantizer.zero.shape == (len(codes), 1)
        assert torch.equal(quantizer.zero, quantizer.zero.round())


def test_reference_mode_quantizes_as_published() -> None:
    found = quantized(small_vit(), random_pixels(4), "W4A4", mode="reference")
    assert list(found.activation) == sites_of(depth=2, mode="reference")
    assert found.activation["patch_embed.proj.input"].bits == 8
    assert found.weight["patch_embed.proj"][1].bits == 4
    assert not found.activation["blocks.0.attn.matmul2.A"].top_code_is_zero
    averaged = [found.activation[site] for site in found.network.norm_sites()]
    assert len(averaged) == 4
    assert all(quantizer.scale.shape == () for quantizer in averaged)
    assert any(not float(quantizer.zero).is_integer() for quantizer in averaged)


def test_black_and_mean_pixels_have_the_floats_embedding() -> None:
    model, pixels = small_vit(), random_pixels(4)
    found = quantized(model, pixels, "W4A4")
    layer, (codes, grid) = (
        found.network.linears["patch_embed.proj"],
        found.weight["patch_embed.proj"],
    )
    mean = found.network.pixel_mean(layer)
    assert torch.allclose(
        grid.dequantize(codes).double() @ mean + layer.bias,
        model.patch_embed.proj.bias.double(),
        atol=1e-5,
    )


def test_stream_absmax_covers_every_tensor_of_the_stream() -> None:
    model, pixels = small_vit(), random_pixels(4)
    found = quantized(model, pixels, "W8A8")
    greatest = {}

    def execute(node, tensors):
        output = node.forward(*tensors)
        greatest[node.name] = float(output.abs().max())
        return output

    found.network.run(pixels, execute)
    parts = ("attn.proj", "attn.residual", "mlp.fc2", "mlp.residual")
    names = [f"blocks.{index}.{part}" for index in range(2) for part in parts]
    assert list(found.stream_absmax) == ["patch_embed.proj", "embed", *names, "pool"]
    for name, value in found.stream_absmax.items():
        assert value == pytest.approx(greatest[name], rel=0.2), name


@pytest.mark.parametrize("options", WAYS)
def test_the_same_input_gives_the_same_result_and_leaves_the_model(
    options: dict[str, str],
) -> None:
    model, pixels = small_vit(), random_pixels(4)
    before = copy.deepcopy(model.state_dict())
    first, second = (quantized(model, pixels, "W4A4", **options) for _ in range(2))
    assert torch.equal(first.logits(pixels), second.logits(pixels))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_second_moment_rounding_is_nearer_to_float_than_nearest() -> None:
    model, pixels, others = small_vit(), random_pixels(32), random_pixels(32, seed=1)
    expected = float_logits(model, others)
    nearest, fitted = (
        quantized(model, pixels, "W3A8", method=method).logits(others)
        for method in ("repq", "repq+gptq")
    )
    assert relative_error(fitted, expected) < 0.7 * relative_error(nearest, expected)


@pytest.mark.parametrize("options", WAYS)
def test_progress_counts_up_to_its_total(options: dict[str, str]) -> None:
    seen = []
    quantized(
        small_vit(), random_pixels(2), "W4A4", progress=lambda *step: seen.append(step), **options
    )
    done, totals, names = zip(*seen, strict=True)
    assert list(done) == list(range(1, len(seen) + 1))
    assert set(totals) == {len(seen)}
    assert names[-1]


@pytest.mark.parametrize("method", INTEGER)
def test_one_image_one_colour(method: str) -> None:
    pixels = torch.full((1, 16, 16, 3), 77, dtype=torch.uint8)
    found = quantized(small_vit(), pixels, "W4A4", method=method)
    assert found.logits(pixels).isfinite().all()


@pytest.mark.parametrize("method", INTEGER)
def test_dead_channels_and_zero_rows(method: str) -> None:
    model, pixels = small_vit(), random_pixels(4)
    with torch.no_grad():
        model.blocks[0].norm1.weight[3] = 0
        model.blocks[0].norm2.weight[:] = 0
        model.blocks[0].norm2.bias[5] = 0
        model.blocks[0].attn.qkv.weight[:10] = 0
        model.blocks[1].mlp.fc1.weight[2] = 0.25
        model.blocks[1].mlp.fc2.weight[:] = 0
        model.head.weight[1] = 0
    found = quantized(model, pixels, method=method).logits(pixels)
    assert relative_error(found, float_logits(model, pixels)) < 0.02


@pytest.mark.parametrize("options", WAYS)
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
    with pytest.raises(ValueError, match=r"method must be one of repq, .*, not 'nearest'"):
        quantized(model, pixels, method="nearest")
    with pytest.raises(ValueError, match=r"method must be repq in .* mode, not 'repq\+gptq'"):
        quantized(model, pixels, mode="reference", method="repq+gptq")
    with pytest.raises(ModelError, match=r"must be a timm VisionTransformer.*, not Linear"):
        quantized(torch.nn.Linear(2, 2), pixels)


def test_pixels_of_another_size_are_refused_after_calibration_too() -> None:
    found = quantized(small_vit(), random_pixels(2))
    with pytest.raises(ValueError, match="pixels must have the shape"):
        found.logits(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))


def test_tables_of_bits_reach_their_sites() -> None:
    table = BitTable.parse(
        'default = "W4A5L6"\n[layers]\n"blocks.0.*" = "W7"\n"*.mlp.fc2" = "A3"\n'
        '"blocks.1.attn.softmax" = "L8"\n"blocks.1.attn.mix" = "A7"\n"*.scores" = "A8"\n'
        'head = "W6A4"\n'
    )
    found = calibrate(small_vit(), random_pixels(2), MEAN, STD, table)
    assert found.bits is table
    widths = {name: quantizer.bits for name, quantizer in found.activation.items()}
    blocks = {
        f"blocks.{index}.{site}": width
        for index, (log, values) in enumerate([(6, 5), (8, 7)])
        for site, width in {
            "attn.qkv.input": 5,
            "attn.matmul1.A": 8,
            "attn.matmul1.B": 8,
            "attn.matmul2.A": log,
            "attn.matmul2.B": values,
            "attn.proj.input": 5,
            "mlp.fc1.input": 5,
            "mlp.act.input": 8,
            "mlp.fc2.input": 3,
        }.items()
    }
    assert widths == blocks | {"head.input": 4}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert {name: quantizer.bits for name, (_, quantizer) in found.weight.items()} == {
        "patch_embed.proj": 8,
        **{f"blocks.0.{layer}": 7 for layer in layers},
        **{f"blocks.1.{layer}": 4 for layer in layers},
        "head": 6,
    }


def test_a_table_for_another_model_is_refused_before_any_work() -> None:
    def parts():
        raise AssertionError("images were read")
        yield

    table = BitTable.parse('default = "W4A4"\n[layers]\n"blocks.2.*" = "W8"')
    with pytest.raises(ConfigError, match=r'^layers\."blocks\.2\.\*" must match a layer'):
        calibrate(small_vit(), parts(), MEAN, STD, table)


def sites_of(depth: int, mode: str = "integer") -> list[str]:
    """Activation sites in order of execution."""
    names = ["patch_embed.proj.input"] if mode == "reference" else []
    attention = [f"attn.{part}" for part in ("qkv.input", *SCORES, *MIX, "proj.input")]
    table = ["mlp.act.input"] if mode == "integer" else []
    block = [*attention, "mlp.fc1.input", *table, "mlp.fc2.input"]
    names += [f"blocks.{index}.{site}" for index in range(depth) for site in block]
    return [*names, "head.input"]
