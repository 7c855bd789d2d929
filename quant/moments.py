"""Second moments of what a linear layer multiplies, and the weight that fits them best."""

import torch
from torch import Tensor

RIDGE = 1.0
"""Part of the mean diagonal that is added to the diagonal of the second moment in the regression:
greater keeps the weights closer to where they were. ERQ's lambda1. Chosen on held-out calibration
images; a tenth fits the others better and the held-out ones no better."""

_CONSTANT = 2.0**-20
"""Deviation, relative to the mean, below which a float32 column is constant but for rounding."""


class Moments:
    """Second moments of the rows that a layer multiplies, about their mean, added up in chunks.

    Columns that are constant but for rounding count as zero.
    """

    def __init__(self) -> None:
        self._count = 0

    def add(self, rows: Tensor, lost: Tensor | None = None) -> None:
        """Take rows `[R, K]`, and what was taken from each of them by quantizing."""
        if not self._count:
            # About a value near the mean, float32 products keep their digits.
            self._origin = rows.mean(0)
            self._sum = torch.zeros_like(self._origin, dtype=torch.float64)
            self._square = self._sum.new_zeros(len(self._sum), len(self._sum))
            self._lost = torch.zeros_like(self._sum)
            self._product = torch.zeros_like(self._square)
        moved = rows - self._origin
        self._count += len(moved)
        self._sum += moved.sum(0, dtype=torch.float64)
        self._square += moved.T @ moved
        if lost is not None:
            self._lost += lost.sum(0, dtype=torch.float64)
            self._product += moved.T @ lost

    @property
    def second(self) -> Tensor:
        """Second moment of the rows, float64 `[K, K]`."""
        return self._about_mean(self._square, self._sum)

    @property
    def lost(self) -> Tensor:
        """Moment of the rows with what was taken from them, float64 `[K, K]`."""
        return self._about_mean(self._product, self._lost)

    def _about_mean(self, product: Tensor, total: Tensor) -> Tensor:
        moment = (product - torch.outer(self._sum, total) / self._count) / self._count
        mean = self._origin.double() + self._sum / self._count
        spread = self._square.diagonal() / self._count - (self._sum / self._count).square()
        moment[spread <= (_CONSTANT * mean).square()] = 0
        if product is self._square:
            moment[:, spread <= (_CONSTANT * mean).square()] = 0
        return moment


def compensate(weight: Tensor, moments: Moments) -> Tensor:
    """Weight `[N, K]` that also gives the part of the output that was lost with its inputs.

    Ridge regression (ERQ's Aqer, arXiv 2407.06794, section 4.1): the change is
    `W E[lost x'] (E[x x'] + RIDGE)^-1`, `x` the quantized input.
    """
    factor = torch.linalg.cholesky(damped(moments.second, RIDGE))
    return weight + torch.cholesky_solve(moments.lost @ weight.T, factor).T


def damped(moment: Tensor, part: float) -> Tensor:
    """A second moment with `part` of its mean diagonal more on its diagonal; 1 more where it is
    zero."""
    damping = part * float(moment.diagonal().mean())
    return moment + (damping if damping > 0 else 1.0) * torch.eye(
        len(moment), dtype=moment.dtype, device=moment.device
    )
