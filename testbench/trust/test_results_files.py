"""What an exploration left behind: read back, left out, or refused; never a traceback."""

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rootshift.errors import ConfigError
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.results import Exploration
from rootshift.sim.explore.space import Space
from rootshift.sim.explore.store import Store
from rootshift.sim.explore.study import JOURNAL, Study

from ..seeds import explored
from .damage import DEPTHS, VALUES, damaged, nested, replaced
from .tally import attempt

SPACE = {
    "model": {"name": "digits"},
    "hardware": {"array": ["4x4", "8x4", "8x8"]},
    "objectives": {"maximize": ["top1"], "minimize": ["cycles"]},
}
SEARCH = {"sampler": "nsga2", "trials": 6, "population": 2, "seed": 1}


def made_up(folder: Path) -> None:
    """Results of an exploration that was not run."""
    space = Space.from_table(SPACE)
    records = tuple(
        Record(number, point, Status.COMPLETE, "", {"top1": 90.0 + number, "cycles": 9}, "0" * 64)
        for number, point in enumerate(space.points())
    )
    Exploration(space, records, {"version": "0", "code": "0", "seed": 0}).write(folder)


@pytest.fixture(scope="module")
def folder(work: Path) -> Path:
    made_up(work)
    return work


@pytest.fixture(scope="module")
def content(folder: Path) -> bytes:
    return (folder / "exploration.json").read_bytes()


def reads_or_refuses(folder: Path, content: bytes) -> None:
    (folder / "exploration.json").write_bytes(content)
    found = attempt("exploration.json", lambda: Exploration.load(folder))
    if found is not None:
        for record in found.records:
            assert record.point.hardware.batch == 1
            assert record.point.quantization.bits.weights == 4
        assert len(found.rows()) == len(found.records)
        found.front()


@explored(100)
@given(data=st.data())
def test_damaged_results(data: st.DataObject, folder: Path, content: bytes) -> None:
    reads_or_refuses(folder, data.draw(damaged(content)))


@explored(300)
@given(data=st.data())
def test_values_of_results(data: st.DataObject, folder: Path, content: bytes) -> None:
    changed = data.draw(replaced(json.loads(content), VALUES))
    reads_or_refuses(folder, json.dumps(changed).encode())


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_results(depth: int, folder: Path) -> None:
    (folder / "exploration.json").write_bytes(b"[" * depth + b"]" * depth)
    with pytest.raises(ConfigError, match=r"exploration\.json: "):
        Exploration.load(folder)


@explored(200)
@given(data=st.data())
def test_the_store_leaves_damaged_lines_out(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Every line that is whole is found, whatever stands beside it."""
    folder = tmp_path_factory.mktemp("store")
    with Store(folder) as store:
        for number in range(4):
            store.put(f"key{number}", {"value": number})
    (path,) = (folder / "results").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, 3))
    changed = data.draw(
        st.one_of(
            damaged(lines[at]),
            VALUES.map(lambda value: json.dumps({"key": f"key{at}", "value": value}).encode()),
            st.sampled_from(DEPTHS).map(lambda depth: b'{"key":' * depth),
            st.just(json.dumps(nested(450)).encode()),
        )
    )
    path.write_bytes(b"".join([*lines[:at], changed.rstrip(b"\n") + b"\n", *lines[at + 1 :]]))
    reopened = attempt("store", lambda: Store(folder))
    for number in range(4):
        if number != at:
            assert reopened.get(f"key{number}") == {"value": number}
    reopened.get(f"key{at}")


@explored(150)
@given(data=st.data())
def test_damaged_journals(data: st.DataObject, tmp_path_factory: Any, journal: bytes) -> None:
    out = tmp_path_factory.mktemp("study")
    content = data.draw(damaged(journal))
    if data.draw(st.booleans()):
        lines = journal.splitlines()
        at = data.draw(st.integers(0, len(lines) - 1))
        changed = json.dumps(data.draw(replaced(json.loads(lines[at])))).encode()
        content = b"\n".join([*lines[:at], changed, *lines[at + 1 :], b""])
    (out / JOURNAL).write_bytes(content)
    space = Space.from_table(SPACE | {"search": SEARCH})
    study = attempt("study.journal", lambda: Study(space, out))
    if study is not None:
        with study:
            assert study.drawn <= SEARCH["trials"]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two batches, kept and told."""
    out = tmp_path_factory.mktemp("journal")
    with Study(Space.from_table(SPACE | {"search": SEARCH}), out) as study:
        for batch in range(2):
            points = study.draw(2)
            figures = {"top1": 50.0 + batch, "cycles": 100 - batch}
            records = [
                Record(n, point, Status.COMPLETE, "", figures, "0" * 64)
                for n, point in enumerate(points)
            ]
            study.keep(records, {})
            study.tell()
    return (out / JOURNAL).read_bytes()
