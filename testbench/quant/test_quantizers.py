"""Quantizers: codes stay in their range, levels are what the integer contract says."""

import pytest
import torch

from rootshift.quant.quantizers import LogQuantizer, UniformQuantizer


def uniform(scale: float, zero: float, bits: int) -> UniformQuantizer:
    return UniformQuantizer(torch.tensor(scale), torch.tensor(zero), bits)


@pytest.mark.parametrize("bits", range(3, 9))
@pytest.mark.parametrize("zero", [-5.0, 0.0, 3.0, 300.0])
def test_uniform_levels_are_their_own_codes(bits: int, zero: float) -> None:
    quantizer = uniform(0.25, zero, bits)
    codes = torch.arange(2**bits)
    values = quantizer.dequantize(codes)
    assert torch.equal(values, 0.25 * (codes - zero))
    assert torch.equal(quantizer.codes(values), codes.float())
    assert torch.equal(quantizer.fake(values), values)


def test_uniform_rounds_to_even_and_clamps() -> None:
    quantizer = uniform(2.0, 3.0, 3)
    x = torch.tensor([-1e30, -100.0, -1.0, 1.0, 3.0, 5.0, 8.9, 1e30])
    assert quantizer.codes(x).tolist() == [0, 0, 3, 3, 5, 5, 7, 7]
    assert quantizer.fake(x).tolist() == [-6, -6, 0, 0, 4, 4, 8, 8]


def test_quantizing_leaves_its_argument_alone() -> None:
    x = torch.rand(4, 5)
    copy = x.clone()
    uniform(0.1, 2.0, 4).fake(x)
    LogQuantizer(torch.tensor(0.9), 4).fake(x)
    assert torch.equal(x, copy)


def test_rows_and_channels_have_their_own_levels() -> None:
    scale, zero = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])
    x = torch.tensor([[2.4, 2.4], [7.6, 7.6]])
    last = UniformQuantizer(scale, zero, 3)
    first = UniformQuantizer(scale[:, None], zero[:, None], 3)
    assert last.fake(x).tolist() == [[2, 2], [7, 8]]
    assert first.fake(x).tolist() == [[2, 2], [8, 8]]


@pytest.mark.parametrize("bits", range(3, 9))
@pytest.mark.parametrize(("base", "ratio", "most"), [("sqrt2", 2**-0.5, 48), ("2", 0.5, 24)])
def test_log_levels(bits: int, base: str, ratio: float, most: int) -> None:
    quantizer = LogQuantizer(torch.tensor(0.75), bits, base)
    zero_code = min(2**bits - 1, most)
    assert quantizer.zero_code == zero_code
    levels = quantizer.levels()
    expected = [0.75 * ratio**code for code in range(zero_code)] + [0.0]
    assert levels.tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(quantizer.codes(levels), torch.arange(zero_code + 1.0))
    assert quantizer.fake(levels).tolist() == pytest.approx(expected, rel=1e-6)


def test_published_log_quantizer_has_one_more_level() -> None:
    quantizer = LogQuantizer(torch.tensor(1.0), 4, "sqrt2", top_code_is_zero=False)
    x = torch.tensor([2.0**-7.5, 2.0**-8, 0.0])
    assert quantizer.codes(x).tolist() == [15, 16, 16]
    assert quantizer.fake(x).tolist() == pytest.approx([2.0**-7.5, 0, 0], rel=1e-6)
    assert LogQuantizer(torch.tensor(1.0), 4).fake(x).tolist() == [0, 0, 0]


def test_log_codes_of_the_extremes() -> None:
    quantizer = LogQuantizer(torch.tensor(0.5), 4)
    x = torch.tensor([1.0, 0.5, 1e-38, 0.0])
    assert quantizer.codes(x).tolist() == [0, 0, 15, 15]
    assert quantizer.fake(x).tolist() == [0.5, 0.5, 0, 0]


def test_unknown_base_is_refused() -> None:
    with pytest.raises(ValueError, match="base must be one of sqrt2, 2, not 'e'"):
        LogQuantizer(torch.tensor(1.0), 4, "e")
