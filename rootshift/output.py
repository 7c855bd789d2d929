"""Files written whole or not at all, and only where their content changes."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from .errors import OutputError


def write_file(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place.

    Raises: OutputError where the file cannot be written; what was there before is kept.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
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
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    fresh, old = work / "new", work / "old"
    try:
        fresh.mkdir()
        for name, payload in files.items():
            with (fresh / name).open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        # An interrupt between the two renames must not lose the old one either.
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        if target.exists() or not old.exists():
            shutil.rmtree(work, ignore_errors=True)
