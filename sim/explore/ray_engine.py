"""Calls computed by the machines of a Ray cluster."""

import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...errors import ToolError
from .engine import Call, Done, Engine, done
from .store import code_of_all
from .worker import answer

if TYPE_CHECKING:
    from ray import ObjectRef

RETRIES = 3
"""Times that Ray starts a call again whose worker or node died."""
AHEAD = 2
"""Calls that are with Ray, times the cores: each core has its next one waiting."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Environment variable: the address of a cluster."""
_REACH_SECONDS = 10.0
_LOOK_SECONDS = 1.0


class RayEngine(Engine):
    """The cores of a Ray cluster, one for each call; nodes may join and leave while it runs.

    Every node needs the same sources of this package in its Python environment, for functions are
    found there by name; a node with others is refused. What is shared belongs to this process, so
    that it outlives any other node. A call whose worker or node dies is started again, elsewhere.

    Parameters: `address` of a cluster, such as "10.0.0.1:6379", or "auto" for the one of this
    machine; None for what the environment variable RAY_ADDRESS says, else a Ray of its own on this
    machine, which ends with it. A Ray that this process is connected to already is used and left
    as it is. Ray tells of deaths on `sys.stdout`.
    Members: `workers`, the cores of the cluster at present.
    Raises: ToolError where Ray is not installed, or cannot be started or reached.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = _ray()
        self._counted, self._cores = -_LOOK_SECONDS, 1
        self._connected = not self._ray.is_initialized()
        if self._connected:
            _connect(self._ray, address or os.environ.get(ADDRESS_VARIABLE) or "local")
        self._task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_task)
        self._sources = code_of_all()

    @property
    def workers(self) -> int:
        """Cores of the cluster, 1 at least; nodes come and go."""
        if time.monotonic() - self._counted >= _LOOK_SECONDS:
            self._cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            self._counted = time.monotonic()
        return self._cores

    def share(self, value: Any) -> "ObjectRef":
        """A stand-in for `value`, which Ray keeps as long as it. See `Engine`."""
        return self._ray.put(value)

    def run(self, calls: Iterable[Call]) -> Iterator[Done]:
        """Results as they come. See `Engine`.

        Raises: ToolError where a node has other sources of this package, or none.
        """
        ray, source = self._ray, iter(calls)
        pending: dict[ObjectRef, Call] = {}
        try:
            while True:
                while len(pending) < AHEAD * self.workers:
                    call = next(source, None)
                    if call is None:
                        break
                    task = self._task.remote(self._sources, call.function, *call.arguments)
                    pending[task] = call
                if not pending:
                    return
                # After a while without a result there may be more cores to feed.
                for task in ray.wait(list(pending), timeout=_LOOK_SECONDS)[0]:
                    yield self._done(pending.pop(task).key, task)
        finally:
            if ray.is_initialized():
                for task in pending:
                    ray.cancel(task, force=True)

    def close(self) -> None:
        """End a Ray that was started here, or leave the cluster that was joined here."""
        if self._connected:
            self._connected = False
            self._ray.shutdown()

    def _done(self, key: str, task: "ObjectRef") -> Done:
        try:
            outcome = pickle.loads(self._ray.get(task))
        except self._ray.exceptions.RayTaskError as error:
            # Errors of calls come as values: what failed is to find `_task`.
            raise ToolError(f"every node must have rootshift installed: {_line(error)}") from None
        except self._ray.exceptions.RayError as error:
            return Done(key, error=f"its worker died {RETRIES + 1} times: {_line(error)}")
        if isinstance(outcome.mistake, _OtherSourcesError):
            raise ToolError(
                f"every node must have the same sources of rootshift, not {outcome.mistake}"
            )
        return done(key, outcome)


def _task(expected: str, function: Callable[..., Any], *arguments: Any) -> bytes:
    """What Ray runs; bytes, so that the driver's copy is no view of the memory of Ray."""
    return answer(_checked, (expected, function, arguments))


def _checked(expected: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if expected != _own_sources():
        raise _OtherSourcesError(f"others, as {socket.gethostname()}")
    return function(*arguments)


_own_sources = cache(code_of_all)


class _OtherSourcesError(Exception):
    """The sources on a node are not those of the driver."""


def _ray() -> ModuleType:
    """Ray, which tells its makers nothing. Raises: ToolError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # It would hide the GPUs from calls that ask for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ToolError("ray must be installed: pip install rootshift[cluster]") from None
    return ray


def _connect(ray: ModuleType, address: str) -> None:
    """Start or join. Raises: ToolError where that fails."""
    try:
        host, _, port = address.rpartition(":")
        if host and "/" not in host and port.isdecimal():
            # Ray itself would wait for minutes, and then end this process.
            socket.create_connection((host, int(port)), _REACH_SECONDS).close()
        own = {"include_dashboard": False} if address == "local" else {}
        ray.init(
            address=address,
            configure_logging=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **own,
        )
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise ToolError(f"Ray must be reachable at {address!r}: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
