"""Weights fitted and rounded against the inputs that a layer sees, instead of to nearest.

Rounding to nearest minimizes the error of the weights; what counts is the error of the outputs on
the layer's quantized inputs. Two steps, both in closed form:

- Compensation: the weights move, by ridge regression, to where the layer makes up for what the
  quantizer in front of it took from its input (ERQ, arXiv 2407.06794).
- Rounding column by column: each column in turn is rounded, and the columns still to come take up
  its error, weighted by the inverse of the inputs' second moment (GPTQ, arXiv 2210.17323). The
  grid, that is scale and zero point of each output channel, stays the searched one.

Inputs are centred on their mean, because the bias makes up for a constant error afterwards.
"""

import torch
from torch import Tensor

from .quantizers import UniformQuantizer

DAMPING = 0.01
"""Part of the mean diagonal that is added to the diagonal of the second moment, as GPTQ does."""

RIDGE = 1.0
"""The same for the regression: greater keeps the weights closer to where they were. Chosen on
held-out calibration images; a tenth fits the others better and the held-out ones no better."""

_BLOCK = 64


_CONSTANT = 2.0**-20
"""Deviation, relative to the mean, below which a float32 column is constant but for rounding."""


def centered(rows: Tensor) -> Tensor:
    """Rows `[R, K]` less their mean; columns that are constant but for rounding become zero."""
    mean = rows.mean(0)
    moved = rows - mean
    moved[:, moved.abs().amax(0) <= _CONSTANT * mean.abs()] = 0
    return moved


def second_moment(x: Tensor, y: Tensor) -> Tensor:
    """Mean of the outer products of the rows of `x [R, K]` and `y [R, M]`: float64 [K, M]."""
    return (x.T @ y).double() / x.shape[0]


def compensate(weight: Tensor, moment: Tensor, cross: Tensor) -> Tensor:
    """Weight `[N, K]` that also gives the part of the output that was lost.

    `moment [K, K]` is the second moment of the inputs, `cross [K, N]` that of the inputs with
    the lost output.
    """
    factor = torch.linalg.cholesky(_damped(moment, RIDGE))
    return weight + torch.cholesky_solve(cross, factor).T


def round_against(weight: Tensor, grid: UniformQuantizer, moment: Tensor) -> Tensor:
    """Codes, uint8 `[N, K]`, of `weight` float64 `[N, K]` on `grid` (rows).

    `moment [K, K]` is the second moment of the layer's inputs. Columns with greater moments are
    rounded first, while there are many columns left to make up for them. Inputs that are always
    zero leave their columns at the nearest code.
    """
    order = moment.diagonal().argsort(descending=True, stable=True)
    left = weight[:, order].float()
    damped = _damped(moment[order][:, order], DAMPING)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    # Row k of the upper factor holds what column k's error is worth to the columns after it.
    factor = torch.linalg.cholesky(inverse, upper=True).float()

    codes = torch.empty_like(left)
    columns = left.shape[1]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.empty_like(left[:, start:stop])
        for column in range(start, stop):
            value = left[:, column : column + 1]
            code = grid.codes(value)
            error = (value - grid.dequantize(code)) / factor[column, column]
            left[:, column:stop] -= error * factor[column, column:stop]
            codes[:, column : column + 1] = code
            errors[:, column - start : column - start + 1] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    result = torch.empty_like(codes)
    result[:, order] = codes
    return result.to(torch.uint8)


def _damped(moment: Tensor, part: float) -> Tensor:
    damping = part * float(moment.diagonal().mean())
    return moment + (damping if damping > 0 else 1.0) * torch.eye(len(moment), dtype=moment.dtype)
