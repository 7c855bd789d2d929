"""What is worked out of an artifact once, and forgotten with it."""

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar

from .artifact import Artifact

P = ParamSpec("P")
R = TypeVar("R")


def per_artifact(
    function: Callable[Concatenate[Artifact, P], R],
) -> Callable[Concatenate[Artifact, P], R]:
    """Keep what `function` gives for an artifact and further hashable arguments.

    What it gives must not refer to the artifact, nor be changed by who gets it.
    """
    kept: weakref.WeakKeyDictionary[Artifact, dict[Hashable, Any]] = weakref.WeakKeyDictionary()

    @functools.wraps(function)
    def remembered(artifact: Artifact, *args: P.args, **kwargs: P.kwargs) -> R:
        found = kept.setdefault(artifact, {})
        key = args, tuple(sorted(kwargs.items()))
        if key not in found:
            found[key] = function(artifact, *args, **kwargs)
        return found[key]

    return remembered
