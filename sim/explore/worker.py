"""A process that computes calls: what the driver holds of it, and what runs in it.

Imports no NumPy, so that a process that starts here has its environment set before any library
reads it.
"""

import mmap
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...errors import RootshiftError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that say how many threads a library uses."""
KEPT = 4
"""Shared values that a worker keeps, those used last."""
_ALIGNMENT = 64


@dataclass(frozen=True)
class Outcome:
    """What came of a function: its `value`, the text of an `error`, or a `mistake` of ours."""

    value: Any = None
    error: str | None = None
    mistake: Exception | None = None


def attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Call a function and catch whatever it raises.

    What a user or the machine can cause is an error: `RootshiftError`, `OSError`, `MemoryError`.
    """
    try:
        return Outcome(function(*arguments))
    except RootshiftError as error:
        return Outcome(error=str(error) or type(error).__name__)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return Outcome(error=place + (error.strerror or str(error) or type(error).__name__))
    except MemoryError as error:
        return Outcome(error=f"memory is used up{f': {error}' if str(error) else ''}")
    except BaseException as error:
        return Outcome(mistake=_portable(error))


def answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """The pickled `Outcome` of a function; a value that cannot be pickled is a mistake, too."""
    outcome = attempt(function, arguments)
    try:
        return pickle.dumps(outcome, protocol=5)
    except Exception as error:
        return pickle.dumps(Outcome(mistake=_portable(error)), protocol=5)


def _portable(error: BaseException) -> Exception:
    """The exception with its traceback as a note, or one that tells of it where it cannot travel.

    One that is no `Exception`, such as SystemExit, would end the driver without a word.
    """
    note = "In a worker process:\n" + traceback.format_exc()
    try:
        error.add_note(note)
        if isinstance(error, Exception) and pickle.loads(pickle.dumps(error)).__notes__ == [note]:
            return error
    except Exception:
        pass
    other = RuntimeError(f"{type(error).__name__} in a worker process: {error}")
    other.add_note(note)
    return other


@dataclass(frozen=True)
class Shared:
    """A stand-in for a value that lies in a file: from `offset` on, its pickle."""

    path: str
    offset: int


def write_shared(path: Path, value: Any) -> Shared:
    """Write a value so that processes which read it share the memory of its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    spans = []
    with path.open("wb") as file:
        for buffer in buffers:
            file.write(bytes(-file.tell() % _ALIGNMENT))
            start = file.tell()
            file.write(buffer.raw())
            spans.append((start, file.tell()))
        offset = file.tell()
        pickle.dump((body, spans), file, protocol=5)
    return Shared(str(path), offset)


@lru_cache(maxsize=KEPT)
def read_shared(shared: Shared) -> Any:
    """The value behind a stand-in; its arrays are read-only views of the file."""
    with open(shared.path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    body, spans = pickle.loads(content[shared.offset :])
    return pickle.loads(body, buffers=[content[start:end] for start, end in spans])


class Worker:
    """What the driver holds of a process; `multiprocessing.connection.wait` takes it.

    Parameters: `threads` that libraries use in it, where the environment does not say.
    Members: `ready`, whether it has come up; `busy`, whether it owes an answer; `ending`, how it
    ended, after `kill`.
    """

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.ready, self.busy, self.ending = False, False, ""
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment(threads), _interrupts_held():
            self._process.start()
        theirs.close()

    def fileno(self) -> int:
        """File descriptor on which its answers arrive."""
        return self._connection.fileno()

    def send(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """Hand it a call; False where it is dead.

        Raises: what pickling raises where the call cannot travel.
        """
        payload = pickle.dumps((function, arguments), protocol=5)
        try:
            self._connection.send_bytes(payload)
        except OSError:
            return False
        self.busy = True
        return True

    def receive(self) -> Outcome | None:
        """Its answer; None where all it says is that it has come up.

        Raises: EOFError where it is dead.
        """
        try:
            payload = self._connection.recv_bytes()
        except OSError as error:  # it died in the middle of its answer
            raise EOFError from error
        if not payload:
            self.ready = True
            return None
        self.busy = False
        return pickle.loads(payload)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self.ending = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._process.close()
        self._connection.close()


def _serve(connection: Connection) -> None:
    """What a worker does until the driver ends it, or itself."""
    threading.Thread(target=_end_with_driver, daemon=True).start()
    # Standard output is the driver's, for its one JSON object.
    os.dup2(2, 1)
    connection.send_bytes(b"")
    while True:
        try:
            payload = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(answer(_run, (payload,)))


def _run(payload: bytes) -> Any:
    function, arguments = pickle.loads(payload)
    return function(
        *(read_shared(each) if isinstance(each, Shared) else each for each in arguments)
    )


def _end_with_driver() -> None:
    """Of a driver that was killed nobody else would tell a worker that computes."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The environment that a process started inside gets: NumPy and torch read it when loaded."""
    missing = [name for name in THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, str(threads)))
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started inside never sees Ctrl-C, which ends the driver, which ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
