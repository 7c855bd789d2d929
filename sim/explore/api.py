"""The whole exploration: a space in, its records and their report out."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import ConfigError
from ...output import write_if_changed
from ..native.toolchain import cache_folder
from .engine import Engine, LocalEngine
from .evaluator import Evaluator, Progress
from .results import SPACE, Exploration
from .search import search
from .space import Space
from .store import Store, code_of_all

ENGINES = ("local", "ray")


def explore(
    space: Space | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Evaluate a space and write its results.

    Parameters:
        space: a `Space`, the path of its TOML file, or what such a file would hold.
        out: folder of the results; one that holds those of the same space goes on from there.
        engine: "local", processes of this machine, or "ray", a Ray cluster.
        address: of the cluster; None starts one on this machine.
        workers: local processes; None for one per core.
        cache: as `open_store` takes it.
        progress: told how many of how many steps are done, and of what.
    Raises: ConfigError for a space or option that is not legal, and where `out` has the results of
    another space; errors of loading the model and its
    images, OutputError where `out` cannot be written.
    """
    if isinstance(space, Mapping):
        space = Space.from_table(space, Path.cwd())
    elif not isinstance(space, Space):
        space = Space.load(space)
    out, began = Path(out), time.perf_counter()
    _check_own(out, space)
    with open_store(cache) as store, make_engine(engine, address, workers) as pool:
        evaluator = Evaluator(space, store, pool, progress)
        # A folder that cannot be written is known before the long work.
        write_if_changed(out / SPACE, space.text.encode())
        records = search(space, evaluator.evaluate, out, progress)
        made = {
            "version": __version__,
            "code": code_of_all(),
            "seed": space.search.seed,
            "engine": engine,
            "workers": pool.workers,
            "seconds": round(time.perf_counter() - began, 3),
            "counts": dict(evaluator.counts),
        }
    found = Exploration(space, tuple(records), made)
    found.write(out)
    return found


def _check_own(out: Path, space: Space) -> None:
    """Refuse a folder with the results of another space: points are picked from it by number."""
    saved = out / SPACE
    if saved.is_file() and Space.load(saved, check_files=False).digest != space.digest:
        raise ConfigError(
            f"{out}: must be a folder of its own, not one with the results of another space"
        )


def open_store(cache: str | Path | None = None) -> Store:
    """What was computed before, shared by all explorations.

    Parameters: `cache`, its folder; None for `explore` in the cache folder of builds.
    Raises: OutputError where the folder cannot be made or read.
    """
    return Store(cache_folder() / "explore" if cache is None else cache)


def make_engine(name: str, address: str | None = None, workers: int | None = None) -> Engine:
    """The engine of a name; raises ConfigError for an option that it does not have."""
    if name == "local":
        if address is not None:
            raise ConfigError(f"address must be left out with the engine local, not {address!r}")
        return LocalEngine(workers)
    if name == "ray":
        if workers is not None:
            raise ConfigError(f"workers must be left out with the engine ray, not {workers}")
        from .ray_engine import RayEngine

        return RayEngine(address)
    raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {name!r}")
