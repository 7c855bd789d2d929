"""Functions that the tests of engines have computed; each leaves a trace of every run."""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rootshift.errors import ConfigError


def trace(folder: str, name: Any) -> None:
    """Leave a file behind that says `name` was run by this process."""
    os.close(tempfile.mkstemp(prefix=f"{name}.{os.getpid()}.", dir=folder)[0])


def traces(folder: Path) -> Counter[str]:
    """How often each name was run."""
    return Counter(path.name.partition(".")[0] for path in folder.iterdir())


def processes(folder: Path) -> set[int]:
    """Processes that ran anything."""
    return {int(path.name.split(".")[1]) for path in folder.iterdir()}


def square(folder: str, number: int, seconds: float = 0.0) -> int:
    """The square of a number."""
    trace(folder, number)
    time.sleep(seconds)
    return number * number


def weighted(folder: str, number: int, weights: np.ndarray, seconds: float = 0.0) -> dict[str, Any]:
    """A result of a large argument: floats, and a sum of integers."""
    trace(folder, number)
    time.sleep(seconds)
    return {
        "sum": int((weights * number).sum()),
        "root": float(np.sqrt(number)),
        "writeable": weights.flags.writeable,
    }


def first(folder: str, number: int, name: str) -> int:
    """Waits for the trace of `name`, which is another call's."""
    trace(folder, number)
    while name not in traces(Path(folder)):
        time.sleep(0.01)
    return number


def die(folder: str, name: str, lives: int) -> int:
    """Kills its own process `lives` times, then gives how often it was run."""
    trace(folder, name)
    if traces(Path(folder))[name] <= lives:
        os.kill(os.getpid(), signal.SIGKILL)
    return traces(Path(folder))[name]


def fail(kind: str) -> NoReturn:
    """Raises."""
    match kind:
        case "config":
            raise ConfigError("rows must be 1 to 64, not 65")
        case "missing":
            open("/nonexistent/file").close()
        case "memory":
            raise MemoryError
        case "array":
            np.zeros(1 << 50, np.int64)
        case "exit":
            sys.exit(0)
        case "odd":
            raise OddError("one", "two")
    raise KeyError(kind)


class OddError(Exception):
    """Cannot be pickled: it wants two arguments, and keeps one."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def unpicklable() -> Any:
    """A value that cannot travel."""
    return lambda: 0


def environment(names: tuple[str, ...]) -> list[str | None]:
    """Values of environment variables."""
    return [os.environ.get(name) for name in names]


def chatter() -> int:
    """Prints on standard output, from Python and from C."""
    print("from Python", flush=True)
    os.write(1, b"from C\n")
    return 1


def total(array: np.ndarray) -> tuple[int, bool]:
    """Sum of an array, and whether it may be written."""
    return int(array.sum()), array.flags.writeable


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False
