"""Golden LayerNorm against the page, and against real normalization within the page's bound."""

from math import isqrt

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.sim.golden.layernorm import layernorm, normalize, reciprocal_root

from ..seeds import explored, generator
from . import page

LOW, HIGH = -(1 << 15), (1 << 15) - 1


def compare(x: np.ndarray, epsilon: int, rng: np.random.Generator) -> None:
    """Golden on rows [rows, N] equals the page: normalized values, codes and counts."""
    want = [page.normalize(row, epsilon) for row in x.tolist()]
    assert normalize(x, epsilon).tolist() == want
    assert max(abs(t) for row in want for t in row) < 1 << 19
    for width, shift in ((3, 0), (4, 20), (8, 14), (6, 47)):
        gain = rng.integers(LOW, HIGH + 1, x.shape[1]).astype(np.int16)
        offset = rng.integers(-(1 << 31), 1 << 31, x.shape[1]) >> int(rng.integers(0, 20))
        offset[0], gain[0] = rng.choice([-(1 << 31), (1 << 31) - 1]), rng.choice([LOW, HIGH])
        got, saturated = layernorm(
            x,
            gain=gain,
            offset=offset.astype(np.int32),
            shift=shift,
            epsilon=epsilon,
            width=width,
        )
        rows = [
            page.layernorm(
                row, gain=gain.tolist(), offset=offset.tolist(), shift=shift, eps=epsilon,
                width=width,
            )
            for row in x.tolist()
        ]  # fmt: skip
        assert got.dtype == np.uint8
        assert got.tolist() == [codes for codes, _ in rows]
        assert saturated == sum(count for _, count in rows)


@pytest.mark.parametrize("channels", [1, 2, 3, 16, 192, 4096])
@pytest.mark.parametrize("epsilon", [1, 77, (1 << 40) - 1])
def test_equals_the_page(channels: int, epsilon: int) -> None:
    rng = generator(channels, epsilon)
    noise = rng.integers(LOW, HIGH + 1, (8, channels)) >> np.arange(0, 16, 2)[:, None]
    constant = np.repeat([[LOW], [HIGH], [0], [-1], [1], [12345]], channels, 1)
    split = np.where(np.arange(channels) % 2, LOW, HIGH)[None]
    spikes = np.zeros((3, channels))
    spikes[0, -1], spikes[1, 0], spikes[2] = HIGH, LOW, HIGH
    spikes[2, 0] = LOW
    rows = np.concatenate([noise, constant, split, spikes]).astype(np.int16)
    compare(rows, epsilon, rng)


@explored(200)
@given(
    row=st.lists(st.integers(LOW, HIGH), min_size=1, max_size=24)
    | st.lists(st.integers(-3, 3), min_size=1, max_size=24),
    epsilon=st.integers(1, (1 << 40) - 1) | st.integers(1, 300),
)
def test_any_row_equals_the_page(row: list[int], epsilon: int) -> None:
    x = np.array([row], np.int16)
    assert normalize(x, epsilon)[0].tolist() == page.normalize(row, epsilon)


def row_with_variance(target: int) -> tuple[np.ndarray, int]:
    """4096 residuals and an epsilon whose V is `target` exactly."""
    amplitude = isqrt(target >> 24)
    for top in range(min(amplitude, HIGH), 0, -1):
        row = np.where(np.arange(4096) % 2, top, -top)
        v = 4096 * int((row * row).sum()) - int(row.sum()) ** 2
        if 1 <= target - v < 1 << 40:
            return row.astype(np.int16), target - v
    raise AssertionError(f"no row has variance {target}")


@pytest.mark.parametrize("power", [26, 31, 32, 33, 40, 47, 48, 49, 51, 52, 53, 54])
@pytest.mark.parametrize("beside", [-2, -1, 0, 1, 2])
def test_variances_beside_powers_of_two(power: int, beside: int) -> None:
    """Above 2^53 a float rounds V up to the power that it is just below."""
    row, epsilon = row_with_variance((1 << power) + beside)
    assert normalize(row[None], epsilon)[0].tolist() == page.normalize(row.tolist(), epsilon)


def test_the_largest_variance() -> None:
    row = np.where(np.arange(4096) % 2, LOW, HIGH).astype(np.int16)
    for epsilon in (1, (1 << 40) - 1):
        assert normalize(row[None], epsilon)[0].tolist() == page.normalize(row.tolist(), epsilon)


@pytest.mark.parametrize("bits", range(1, 62))
def test_leading_one_of_every_variance(bits: int) -> None:
    for value in {1 << (bits - 1), (1 << (bits - 1)) + 1, (1 << bits) - 2, (1 << bits) - 1} - {0}:
        _, exponent = reciprocal_root(np.array([value]))
        assert exponent[0] == -(-value.bit_length() // 2)


def test_square_roots_beside_every_square() -> None:
    """isqrt at n^2 - 1 and n^2 for every 16-bit root: float64 must not round up to n."""
    root = np.arange((1 << 15) + 1, 1 << 16, dtype=np.int64)
    for variance, floor in ((root * root, root), (root * root - 1, root - 1)):
        reciprocal, exponent = reciprocal_root(variance)
        assert (exponent == 16).all()
        np.testing.assert_array_equal(reciprocal, (1 << 32) // floor)


def test_extremes_of_the_reciprocal() -> None:
    """18 bits, from V = 2^30 up to 2^32 - 1, the range of the normalized variance."""
    low, high = reciprocal_root(np.array([1 << 30, (1 << 32) - 1]))[0].tolist()
    assert (low, high) == (1 << 17, (1 << 32) // 65535)


@pytest.mark.parametrize("channels", [2, 17, 192, 768, 4096])
def test_the_real_normalization_within_the_bound(channels: int) -> None:
    """|t| * 1.5 * 2^-15 + 2^-13; the code by half a step and the halves of gain and offset."""
    rng = generator(channels)
    for spread in (1, 2, 30, 500, 9000):
        x = np.clip(np.rint(rng.normal(100, spread, (20, channels))), LOW, HIGH).astype(np.int16)
        x[0] = 5
        x[1, 0], x[2, 0] = HIGH, LOW
        epsilon = max(1, round(1e-2 * channels**2))
        wide = x.astype(np.int64)
        total = wide.sum(1, keepdims=True)
        variance = channels * (wide * wide).sum(1, keepdims=True) - total**2 + epsilon
        real = (channels * wide - total) / np.sqrt(variance)
        error = np.abs(normalize(x, epsilon) / 4096 - real)
        bound = np.abs(real) * 1.5 * 2.0**-15 + 2.0**-13
        assert (error <= bound).all()

        shift, z = 18, 100
        gamma, beta = rng.uniform(-12, 12, channels), rng.normal(0, 9, channels)
        got, _ = layernorm(
            x,
            gain=np.rint(gamma * 2.0 ** (shift - 12)).astype(np.int16),
            offset=np.rint((beta + z) * 2.0**shift + 2.0 ** (shift - 1)).astype(np.int32),
            shift=shift,
            epsilon=epsilon,
            width=8,
        )
        exact = real * gamma + beta + z
        slack = 2.0**-shift * (0.5 * (np.abs(real) + bound) * 4096 + 0.5) + np.abs(gamma) * bound
        low, high = (np.clip(exact + side * (0.5 + slack), 0, 255) for side in (-1, 1))
        assert ((np.ceil(low - 1e-9) <= got) & (got <= np.floor(high + 1e-9))).all()


def test_a_batch_equals_its_rows() -> None:
    rng = generator()
    x = rng.integers(LOW, HIGH, (2, 3, 5, 24)).astype(np.int16)
    fields = {
        "gain": rng.integers(-9000, 9000, 24).astype(np.int16),
        "offset": rng.integers(-(1 << 20), 1 << 22, 24).astype(np.int32),
        "shift": 18,
        "epsilon": 9,
        "width": 5,
    }
    whole, saturated = layernorm(x, **fields)
    parts = [layernorm(x[index], **fields) for index in np.ndindex(2, 3, 5)]
    np.testing.assert_array_equal(whole.reshape(-1, 24), np.stack([y for y, _ in parts]))
    assert saturated == sum(count for _, count in parts) > 0
