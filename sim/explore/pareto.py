"""Which points no other point beats."""

from collections.abc import Sequence

import numpy as np

from .constraints import Objective
from .point import Value
from .record import Record, Status

BLOCK = 256
"""Rows that are compared at once; bounds memory to `BLOCK` times the length of the front."""


def front(rows: np.ndarray, maximize: Sequence[bool]) -> np.ndarray:
    """The rows that no other row dominates: at least as good in every column, better in one.

    Exact. Of equal rows all are kept. A row with a NaN is never on the front and dominates none.

    Parameters:
        rows: float [N, M].
        maximize: of each column, whether more is better.
    Returns: bool [N].
    Raises: ValueError where the shapes differ.
    """
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(maximize):
        raise ValueError(f"rows must be [N, {len(maximize)}], not {list(rows.shape)}")
    known = ~np.isnan(rows).any(axis=1)
    # Places in order decide as the values do, and are compared faster; equal rows become one, so
    # that "at least as good everywhere" is enough to dominate another one.
    signs = np.where(maximize, -1.0, 1.0)
    columns = [_places(column) for column in (rows[known] * signs).T]
    distinct, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    found = np.zeros(len(rows), bool)
    found[known] = _undominated(distinct)[which.reshape(-1)]
    return found


def _places(column: np.ndarray) -> np.ndarray:
    values, places = np.unique(column, return_inverse=True)
    return places.reshape(-1).astype(np.min_scalar_type(max(len(values) - 1, 0)))


def _undominated(rows: np.ndarray) -> np.ndarray:
    """Of distinct rows in lexicographic order, those that no row is below in every column.

    Only a row before it can dominate a row, and what a row on the front does not dominate, no other
    row does; so that each block meets the front so far, then itself.
    """
    keep = np.ones(len(rows), bool)
    # The first column is in order already.
    columns = np.ascontiguousarray(rows[:, 1:].T)
    members = np.empty_like(columns)
    count = 0
    for start in range(0, len(rows), BLOCK):
        block = columns[:, start : start + BLOCK]
        alive = np.flatnonzero(~_below(members[:, :count], block).any(axis=0))
        block = block[:, alive]
        inside = np.triu(_below(block, block), 1).any(axis=0)
        keep[start : start + BLOCK] = False
        keep[start + alive[~inside]] = True
        block = block[:, ~inside]
        members[:, count : count + block.shape[1]] = block
        count += block.shape[1]
    return keep


def _below(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[A, B]: whether row a is at most row b in every column; both [columns, rows]."""
    found = np.ones((rows.shape[1], others.shape[1]), bool)
    for row, other in zip(rows, others, strict=True):
        found &= row[:, None] <= other[None, :]
    return found


def fronts(
    records: Sequence[Record], objectives: Sequence[Objective]
) -> dict[Value | None, list[Record]]:
    """Target -> the front of its complete records; None stands for a space without target.

    Look-up tables of two families are not of one size, so that each target has its own front.
    """
    by: dict[Value | None, list[Record]] = {}
    for record in records:
        if record.status is Status.COMPLETE:
            by.setdefault(record.point.get("target"), []).append(record)
    maximize = [each.maximize for each in objectives]
    found = {}
    for target, group in by.items():
        rows = [[each.metrics.get(o.metric, np.nan) for o in objectives] for each in group]
        found[target] = [group[place] for place in np.flatnonzero(front(rows, maximize))]
    return found
