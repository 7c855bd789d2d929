"""Search of quantizers: the percentile with the least squared error, as RepQ-ViT publishes it.

Three pairs of percentiles are tried as clipping bounds; the pair whose quantized tensor is nearest
to the tensor in the mean square wins, the first one on a tie.
Only the tails of the values are sorted, and errors are summed block by block inside the cache.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ..errors import CalibrationError
from ..formats import ZERO_WIDTH, signed_range
from .quantizers import LogQuantizer, UniformQuantizer

PERCENTILES = (0.999, 0.9999, 0.99999)
MAX_ZERO = signed_range(ZERO_WIDTH)[1]
"""Greatest magnitude of a zero point: a range far narrower than its distance from 0 is widened."""

# torch.quantile, whose quantile is a float32, refuses more elements; the published code then turns
# to numpy.percentile, whose quantile is a float64.
_TORCH_QUANTILE_LIMIT = 2**24
_BLOCK = 2**15
_SAMPLE = 2**14


def search_uniform(
    x: Tensor, bits: int, channels: Literal["first", "last"] | None = None, name: str = "tensor"
) -> UniformQuantizer:
    """Find the uniform quantizer of `x`.

    Parameters:
        x: Tensor, float32. Values, at least one per channel.
        bits: int. Width of a code.
        channels: {None, "last", "first"}. One quantizer for all; one for each index of the last
            axis (activations `[..., C]`); or one for each index of the first axis (weights `[N,
            K]`).
        name: str. What an error calls the tensor.

    Returns:
        UniformQuantizer: Scale and zero of shape `()`, `[C]` or `[N, 1]`; zeros are integral.
            Where all three percentiles give an empty range, the range is that of the values and 0,
            so that a constant channel is exact; a channel of zeros takes the mean scale of the
            others (1 without others).

    Raises:
        CalibrationError: `x` is empty or holds NaN or infinity.
    """
    rows = _rows(x, channels)
    minimum, maximum = _finite_range(rows, name)
    low, high = _percentile_bounds(rows)
    empty = high <= low
    all_empty = empty.all(0)
    low[0] = torch.where(all_empty, minimum.clamp(max=0), low[0])
    high[0] = torch.where(all_empty, maximum.clamp(min=0), high[0])
    empty = high <= low

    scale, zero = _scale_and_zero(low, high, 2**bits - 1)
    nothing = empty.all(0)
    if nothing.any():
        others = scale[0][~nothing]
        scale[:, nothing] = others.mean() if others.numel() else 1.0
        zero[:, nothing] = 0.0

    error = torch.stack(
        [_uniform_error(rows, s, z, 2**bits - 1) for s, z in zip(scale, zero, strict=True)]
    )
    error[empty] = torch.inf
    best = _first_minimum(error)
    pick = torch.arange(rows.shape[0])
    shape = {None: (), "last": (-1,), "first": (-1, 1)}[channels]
    return UniformQuantizer(scale[best, pick].reshape(shape), zero[best, pick].reshape(shape), bits)


def search_log(
    x: Tensor, bits: int, base: str, top_code_is_zero: bool, name: str = "tensor"
) -> LogQuantizer:
    """Find the logarithmic quantizer of `x` (float32, no value below 0), one for the tensor.

    Raises:
        CalibrationError: `x` is empty or holds NaN or infinity.
    """
    rows = _rows(x, None)
    _, maximum = _finite_range(rows, name)
    _, high = _percentile_bounds(rows)
    candidates = [scale for scale in high[:, 0] if scale > 0]
    if not candidates:
        candidates = [maximum[0] if maximum[0] > 0 else torch.tensor(1.0)]
    quantizers = [LogQuantizer(scale, bits, base, top_code_is_zero) for scale in candidates]
    error = torch.stack([_log_error(rows, quantizer) for quantizer in quantizers])
    return quantizers[int(_first_minimum(error[:, None]))]


def _rows(x: Tensor, channels: str | None) -> Tensor:
    """Values as `[R, n]`, contiguous, one row per quantizer."""
    if channels is None:
        return x.reshape(1, -1)
    if channels == "last":
        return x.reshape(-1, x.shape[-1]).T.contiguous()
    if channels == "first":
        return x.reshape(x.shape[0], -1)
    raise ValueError(f"channels must be None, 'last' or 'first', not {channels!r}")


def _finite_range(rows: Tensor, name: str) -> tuple[Tensor, Tensor]:
    if rows.numel() == 0:
        raise CalibrationError(f"{name}: values must be at least one per channel, not none")
    # Without a dimension it is many times faster.
    minimum, maximum = torch.aminmax(rows) if rows.shape[0] == 1 else torch.aminmax(rows, dim=1)
    minimum, maximum = minimum.reshape(-1), maximum.reshape(-1)
    if not (minimum.isfinite().all() and maximum.isfinite().all()):
        raise CalibrationError(f"{name}: values must be finite, not NaN or infinite")
    return minimum, maximum


def _percentile_bounds(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high percentiles `[3, R]` of each row, with the numbers of torch.quantile."""
    n = rows.shape[1]
    high = [_Rank(q, n) for q in PERCENTILES]
    low = [_Rank(1.0 - q, n) for q in PERCENTILES]
    descending = _tail(rows, n - min(rank.below for rank in high), largest=True)
    ascending = _tail(rows, max(rank.above for rank in low) + 1, largest=False)
    return (
        torch.stack([r.interpolate(ascending[:, r.below], ascending[:, r.above]) for r in low]),
        torch.stack(
            [
                r.interpolate(descending[:, n - 1 - r.below], descending[:, n - 1 - r.above])
                for r in high
            ]
        ),
    )


class _Rank:
    """Place of a quantile among `n` sorted values, between two neighbours."""

    def __init__(self, quantile: float, n: int) -> None:
        if n <= _TORCH_QUANTILE_LIMIT:
            quantile = float(torch.tensor(quantile, dtype=torch.float32))
        # torch.quantile rounds the rank to float32 with AVX-512 kernels, but not with AVX2 ones,
        # which gave the reference results; the percentiles differ by up to 1e-4 relative.
        rank = quantile * (n - 1)
        self.below = min(int(rank), n - 1)
        self.above = min(self.below + 1, n - 1)
        self._weight = torch.tensor(rank - self.below, dtype=torch.float32)

    def interpolate(self, below: Tensor, above: Tensor) -> Tensor:
        return torch.lerp(below, above, self._weight)


def _tail(rows: Tensor, count: int, largest: bool) -> Tensor:
    """The `count` greatest or least values of each row, from the extreme on, `[R, count]`."""
    n = rows.shape[1]
    if rows.shape[0] == 1 and n > 8 * _SAMPLE:
        # A threshold from a sample leaves few values to sort; too strict a one is noticed.
        sample = rows[0, :: n // _SAMPLE]
        expected = math.ceil(1.5 * count * sample.numel() / n) + 8
        threshold = sample.topk(min(expected, sample.numel()), largest=largest).values[-1]
        kept = rows[0][rows[0] >= threshold if largest else rows[0] <= threshold]
        if kept.numel() >= count:
            return kept.topk(count, largest=largest).values[None]
    return rows.topk(count, dim=1, largest=largest).values


def _scale_and_zero(low: Tensor, high: Tensor, top: int) -> tuple[Tensor, Tensor]:
    scale = (high - low) / top
    scale = torch.maximum(scale, torch.maximum(low.abs(), high.abs()) / MAX_ZERO)
    scale = torch.where(scale > 0, scale, 1.0)
    return scale, (-low / scale).round()


def _uniform_error(rows: Tensor, scale: Tensor, zero: Tensor, top: int) -> Tensor:
    """Sum of squared errors of each row, float64 `[R]`."""
    error = torch.zeros(rows.shape[0], dtype=torch.float64)
    for part, block in _blocks(rows):
        step, start = scale[part, None], zero[part, None]
        if step.numel() == 1:
            step, start = float(step), float(start)
        quantized = (block / step).round_().clamp_(-start, top - start).mul_(step)
        error[part] += quantized.sub_(block).square_().sum(-1)
    return error


def _log_error(rows: Tensor, quantizer: LogQuantizer) -> Tensor:
    """Sum of squared errors, float64 scalar."""
    error = torch.zeros((), dtype=torch.float64)
    for _, block in _blocks(rows):
        error += quantizer.fake(block).sub_(block).square_().sum()
    return error


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pieces that fit the cache: of one long row, or some whole rows each."""
    if rows.shape[0] == 1:
        for block in rows.split(_BLOCK, dim=1):
            yield slice(0, 1), block
        return
    height = max(1, _BLOCK // rows.shape[1])
    for start in range(0, rows.shape[0], height):
        part = slice(start, start + height)
        yield part, rows[part]


def _first_minimum(error: Tensor) -> Tensor:
    """Index `[R]` of the least entry of each column, the first one on a tie."""
    best = torch.zeros(error.shape[1], dtype=torch.long)
    least = error[0].clone()
    for index in range(1, error.shape[0]):
        better = error[index] < least
        best[better] = index
        least = torch.minimum(least, error[index])
    return best
