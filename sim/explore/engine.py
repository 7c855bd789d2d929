"""What computes the calls of an exploration: the protocol, and processes of this machine."""

import fcntl
import os
import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from ...errors import ConfigError, ToolError
from ..closing import Closing
from .worker import Outcome, Shared, Worker, write_shared

ATTEMPTS = 2
"""Workers that a call may take with it."""
_PREFIX, _LOCK = "rootshift-explore-", "lock"


@dataclass(frozen=True)
class Call:
    """One computation.

    Fields: `key`, of its result; `function`, of a module, which every worker imports; `arguments`,
    which it must not change; those that `Engine.share` returned arrive as the values behind them.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came of a call: its `value`, or the text of its `error`."""

    key: str
    value: Any = None
    error: str | None = None


class Engine(Closing):
    """Computes calls, in any order, at any place.

    Members: `workers`, calls that run at once.
    """

    workers: int

    @abstractmethod
    def share(self, value: Any) -> Any:
        """A small stand-in for a large value among the arguments of calls.

        The value is stored once and lives as long as the stand-in. Arrays in it arrive read-only.
        """

    @abstractmethod
    def run(self, calls: Iterable[Call]) -> Iterator[Done]:
        """Results, each as soon as it is there, while others still run.

        `calls` is asked for the next one when there is room for it, and where it had none, again
        after each result: an iterator of its own kind can turn results into further calls. Leaving
        the iteration early ends the calls that run.

        A `RootshiftError`, `OSError` or `MemoryError` of a call is the error of its `Done`; so is a
        worker that died in each of its attempts. Any other exception is a mistake in the program
        and is raised here, with the worker's traceback as a note.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers, also those that are busy, and drop what is shared."""


def done(key: str, outcome: Outcome) -> Done:
    """What a worker's outcome is to the driver.

    Raises: the exception of the call where it is a mistake in the program.
    """
    if outcome.mistake is not None:
        raise outcome.mistake
    return Done(key, outcome.value, outcome.error)


class LocalEngine(Engine):
    """Processes of this machine, each with its part of the cores.

    They are started with the `spawn` method of `multiprocessing`, so that a script that uses them
    needs `if __name__ == "__main__":`. A worker that dies is replaced and its call is run once
    more; the others do not notice. No worker outlives this process, however it ends.

    Parameters: `workers`, processes; None for one a core.
    Raises: ConfigError where `workers` is not an integer of 1 or more.
    """

    def __init__(self, workers: int | None = None) -> None:
        cores = _cores()
        if workers is None:
            workers = cores
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ConfigError(f"workers must be an integer of 1 or more, not {workers!r}")
        self.workers = workers
        self._threads = max(1, cores // workers)
        self._pool: list[Worker] = []
        self._numbers = count()
        self._stillborn = 0
        self._folder, lock = _own_folder()
        self._remove = weakref.finalize(self, _remove, self._folder, lock)

    def share(self, value: Any) -> Shared:
        """A stand-in for `value`, which lies in a file that ends with it. See `Engine`."""
        shared = write_shared(self._folder / f"{next(self._numbers)}.shared", value)
        weakref.finalize(shared, Path(shared.path).unlink, missing_ok=True)
        return shared

    def run(self, calls: Iterable[Call]) -> Iterator[Done]:
        """Results as they come. See `Engine`. Raises: ToolError where no process can start."""
        source, again = iter(calls), deque[_Job]()
        jobs: dict[Worker, _Job] = {}
        try:
            while True:
                while len(jobs) < self.workers:
                    job = again.popleft() if again else _next_job(source)
                    if job is None:
                        break
                    worker = self._idle()
                    jobs[worker] = job
                    if not worker.send(job.call.function, job.call.arguments):
                        again.append(jobs.pop(worker))
                        self._bury(worker)
                if not jobs:
                    return
                for worker in wait(list(jobs)):
                    try:
                        outcome = worker.receive()
                    except EOFError:
                        job = jobs.pop(worker)
                        self._bury(worker)
                        # One that never came up has not begun the call.
                        job.deaths += worker.ready
                        if job.deaths < ATTEMPTS:
                            again.append(job)
                        else:
                            text = f"its worker process died {job.deaths} times: {worker.ending}"
                            yield Done(job.call.key, error=text)
                    else:
                        if outcome is not None:
                            yield done(jobs.pop(worker).call.key, outcome)
        finally:
            for worker in jobs:
                self._end(worker)

    def close(self) -> None:
        """End the workers, also those that are busy, and drop what is shared."""
        for worker in list(self._pool):
            self._end(worker)
        self._remove()

    def _idle(self) -> Worker:
        """A worker that is not busy, also not of another `run`; a new one where there is none."""
        for worker in self._pool:
            if not worker.busy:
                return worker
        self._pool.append(Worker(self._threads))
        return self._pool[-1]

    def _bury(self, worker: Worker) -> None:
        """Take a dead worker out. Raises: ToolError where none comes up any more."""
        self._end(worker)
        self._stillborn = 0 if worker.ready else self._stillborn + 1
        if self._stillborn > ATTEMPTS:
            raise ToolError(f"worker processes must be able to start: {worker.ending}")

    def _end(self, worker: Worker) -> None:
        if worker in self._pool:  # not closed meanwhile
            self._pool.remove(worker)
            worker.kill()


@dataclass(eq=False)
class _Job:
    """A call on its way, and how many workers have died with it."""

    call: Call
    deaths: int = 0


def _next_job(calls: Iterator[Call]) -> _Job | None:
    call = next(calls, None)
    return None if call is None else _Job(call)


def _own_folder() -> tuple[Path, IO[bytes]]:
    """A temporary folder, and the lock by which others see that its process lives.

    Removes those of processes that were killed before they could do so.
    """
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    file = (folder / f"{_LOCK}.new").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    Path(file.name).rename(folder / _LOCK)  # never there without being held
    return folder, file


def _remove(folder: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
