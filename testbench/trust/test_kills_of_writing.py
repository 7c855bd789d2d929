"""Whoever writes is killed at every touch of the disk: old or new, nothing between, no litter."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.cli.generate import write_all
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.output import write_file
from rootshift.program import Program
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.results import Exploration
from rootshift.sim.explore.space import Space

from ..cli.running import files
from . import tally
from .kills import killed_at
from .test_results_files import SPACE

Write = Callable[[Path, bool], object]
"""Writes the old or the new content to a folder."""


def exploration(out: Path, new: bool) -> None:
    space = Space.from_table(SPACE)
    records = tuple(
        Record(number, point, Status.COMPLETE, "", {"top1": 50.0 + new, "cycles": 9})
        for number, point in enumerate(space.points())
    )
    Exploration(space, records, {"version": "0", "code": "0", "seed": 0}).write(out)


def generated(out: Path, new: bool) -> None:
    names = ("config.toml", "rtl/rootshift.v", "program/map.json", "program/program.bin")
    write_all(out, {name: (name + " new" * new).encode() * 1000 for name in names})


def one_file(out: Path, new: bool) -> None:
    write_file(out / "page.html", lambda file: file.write(b"new" * 9000 if new else b"old"))


@pytest.fixture(params=["artifact", "program", "generate", "explore", "file"])
def write(request: pytest.FixtureRequest, artifact: Artifact) -> Write:
    program = compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "4x4"))
    source = {**artifact.source, "seed": 3}
    artifacts = artifact, replace(artifact, source=source)
    programs = program, replace(program, classes=program.classes - 1)
    return {
        "artifact": lambda out, new: artifacts[new].save(out / "artifact"),
        "program": lambda out, new: programs[new].save(out / "program"),
        "generate": generated,
        "explore": exploration,
        "file": one_file,
    }[request.param]


def whole(out: Path, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Every file that shows is one or the other; a folder that is one thing is of one time."""
    found = {name: content for name, content in files(out).items() if "/." not in f"/{name}"}
    for name, content in found.items():
        assert content in (old.get(name), new.get(name)), name
    for folder, load in (("artifact", Artifact.load), ("program", Program.load)):
        if any(name.startswith(f"{folder}/") for name in found) and "config.toml" not in new:
            load(out / folder)
            assert found in (old, new)


@pytest.mark.parametrize("over", [False, True], ids=["fresh", "over old"])
def test_killed_at_every_touch(
    write: Write, over: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    touch, out = 0, tmp_path / "out"
    write(out, False)
    old = files(out)
    write(out, True)
    new = files(out)
    assert old != new
    while True:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if over:
            write(out, False)
        if not killed_at(touch, lambda: write(out, True)):
            break
        whole(out, old if over else {}, new)
        write(out, True)
        assert files(out) == new, "litter"
        tally.count(f"writing: {request.node.callspec.params['write']}", "kills", "survived")
        touch += 1
    assert files(out) == new
    assert touch > 3


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """A lock tells a workplace in use from one that a killed process left."""

    def slow(file: object) -> None:
        write_file(tmp_path / "page.html", lambda inner: inner.write(b"inner"))
        assert (tmp_path / "page.html").read_bytes() == b"inner"
        file.write(b"outer")

    write_file(tmp_path / "page.html", slow)
    assert files(tmp_path) == {"page.html": b"outer"}


def test_an_old_artifact_in_an_abandoned_workplace_comes_back(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two renames, and the next save fails: the old one must not be lost."""
    artifact.save(tmp_path / "model")
    before = files(tmp_path / "model")
    (tmp_path / ".model.rootshift-abcdefgh").mkdir()
    (tmp_path / "model").rename(tmp_path / ".model.rootshift-abcdefgh" / "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rootshift.output.os.fsync", full)
    assert tally.attempt("full disk", lambda: artifact.save(tmp_path / "model")) is None
    assert files(tmp_path / "model") == before
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
