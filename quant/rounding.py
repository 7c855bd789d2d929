"""Weights rounded against the inputs that a layer sees, instead of to nearest.

Rounding to nearest minimizes the error of the weights; what counts is the error of the outputs,
`trace(E S E')` for an error `E [N, K]` and the inputs' second moment `S [K, K]`. The grid, that is
scale and zero point of each output channel, is given. Two ways:

- Column by column (`round_by_columns`): each column in turn is rounded, and the columns still to
  come take up its error (GPTQ, arXiv 2210.17323).
- Half by half (`round_by_halves`): half of the columns left is rounded, its roundings are turned
  one by one while that helps, and the other half takes up the error (ERQ, arXiv 2407.06794).

Inputs are centred on their mean, because the bias makes up for a constant error afterwards.
"""

import torch
from torch import Tensor

from .moments import damped
from .quantizers import UniformQuantizer

DAMPING = 0.01
"""Part of the mean diagonal that is added to the diagonal of the second moment, as GPTQ does."""

RIDGE = 0.1
"""The same for the regression between halves, ERQ's lambda2. Chosen on held-out calibration images
(`docs/decisions/0012-methods.md`)."""

TURNS = 100
"""Most roundings of an output channel that are turned in each half, as ERQ has it."""

_BLOCK = 64


def round_by_columns(weight: Tensor, grid: UniformQuantizer, moment: Tensor) -> Tensor:
    """Codes, uint8 `[N, K]`, of `weight` float64 `[N, K]` on `grid` (rows).

    `moment [K, K]` is the second moment of the layer's inputs. Columns with greater moments are
    rounded first, while there are many columns left to make up for them. Inputs that are always
    zero leave their columns at the nearest code.
    """
    # Rounded, so that columns of equal moments keep their order whatever a processor adds up first.
    order = moment.diagonal().float().argsort(descending=True, stable=True)
    left = weight[:, order]
    inverse = torch.cholesky_inverse(
        torch.linalg.cholesky(damped(moment[order][:, order], DAMPING))
    )
    # Row k of the upper factor holds what column k's error is worth to the columns after it.
    factor = torch.linalg.cholesky(inverse, upper=True)

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


def round_by_halves(weight: Tensor, grid: UniformQuantizer, moment: Tensor) -> Tensor:
    """Codes, uint8 `[N, K]`, of `weight` float64 `[N, K]` on `grid` (rows), by ERQ's Wqer
    (section 4.2).

    `moment [K, K]` is the second moment of the layer's inputs. The rest takes up a half's error by
    ridge regression: it changes by `-E S[half, rest] (S[rest, rest] + lambda2)^-1`, `lambda2` being
    `RIDGE` of the mean of the diagonal of S. Inputs that are always zero leave their columns at the
    nearest code.
    """
    left, columns = weight.clone(), weight.shape[1]
    codes = torch.empty_like(weight, dtype=torch.uint8)
    ridged = damped(moment, RIDGE)
    start = 0
    while start < columns:
        # The bias is one more column, the last one, which is never rounded.
        stop = start + (columns - start + 1) // 2
        half, rest = slice(start, stop), slice(stop, None)
        codes[:, half] = turned(left[:, half], grid, moment[half, half])
        if stop < columns:
            error = grid.dequantize(codes[:, half]) - left[:, half]
            factor = torch.linalg.cholesky(ridged[rest, rest])
            left[:, rest] -= torch.cholesky_solve(moment[rest, half] @ error.T, factor).T
        start = stop
    return codes


def turned(weight: Tensor, grid: UniformQuantizer, moment: Tensor) -> Tensor:
    """Codes, uint8 `[N, K]`: the nearest ones, some of them turned to the level on the other side
    of the weight so that the outputs' error shrinks (ERQ's Rounding Refinement).

    Of each output channel, a turn at a time, the weight is turned whose error has the greatest
    derivative `2 E S` of the same sign; the channel is done when that would make its error
    `E S E'` greater, or after `TURNS`.
    """
    scale = grid.scale.double()
    exact = weight / scale + grid.zero
    codes = grid.codes(weight)
    low, high = exact.floor().clamp(0, grid.top), exact.ceil().clamp(0, grid.top)
    change = (low + high - 2 * codes) * scale
    derivative = 2 * ((codes - grid.zero) * scale - weight) @ moment
    diagonal = moment.diagonal()
    channels = torch.arange(len(weight), device=weight.device)
    for _ in range(TURNS):
        # A turn has the other sign than the error.
        column = torch.where(derivative * change < 0, derivative.abs(), 0.0).argmax(1)
        step = change[channels, column]
        gain = step * (derivative[channels, column] + step * diagonal[column])
        better = gain < 0
        if not better.any():
            break
        rows, turn, step = channels[better], column[better], step[better]
        derivative[rows] += 2 * step[:, None] * moment[turn]
        codes[rows, turn] += (step / scale[rows, 0]).round()
        change[rows, turn] = -step
    return codes.to(torch.uint8)
