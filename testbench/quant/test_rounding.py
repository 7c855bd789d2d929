"""Rounding against the inputs: less output error than to nearest, on the grid that was searched."""

import pytest
import torch

from rootshift.quant.moments import Moments
from rootshift.quant.quantizers import UniformQuantizer
from rootshift.quant.rounding import round_by_columns, round_by_halves, turned
from rootshift.quant.search import search_uniform

from .drawn import correlated, random_weight

ROUNDINGS = [round_by_columns, round_by_halves]


def second_moment(x: torch.Tensor) -> torch.Tensor:
    moments = Moments()
    moments.add(x)
    return moments.second


def output_error(
    weight: torch.Tensor, grid: UniformQuantizer, codes: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of each output channel, [N]."""
    difference = grid.dequantize(codes).double() - weight
    return (x.double() @ difference.T).square().mean(0)


def nearest(weight: torch.Tensor, grid: UniformQuantizer) -> torch.Tensor:
    return grid.codes(weight.float()).to(torch.uint8)


@pytest.mark.parametrize("rounded", ROUNDINGS)
@pytest.mark.parametrize(("outputs", "width"), [(20, 48), (5, 64), (33, 150), (1, 1)])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_output_error_is_below_that_of_nearest(rounded, outputs: int, width: int, bits: int):
    x = correlated(400, width, seed=bits)
    weight = random_weight(outputs, width, seed=width)
    grid = search_uniform(weight.float(), bits, "first")
    codes = rounded(weight, grid, second_moment(x))
    assert codes.dtype == torch.uint8
    assert codes.shape == weight.shape
    assert int(codes.max()) < 2**bits

    before = output_error(weight, grid, nearest(weight, grid), x).mean()
    after = output_error(weight, grid, codes, x).mean()
    assert after < (0.5 * before if width > 1 else before * (1 + 1e-9))


@pytest.mark.parametrize("rounded", ROUNDINGS)
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_codes_stay_in_range_where_weights_are_clipped(rounded, bits: int) -> None:
    x = correlated(200, 40, seed=bits)
    weight = random_weight(6, 40, seed=bits)
    found = search_uniform(weight.float(), bits, "first")
    half = UniformQuantizer(found.scale / 2, (found.zero / 2).round(), bits)
    codes = half.dequantize(rounded(weight, half, second_moment(x)))
    assert float(codes.min()) >= float(half.dequantize(torch.tensor(0)).min())
    assert float(codes.max()) <= float(half.dequantize(torch.tensor(half.top)).max())


@pytest.mark.parametrize("rounded", ROUNDINGS)
def test_uncorrelated_inputs_give_nearest(rounded) -> None:
    weight = random_weight(8, 32, seed=3)
    grid = search_uniform(weight.float(), 4, "first")
    codes = rounded(weight, grid, torch.eye(32, dtype=torch.float64))
    assert torch.equal(codes, nearest(weight, grid))


@pytest.mark.parametrize("rounded", ROUNDINGS)
@pytest.mark.parametrize("value", [0.0, 7.0, -1e6])
def test_constant_inputs_give_nearest(rounded, value: float) -> None:
    """All of a constant's error is the bias's."""
    weight = random_weight(8, 32, seed=4)
    grid = search_uniform(weight.float(), 4, "first")
    moment = second_moment(torch.full((50, 32), value))
    assert torch.equal(rounded(weight, grid, moment), nearest(weight, grid))


@pytest.mark.parametrize("rounded", ROUNDINGS)
def test_inputs_that_are_always_zero_leave_their_columns_at_nearest(rounded) -> None:
    x = correlated(300, 32, seed=5)
    dead = torch.arange(0, 32, 3)
    x[:, dead] = 0
    weight = random_weight(8, 32, seed=5)
    grid = search_uniform(weight.float(), 4, "first")
    codes = rounded(weight, grid, second_moment(x))
    assert torch.equal(codes[:, dead], nearest(weight, grid)[:, dead])
    assert not torch.equal(codes, nearest(weight, grid))


@pytest.mark.parametrize("rounded", ROUNDINGS)
@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_rows_than_columns(rounded, rows: int) -> None:
    x = correlated(rows, 40, seed=9)
    weight = random_weight(6, 40, seed=9)
    grid = search_uniform(weight.float(), 4, "first")
    codes = rounded(weight, grid, second_moment(x))
    assert int(codes.max()) <= 15
    before = output_error(weight, grid, nearest(weight, grid), x).mean()
    assert output_error(weight, grid, codes, x).mean() <= before


@pytest.mark.parametrize("rounded", ROUNDINGS)
def test_the_same_input_gives_the_same_codes(rounded) -> None:
    x, weight = correlated(300, 48, seed=6), random_weight(9, 48, seed=6)
    grid, before = search_uniform(weight.float(), 4, "first"), weight.clone()
    first, second = (rounded(weight, grid, second_moment(x)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(weight, before)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_turns_never_enlarge_the_error_of_a_channel(bits: int) -> None:
    x = correlated(400, 60, seed=bits)
    weight = random_weight(12, 60, seed=bits)
    grid = search_uniform(weight.float(), bits, "first")
    codes = turned(weight, grid, second_moment(x))
    before = output_error(weight, grid, nearest(weight, grid), x)
    after = output_error(weight, grid, codes, x)
    assert (after <= before * (1 + 1e-9)).all()
    assert after.mean() < 0.8 * before.mean()


def test_a_turn_takes_the_level_on_the_other_side_of_the_weight() -> None:
    weight = random_weight(12, 60, seed=8)
    grid = search_uniform(weight.float(), 4, "first")
    codes = turned(weight, grid, second_moment(correlated(400, 60, seed=8))).double()
    exact = (weight / grid.scale + grid.zero).clamp(0, grid.top)
    assert (codes - exact).abs().max() < 1 + 1e-5
    assert not torch.equal(codes, nearest(weight, grid).double())


def test_a_turn_is_the_one_that_the_derivative_points_to() -> None:
    """Two inputs that are always equal, two weights with the same error: one is turned."""
    grid = UniformQuantizer(torch.ones(1, 1), torch.zeros(1, 1), 4)
    weight = torch.tensor([[2.4, 5.45]], dtype=torch.float64)
    moment = torch.ones(2, 2, dtype=torch.float64)
    # Nearest, 2 and 5, is 0.85 short; with either of them one up it is 0.15 too much.
    codes = turned(weight, grid, moment)
    assert codes.sum() == 8
    # More of the second input: its derivative is the greater one.
    moment = torch.tensor([[1.0, 1.2], [1.2, 1.44]], dtype=torch.float64)
    assert turned(weight, grid, moment).tolist() == [[2, 6]]
