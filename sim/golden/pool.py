"""The golden model on every core: one process each, for accuracy over many images."""

import multiprocessing
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np

from ...artifact import Artifact
from .model import GoldenModel, Inference, join

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_worker: GoldenModel


class GoldenPool:
    """Golden models in `processes` processes (as many as cores by default); a context manager.

    The products between the element-wise steps are too small to gain from BLAS threads, so each
    process computes on one. Results are those of `GoldenModel`.
    """

    def __init__(self, artifact: Artifact, processes: int | None = None) -> None:
        self.processes = processes or os.cpu_count() or 1
        with _one_blas_thread():
            self._pool = multiprocessing.get_context("spawn").Pool(
                self.processes, _start, (artifact,)
            )

    def run(self, pixels: np.ndarray, keep: Collection[str] = ()) -> Inference:
        """As `GoldenModel.run`, the images divided among the processes."""
        parts = np.array_split(pixels, min(self.processes, max(1, len(pixels))))
        found = self._pool.starmap(_run, [(part, tuple(keep)) for part in parts])
        return join(found, keep)

    def __enter__(self) -> "GoldenPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.terminate()
        self._pool.join()


def _start(artifact: Artifact) -> None:
    global _worker
    _worker = GoldenModel(artifact)


def _run(pixels: np.ndarray, keep: Collection[str]) -> Inference:
    return _worker.run(pixels, keep)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Let processes that start meanwhile find a BLAS limited to one thread."""
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
