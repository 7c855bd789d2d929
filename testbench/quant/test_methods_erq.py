"""ERQ on RepQ-ViT's quantizers: nearer to float than nearest, and an integer program as any."""

import pytest
import torch

from rootshift.bits import Bits
from rootshift.quant.calibrate import calibrate
from rootshift.quant.network import QuantizedNetwork

from .exported import exported_variant, shaded_pixels
from .operator_check import check_operators
from .small_vit import MEAN, STD, float_logits, random_pixels, small_vit


def calibrated(bits: str, pixels: torch.Tensor, method: str = "repq+erq") -> QuantizedNetwork:
    return calibrate(small_vit(), pixels, MEAN, STD, Bits.parse(bits), method=method)


def error_on_others(quantized: QuantizedNetwork) -> float:
    """Squared error of the logits on images that were not calibrated on, relative to their size."""
    pixels = random_pixels(32, seed=1)
    expected = float_logits(small_vit(), pixels)
    with torch.no_grad():
        difference = quantized.logits(pixels) - expected
    return float(difference.square().mean() / expected.square().mean())


def test_erq_is_nearer_to_float_than_nearest() -> None:
    pixels = random_pixels(32)
    nearest = error_on_others(calibrated("W3A8", pixels, "repq"))
    assert error_on_others(calibrated("W3A8", pixels)) < 0.7 * nearest


@pytest.mark.parametrize("bits", ["W3A3L3", "W4A4", "W8A8"])
def test_codes_have_the_widths_asked_for(bits: str) -> None:
    quantized = calibrated(bits, random_pixels(4))
    widths = Bits.parse(bits)
    assert quantized.weight.keys() == quantized.network.linears.keys()
    for name, (codes, grid) in quantized.weight.items():
        assert codes.dtype == torch.uint8
        assert grid.bits == (8 if name == "patch_embed.proj" else widths.weights)
        assert int(codes.max()) < 2**grid.bits
        assert grid.scale.shape == grid.zero.shape == (len(codes), 1)
        assert torch.equal(grid.zero, grid.zero.round())


def test_the_same_images_give_the_same_network() -> None:
    pixels = random_pixels(4)
    first, second = (calibrated("W4A4", pixels) for _ in range(2))
    for name, (codes, grid) in first.weight.items():
        assert torch.equal(codes, second.weight[name][0]), name
        assert torch.equal(grid.scale, second.weight[name][1].scale), name
        assert torch.equal(first.network.linears[name].bias, second.network.linears[name].bias), (
            name
        )


@pytest.mark.parametrize("image", ["one colour", "black"])
def test_inputs_that_never_change(image: str) -> None:
    value = {"one colour": 77, "black": 0}[image]
    pixels = torch.full((1, 16, 16, 3), value, dtype=torch.uint8)
    assert calibrated("W4A4", pixels).logits(pixels).isfinite().all()


@pytest.mark.parametrize(
    ("variant", "bits", "base"),
    [("plain", "W8A8", "sqrt2"), ("deep", "W4A4", "2"), ("odd widths", "W3A3L8", "sqrt2")],
)
def test_every_operator_computes_its_layer(variant: str, bits: str, base: str) -> None:
    made = exported_variant(variant, bits, base, "repq+erq")
    pixels = shaded_pixels(made.model, 1, 3)[0]
    assert check_operators(made, pixels) == 2 + 13 * len(made.model.blocks) + 3
