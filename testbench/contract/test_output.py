"""Files are written whole or not at all, and left alone where nothing changes."""

import os
from pathlib import Path
from typing import IO

import pytest

from rootshift.errors import OutputError
from rootshift.output import write_file, write_if_changed


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_written_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_file(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"
    assert everything(tmp_path) == {"file": b"whole"}


def test_others_may_read_it(tmp_path: Path) -> None:
    write_file(tmp_path / "file", lambda file: file.write(b"x"))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), MemoryError()])
def test_what_was_there_stays_after_an_exception(tmp_path: Path, error: BaseException) -> None:
    def half(file: IO[bytes]) -> None:
        file.write(b"ha")
        raise error

    (tmp_path / "old").write_bytes(b"before")
    for name in ("old", "new"):
        with pytest.raises(type(error)):
            write_file(tmp_path / name, half)
    assert everything(tmp_path) == {"old": b"before"}


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    def full(file: IO[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"file: cannot be written: No space left on device"):
        write_file(tmp_path / "file", full)
    assert everything(tmp_path) == {}


def test_an_error_without_a_number_is_told_too(tmp_path: Path) -> None:
    def unplugged(file: IO[bytes]) -> None:
        raise OSError("unplugged")

    with pytest.raises(OutputError, match="cannot be written: unplugged"):
        write_file(tmp_path / "file", unplugged)


@pytest.mark.parametrize("place", ["file/x", "file/x/y"])
def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=f"{place}: cannot be written: Not a directory"):
        write_file(tmp_path / place, lambda file: None)
    with pytest.raises(OutputError, match=f"{place}: cannot be written: Not a directory"):
        write_if_changed(tmp_path / place, b"")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_file(tmp_path / "folder", lambda file: None)
    assert (tmp_path / "folder").is_dir()
    assert everything(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_place_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_file(tmp_path / "file", lambda file: None)


def test_equal_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_if_changed(path, b"one")
    os.utime(path, ns=(1, 1))
    assert not write_if_changed(path, b"one")
    assert path.stat().st_mtime_ns == 1
    assert write_if_changed(path, b"two")
    assert path.read_bytes() == b"two"
    assert write_if_changed(path, b"")
    assert path.read_bytes() == b""
    assert everything(tmp_path) == {"file": b""}
