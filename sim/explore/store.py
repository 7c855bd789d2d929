"""Results and artifacts that are kept for every later exploration, on this machine or another.

A result is found by the SHA-256 of all that it depends on: the inputs, and the sources of the code
that computed it. A folder is added to by any number of processes at once, and two folders become
one by copying the files of both together.
"""

import functools
import hashlib
import importlib.util
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from ...artifact import Artifact
from ...errors import ArtifactError, OutputError
from ..closing import Closing

SYNC_SECONDS = 1.0
"""Results of the last so many seconds can be lost where power fails; where a process dies, none."""

_EVERY = {"rootshift": ("*.py",), "rootshift.sim.explore": ("tasks.py",)}
SOURCES: dict[str, dict[str, tuple[str, ...]]] = {
    "quantization": {**_EVERY, "rootshift.quant": ("*", "methods/*")},
    "accuracy": {**_EVERY, "rootshift.sim.golden": ("**/*",)},
    "hardware": {
        **_EVERY,
        "rootshift.hw.compiler": ("**/*",),
        "rootshift.sim": ("costs.py", "energy.py", "layers.py", "timeline.py"),
        "rootshift.sim.cycles": ("**/*",),
        "rootshift.sim.native": ("**/*",),
    },
    "area": {**_EVERY, "rootshift.sim.area": ("**/*",)},
}
"""Kind of result -> package -> patterns of the files that decide what comes out. Areas are not
kept, for they take no time; but records have them."""
LIBRARIES: dict[str, tuple[str, ...]] = {"quantization": ("torch", "timm")}
"""Kind of result -> distributions whose version counts, too."""
_SUFFIXES = (".py", ".c", ".cpp", ".h", ".csv", ".safetensors")


class Store(Closing):
    """A folder of results and artifacts; opening it reads every result that is there.

    `results/<writer>.jsonl`: one result a line, each file written by one `Store` only, and only
    added to. A last line that a death cut short is left out. `artifacts/<key>/`: artifacts.

    Parameters: `folder`, made where it is missing.
    Members: `folder`; `damaged`, lines that were left out because they hold no result.
    Raises: OutputError where the folder cannot be made or read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.damaged = 0
        self._results, self._artifacts = self.folder / "results", self.folder / "artifacts"
        self._lines: dict[str, bytes] = {}
        self._read: dict[str, int] = {}
        self._file: IO[bytes] | None = None
        self._synced = 0.0
        try:
            self._results.mkdir(parents=True, exist_ok=True)
            self._artifacts.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {_reason(error)}") from None
        self.refresh()

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, key: str) -> Any | None:
        """The value of a key, a copy of its own; None where there is none."""
        line = self._lines.get(key)
        return None if line is None else json.loads(line)["value"]

    def put(self, key: str, value: Any) -> None:
        """Keep a value, which is safe against the death of this process once this returns.

        The first value of a key stays: a key stands for all that decides its value.

        Raises:
            TypeError, ValueError: the value is not of JSON, which has no NaN and no infinity.
            OutputError: it cannot be written.
        """
        if key in self._lines:
            return
        line = json.dumps({"key": key, "value": value}, allow_nan=False).encode() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            raise OutputError(f"{self._results}: cannot be written: {_reason(error)}") from None
        self._lines[key] = line

    def refresh(self) -> None:
        """Read what other processes have added since. Raises: OutputError where it is unreadable.

        Of two values of a key that is of the file whose name, which starts with its time, is first.
        """
        try:
            for path in sorted(self._results.glob("*.jsonl")):
                if self._file is None or path.name != Path(self._file.name).name:
                    self._read_segment(path)
        except OSError as error:
            raise OutputError(f"{self._results}: cannot be read: {_reason(error)}") from None

    def artifact(self, key: str) -> Artifact | None:
        """The artifact of a key; None where there is none, or not all of it, as of a cut copy."""
        folder = self._artifacts / key
        if not folder.is_dir():
            return None
        try:
            return Artifact.load(folder)
        except ArtifactError:
            return None

    def keep_artifact(self, key: str, artifact: Artifact) -> None:
        """Keep an artifact; the first one of a key stays.

        Raises: ArtifactError where it cannot be written.
        """
        if self.artifact(key) is not None:
            return
        try:
            artifact.save(self._artifacts / key)
        except ArtifactError:
            # Another process may have put one in the same place between the two lines above.
            if self.artifact(key) is None:
                raise

    def close(self) -> None:
        """Write what the system still holds back to the disk; a later `put` opens a new file."""
        if self._file is not None:
            with self._file as file:
                self._file = None
                os.fsync(file.fileno())

    def _append(self, line: bytes) -> None:
        if self._file is None:
            name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(8)}.jsonl"
            # Without a buffer in this process there is nothing that its death could lose.
            self._file = (self._results / name).open("xb", buffering=0)
        try:
            if self._file.write(line) < len(line):
                raise OSError("only a part was written: the disk may be full")
            now = time.monotonic()
            if now - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = now
        except OSError:
            # What may be half a line stays the last one of its file.
            self._file.close()
            self._file = None
            raise

    def _read_segment(self, path: Path) -> None:
        start = self._read.get(path.name, 0)
        if path.stat().st_size == start:
            return
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")
        # What follows the last line break is nothing, a torn line, or one that is being written.
        self._read[path.name] = start + sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            key = _key_of(line)
            if key is None:
                self.damaged += 1
            else:
                self._lines.setdefault(key, line)


def content_key(kind: str, **content: Any) -> str:
    """Name of a result: a SHA-256, in hexadecimal, of what it depends on.

    Parameters:
        kind: one of `SOURCES`.
        content: the inputs, JSON values; large ones stand in as their digest.
    Raises: ValueError for another kind or NaN; TypeError for what is not JSON.
    """
    body = {"kind": kind, "code": code_digest(kind), "content": content}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def code_digest(kind: str) -> str:
    """SHA-256, in hexadecimal, over the sources and library versions that a kind depends on.

    The same wherever and however the package is installed.

    Raises: ValueError for a kind that is not one of `SOURCES`.
    """
    if kind not in SOURCES:
        raise ValueError(f"kind must be one of {', '.join(SOURCES)}, not {kind!r}")
    total = hashlib.sha256()
    for name, path in sorted(_files(SOURCES[kind])):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{name} {content}\n".encode())
    for library in LIBRARIES.get(kind, ()):
        total.update(f"{library} {metadata.version(library)}\n".encode())
    return total.hexdigest()


def code_of_all() -> str:
    """SHA-256, in hexadecimal, over `code_digest` of all kinds: what a record depends on."""
    return hashlib.sha256(" ".join(map(code_digest, SOURCES)).encode()).hexdigest()


def _files(packages: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Path]]:
    """Files with the names that they have in every installation."""
    for package, patterns in packages.items():
        # Finds a package without running it: that of quantization would load torch.
        folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        for pattern in patterns:
            for path in folder.glob(pattern):
                if path.suffix in _SUFFIXES and path.is_file():
                    inside = path.relative_to(folder).as_posix()
                    yield f"{package.replace('.', '/')}/{inside}", path


def _key_of(line: bytes) -> str | None:
    """Key of a line; None where it is not a whole result."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(item, dict) and item.keys() == {"key", "value"} and isinstance(item["key"], str):
        return item["key"]
    return None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
