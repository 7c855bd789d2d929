"""Files written whole or not at all, and only where their content changes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import OutputError

_OLD = "old"


def write_file(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place.

    Raises: OutputError where the file cannot be written; what was there before is kept.
    """
    target = Path(path)
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise OutputError(f"{target} must be a file, not a device or pipe")
        with _workplace(target) as work:
            fresh = work / "new"
            with fresh.open("wb") as file:
                write(file)
            fresh.chmod(0o644)
            fresh.replace(target)
    except OSError as error:
        # What stands in the way of the folder is a file.
        known = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise OutputError(f"{target}: cannot be written: {known or error}") from None


def write_if_changed(path: str | Path, content: bytes) -> bool:
    """Write `content` unless the file holds it already; returns whether it was written."""
    target = Path(path)
    if target.is_file() and target.read_bytes() == content:
        return False
    write_file(target, lambda file: file.write(content))
    return True


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` beside `target`, then put the directory in its place.

    Raises: OSError where that cannot be done; what was there before is kept.
    """
    with _workplace(target) as work:
        fresh = work / "new"
        fresh.mkdir()
        for name, payload in files.items():
            with (fresh / name).open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.rename(work / _OLD)
        fresh.rename(target)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A folder beside `target` for this process alone, removed at the end.

    What processes that were killed have left beside `target` is removed, too: a lock tells them
    from those that are at work.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.rootshift-"
    for left in [each for each in target.parent.iterdir() if each.name.startswith(prefix)]:
        with suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _clear(left, target)
    with ExitStack() as stack:
        while True:
            work = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            # Before it is locked, another process may take it for one that was left.
            with suppress(FileNotFoundError):
                stack.enter_context(_locked(work, fcntl.LOCK_EX))
                if work.is_dir():
                    break
        stack.callback(_clear, work, target)
        yield work


def _clear(work: Path, target: Path) -> None:
    """Remove a workplace; where its owner did not get to the end, put the old `target` back."""
    old = work / _OLD
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
