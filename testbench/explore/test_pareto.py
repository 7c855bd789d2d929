"""The front is that of the definition, whatever the rows are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.sim.explore.constraints import Objective
from rootshift.sim.explore.pareto import BLOCK, front, fronts
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status

from ..seeds import explored, generator


def by_definition(rows: np.ndarray, maximize: list[bool]) -> list[bool]:
    """Row by row against every other."""
    signed = np.where(maximize, rows, -rows)
    known = ~np.isnan(rows).any(axis=1)
    return [
        bool(known[i] and not (known & (signed >= row).all(1) & (signed > row).any(1)).any())
        for i, row in enumerate(signed)
    ]


@explored(200)
@given(st.data())
def test_every_small_table(data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 5))
    # Few values, so that there are ties; infinities and unknown ones among them.
    value = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.5, np.inf, -np.inf, np.nan])
    rows = np.array(
        data.draw(st.lists(st.tuples(*[value] * columns), max_size=30)), np.float64
    ).reshape(-1, columns)
    maximize = data.draw(st.lists(st.booleans(), min_size=columns, max_size=columns))
    assert front(rows, maximize).tolist() == by_definition(rows, maximize)


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", ["cube", "sphere", "steps"])
def test_more_rows_than_are_compared_at_once(columns: int, shape: str) -> None:
    rng = generator(columns, len(shape))
    rows = rng.random((3 * BLOCK, columns))
    if shape == "sphere":  # all of them on the front
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    elif shape == "steps":
        rows = np.round(rows, 1)
    maximize = [bool(each) for each in rng.integers(0, 2, columns)]
    assert front(rows, maximize).tolist() == by_definition(rows, maximize)


def test_rows_have_a_column_per_objective() -> None:
    with pytest.raises(ValueError, match=r"^rows must be \[N, 3\], not \[4, 2\]$"):
        front(np.zeros((4, 2)), [True, True, False])


def test_each_target_has_its_own_front() -> None:
    def record(number: int, target: str | None, top1: float | None, lut: int, **rest) -> Record:
        point = Point.of({"bits": f"W{number}"} | ({"target": target} if target else {}))
        metrics = {"lut": lut} | ({} if top1 is None else {"top1": top1})
        return Record(number, point, rest.get("status", Status.COMPLETE), "", metrics)

    objectives = Objective("top1", True), Objective("lut", False)
    records = [
        record(0, "ecp5-85k", 70.0, 900),
        record(1, "xc7z020", 70.0, 600),  # LUTs of six inputs beat none of four
        record(2, "ecp5-85k", 60.0, 950),
        record(3, "ecp5-85k", 80.0, 100, status=Status.PRUNED),
        record(4, "ecp5-85k", None, 1),
        record(5, "xc7z020", 70.0, 600),
    ]
    found = fronts(records, objectives)
    assert {target: [each.number for each in group] for target, group in found.items()} == {
        "ecp5-85k": [0],
        "xc7z020": [1, 5],
    }
    assert list(fronts([record(0, None, 1.0, 1)], objectives)) == [None]
