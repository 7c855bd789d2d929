"""Every proof closes, and what it assumes leaves room for runs in which the unit works."""

from pathlib import Path
from typing import Any

import pytest

from . import streams
from .proof import Proof, independent
from .table import PROOFS


def rows(proofs: list[Proof]) -> list[Any]:
    return [
        pytest.param(proof, id=proof.name, marks=[pytest.mark.slow] if proof.slow else [])
        for proof in proofs
    ]


@pytest.mark.parametrize("proof", rows(PROOFS))
def test_holds(proof: Proof, tmp_path: Path) -> None:
    assert proof.run(tmp_path) == "proven"


@pytest.mark.parametrize("proof", rows(PROOFS))
def test_is_not_vacuous(proof: Proof, tmp_path: Path) -> None:
    assert proof.unreached(tmp_path) == []


@pytest.mark.parametrize("unit", streams.UNITS, ids=lambda unit: unit.func.__name__)
def test_no_valid_depends_on_its_ready(unit: Any, tmp_path: Path) -> None:
    assert independent(unit(), tmp_path)
