"""Statistics that grow chunk by chunk: histograms, channels, codes of a quantizer, and errors.

None of them depends on how the images are cut into chunks, but for the last digits of sums.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ...pages import Band, Bins
from ..quantizers import LogQuantizer, Quantizer, TwinUniformQuantizer, UniformQuantizer


class Histogram:
    """Counts in bins whose width is a power of 2, as narrow as `most` bins can cover all values."""

    def __init__(self, most: int = 128) -> None:
        self._most = most
        self._power = -40
        self._first = 0
        self._counts = torch.zeros(0, dtype=torch.int64)

    def add(self, x: Tensor) -> None:
        """Count finite values."""
        low, high = (float(value) for value in x.aminmax())
        while self._span(low, high)[1] - self._span(low, high)[0] >= self._most:
            self._widen()
        first, last = self._span(low, high)
        counts = torch.zeros(last - first + 1, dtype=torch.int64)
        if len(self._counts):
            start = self._first - first
            counts[start : start + len(self._counts)] = self._counts
        places = torch.mul(x, 2.0**-self._power).floor_().sub_(first).flatten().to(torch.int16)
        counts += torch.bincount(places, minlength=len(counts))
        self._first, self._counts = first, counts

    def bins(self) -> Bins:
        """What was counted."""
        width = 2.0**self._power
        return Bins(self._first * width, width, self._counts.tolist())

    def _span(self, low: float, high: float) -> tuple[int, int]:
        """First and last bin of what was counted and of values from `low` to `high`."""
        first, last = (math.floor(value * 2.0**-self._power) for value in (low, high))
        if not len(self._counts):
            return first, last
        return min(first, self._first), max(last, self._first + len(self._counts) - 1)

    def _widen(self) -> None:
        """Two neighbours become one bin."""
        self._power += 1
        if len(self._counts):
            before = self._first % 2
            padded = torch.nn.functional.pad(
                self._counts, (before, (before + len(self._counts)) % 2)
            )
            self._counts = padded.view(-1, 2).sum(1)
            self._first //= 2


class Channels:
    """Least, greatest, mean and standard deviation of each channel, the last axis."""

    def __init__(self) -> None:
        self._low = self._high = None
        self._sum = self._squares = torch.zeros((), dtype=torch.float64)
        self._rows = 0

    def add(self, x: Tensor) -> None:
        """Take rows `[..., D]`."""
        rows = x.reshape(-1, x.shape[-1])
        low, high = rows.aminmax(dim=0)
        self._low = low if self._low is None else torch.minimum(self._low, low)
        self._high = high if self._high is None else torch.maximum(self._high, high)
        self._sum = self._sum + rows.sum(0).double()
        self._squares = self._squares + rows.square().sum(0).double()
        self._rows += len(rows)

    def ranges(self) -> Tensor:
        """Greatest less least value, float32 `[D]`."""
        return self._high - self._low

    def variation(self) -> float:
        """Widest range over the median range: what one scale for all channels costs."""
        ranges = self.ranges()
        return float(ranges.max() / ranges.median().clamp_min(1e-30))

    def band(self, order: Tensor) -> Band:
        """Ranges, and mean ± standard deviation within them, in the given order of channels."""
        mean = self._sum / self._rows
        deviation = (self._squares / self._rows - mean.square()).clamp_min(0).sqrt()
        low, high = self._low.double(), self._high.double()
        lines = (low, high, (mean - deviation).maximum(low), (mean + deviation).minimum(high))
        return Band(*(line[order].tolist() for line in lines))


class CodeUse:
    """How often each code of a quantizer occurs.

    Members: `counts`, of the codes from 0 up; `low` and `high`, how many values lie past the
    codes' range by at least half a step, None where only codes are known. Of log codes, `low` are
    values over 0 that become 0.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self._quantizer = quantizer
        is_log = isinstance(quantizer, LogQuantizer)
        count = quantizer.zero_code + 1 if is_log else 1 << quantizer.bits
        self.counts = torch.zeros(count, dtype=torch.int64)
        self.low: int | None = 0
        self.high: int | None = 0

    @classmethod
    def of_codes(cls, codes: Tensor, quantizer: UniformQuantizer) -> "CodeUse":
        """That of codes that are there already, such as a weight's."""
        found = cls(quantizer)
        found.counts = _counted(codes, len(found.counts))
        found.low = found.high = None
        return found

    def add(self, x: Tensor) -> None:
        """Count the codes of values."""
        quantizer, count = self._quantizer, len(self.counts)
        if isinstance(quantizer, TwinUniformQuantizer):
            self.counts += _counted(quantizer.codes(x), count)
            limit = quantizer.half - 0.5
            self.high += int((x > limit * quantizer.scale).sum())
            if quantizer.signed:
                self.low += int((x < -limit * quantizer.fine).sum())
            return
        # One code more on each side takes what is out of range.
        if isinstance(quantizer, LogQuantizer):
            codes = torch.div(x, quantizer.scale).log2_().mul_(-quantizer.steps_per_octave)
        else:
            codes = torch.div(x, quantizer.scale).round_().add_(quantizer.zero)
        counts = _counted(codes.round_().clamp_(-1, count).add_(1), count + 2)
        below, above, inside = int(counts[0]), int(counts[-1]), counts[1:-1]
        inside[0] += below
        inside[-1] += above
        self.counts += inside
        if isinstance(quantizer, LogQuantizer):
            self.high += below
            self.low += int(inside[-1]) - int((x == 0).sum())
        else:
            self.low, self.high = self.low + below, self.high + above

    def summary(self) -> dict[str, Any]:
        """`values` counted; `codes` and how many are `used`; `entropy` in bits; shares of the two
        `ends`, of values clipped `low` and `high`, or None, and of those that become `zero`."""
        total = int(self.counts.sum())
        share = self.counts[self.counts > 0].double() / max(total, 1)
        ends = int(self.counts[0] + self.counts[-1])
        found = {"ends": ends, "low": self.low, "high": self.high, "zero": self._zeros()}
        return {
            "values": total,
            "codes": len(self.counts),
            "used": len(share),
            "entropy": abs(float(-(share * share.log2()).sum())),
        } | {key: None if n is None else n / max(total, 1) for key, n in found.items()}

    def _zeros(self) -> int | None:
        if self._quantizer.scale.ndim:
            return None
        levels = self._quantizer.dequantize(torch.arange(len(self.counts)))
        return int(self.counts[levels == 0].sum())


class Noise:
    """Power of a tensor and of its error."""

    def __init__(self) -> None:
        self.signal = self.error = 0.0

    def add(self, exact: Tensor, changed: Tensor) -> None:
        """Take a tensor and what became of it."""
        self.signal += _power(exact)
        self.error += _power(changed - exact)

    def decibels(self) -> float | None:
        """Signal-to-noise ratio in dB; None where there is no error, or nothing else."""
        if not self.error or not self.signal:
            return None
        return 10 * math.log10(self.signal / self.error)


def agreement(exact: Tensor, changed: Tensor) -> dict[str, float | None]:
    """How far logits `[N, classes]` of two networks agree, shares of the images and Pearson's r.

    `label`, the greatest is the same; `among_five`, the exact greatest is among the five greatest;
    `correlation` of all logits, None where they are constant.
    """
    exact, changed = exact.double(), changed.double()
    label = exact.argmax(1, keepdim=True)
    five = changed.topk(min(5, changed.shape[1]), 1).indices
    a, b = exact.flatten() - exact.mean(), changed.flatten() - changed.mean()
    scale = float(a.norm() * b.norm())
    return {
        "label": float((five[:, :1] == label).double().mean()),
        "among_five": float((five == label).any(1).double().mean()),
        "correlation": float(a @ b) / scale if scale else None,
    }


def _counted(codes: Tensor, count: int) -> Tensor:
    """How often each of `count` codes occurs, int64."""
    return torch.bincount(codes.flatten().to(torch.int16), minlength=count)


def _power(x: Tensor) -> float:
    """Sum of squares; float32 within a row is exact enough."""
    return float(x.reshape(-1, x.shape[-1]).square().sum(1).sum(dtype=torch.float64))
