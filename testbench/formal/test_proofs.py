"""Every proof closes, and what it assumes leaves room for runs in which the unit works."""

from pathlib import Path
from typing import Any

import pytest

from . import streams
from .proof import Proof, independent
from .table import PROOFS

REACH = 20
"""Cycles in which what an induction covers is reached."""


KNOWN = {
    "total_queue_2": "The FIFO of two places loses a token while its output register is empty.",
}
"""Proofs that a fault of the hardware refutes."""


def rows(proofs: list[Proof], *, holds: bool = False) -> list[Any]:
    found = []
    for proof in proofs:
        marks = [pytest.mark.slow] if proof.slow else []
        if holds and proof.name in KNOWN:
            marks.append(pytest.mark.xfail(strict=True, reason=KNOWN[proof.name]))
        found.append(pytest.param(proof, id=proof.name, marks=marks))
    return found


@pytest.mark.parametrize("proof", rows(PROOFS, holds=True))
def test_holds(proof: Proof, tmp_path: Path) -> None:
    assert proof.run(tmp_path) == "proven"


@pytest.mark.parametrize("proof", rows([proof for proof in PROOFS if proof not in streams.PROOFS]))
def test_is_not_vacuous(proof: Proof, tmp_path: Path) -> None:
    depth = REACH if proof.mode == "prove" else proof.depth
    assert proof.run(tmp_path, mode="cover", depth=depth) == "proven"


@pytest.mark.parametrize("unit", streams.UNITS, ids=lambda unit: unit.func.__name__)
def test_no_valid_depends_on_its_ready(unit: Any, tmp_path: Path) -> None:
    assert independent(unit(), tmp_path)
