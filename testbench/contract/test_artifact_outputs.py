"""What a run gives: feature maps with their grids, each fault by its message, and who refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.errors import ArtifactError

from ..random_model import Size, random_artifact
from ..random_swin import random_swin
from .tampering import alter, refused

FIRST, SECOND = "stage0.block1.add2", "stage1.block1.add2"


@pytest.fixture(scope="module")
def backbone() -> Artifact:
    return random_swin(np.random.default_rng(4), features=True)


def test_a_backbone_is_no_classifier(backbone: Artifact) -> None:
    assert backbone.outputs == (Output(FIRST, (5, 7)), Output(SECOND, (3, 4)))
    assert not backbone.is_classifier
    message = f"^the artifact must be a classifier, not a feature extractor of {FIRST}, {SECOND}$"
    with pytest.raises(ArtifactError, match=message):
        backbone.require_classifier()
    classifier = random_swin(np.random.default_rng(4))
    assert classifier.is_classifier
    classifier.require_classifier()


def test_places_behind_a_prefix() -> None:
    """Class and register tokens come before the places of a ViT's map."""
    size = Size(image=(8, 12, 1), prefix=2, depth=2)
    model = random_artifact(np.random.default_rng(5), size)
    name = "block1.add2"
    end = [op.name for op in model.operators].index(name) + 1
    output = Output(name, (2, 3), 2)
    artifact = replace(model, operators=model.operators[:end], outputs=(output,))
    assert artifact.shapes()[name] == (8, 12)
    rows = np.arange(2 * 8 * 12).reshape(2, 8, 12)
    places = output.feature_map(rows)
    assert places.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(places[1, 1, 0], rows[1, 2 + 3])


def test_logits_are_no_map() -> None:
    with pytest.raises(ArtifactError, match=r"^output head: must be a feature map, not logits$"):
        Output("head").feature_map(np.zeros((1, 10)))


def first(**changes: Any) -> Callable[..., object]:
    return lambda manifest, _: manifest["outputs"][0].update(changes)


FAULTS: dict[str, tuple[Callable[..., object], str]] = {
    "another grid": (
        first(grid=[7, 6]),
        rf"output {FIRST}: a feature map of 7x6 behind 0 rows must have 42 rows of 16 bits, "
        r"not 16 bits of shape \[35, 8\]",
    ),
    "rows before the map": (
        first(prefix=1),
        rf"output {FIRST}: a feature map of 5x7 behind 1 rows must have 36 rows",
    ),
    "negative prefix": (
        first(prefix=-1),
        rf"output {FIRST}: prefix must be of integers of at least 0, not -1",
    ),
    "grid of text": (
        first(grid=["5", 7]),
        rf"output {FIRST}: grid must be of integers of at least 1, not '5'",
    ),
    "grid of true": (
        first(grid=[True, 35]),
        rf"output {FIRST}: grid must be of integers of at least 1, not True",
    ),
    "empty line": (
        first(grid=[0, 7]),
        rf"output {FIRST}: grid must be of integers of at least 1, not 0",
    ),
    "grid of one side": (
        first(grid=[35]),
        rf"output {FIRST}: grid must be height and width of a feature map, not \(35,\)",
    ),
    "logits beside features": (
        first(grid=[]),
        rf"output {FIRST}: grid must be height and width of a feature map, not None",
    ),
    "codes": (
        first(name="stage0.block1.norm1"),
        r"output stage0\.block1\.norm1: a feature map .* not 4 bits of shape \[35, 8\]",
    ),
    "twice": (
        first(name=SECOND, grid=[3, 4]),
        rf"output {SECOND}: must be named once, not 2 times",
    ),
    "features as logits": (
        lambda manifest, _: manifest.update(outputs=[{"name": SECOND, "grid": [], "prefix": 0}]),
        rf"{SECOND}: the last operator must make one row of 32-bit logits, "
        r"not 16 bits of shape \[12, 16\]",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_in_the_outputs_is_refused(backbone: Artifact, tmp_path: Path, what: str) -> None:
    backbone.save(tmp_path / "model")
    change, message = FAULTS[what]
    alter(tmp_path / "model", change)
    refused(tmp_path / "model", message)
