"""Search of quantizers: the percentile with the least squared error, as RepQ-ViT publishes it.

Three pairs of percentiles are tried as clipping bounds; the pair whose quantized tensor is nearest
to the tensor in the mean square wins, the first one on a tie.
Values are read twice, chunk by chunk: once for their tails, which alone are sorted, and once for
the errors, which are summed block by block inside the cache. Percentiles do not depend on chunks.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from ..errors import CalibrationError
from ..formats import ZERO_WIDTH, signed_range
from .chunks import Chunks
from .quantizers import LogQuantizer, UniformQuantizer

PERCENTILES = (0.999, 0.9999, 0.99999)
MAX_ZERO = signed_range(ZERO_WIDTH)[1]
"""Greatest magnitude of a zero point: a range far narrower than its distance from 0 is widened."""

Channels = Literal["first", "last"] | None

# torch.quantile, whose quantile is a float32, refuses more elements; the published code then turns
# to numpy.percentile, whose quantile is a float64.
_TORCH_QUANTILE_LIMIT = 2**24
_BLOCK = {"cpu": 2**15}
"""Values per block: what a cache holds; of other devices, what keeps them busy."""
_OTHER_BLOCK = 2**24
_SAMPLE = 2**14


def search_uniform(
    x: Tensor | Chunks, bits: int, channels: Channels = None, name: str = "tensor"
) -> UniformQuantizer:
    """Find the uniform quantizer of `x`.

    Parameters:
        x: Tensor or Chunks. Values, at least one per channel.
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
    rows = Rows(x, channels, name)
    minimum, maximum, low, high = _bounds(rows)
    empty = high <= low
    all_empty = empty.all(0)
    low[0] = torch.where(all_empty, minimum.clamp(max=0), low[0])
    high[0] = torch.where(all_empty, maximum.clamp(min=0), high[0])
    empty = high <= low

    scale, zero = scale_and_zero(low, high, 2**bits - 1)
    nothing = empty.all(0)
    if nothing.any():
        others = scale[0][~nothing]
        scale[:, nothing] = others.double().mean() if others.numel() else 1.0
        zero[:, nothing] = 0.0

    error = uniform_errors(rows, scale, zero, 2**bits - 1)
    error[empty] = torch.inf
    best = _first_minimum(error)
    pick = torch.arange(scale.shape[1], device=scale.device)
    shape = rows.shape_of_quantizer
    return UniformQuantizer(scale[best, pick].reshape(shape), zero[best, pick].reshape(shape), bits)


def search_log(
    x: Tensor | Chunks, bits: int, base: str, top_code_is_zero: bool, name: str = "tensor"
) -> LogQuantizer:
    """Find the logarithmic quantizer of `x` (no value below 0), one for the tensor.

    Raises:
        CalibrationError: `x` is empty or holds NaN or infinity.
    """
    rows = Rows(x, None, name)
    _, maximum, _, high = _bounds(rows)
    high, maximum = high.float(), maximum.float()
    candidates = [scale for scale in high[:, 0] if scale > 0]
    if not candidates:
        candidates = [maximum[0] if maximum[0] > 0 else torch.ones_like(maximum[0])]
    quantizers = [LogQuantizer(scale, bits, base, top_code_is_zero) for scale in candidates]
    error = maximum.new_zeros((len(quantizers), 1), dtype=torch.float64)
    for piece in rows:
        for _, block in _blocks(piece):
            for at, quantizer in enumerate(quantizers):
                error[at] += quantizer.fake(block).sub_(block).square_().sum()
    return quantizers[int(_first_minimum(error))]


def value_range(
    x: Tensor | Chunks, channels: Channels = None, name: str = "tensor"
) -> tuple[Tensor, Tensor]:
    """Least and greatest value of `x`, `[R]` each, one of each for every quantizer.

    Raises:
        CalibrationError: `x` is empty or holds NaN or infinity.
    """
    rows = Rows(x, channels, name)
    ranges = [rows.range(piece) for piece in rows]
    return (
        torch.stack([low for low, _ in ranges]).amin(0),
        torch.stack([high for _, high in ranges]).amax(0),
    )


def percentile_range(x: Tensor | Chunks, name: str = "tensor") -> tuple[Tensor, Tensor]:
    """The widest pair of `PERCENTILES` of all values of `x`, `[1]` each.

    Raises:
        CalibrationError: `x` is empty or holds NaN or infinity.
    """
    _, _, low, high = _bounds(Rows(x, None, name))
    return low[-1], high[-1]


class Rows:
    """Values as `[R, n]` a chunk at a time, one row per quantizer.

    Members: `count`, values of a row in all chunks.
    Raises: CalibrationError naming the tensor where there are none, or NaN or infinity among them.
    """

    def __init__(self, x: Tensor | Chunks, channels: Channels, name: str) -> None:
        if channels not in (None, "last", "first"):
            raise ValueError(f"channels must be None, 'last' or 'first', not {channels!r}")
        self._channels = channels
        self._name = name
        if isinstance(x, Tensor):
            rows = self._arranged(x)
            self._pieces: Iterable[Tensor] = [rows]
            self.count = rows.shape[1]
        else:
            self._pieces = x
            first = next(iter(x), None)
            per_image = 0 if first is None else self._arranged(first).shape[1] // x.sizes[0]
            self.count = per_image * sum(x.sizes)
        if not self.count:
            raise CalibrationError(f"{name}: values must be at least one per channel, not none")

    def __iter__(self) -> Iterator[Tensor]:
        if isinstance(self._pieces, list):
            yield from self._pieces
            return
        for chunk in self._pieces:
            yield self._arranged(chunk)

    @property
    def shape_of_quantizer(self) -> tuple[int, ...]:
        """What scale and zero are reshaped to."""
        return {None: (), "last": (-1,), "first": (-1, 1)}[self._channels]

    def range(self, piece: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest value of each row of a chunk, `[R]`."""
        # Without a dimension it is many times faster.
        found = torch.aminmax(piece) if piece.shape[0] == 1 else torch.aminmax(piece, dim=1)
        low, high = found.min.reshape(-1), found.max.reshape(-1)
        if not (low.isfinite().all() and high.isfinite().all()):
            raise CalibrationError(f"{self._name}: values must be finite, not NaN or infinite")
        return low, high

    def _arranged(self, x: Tensor) -> Tensor:
        if self._channels is None:
            return x.reshape(1, -1)
        if self._channels == "last":
            return x.reshape(-1, x.shape[-1]).T.contiguous()
        return x.reshape(x.shape[0], -1)


def _bounds(rows: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least and greatest value `[R]`, low and high percentiles `[3, R]` with the numbers of
    torch.quantile."""
    n = rows.count
    high = [_Rank(q, n) for q in PERCENTILES]
    low = [_Rank(1.0 - q, n) for q in PERCENTILES]
    top = _Tail(n - min(rank.below for rank in high), largest=True)
    bottom = _Tail(max(rank.above for rank in low) + 1, largest=False)
    minimum = maximum = None
    for piece in rows:
        least, greatest = rows.range(piece)
        minimum = least if minimum is None else torch.minimum(minimum, least)
        maximum = greatest if maximum is None else torch.maximum(maximum, greatest)
        top.take(piece)
        bottom.take(piece)
    return (
        minimum,
        maximum,
        torch.stack([r.between(bottom.values[:, r.below], bottom.values[:, r.above]) for r in low]),
        torch.stack(
            [
                r.between(top.values[:, n - 1 - r.below], top.values[:, n - 1 - r.above])
                for r in high
            ]
        ),
    )


class _Rank:
    """Place of a quantile among `n` sorted values, between two neighbours."""

    def __init__(self, quantile: float, n: int) -> None:
        if n <= _TORCH_QUANTILE_LIMIT:
            quantile = float(torch.tensor(quantile, dtype=torch.float32))
        # torch.quantile of some versions rounds the rank to float32, that of the reference results
        # did not; the percentiles differ by up to 1e-4 relative.
        rank = quantile * (n - 1)
        self.below = min(int(rank), n - 1)
        self.above = min(self.below + 1, n - 1)
        self._weight = rank - self.below

    def between(self, below: Tensor, above: Tensor) -> Tensor:
        weight = torch.tensor(self._weight, dtype=torch.float32, device=below.device)
        return torch.lerp(below, above, weight.to(below.dtype))


class _Tail:
    """The `count` greatest or least values of each row of all chunks, from the extreme on:
    `values [R, count]`."""

    def __init__(self, count: int, largest: bool) -> None:
        self._count = count
        self._largest = largest
        self.values: Tensor

    def take(self, rows: Tensor) -> None:
        """Take the values of one more chunk, `[R, n]`."""
        found = self._extremes(rows, min(self._count, rows.shape[1]))
        if hasattr(self, "values"):
            found = torch.cat([self.values, found], dim=1)
            found = found.topk(
                min(self._count, found.shape[1]), dim=1, largest=self._largest
            ).values
        self.values = found

    def _extremes(self, rows: Tensor, count: int) -> Tensor:
        n, largest = rows.shape[1], self._largest
        if rows.shape[0] == 1 and n > 8 * _SAMPLE:
            # A threshold from a sample leaves few values to sort; too strict a one is noticed.
            sample = rows[0, :: n // _SAMPLE]
            expected = math.ceil(1.5 * count * sample.numel() / n) + 8
            threshold = sample.topk(min(expected, sample.numel()), largest=largest).values[-1]
            kept = rows[0][rows[0] >= threshold if largest else rows[0] <= threshold]
            if kept.numel() >= count:
                return kept.topk(count, largest=largest).values[None]
        return rows.topk(count, dim=1, largest=largest).values


def scale_and_zero(low: Tensor, high: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Scale and integral zero point, float32, of the range `low` to `high` in codes 0 to `top`."""
    scale = (high - low) / top
    scale = torch.maximum(scale, torch.maximum(low.abs(), high.abs()) / MAX_ZERO).float()
    scale = torch.where(scale > 0, scale, 1.0)
    return scale, (-low / scale).round().float()


def uniform_errors(rows: Rows, scale: Tensor, zero: Tensor, top: int) -> Tensor:
    """Sum of squared errors of each row with each of C quantizers (`scale`, `zero` `[C, R]`),
    float64 `[C, R]`."""
    error = torch.zeros(scale.shape, dtype=torch.float64, device=scale.device)
    single = scale.shape[1] == 1
    steps = [[float(v) for v in pair] for pair in zip(scale, zero, strict=True)] if single else []
    for piece in rows:
        for part, block in _blocks(piece):
            for at in range(len(scale)):
                if single:
                    step, start = steps[at]
                else:
                    step, start = scale[at, part, None], zero[at, part, None]
                quantized = (block / step).round_().clamp_(-start, top - start).mul_(step)
                error[at, part] += quantized.sub_(block).square_().sum(-1)
    return error


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pieces of a size that suits the device: of one long row, or some whole rows each."""
    size = _BLOCK.get(rows.device.type, _OTHER_BLOCK)
    if rows.shape[0] == 1:
        for block in rows.split(size, dim=1):
            yield slice(0, 1), block
        return
    height = max(1, size // rows.shape[1])
    for start in range(0, rows.shape[0], height):
        part = slice(start, start + height)
        yield part, rows[part]


def _first_minimum(error: Tensor) -> Tensor:
    """Index `[R]` of the least entry of each column, the first one on a tie."""
    best = torch.zeros(error.shape[1], dtype=torch.long, device=error.device)
    least = error[0].clone()
    for index in range(1, error.shape[0]):
        better = error[index] < least
        best[better] = index
        least = torch.minimum(least, error[index])
    return best
