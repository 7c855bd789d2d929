"""The example notebook runs, in a kernel and on its own, and is kept without outputs."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from rootshift.sim.explore import Exploration
from rootshift.sim.explore.store import Store
from rootshift.sim.native.toolchain import CACHE_VARIABLE

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "explore.ipynb"


def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def codes() -> list[nbformat.NotebookNode]:
    """Its cells of code."""
    return [cell for cell in notebook().cells if cell.cell_type == "code"]


def check_results(folder: Path, printed: str) -> None:
    """What it leaves and prints is of four points, all of them measured."""
    found = Exploration.load(folder / "digits-exploration")
    assert [str(record.status) for record in found.records] == ["complete"] * 4
    fastest = min(found.front(), key=lambda record: record.metrics["latency_ms"])
    lines = printed.splitlines()
    assert lines[0].startswith(f"{fastest.number} {fastest.point.quantization} ")
    assert len(lines) == 1 + len(found.front())
    assert f"'number': {fastest.number}, " in lines[1]


def test_it_is_kept_without_outputs() -> None:
    nbformat.validate(notebook())
    assert not any(cell.outputs or cell.execution_count for cell in codes())


def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is computed, though not with a cycle model that is compiled for this test alone."""
    monkeypatch.setattr("rootshift.sim.explore.api.open_store", lambda _: Store(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    printed, names = StringIO(), {"__name__": "__main__"}
    with redirect_stdout(printed):
        for cell in codes():
            exec(compile(cell.source, cell.id, "exec"), names)
    check_results(tmp_path, printed.getvalue())
    front = names["found"]._repr_html_()
    assert "points on the front" in front


@pytest.mark.slow
def test_it_runs_in_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose `__main__` is no file that worker processes could import."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    found = NotebookClient(notebook(), resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in found.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    check_results(tmp_path, printed)
    (shown,) = (output for output in outputs if output.output_type == "execute_result")
    assert "<table>" in shown.data["text/html"]
