"""Exploration of quantization and hardware together: accuracy, cycles and area of every point.

    from rootshift.sim.explore import Space, explore
    found = explore(Space.load("space.toml"), "results")
    found.front()

What this package exports is imported when it is first asked for: workers import less.
"""

from importlib import import_module
from typing import Any

_HOMES = {"explore": "api", "Space": "space", "Exploration": "results"}
__all__ = ["Exploration", "Space", "explore"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
