"""Golden shift attention against the page, its buckets, and real probabilities times values."""

from itertools import product

import numpy as np
import pytest

from rootshift.errors import ArtifactError
from rootshift.formats import BASES, attention_headroom, fixed_point, zero_code
from rootshift.operators import ShiftAttention
from rootshift.sim.golden.model import execute
from rootshift.sim.golden.shift_attention import shift_attention

from ..seeds import generator
from . import page

FORMATS = list(product(range(3, 9), ["sqrt2", "2"]))


def make(**fields: object) -> ShiftAttention:
    defaults = {
        "input_width": 8, "windows": 1, "multiplier_odd": 0, "shift": 20, "zero": 0, "width": 8,
    }  # fmt: skip
    return ShiftAttention(name="attn", inputs=("p", "v"), scale=1.0, **(defaults | fields))


def compare(codes: np.ndarray, value: np.ndarray, operator: ShiftAttention) -> np.ndarray:
    """Golden on log codes [heads, T, keys] and values [keys, heads * d] equals the page."""
    got, saturated = execute(operator, codes, value)
    assert got.dtype == np.uint8
    heads = len(codes)
    width = value.shape[1] // heads
    count = 0
    for head, query in np.ndindex(codes.shape[:2]):
        part = slice(head * width, (head + 1) * width)
        want, clamped = page.shift_attention(
            codes[head, query].tolist(),
            value[:, part].tolist(),
            log_width=operator.log_width,
            base=operator.base,
            zv=operator.value_zero,
            me=operator.multiplier_even,
            mo=operator.multiplier_odd,
            shift=operator.shift,
            z=operator.zero,
            width=operator.width,
        )
        assert got[query, part].tolist() == want
        count += clamped
    assert saturated == count
    return got


@pytest.mark.parametrize(("log_width", "base"), FORMATS)
def test_equals_the_page(log_width: int, base: str) -> None:
    top = zero_code(log_width, base)
    headroom = attention_headroom(top, base)
    for case, (input_width, zero) in enumerate([(3, 0), (4, 7), (5, -9), (6, 70), (8, 128)]):
        rng = generator(log_width, BASES[base], case)
        heads, queries, keys, width = rng.integers(1, 6, 4).tolist()
        keys = [1, keys, 40, 40, 40][case]
        multiplier = int(rng.integers(1 << 15, 1 << 16))
        operator = make(
            input_width=input_width,
            log_width=log_width,
            base=base,
            value_zero=zero,
            multiplier_even=multiplier,
            multiplier_odd=round(multiplier / 2**0.5),
            shift=min(47, 14 + headroom + case),
            zero=[0, 5, -300, 300, 17][case],
            width=input_width,
        )
        codes = rng.integers(0, top + 1, (heads, queries, keys)).astype(np.uint8)
        codes[0, 0] = [0, top, top - 1, 0, 1][case]
        value = rng.integers(0, 1 << input_width, (keys, heads * width)).astype(np.uint8)
        compare(codes, value, operator)


@pytest.mark.parametrize(("log_width", "base"), FORMATS)
def test_buckets_drained_by_doubling_give_the_same(log_width: int, base: str) -> None:
    """The page's other form, as the array has it: value sums per code, `E = 2E + S`."""
    rng = generator(log_width, BASES[base])
    steps, top = BASES[base], zero_code(log_width, base)
    codes = rng.integers(0, top + 1, 300)
    value = rng.integers(0, 16, 300)
    zv, me, mo, shift = 6, 40000, 28284 * (steps == 2), 16 + attention_headroom(top, base)
    buckets, counts = np.zeros((2, top + steps), np.int64)
    np.add.at(buckets, codes, value)
    np.add.at(counts, codes, 1)
    sums = [0, 0]
    for k in range(attention_headroom(top, base) + 1):
        for parity in range(steps):
            c = steps * k + parity
            centered = int(buckets[c] - zv * counts[c]) if c < top else 0
            sums[parity] = 2 * sums[parity] + centered
    want = 128 + ((sums[0] * me + sums[1] * mo + (1 << (shift - 1))) >> shift)
    got, _ = shift_attention(
        codes[None, None].astype(np.uint8), value[:, None].astype(np.uint8),
        log_width=log_width, base=base, value_zero=zv, multiplier_even=me, multiplier_odd=mo,
        shift=shift, zero=128, width=8,
    )  # fmt: skip
    assert got[0, 0] == np.clip(want, 0, 255)


@pytest.mark.parametrize(("log_width", "base"), FORMATS)
def test_the_smallest_power_survives_the_largest_sum(log_width: int, base: str) -> None:
    """4094 keys at code 0 cancel; between them one key at the smallest power adds 1."""
    operator = make(
        log_width=log_width,
        base=base,
        value_zero=128,
        multiplier_even=1,
        multiplier_odd=1,
        shift=0,
    )
    codes = np.zeros((1, 1, 4095), np.uint8)
    codes[..., 2047] = zero_code(log_width, base) - 1
    value = np.repeat([255, 129, 1], [2047, 1, 2047])[:, None].astype(np.uint8)
    assert compare(codes, value, operator).tolist() == [[1]]


@pytest.mark.parametrize(("log_width", "base"), FORMATS)
def test_codes_of_zero_add_nothing(log_width: int, base: str) -> None:
    top = zero_code(log_width, base)
    operator = make(
        log_width=log_width,
        base=base,
        value_zero=-(1 << 15),
        multiplier_even=65535,
        multiplier_odd=65535,
        zero=9,
    )
    codes = np.full((2, 3, 5), top, np.uint8)
    assert (compare(codes, np.full((5, 4), 255, np.uint8), operator) == 9).all()


@pytest.mark.parametrize("log_width", range(3, 9))
@pytest.mark.parametrize("base", ["sqrt2", "2"])
def test_the_real_product_within_the_bound(log_width: int, base: str) -> None:
    """Half a step of the output, and half a unit of each multiplier times its exact sum."""
    rng = generator(log_width, BASES[base])
    steps, top = BASES[base], zero_code(log_width, base)
    headroom = attention_headroom(top, base)
    keys, d, s, sv, zv, zy = 197, 16, 0.83, 0.05, 7, 120
    codes = rng.integers(0, top + 1, (1, 12, keys)).astype(np.uint8)
    codes[0, :6] = np.maximum(codes[0, :6], min(top, 6))
    value = rng.integers(0, 16, (keys, d)).astype(np.uint8)
    code = codes[0].astype(int)
    p = np.where(code < top, s * 2.0 ** (-code / steps), 0)
    real = p @ (sv * (value.astype(float) - zv))
    sy = np.abs(real).max() / 120
    factor = s * sv / sy * 2.0**-headroom
    (me, mo), shift = fixed_point(np.array([factor, factor / 2**0.5]))
    if steps == 1:
        mo = 0
    got, saturated = shift_attention(
        codes, value, log_width=log_width, base=base, value_zero=zv, multiplier_even=int(me),
        multiplier_odd=int(mo), shift=shift, zero=zy, width=8,
    )  # fmt: skip
    assert saturated == 0
    power = np.where(code < top, 2.0 ** (headroom - code // steps), 0)
    centered = value.astype(float) - zv
    sums = sum(np.abs((power * (code % steps == k)) @ centered) for k in range(steps))
    error = np.abs(got - (zy + real / sy))
    assert (error <= 0.5 + 0.5 * 2.0**-shift * sums + 1e-9).all()


def test_a_batch_equals_its_images() -> None:
    rng = generator()
    codes = rng.integers(0, 16, (3, 2, 5, 5)).astype(np.uint8)
    value = rng.integers(0, 16, (3, 5, 8)).astype(np.uint8)
    operator = make(
        log_width=4, base="sqrt2", value_zero=6, multiplier_even=40000, multiplier_odd=28284
    )
    whole, saturated = execute(operator, codes, value)
    parts = [execute(operator, c, v) for c, v in zip(codes, value, strict=True)]
    np.testing.assert_array_equal(whole, np.stack([y for y, _ in parts]))
    assert saturated == sum(count for _, count in parts)


@pytest.mark.parametrize(("zero", "code"), [(-(1 << 15), 255), ((1 << 15) - 1, 0)])
def test_the_largest_sum_allowed_is_exact(zero: int, code: int) -> None:
    """All keys at code 0 and the farthest zero point: the most keys that pass, and one more."""
    operator = make(log_width=8, base="2", value_zero=zero, multiplier_even=65535, shift=47, zero=0)
    most = ((1 << 62) - 1) // (abs(code - zero) * 65535 << 23)
    assert most < 4096
    assert operator.output_shape((1, 1, most), (most, 1)) == (1, 1)
    value = np.full((most, 1), code, np.uint8)
    codes = np.zeros((1, 1, most), np.uint8)
    compare(codes, value, operator)
    want = (abs(code - zero) * most * 65535 << 23) >> 47
    visible = make(**(operator.parameters() | {"zero": 0, "shift": 47}))
    assert execute(visible, codes, value)[0][0, 0] == (255 if code > zero else 0) != want
    with pytest.raises(ArtifactError, match=r"^attn: worst-case sum must fit 63 bits, not 64"):
        operator.output_shape((1, 1, most + 1), (most + 1, 1))
