"""Percentile search against a plain transcription of the published procedure."""

import numpy as np
import pytest
import torch

from rootshift.errors import CalibrationError
from rootshift.quant import search
from rootshift.quant.chunks import Chunks
from rootshift.quant.quantizers import LogQuantizer, UniformQuantizer
from rootshift.quant.search import PERCENTILES, search_log, search_uniform

SHAPES = [(1,), (2,), (37,), (192,), (6304,), (40_000,), (150_000,), (700_001,)]


def quantile(x: torch.Tensor, q: float) -> torch.Tensor:
    """As torch.quantile, which takes q as float32, but with exact ranks."""
    return torch.tensor(np.quantile(x.double().numpy(), float(np.float32(q))), dtype=torch.float32)


def published(x: torch.Tensor, bits: int) -> tuple[float, float]:
    """Scale and zero of the best of three percentiles, all of `x` sorted and quantized."""
    best = (torch.inf, 0.0, 0.0)
    for q in PERCENTILES:
        high, low = quantile(x, q), quantile(x, 1.0 - q)
        scale = (high - low) / (2**bits - 1)
        zero = (-low / scale).round()
        quantized = ((x / scale).round() + zero).clamp(0, 2**bits - 1)
        error = ((quantized - zero) * scale - x).double().square().mean()
        if error < best[0]:
            best = (float(error), float(scale), float(zero))
    return best[1:]


def heavy_tailed(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    print(f"seed={seed} shape={shape}")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    return x * x.abs() + 0.3


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("shape", SHAPES[2:])
def test_one_tensor_equals_the_published_search(shape: tuple[int, ...], bits: int) -> None:
    x = heavy_tailed(shape, seed=bits)
    found = search_uniform(x, bits)
    scale, zero = published(x, bits)
    assert float(found.scale) == pytest.approx(scale, rel=1e-6)
    assert float(found.zero) == zero
    assert found.scale.shape == found.zero.shape == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_percentiles_are_near_those_of_torch(shape: tuple[int, ...]) -> None:
    # torch.quantile rounds a rank to float32 on some processors and not on others.
    x = heavy_tailed(shape, seed=7)
    _, _, low, high = search._bounds(search.Rows(x, None, "x"))
    for index, q in enumerate(PERCENTILES):
        assert float(high[index]) == pytest.approx(float(torch.quantile(x, q)), rel=2e-4)
        assert float(low[index]) == pytest.approx(float(torch.quantile(x, 1 - q)), rel=2e-4)


def in_chunks(x: torch.Tensor, size: int) -> Chunks:
    """`x` along its first axis."""
    parts = x.split(size)
    return Chunks(parts.__getitem__, [len(part) for part in parts])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("channels", [None, "last"])
def test_chunks_change_nothing(channels: str | None, size: int) -> None:
    """Exactly, bounds and choice: only the summed errors are of another order of additions."""
    x = heavy_tailed((7, 40, 600), seed=6)
    whole, parts = search.Rows(x, channels, "x"), search.Rows(in_chunks(x, size), channels, "x")
    assert parts.count == whole.count
    for found, want in zip(search._bounds(parts), search._bounds(whole), strict=True):
        assert torch.equal(found, want)
    found, want = search_uniform(in_chunks(x, size), 4, channels), search_uniform(x, 4, channels)
    assert torch.equal(found.scale, want.scale)
    assert torch.equal(found.zero, want.zero)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_chunks_change_no_log_quantizer(size: int) -> None:
    x = heavy_tailed((3, 2, 90, 90), seed=5).softmax(-1)
    found, want = (search_log(each, 4, "sqrt2", True) for each in (in_chunks(x, size), x))
    assert torch.equal(found.scale, want.scale)


def test_extremes_of_a_late_chunk_count() -> None:
    x = torch.zeros(9, 50_000)
    x[8] = torch.linspace(-3, 5, 50_000)
    found, want = search_uniform(in_chunks(x, 2), 4), search_uniform(x, 4)
    assert float(found.scale) == float(want.scale) > 0.4
    assert float(found.zero) == float(want.zero)


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_a_chunk_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    x = torch.rand(5, 6)
    x[4, 3] = bad
    for channels in (None, "last"):
        with pytest.raises(CalibrationError, match=r"^x: values must be finite, not NaN or"):
            search_uniform(in_chunks(x, 2), 4, channels, "x")
    with pytest.raises(CalibrationError, match=r"^x: values must be finite"):
        search_log(in_chunks(x, 2), 4, "sqrt2", True, "x")


@pytest.mark.parametrize(("axis", "shape"), [("first", (24, 768)), ("last", (3, 211, 24))])
def test_channels_equal_a_search_of_each(axis: str, shape: tuple[int, ...]) -> None:
    x = heavy_tailed(shape, seed=1) * torch.linspace(0.1, 3, 24).reshape(
        (-1, 1) if axis == "first" else (-1,)
    )
    found = search_uniform(x, 4, axis)
    rows = x if axis == "first" else x.reshape(-1, 24).T
    alone = [search_uniform(row.contiguous(), 4) for row in rows]
    assert torch.equal(found.scale.flatten(), torch.stack([one.scale for one in alone]))
    assert torch.equal(found.zero.flatten(), torch.stack([one.zero for one in alone]))
    assert found.fake(x).shape == x.shape


def test_many_equal_values_at_the_ends() -> None:
    x = torch.cat([torch.zeros(300_000), torch.ones(200_000), torch.rand(100_000)])
    found = search_uniform(x, 4)
    assert float(found.scale) == pytest.approx(1 / 15)
    assert float(found.zero) == 0


def test_percentiles_above_the_limit_of_torch_quantile_are_those_of_numpy() -> None:
    x = torch.from_numpy(np.random.default_rng(3).standard_normal(2**24 + 3, dtype=np.float32))
    _, _, low, high = search._bounds(search.Rows(x, None, "x"))
    expected = np.percentile(x.numpy(), [100 * q for q in PERCENTILES])
    assert high[:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    expected = np.percentile(x.numpy(), [100 * (1 - q) for q in PERCENTILES])
    assert low[:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


@pytest.mark.parametrize("value", [-2.5, -1e-20, 0.0, 3e-3, 7.0])
@pytest.mark.parametrize("channels", [None, "first", "last"])
def test_constants_are_exact(value: float, channels: str | None) -> None:
    x = torch.full((6, 50), value)
    found = search_uniform(x, 3, channels)
    assert (found.scale > 0).all()
    assert torch.allclose(found.fake(x), x, rtol=1e-6, atol=0)


def test_a_channel_of_zeros_takes_the_mean_scale_of_the_others() -> None:
    x = torch.stack([torch.linspace(-1, 1, 500), torch.zeros(500), torch.linspace(-3, 3, 500)])
    found = search_uniform(x, 4, "first")
    assert float(found.scale[1]) == pytest.approx(float(found.scale[[0, 2]].mean()))
    assert float(found.zero[1]) == 0


def test_a_rare_value_is_not_lost_with_its_empty_percentiles() -> None:
    x = torch.zeros(400_000)
    x[7] = 5.0
    found = search_uniform(x, 4)
    assert float(found.fake(x)[7]) == pytest.approx(5.0)


def test_zero_points_stay_within_their_width() -> None:
    x = 1000 + torch.linspace(0, 1e-3, 4000)
    found = search_uniform(x, 4)
    assert abs(float(found.zero)) <= 2**15 - 1
    assert torch.allclose(found.fake(x), x, rtol=2**-15)


@pytest.mark.parametrize(("base", "top"), [("sqrt2", True), ("sqrt2", False), ("2", True)])
def test_log_search_takes_the_best_percentile(base: str, top: bool) -> None:
    x = heavy_tailed((4, 3, 60, 60), seed=5).softmax(-1)
    errors = {}
    for q in PERCENTILES:
        scale = quantile(x.flatten(), q)
        error = (LogQuantizer(scale, 4, base, top).fake(x) - x).double().square().mean()
        errors[float(scale)] = float(error)
    found = search_log(x, 4, base, top)
    assert float(found.scale) == pytest.approx(min(errors, key=errors.get), rel=1e-6)
    assert (found.bits, found.base, found.top_code_is_zero) == (4, base, top)


def test_log_search_of_degenerate_probabilities() -> None:
    rare = torch.zeros(1, 400_000)
    rare[0, 5] = 0.25
    assert float(search_log(rare, 4, "sqrt2", True).scale) == 0.25
    assert float(search_log(torch.zeros(10), 4, "sqrt2", True).scale) == 1.0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("channels", [None, "first", "last"])
def test_values_that_are_not_finite_are_refused_by_name(bad: float, channels: str | None) -> None:
    x = torch.rand(4, 5)
    x[2, 3] = bad
    message = "blocks.3.attn.qkv.weight: values must be finite, not NaN or infinite"
    with pytest.raises(CalibrationError, match=message):
        search_uniform(x, 4, channels, "blocks.3.attn.qkv.weight")
    with pytest.raises(CalibrationError, match="p: values must be finite"):
        search_log(x, 4, "sqrt2", True, "p")


def test_an_empty_tensor_is_refused() -> None:
    with pytest.raises(CalibrationError, match="x: values must be at least one per channel"):
        search_uniform(torch.zeros(0, 3), 4, "last", "x")
    with pytest.raises(CalibrationError, match="x: values must be at least one per channel"):
        search_uniform(Chunks(lambda _: torch.zeros(0, 3), []), 4, "last", "x")


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="channels must be None, 'last' or 'first', not 'rows'"):
        search_uniform(torch.rand(3, 4), 4, "rows")


def test_the_result_is_a_quantizer_of_the_width_asked_for() -> None:
    found = search_uniform(torch.linspace(0, 1, 100), 5)
    assert isinstance(found, UniformQuantizer)
    assert found.bits == 5
