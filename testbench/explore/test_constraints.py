"""Constraints: which limits a point breaks, and by how much."""

import math

import pytest

from .spaces import parsed

LIMITS = (
    "[constraints]\nlatency_ms = { at_most = 50 }\ntop1 = { at_least = 60.5 }\n"
    "cycles = { at_least = 1000, at_most = 2_000_000 }\n[fpga]\nclock_mhz = 100\n"
)


@pytest.mark.parametrize(
    ("metrics", "texts"),
    [
        ({}, []),
        ({"lut": 1e9}, []),
        ({"latency_ms": 50, "top1": 60.5, "cycles": 1000}, []),
        ({"latency_ms": 73.2}, ["latency_ms must be at most 50, not 73.2"]),
        ({"top1": 60}, ["top1 must be at least 60.5, not 60"]),
        ({"cycles": 2345678.0}, ["cycles must be at most 2000000, not 2345678"]),
        ({"cycles": 1}, ["cycles must be at least 1000, not 1"]),
        ({"latency_ms": math.inf}, ["latency_ms must be at most 50, not inf"]),
        ({"latency_ms": math.nan}, ["latency_ms must be at most 50, not nan"]),
        (
            {"latency_ms": 51, "top1": 0},
            ["top1 must be at least 60.5, not 0", "latency_ms must be at most 50, not 51"],
        ),
    ],
)
def test_violations(metrics: dict[str, float], texts: list[str]) -> None:
    assert parsed(LIMITS).constraints.violations(metrics) == texts


def test_excess_is_relative_and_always_as_long() -> None:
    """Optuna compares trials of as many constraints only."""
    constraints = parsed(LIMITS).constraints
    assert constraints.excess({}) == [0, 0, 0, 0]
    found = constraints.excess({"top1": 121, "cycles": 3e6, "latency_ms": 25})
    assert found == [-1.0, 0.5, -2999.0, -0.5]


def test_of_a_limit_of_zero() -> None:
    constraints = parsed("[constraints]\nwrite_bytes = { at_most = 0 }\n").constraints
    assert constraints.excess({"write_bytes": 3}) == [3]
    assert constraints.excess({"write_bytes": 0}) == [0]


def test_what_does_not_fit_its_target_is_in_excess() -> None:
    constraints = parsed('[fpga]\ntarget = ["xc7z010", "xc7z020"]\n').constraints
    metrics = {"lut": 35_200, "ff": 35_200, "dsp": 0, "block_ram": 60}
    clock = {"clock_mhz": 100, "fmax_mhz": 80}
    assert constraints.excess({}, "xc7z010") == [0, 0, 0, 0, 0]
    assert constraints.excess(metrics | clock, "xc7z010") == [1, 0, -1, -0.5, 0.25]
    assert max(constraints.excess(metrics, "xc7z020")) == 0
    loose = parsed('[fpga]\ntarget = "xc7z010"\n[constraints]\nfits = false\n').constraints
    assert loose.excess(metrics, "xc7z010") == []
