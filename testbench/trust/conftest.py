"""What all tests of bad input need: counts that are kept, and small valid inputs to damage."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact

from ..random_model import random_artifact
from . import tally


@pytest.fixture(autouse=True)
def _tallied() -> Iterator[None]:
    yield
    tally.write()


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    """A model of random integers with every kind of operator that the accelerator has."""
    return random_artifact(np.random.default_rng(7))


@pytest.fixture(scope="session")
def saved(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; read only."""
    folder = tmp_path_factory.mktemp("trust") / "model"
    artifact.save(folder)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the examples of a module's tests write into, one after the other."""
    return tmp_path_factory.mktemp("fuzz")
