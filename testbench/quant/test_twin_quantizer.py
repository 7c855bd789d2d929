"""Twin uniform quantizers: levels and codes as PTQ4ViT, section 3.2, defines them."""

import pytest
import torch

from rootshift.quant.quantizers import TwinUniformQuantizer


def twin(bits: int, shift: int, signed: bool) -> TwinUniformQuantizer:
    return TwinUniformQuantizer(torch.tensor(0.25), shift, bits, signed)


@pytest.mark.parametrize("signed", [False, True], ids=["softmax", "gelu"])
@pytest.mark.parametrize("shift", [0, 1, 5])
@pytest.mark.parametrize("bits", range(3, 9))
def test_each_range_has_half_of_the_codes(bits: int, shift: int, signed: bool) -> None:
    quantizer = twin(bits, shift, signed)
    half = 2 ** (bits - 1)
    values = quantizer.dequantize(torch.arange(2**bits))
    fine, coarse = values.split(half)
    steps = torch.arange(half)
    assert torch.equal(coarse, 0.25 * steps)
    assert torch.equal(fine, (-1 if signed else 1) * 0.25 * 2.0**-shift * steps)
    assert torch.equal(quantizer.fake(values), values)


@pytest.mark.parametrize("signed", [False, True], ids=["softmax", "gelu"])
@pytest.mark.parametrize("shift", [0, 2, 7])
@pytest.mark.parametrize("bits", range(3, 9))
def test_values_are_what_their_codes_stand_for(bits: int, shift: int, signed: bool) -> None:
    generator = torch.Generator().manual_seed(bits)
    quantizer = twin(bits, shift, signed)
    x = torch.rand(5000, generator=generator) * 2.0**bits * 0.3
    x = x * torch.rand(5000, generator=generator) ** 8
    x = torch.where(torch.rand(5000, generator=generator) < 0.5, -x, x) if signed else x
    before = x.clone()
    codes = quantizer.codes(x)
    assert codes.min() >= 0
    assert codes.max() < 2**bits
    assert torch.equal(codes, codes.round())
    assert torch.equal(quantizer.dequantize(codes), quantizer.fake(x))
    assert torch.equal(x, before)


def test_probabilities_below_the_end_of_the_fine_range_are_finely_rounded() -> None:
    # 3 bits: fine steps of 1/16 below 4/16, then coarse ones of 1/4.
    quantizer = twin(3, 2, signed=False)
    x = torch.tensor([0.0, 0.03, 0.07, 0.1875, 0.24, 0.25, 0.3, 0.4, 0.9, 2.0])
    assert quantizer.codes(x).tolist() == [0, 0, 1, 3, 3, 5, 5, 6, 7, 7]
    expected = [0.0, 0.0, 0.0625, 0.1875, 0.1875, 0.25, 0.25, 0.5, 0.75, 0.75]
    assert quantizer.fake(x).tolist() == expected


def test_negative_values_have_the_fine_steps() -> None:
    quantizer = twin(3, 2, signed=True)
    x = torch.tensor([-9.0, -0.17, -0.07, -0.01, 0.0, 0.1, 0.2, 9.0])
    assert quantizer.codes(x).tolist() == [3, 3, 1, 0, 4, 4, 5, 7]
    assert quantizer.fake(x).tolist() == [-0.1875, -0.1875, -0.0625, 0.0, 0.0, 0.0, 0.25, 0.75]
