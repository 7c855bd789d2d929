"""What is remembered of an artifact is that artifact's, and is dropped with it."""

import gc
import weakref
from typing import Any

from rootshift.memo import per_artifact

from ..random_model import Size, random_artifact
from ..seeds import generator


def test_each_artifact_and_arguments_are_asked_once() -> None:
    asked: list[tuple[Any, ...]] = []

    @per_artifact
    def widest(artifact: Any, least: int, *, more: int = 0) -> int:
        asked.append((id(artifact), least, more))
        return max(least, more, *(len(op.name) for op in artifact.operators))

    first, second = (random_artifact(generator(1, n), Size()) for n in range(2))
    for _ in range(2):
        for artifact in (first, second):
            assert widest(artifact, 1) == max(len(op.name) for op in artifact.operators)
            assert widest(artifact, 500) == 500
            assert widest(artifact, 1, more=600) == 600
    assert len(asked) == len(set(asked)) == 6


def test_nothing_keeps_an_artifact_alive() -> None:
    @per_artifact
    def count(artifact: Any) -> int:
        return len(artifact.operators)

    artifact = random_artifact(generator(1), Size())
    gone = weakref.ref(artifact)
    count(artifact)
    del artifact
    gc.collect()
    assert gone() is None
