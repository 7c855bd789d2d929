"""The golden residual stream (add, embed, pool) against the page."""

import numpy as np
import pytest

from rootshift.formats import fixed_point
from rootshift.sim.golden.residual_add import embed, pool, residual_add

from ..seeds import generator
from . import page

EXTREMES = [-(1 << 15), 1 - (1 << 15), -2, -1, 0, 1, 2, (1 << 15) - 2, (1 << 15) - 1]


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """int16 of every magnitude, whole range included."""
    wide = rng.integers(-(1 << 15), 1 << 15, shape)
    return (wide >> rng.integers(0, 16, shape)).astype(np.int16)


@pytest.mark.parametrize("shift", range(16))
def test_add_equals_the_page(shift: int) -> None:
    corners = np.array(np.meshgrid(EXTREMES, EXTREMES), np.int16).reshape(2, 1, -1)
    rng = generator(shift)
    for residual, branch in (corners, (numbers(rng, 9, 20), numbers(rng, 9, 20))):
        got, saturated = residual_add(residual, branch, shift=shift)
        want = [
            page.residual_add(r, b, shift=shift)
            for r, b in zip(residual.ravel().tolist(), branch.ravel().tolist(), strict=True)
        ]
        assert got.dtype == np.int16
        assert got.ravel().tolist() == [y for y, _ in want]
        assert saturated == sum(clamped for _, clamped in want)


def test_a_saturating_sum_is_counted_once_a_value() -> None:
    top = np.full((2, 3), (1 << 15) - 1, np.int16)
    got, saturated = residual_add(top, np.eye(2, 3, dtype=np.int16), shift=0)
    np.testing.assert_array_equal(got, top)
    assert saturated == 2


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_embed_puts_the_prefix_before_the_patches(prefix: int, batch: tuple[int, ...]) -> None:
    rng = generator(prefix)
    position, patches = numbers(rng, 9, 4), numbers(rng, *batch, 9 - prefix, 4)
    got, saturated = embed(patches, position=position, prefix=prefix)
    assert got.shape == (*batch, 9, 4)
    assert got.dtype == np.int16
    count = 0
    for image, rows in zip(patches.reshape(-1, 9 - prefix, 4), got.reshape(-1, 9, 4), strict=True):
        np.testing.assert_array_equal(rows[:prefix], position[:prefix])
        for t, c in np.ndindex(image.shape):
            y, clamped = page.residual_add(int(position[prefix + t, c]), int(image[t, c]), shift=0)
            assert rows[prefix + t, c] == y
            count += clamped
    assert saturated == count


def test_pool_token_is_row_zero() -> None:
    x = numbers(generator(), 2, 5, 4)
    got = pool(x, mode="token", prefix=1, multiplier=1, shift=0)
    np.testing.assert_array_equal(got, x[:, :1])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 196, 4095, 4096])
@pytest.mark.parametrize("prefix", [0, 2])
def test_pool_avg_equals_the_page_and_the_mean(count: int, prefix: int) -> None:
    multiplier, shift = fixed_point(1 / count)
    rng = generator(count, prefix)
    low, high = np.full((2, prefix + count, 1), -(1 << 15)), np.full((2, prefix + count, 1), 32767)
    noise = numbers(rng, 2, prefix + count, 3)
    x = np.concatenate([noise, low, high], -1).astype(np.int16)
    got = pool(x, mode="avg", prefix=prefix, multiplier=int(multiplier), shift=shift)
    assert got.shape == (2, 1, 5)
    assert got.dtype == np.int16
    for image, channel in np.ndindex(2, 5):
        column = x[image, prefix:, channel].tolist()
        want = page.mean(column, mult=int(multiplier), shift=shift)
        assert got[image, 0, channel] == want
        # Half a step of rounding, and the multiplier's 2^-16 of at most 2^15 steps.
        assert abs(want - sum(column) / count) <= 1
