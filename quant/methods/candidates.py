"""Candidates of a quantizer, and the search of the best one with few trials."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..quantizers import Quantizer, TwinUniformQuantizer, UniformQuantizer

LEAST, GREATEST, COUNT = 0.01, 1.2, 100
"""PTQ4ViT's candidates, section 3.4: 100 equal parts of the scale of the whole range, from a
hundredth of it (the paper says 0, which is no scale) up to 1.2 of it."""
SHIFTS = 20
"""Candidates of the distance of the two ranges behind a softmax, in powers of two."""


class Candidates:
    """Quantizers of one tensor to choose from, by an index for each of its groups of channels.

    Members:
        count: int. Candidates of a group.
        index: Tensor, int64 `[groups]`. The choice.
    """

    def __init__(self, count: int, index: Tensor) -> None:
        self.count = count
        self.index = index

    def quantizer(self, index: Tensor | None = None) -> Quantizer:
        """The quantizer of an index, the chosen one by default."""
        raise NotImplementedError


class ScaleCandidates(Candidates):
    """Parts of the scale at which nothing is clipped: `absmax` of each group, `[groups]`."""

    def __init__(self, absmax: Tensor, levels: float) -> None:
        absmax = absmax.float()
        self.scale = torch.where(absmax > 0, absmax / levels, 1.0)
        self.factors = torch.linspace(LEAST, GREATEST, COUNT + 1, device=absmax.device)[:COUNT]
        whole = int((self.factors - 1).abs().argmin())
        super().__init__(COUNT, torch.full_like(absmax, whole, dtype=torch.long))

    def scales(self, index: Tensor | None) -> Tensor:
        """Scale of each group, `[groups]`."""
        return self.scale * self.factors[self.index if index is None else index]


class SignedCandidates(ScaleCandidates):
    """Symmetric levels `-2**(bits - 1) .. 2**(bits - 1) - 1`.

    Parameters:
        absmax: Tensor `[groups]`. Greatest magnitude.
        group: Tensor, int64 `[N]`, optional. Group of each output channel of a weight; without
            it there is one group and one scale.
    """

    def __init__(self, absmax: Tensor, bits: int, group: Tensor | None = None) -> None:
        super().__init__(absmax, 2 ** (bits - 1) - 0.5)
        self.bits = bits
        self.group = group

    def quantizer(self, index: Tensor | None = None) -> UniformQuantizer:
        scales = self.scales(index)
        scale = scales[0] if self.group is None else scales[self.group, None]
        return UniformQuantizer(scale, torch.full_like(scale, 2 ** (self.bits - 1)), self.bits)


class UnsignedCandidates(ScaleCandidates):
    """Levels `0 .. 2**bits - 1` of values from 0 up to `absmax`, `[1]`."""

    def __init__(self, absmax: Tensor, bits: int) -> None:
        super().__init__(absmax, 2**bits - 1)
        self.bits = bits

    def quantizer(self, index: Tensor | None = None) -> UniformQuantizer:
        scale = self.scales(index)[0]
        return UniformQuantizer(scale, torch.zeros_like(scale), self.bits)


class TwinSoftmaxCandidates(Candidates):
    """Twin ranges of probabilities (PTQ4ViT, section 3.2), which differ in the shift between them.

    The coarse range ends at 1. The paper's step of it, `2**-(bits - 1)`, has no code for 1 itself;
    like its published code, this one divides by the greatest code instead.
    """

    def __init__(self, bits: int, device: torch.device) -> None:
        super().__init__(SHIFTS, torch.tensor([bits], device=device).clamp(max=SHIFTS - 1))
        self.bits = bits

    def quantizer(self, index: Tensor | None = None) -> TwinUniformQuantizer:
        index = self.index if index is None else index
        scale = torch.tensor(1 / (2 ** (self.bits - 1) - 1), device=index.device)
        return TwinUniformQuantizer(scale, int(index), self.bits)


class TwinActivationCandidates(ScaleCandidates):
    """Twin ranges behind an activation function (PTQ4ViT, section 3.2): the positive step is
    searched for, and the negative range just covers the values below 0.

    The steps shall be a power of two apart, so the negative range is the least such one that
    covers them. `low` and `high`, `[1]`: range of the values.
    """

    def __init__(self, low: Tensor, high: Tensor, bits: int) -> None:
        super().__init__(high, 2 ** (bits - 1) - 1)
        self.bits = bits
        self.step = float(-low) / (2 ** (bits - 1) - 1)

    def quantizer(self, index: Tensor | None = None) -> TwinUniformQuantizer:
        scale = self.scales(index)[0]
        shift = SHIFTS - 1
        while shift > 0 and float(scale) * 2.0**-shift < self.step:
            shift -= 1
        return TwinUniformQuantizer(scale, shift, self.bits, signed=True)


Errors = Callable[[Sequence[Tensor]], Tensor]
"""Errors `[trials, groups]` of indices `[groups]`."""


def search(candidates: Candidates, errors: Errors, stride: int) -> bool:
    """Choose the index of the least error for each group, and tell whether it is another one.

    Every `stride`-th candidate, the last and the present one are tried, then those around the best
    in halving distances; with stride 1 that is all candidates. The present one wins a tie.
    """
    before, count = candidates.index, candidates.count
    ladder = sorted({*range(0, count, stride), count - 1})
    trials = [before, *(torch.full_like(before, index) for index in ladder)]
    least = _choose(candidates, None, trials, errors)
    refine(candidates, errors, stride // 2, least)
    return bool((candidates.index != before).any())


def refine(
    candidates: Candidates, errors: Errors, distance: int, least: Tensor | None = None
) -> None:
    """Move the index of each group towards less error, in steps of halving distance.

    `least`: the present one's error, `[groups]`, where it is known."""
    while distance > 0:
        start = candidates.index
        trials = [(start + step).clamp(0, candidates.count - 1) for step in (-distance, distance)]
        if least is None:
            trials.insert(0, start)
        least = _choose(candidates, least, trials, errors)
        distance //= 2


def _choose(
    candidates: Candidates, least: Tensor | None, trials: list[Tensor], errors: Errors
) -> Tensor:
    best = candidates.index
    for index, error in zip(trials, errors(trials), strict=True):
        if least is None:
            best, least = index, error
            continue
        better = error < least
        best, least = torch.where(better, index, best), torch.where(better, error, least)
    candidates.index = best
    return least
