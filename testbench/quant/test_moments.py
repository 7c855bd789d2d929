"""Moments added up in chunks, and the regression that makes up for lost input."""

import pytest
import torch

from rootshift.quant.moments import Moments, compensate

from .drawn import correlated, random_weight


def moments_of(rows: torch.Tensor, lost: torch.Tensor | None = None, chunk: int = 0) -> Moments:
    found = Moments()
    for start in range(0, len(rows), chunk or len(rows)):
        part = slice(start, start + (chunk or len(rows)))
        found.add(rows[part], None if lost is None else lost[part])
    return found


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_moments_are_those_about_the_mean(offset: float, chunk: int) -> None:
    x = correlated(60, 10, seed=1) + offset
    lost = correlated(60, 10, seed=2) + 0.5
    found = moments_of(x, lost, chunk)
    centred, centred_lost = (v.double() - v.double().mean(0) for v in (x, lost))
    torch.testing.assert_close(found.second, centred.T @ centred / 60, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.lost, centred.T @ centred_lost / 60, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_columns_count_as_zero(value: float) -> None:
    x = correlated(60, 10, seed=3)
    x[:, 4] = value
    found = moments_of(x, x, chunk=9)
    assert not found.second[4].any()
    assert not found.second[:, 4].any()
    assert not found.lost[4].any()
    assert found.second.diagonal().count_nonzero() == 9


def test_compensation_recovers_lost_output() -> None:
    x = correlated(500, 24, seed=2)
    generator = torch.Generator().manual_seed(2)
    lost = 0.3 * x @ torch.randn(24, 24, generator=generator) / 24**0.5
    weight = random_weight(10, 24, seed=2)
    seen = x - lost
    fitted = compensate(weight, moments_of(seen, lost))
    wanted = x.double() @ weight.T

    def error(weight: torch.Tensor) -> float:
        return float((seen.double() @ weight.T - wanted).square().mean())

    assert error(fitted) < 0.9 * error(weight)


def test_nothing_lost_changes_nothing() -> None:
    x = correlated(100, 12, seed=1)
    weight = random_weight(5, 12, seed=1)
    assert torch.equal(compensate(weight, moments_of(x)), weight)


def test_constant_inputs_change_nothing() -> None:
    x = torch.full((100, 12), 3.0)
    weight = random_weight(5, 12, seed=1)
    assert torch.equal(compensate(weight, moments_of(x, 0.1 * x)), weight)


def test_fewer_rows_than_columns_stay_finite_and_near() -> None:
    x = correlated(3, 40, seed=4)
    weight = random_weight(6, 40, seed=4)
    fitted = compensate(weight, moments_of(x, 0.1 * x))
    assert (fitted - weight).norm() < 0.1 * weight.norm()
