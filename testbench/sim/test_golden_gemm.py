"""The golden matrix product against the page and against the real affine layer."""

import numpy as np
import pytest

from rootshift.errors import ArtifactError
from rootshift.formats import fixed_point
from rootshift.operators import Gemm
from rootshift.sim.golden.gemm import gemm, merge_heads, product, split_heads
from rootshift.sim.golden.model import execute

from ..seeds import generator
from . import page

TOP = (1 << 31) - 1


def compare(x: np.ndarray, operator: Gemm) -> tuple[np.ndarray, int]:
    """Golden on `x` [T, K] equals the page."""
    got, saturated = execute(operator, x)
    want, count = page.gemm(
        x.tolist(),
        operator.weight.tolist(),
        zw=operator.weight_zero.tolist(),
        bias=operator.bias.tolist(),
        mult=operator.multiplier.tolist(),
        shift=operator.shift,
        z=operator.zero,
        width=operator.width,
    )
    assert got.tolist() == want
    assert saturated == count
    return got, saturated


def layer(**fields: object) -> Gemm:
    """A gemm of one channel whose fields, arrays included, may be plain numbers and lists."""
    arrays = {
        "weight": np.atleast_2d(np.array(fields.pop("weight"), np.uint8)),
        "weight_zero": np.atleast_1d(np.array(fields.pop("weight_zero", 0), np.int16)),
        "bias": np.atleast_1d(np.array(fields.pop("bias", 0), np.int32)),
        "multiplier": np.atleast_1d(np.array(fields.pop("multiplier", 1), np.uint16)),
    }
    rest = {"input_width": 8, "weight_width": 8, "shift": 0, "zero": 0, "width": 32} | fields
    return Gemm(name="fc", inputs=("x",), scale=1.0, **arrays, **rest)


@pytest.mark.parametrize("input_width", range(3, 9))
@pytest.mark.parametrize("weight_width", range(3, 9))
def test_equals_the_page(input_width: int, weight_width: int) -> None:
    for case, width in enumerate([3, 4, 8, 16, 32]):
        rng = generator(input_width, weight_width, case)
        tokens, depth, channels = rng.integers(1, 12, 3)
        shift = int(rng.integers(0, 48)) if case else 0
        zero = int(rng.integers(-(1 << 15), 1 << 15)) if case % 2 else 1 << (width - 1)
        zeros = (-(1 << 15), (1 << 15) - 1) if case == 2 else (-4, 1 << weight_width)
        operator = layer(
            weight=rng.integers(0, 1 << weight_width, (channels, depth)),
            weight_zero=rng.integers(zeros[0], zeros[1] + 1, channels),
            bias=rng.integers(-(1 << 20), 1 << 20, channels),
            multiplier=rng.integers(1, 256 if width == 32 else 1 << 16, channels),
            input_width=input_width,
            weight_width=weight_width,
            shift=shift,
            zero=zero if width <= 8 else 0,
            width=width,
        )
        x = rng.integers(0, 1 << input_width, (tokens, depth)).astype(np.uint8)
        x[0] = (1 << input_width) - 1
        compare(x, operator)


def test_float32_and_float64_products_are_exact_around_their_bound() -> None:
    """Depths below and above 2^24, where the sum leaves float32, with an odd last bit."""
    for depth in (256, 257, 258, 259, 1024):
        x = np.full((1, depth), 255, np.uint8)
        weight = np.full((2, depth), 255, np.uint8)
        weight[1, 0] = 254
        got = product(x, weight, np.array([-1, 0], np.int16))
        assert got.tolist() == [[255 * 256 * depth, 255 * 255 * depth - 255]]


def test_the_real_affine_layer_within_the_bound() -> None:
    """Rounding of b is half an accumulator step, the factor 2^-16 of the largest, then 1/2."""
    rng = generator()
    tokens, depth, channels = 50, 96, 40
    x, zx, sx = rng.integers(0, 16, (tokens, depth)).astype(np.uint8), 5, 0.11
    weight = rng.integers(0, 16, (channels, depth)).astype(np.uint8)
    zw = rng.integers(-3, 19, channels)
    sw, b, sy, zy = rng.uniform(0.01, 0.05, channels), rng.normal(0, 3, channels), 0.002, 0
    centered = weight.astype(int) - zw[:, None]
    multiplier, shift = fixed_point(sx * sw / sy)
    got, saturated = gemm(
        x,
        weight=weight,
        weight_zero=zw.astype(np.int16),
        bias=(np.rint(b / (sx * sw)) - zx * centered.sum(1)).astype(np.int32),
        multiplier=multiplier,
        shift=shift,
        zero=zy,
        width=16,
    )
    acc = (x.astype(int) - zx) @ centered.T + b / (sx * sw)
    factor = sx * sw / sy
    bound = 0.5 + 0.5 * factor + (np.abs(acc) + 0.5) * factor.max() * 2.0**-16
    assert saturated == 0
    assert (np.abs(got - acc * factor) <= bound).all()


def test_a_batch_equals_its_images() -> None:
    rng = generator()
    x = rng.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    operator = layer(
        weight=rng.integers(0, 256, (4, 7)),
        weight_zero=np.arange(4),
        bias=np.arange(4),
        multiplier=np.arange(4) + 1,
        shift=3,
        width=16,
    )
    whole, saturated = execute(operator, x)
    parts = [execute(operator, image) for image in x]
    np.testing.assert_array_equal(whole, np.stack([y for y, _ in parts]))
    assert saturated == sum(count for _, count in parts)


def test_heads_lie_side_by_side() -> None:
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    heads = split_heads(x, 2)
    assert heads[1, 1].tolist() == [[14, 15], [18, 19], [22, 23]]
    np.testing.assert_array_equal(merge_heads(heads), x)


def test_the_largest_accumulator_allowed_is_exact() -> None:
    """255 codes of 255 times 255 + 2^15, and the bias fills the rest of 32 bits."""
    fields = {"weight": [255] * 255, "weight_zero": -(1 << 15)}
    bias = TOP - 255 * 255 * (255 + (1 << 15))
    x = np.full((1, 255), 255, np.uint8)
    got, saturated = compare(x, layer(**fields, bias=bias))
    assert (got.tolist(), saturated) == ([[TOP]], 0)
    with pytest.raises(
        ArtifactError, match=r"^fc: worst-case accumulator must fit 32 bits, not 33"
    ):
        layer(**fields, bias=bias + 1)


def test_the_smallest_accumulator_allowed_is_exact() -> None:
    fields = {"weight": [0] * 257, "weight_zero": (1 << 15) - 1}
    bias = 257 * 255 * ((1 << 15) - 1) - TOP
    x = np.full((1, 257), 255, np.uint8)
    got, saturated = compare(x, layer(**fields, bias=bias))
    assert (got.tolist(), saturated) == ([[-TOP]], 0)
    with pytest.raises(
        ArtifactError, match=r"^fc: worst-case accumulator must fit 32 bits, not 33"
    ):
        layer(**fields, bias=bias - 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_logit_allowed_does_not_saturate(sign: int) -> None:
    """One step more and the sum, still below 2^31 before rounding, would round up to it."""
    zero = 255 - sign * 257
    reach = sign * 255 * 257
    limit = next(n for n in range(reach, reach * 2, sign) if (abs(n) * 65535 + 1) >> 1 > TOP)
    fields = {"weight": 255, "weight_zero": zero, "multiplier": 65535, "shift": 1}
    x = np.array([[255]], np.uint8)
    got, saturated = compare(x, layer(**fields, bias=limit - sign - reach))
    assert saturated == 0
    assert abs(int(got[0, 0])) > TOP - 65536
    with pytest.raises(ArtifactError, match=r"^fc: worst-case logit must fit 32 bits, not 33"):
        layer(**fields, bias=limit - reach)


@pytest.mark.parametrize("width", [16, 32])
def test_residual_branches_and_logits_have_no_zero_point(width: int) -> None:
    with pytest.raises(ArtifactError, match=r"^fc: zero must be 0 at width \d+, not 1"):
        layer(weight=1, zero=1, width=width)
