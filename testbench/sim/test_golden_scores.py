"""Golden attention scores against the page, and against the real attention logits."""

import numpy as np
import pytest

from rootshift.errors import ArtifactError
from rootshift.formats import fixed_point
from rootshift.operators import Scores
from rootshift.sim.golden.gemm import scores
from rootshift.sim.golden.model import execute

from ..seeds import generator
from . import page


def make(**fields: int) -> Scores:
    defaults = {"windows": 1}
    return Scores(name="scores", inputs=("q", "k"), scale=2.0**-8, **(defaults | fields))


def compare(query: np.ndarray, key: np.ndarray, operator: Scores) -> np.ndarray:
    """Golden on codes [T, heads * d] equals the page, head by head."""
    got, saturated = execute(operator, query, key)
    width = operator.head_width
    assert got.dtype == np.int32
    assert saturated == 0
    for head in range(operator.heads):
        part = slice(head * width, (head + 1) * width)
        want = page.scores(
            query[:, part].tolist(),
            key[:, part].tolist(),
            zq=operator.query_zero,
            mult=operator.multiplier,
            shift=operator.shift,
        )
        assert got[head].tolist() == want
    return got


@pytest.mark.parametrize("input_width", range(3, 9))
@pytest.mark.parametrize("heads", [1, 3])
def test_equals_the_page(input_width: int, heads: int) -> None:
    for case, zero in enumerate([0, 1 << (input_width - 1), (1 << input_width) + 9, -300]):
        rng = generator(input_width, heads, case)
        tokens, head_width = (1, 1) if case == 0 else rng.integers(2, 12, 2).tolist()
        query, key = rng.integers(0, 1 << input_width, (2, tokens, heads * head_width))
        operator = make(
            input_width=input_width,
            heads=heads,
            head_width=head_width,
            query_zero=zero,
            multiplier=int(rng.integers(1 << 15, 1 << 16)),
            shift=[12, 14, 47, 16][case],
        )
        compare(query.astype(np.uint8), key.astype(np.uint8), operator)


def test_a_batch_equals_its_images() -> None:
    query, key = generator().integers(0, 256, (2, 3, 5, 8)).astype(np.uint8)
    fields = {"heads": 2, "query_zero": 100, "multiplier": 40000, "shift": 15}
    whole = scores(query, key, **fields)
    assert whole.shape == (3, 2, 5, 5)
    for q, k, part in zip(query, key, whole, strict=True):
        np.testing.assert_array_equal(scores(q, k, **fields), part)


def test_differences_along_a_row_are_those_of_the_real_logits() -> None:
    """The dropped term is constant along a row, so differences agree to half a step each."""
    rng = generator()
    d, tokens, sq, sk, zq, zk = 64, 30, 0.2, 0.3, 120, 133
    query, key = np.clip(np.rint(rng.normal(128, 20, (2, tokens, d))), 0, 255).astype(np.uint8)
    factor = 256 * np.log2(np.e) * sq * sk / np.sqrt(d)
    multiplier, shift = fixed_point(factor)
    got = scores(query, key, heads=1, query_zero=zq, multiplier=int(multiplier), shift=shift)[0]
    real = (sq * (query.astype(float) - zq)) @ (sk * (key.astype(float) - zk)).T / np.sqrt(d)
    steps = 256 * np.log2(np.e) * real
    acc = (query.astype(float) - zq) @ key.astype(float).T
    bound = 0.5 + np.abs(acc) * factor * 2.0**-16
    error = (got - got[:, :1]) - (steps - steps[:, :1])
    assert (np.abs(error) <= bound + bound[:, :1]).all()


@pytest.mark.parametrize("zero", [-((1 << 15) - 1), 1 << 14])
def test_the_largest_score_allowed_does_not_saturate(zero: int) -> None:
    """Widest codes against the farthest zero point: at the limit exact, one step beyond refused."""
    head_width, reach = 12, max(abs(zero), abs(255 - zero))
    acc = head_width * 255 * reach
    multiplier = (((1 << 23) - 2 << 15) + (1 << 15) - 1) // acc
    fields = {"input_width": 8, "heads": 1, "head_width": head_width, "query_zero": zero}
    operator = make(**fields, multiplier=multiplier, shift=15)
    key = np.array([[255] * head_width, [0] * head_width], np.uint8)
    query = np.array([[255] * head_width, [0] * head_width], np.uint8)
    got = compare(query, key, operator)
    assert int(np.abs(got).max()) >= (acc * multiplier >> 15)
    with pytest.raises(ArtifactError, match=r"^scores: worst-case score must fit 24 bits, not 25"):
        make(**fields, multiplier=multiplier + 1, shift=15)


def test_an_accumulator_beyond_32_bits_is_refused() -> None:
    fields = {"input_width": 8, "heads": 1, "query_zero": -(1 << 15), "multiplier": 1, "shift": 20}
    most = ((1 << 31) - 1) // (255 * ((1 << 15) + 255))
    make(**fields, head_width=most)
    with pytest.raises(
        ArtifactError, match=r"^scores: worst-case accumulator must fit 32 bits, not 33"
    ):
        make(**fields, head_width=most + 1)
