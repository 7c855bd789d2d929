"""Rounding against the inputs: less output error than to nearest, on the grid that was searched."""

import pytest
import torch

from rootshift.quant.rounding import compensate, round_against, second_moment
from rootshift.quant.search import search_uniform


def correlated(rows: int, width: int, seed: int) -> torch.Tensor:
    """Inputs float32 [rows, width] with strongly correlated columns, mean zero."""
    print(f"seed={seed}")
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) * torch.logspace(0, -2, width)[:, None]
    x = torch.randn(rows, width, generator=generator) @ mixing
    return x - x.mean(0)


def random_weight(outputs: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(outputs, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("outputs", "width"), [(20, 48), (5, 64), (33, 150), (1, 1)])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_output_error_is_below_that_of_nearest(outputs: int, width: int, bits: int) -> None:
    x = correlated(400, width, seed=bits)
    weight = random_weight(outputs, width, seed=width)
    grid = search_uniform(weight.float(), bits, "first")
    codes = round_against(weight, grid, second_moment(x, x))
    assert codes.dtype == torch.uint8
    assert codes.shape == weight.shape
    assert int(codes.max()) < 2**bits

    def error(codes: torch.Tensor) -> float:
        difference = grid.dequantize(codes).double() - weight
        return float((x.double() @ difference.T).square().mean())

    nearest = error(grid.codes(weight.float()))
    assert error(codes) < (0.5 * nearest if width > 1 else nearest * (1 + 1e-9))


def test_uncorrelated_inputs_give_nearest() -> None:
    weight = random_weight(8, 32, seed=3)
    grid = search_uniform(weight.float(), 4, "first")
    codes = round_against(weight, grid, torch.eye(32, dtype=torch.float64))
    assert torch.equal(codes, grid.codes(weight.float()).to(torch.uint8))


def test_inputs_that_are_always_zero_leave_nearest() -> None:
    weight = random_weight(8, 32, seed=4)
    grid = search_uniform(weight.float(), 4, "first")
    zeros = torch.zeros(32, 32, dtype=torch.float64)
    assert torch.equal(
        round_against(weight, grid, zeros), grid.codes(weight.float()).to(torch.uint8)
    )


def test_fewer_rows_than_columns() -> None:
    x = correlated(3, 40, seed=9)
    weight = random_weight(6, 40, seed=9)
    grid = search_uniform(weight.float(), 4, "first")
    codes = round_against(weight, grid, second_moment(x, x))
    assert int(codes.max()) <= 15


def test_compensation_recovers_lost_output() -> None:
    x = correlated(500, 24, seed=2)
    generator = torch.Generator().manual_seed(2)
    disturbance = 0.3 * x @ torch.randn(24, 24, generator=generator) / 24**0.5
    weight = random_weight(10, 24, seed=2)
    seen = x - disturbance
    cross = second_moment(seen, disturbance) @ weight.T
    fitted = compensate(weight, second_moment(seen, seen), cross)
    wanted = x.double() @ weight.T

    def error(weight: torch.Tensor) -> float:
        return float((seen.double() @ weight.T - wanted).square().mean())

    assert error(fitted) < 0.9 * error(weight)


def test_nothing_lost_changes_nothing() -> None:
    x = correlated(100, 12, seed=1)
    weight = random_weight(5, 12, seed=1)
    cross = torch.zeros(12, 5, dtype=torch.float64)
    assert torch.equal(compensate(weight, second_moment(x, x), cross), weight)
