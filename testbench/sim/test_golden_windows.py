"""Golden windows (gather, score_bias, requantize, and the rest by window) against the page."""

import numpy as np
import pytest

from rootshift.formats import MASK_GAP, SCORE_MIN, fixed_point, zero_code
from rootshift.sim.golden.gather import gather
from rootshift.sim.golden.gemm import scores
from rootshift.sim.golden.layernorm import layernorm
from rootshift.sim.golden.log2_softmax import log2_softmax
from rootshift.sim.golden.requantizer import requantize
from rootshift.sim.golden.score_bias import score_bias
from rootshift.sim.golden.shift_attention import shift_attention

from ..seeds import generator
from . import page

EXTREMES = np.array([-(1 << 15), 1 - (1 << 15), -1, 0, 1, (1 << 15) - 2, (1 << 15) - 1], np.int16)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize(("tokens", "group"), [(1, 1), (9, 1), (3, 4), (1, 2)])
def test_gather_equals_the_page(tokens: int, group: int, dtype: type) -> None:
    rng = generator(tokens, group, np.dtype(dtype).itemsize)
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max + 1, (2, 7, 5)).astype(dtype)
    fill = rng.integers(limits.min, limits.max + 1, 5).astype(np.int16)
    index = rng.integers(-1, 7, (tokens, group)).astype(np.int32)
    index[0, 0] = -1
    before = x.copy()
    got = gather(x, index=index, fill=fill)
    assert (got.dtype, got.shape) == (dtype, (2, tokens, group * 5))
    for image, rows in zip(x, got, strict=True):
        want = page.gather(image.tolist(), index=index.tolist(), fill=fill.tolist())
        assert rows.tolist() == want
    np.testing.assert_array_equal(x, before)


def test_score_bias_equals_the_page() -> None:
    rng = generator()
    windows, heads, tokens = 3, 2, 6
    score = rng.integers(-(1 << 22), 1 << 22, (2, windows * heads, tokens, tokens), np.int32)
    bias = rng.integers(-(1 << 15), 1 << 15, (heads, tokens, tokens)).astype(np.int16)
    region = rng.integers(0, 3, (windows, tokens)).astype(np.uint8)
    region[0], region[1, :2] = 255, (0, 255)
    before = score.copy()
    got = score_bias(score, bias=bias, region=region)
    assert (got.dtype, got.shape) == (np.int32, score.shape)
    for image, matrices in zip(score, got, strict=True):
        for window in range(windows):
            for head in range(heads):
                number = window * heads + head
                want = page.score_bias(
                    image[number].tolist(), bias=bias[head].tolist(), region=region[window].tolist()
                )
                assert matrices[number].tolist() == want
    np.testing.assert_array_equal(score, before)


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("log_width", [3, 8])
@pytest.mark.parametrize("reach", [1 << 8, 1 << 13, -SCORE_MIN - MASK_GAP])
def test_a_masked_key_gets_nothing_and_changes_nothing(
    reach: int, log_width: int, base: str
) -> None:
    """Rows with masked keys anywhere equal the rows without these keys, up to the widest scores
    that are legal and the lowest offset."""
    rng = generator(reach, log_width, len(base))
    for offset in (-(1 << 15), -60, (1 << 15) - 1):
        keys = int(rng.integers(2, 60))
        rows = rng.integers(-reach, reach + 1, (40, keys)).astype(np.int32)
        rows[:4] = [[-reach], [reach], [0], [-reach]]
        masked = rng.random((40, keys)) < rng.uniform(0, 1, (40, 1))
        masked[::3, : keys - 1] = True
        masked[np.arange(40), rng.integers(0, keys, 40)] = False
        fields = {"offset": offset, "log_width": log_width, "base": base}
        got = log2_softmax(np.where(masked, np.int32(SCORE_MIN), rows), **fields)
        assert (got[masked] == zero_code(log_width, base)).all()
        for row, hidden, codes in zip(rows, masked, got, strict=True):
            alone = log2_softmax(row[~hidden][None], **fields)[0]
            np.testing.assert_array_equal(codes[~hidden], alone)
            assert alone.tolist() == page.log2_softmax(row[~hidden].tolist(), **fields)


def test_the_longest_row_masked_but_for_its_last_key() -> None:
    row = np.full((1, 4096), SCORE_MIN, np.int32)
    row[0, -1] = -(-SCORE_MIN - MASK_GAP)
    codes = log2_softmax(row, offset=0, log_width=4, base="sqrt2")[0]
    assert (codes[:-1] == 15).all()
    want = page.log2_softmax([int(row[0, -1])], offset=0, log_width=4, base="sqrt2")
    assert [int(codes[-1])] == want


@pytest.mark.parametrize("width", [3, 4, 8])
def test_requantize_equals_the_page(width: int) -> None:
    rng = generator(width)
    x = np.concatenate([EXTREMES, rng.integers(-(1 << 15), 1 << 15, 200).astype(np.int16)])
    for zero in (0, 1 << (width - 1), -9, 300):
        multiplier, shift = fixed_point(rng.uniform(1e-4, 2.0) * 2**width / 3000)
        for shift_now in (shift, 0, 47):
            fields = {"shift": shift_now, "width": width}
            got, saturated = requantize(
                x.reshape(1, -1, 9), multiplier=int(multiplier), zero=zero, **fields
            )
            want = [page.requantize(v, mult=int(multiplier), z=zero, **fields) for v in x.tolist()]
            assert got.dtype == np.uint8
            assert got.ravel().tolist() == [y for y, _ in want]
            assert saturated == sum(count for _, count in want)


def test_a_norm_into_the_stream_equals_the_page() -> None:
    rng = generator()
    x = (rng.normal(0, 1, (3, 6, 24)) * rng.choice([3, 300, 9000], (3, 6, 1))).astype(np.int16)
    x[0, 0] = 5
    gain = rng.integers(-(1 << 15), 1 << 15, 24).astype(np.int16)
    offset = rng.integers(-(1 << 24), 1 << 24, 24).astype(np.int32)
    for shift in (9, 16):
        fields = {"shift": shift, "width": 16}
        got, saturated = layernorm(x, gain=gain, offset=offset, epsilon=900, **fields)
        assert got.dtype == np.int16
        total = 0
        for row, values in zip(x.reshape(-1, 24), got.reshape(-1, 24), strict=True):
            want, count = page.layernorm(
                row.tolist(), gain=gain.tolist(), offset=offset.tolist(), eps=900, **fields
            )
            assert values.tolist() == want
            total += count
        assert saturated == total
        assert (total > 0) is (shift == 9)


@pytest.mark.parametrize(("windows", "heads"), [(1, 3), (4, 1), (3, 2)])
def test_each_window_is_attention_on_its_own(windows: int, heads: int) -> None:
    rng = generator(windows, heads)
    tokens, width = 5, 4 * heads
    query, key, value = rng.integers(0, 16, (3, 2, windows * tokens, width)).astype(np.uint8)
    fields = {"heads": heads, "query_zero": 7, "multiplier": 40000, "shift": 9}
    found = scores(query, key, windows=windows, **fields)
    assert found.shape == (2, windows * heads, tokens, tokens)
    log = {"log_width": 4, "base": "sqrt2"}
    codes = log2_softmax(found, offset=-20, **log)
    mixing = {
        "value_zero": 6, "multiplier_even": 40000, "multiplier_odd": 28284, "shift": 21,
        "zero": 5, "width": 4, **log,
    }  # fmt: skip
    mixed, saturated = shift_attention(codes, value, windows=windows, **mixing)
    assert mixed.shape == value.shape
    total = 0
    for window in range(windows):
        rows = slice(window * tokens, (window + 1) * tokens)
        matrices = slice(window * heads, (window + 1) * heads)
        np.testing.assert_array_equal(
            found[:, matrices], scores(query[:, rows], key[:, rows], **fields)
        )
        alone, count = shift_attention(codes[:, matrices], value[:, rows], **mixing)
        np.testing.assert_array_equal(mixed[:, rows], alone)
        total += count
    assert saturated == total
