"""Saving is all or nothing: whatever fails in the middle, the old artifact stays whole."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.errors import ArtifactError

from ..random_model import random_artifact

CALLS = [(os, "rename"), (os, "replace"), (os, "fsync"), (os, "mkdir"), (io, "open")]

MKDIR = os.mkdir


class Faults:
    """Lets the n-th call that changes the disk fail, and all after it if `lasting`."""

    def __init__(
        self, patch: pytest.MonkeyPatch, error: BaseException, nth: int, lasting: bool
    ) -> None:
        self.error, self.nth, self.lasting, self.count = error, nth, lasting, 0
        for module, name in CALLS:
            patch.setattr(module, name, self.faulty(getattr(module, name)))

    def faulty(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if function is MKDIR and os.path.isdir(args[0]):
                return function(*args, **kwargs)  # fails anyway, and who asked does not mind
            self.count += 1
            if self.count == self.nth or (self.lasting and self.count > self.nth):
                raise self.error
            return function(*args, **kwargs)

        return call


@pytest.fixture(scope="module")
def other() -> Artifact:
    """Another artifact than the one saved first."""
    return random_artifact(np.random.default_rng(9))


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def save_with_fault(
    artifact: Artifact, target: Path, error: BaseException, nth: int, lasting: bool
) -> bool:
    """Save with a fault; whether it came to pass. A save that met it must say so."""
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, error, nth, lasting)
        try:
            artifact.save(target)
        except ArtifactError as caught:
            assert "cannot be written: No space left" in str(caught)  # noqa: PT017
        except KeyboardInterrupt:
            pass
        else:
            assert faults.count < nth, "an error was swallowed"
        return faults.count >= nth


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("nth", range(1, 12))
def test_a_failure_keeps_the_old_artifact_and_leaves_no_litter(
    artifact: Artifact, other: Artifact, tmp_path: Path, error: BaseException, nth: int
) -> None:
    target = tmp_path / "model"
    artifact.save(target)
    old = content(tmp_path)
    if save_with_fault(other, target, error, nth, lasting=False):
        assert content(tmp_path) == old
        assert os.listdir(tmp_path) == ["model"]
        Artifact.load(target)
    else:
        assert nth > 5, "the faults were never met"
        assert content(tmp_path) != old


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_lasting_failure_loses_nothing(
    artifact: Artifact, other: Artifact, tmp_path: Path, nth: int
) -> None:
    """Where even putting the old artifact back fails, its files are still on the disk."""
    target = tmp_path / "model"
    artifact.save(target)
    old = set(content(target).values())
    if save_with_fault(other, target, OSError(28, "No space left"), nth, lasting=True):
        assert old <= set(content(tmp_path).values())


@pytest.mark.parametrize("nth", range(1, 10))
def test_a_failed_first_save_leaves_nothing(artifact: Artifact, tmp_path: Path, nth: int) -> None:
    target = tmp_path / "model"
    if save_with_fault(artifact, target, OSError(28, "No space left"), nth, lasting=False):
        assert os.listdir(tmp_path) == []


def test_a_save_replaces_the_artifact_and_leaves_no_litter(
    saved: Path, other: Artifact, tmp_path: Path
) -> None:
    other.save(saved)
    assert os.listdir(tmp_path) == ["model"]
    loaded = Artifact.load(saved)
    for operator in other.operators:
        for key, array in operator.tensors().items():
            np.testing.assert_array_equal(loaded[operator.name].tensors()[key], array)


def test_missing_parents_are_made_and_an_empty_directory_is_taken(
    artifact: Artifact, tmp_path: Path
) -> None:
    artifact.save(tmp_path / "a" / "b" / "model")
    Artifact.load(tmp_path / "a" / "b" / "model")
    (tmp_path / "empty").mkdir()
    artifact.save(str(tmp_path / "empty"))
    Artifact.load(str(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "manifest.json.bak"])
def test_a_directory_with_anything_else_is_refused_untouched(
    artifact: Artifact, saved: Path, name: str
) -> None:
    (saved / name).write_text("mine")
    before = content(saved.parent)
    with pytest.raises(ArtifactError, match=r"model must be a new, empty or artifact directory"):
        artifact.save(saved)
    assert content(saved.parent) == before


def test_a_file_is_refused_untouched(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtifactError, match=r"file must be a new, empty or artifact directory"):
        artifact.save(tmp_path / "file")
    with pytest.raises(ArtifactError, match=r"file/model: cannot be written: Not a directory"):
        artifact.save(tmp_path / "file" / "model")
    assert content(tmp_path) == {"file": b"mine"}


def test_a_name_too_long_for_the_disk_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be written: File name too long"):
        artifact.save(tmp_path / ("x" * 300))
