"""A small artifact with every kind of operator, in memory and on disk."""

from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact

from ..random_model import random_artifact


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    return random_artifact(np.random.default_rng(7))


@pytest.fixture
def saved(artifact: Artifact, tmp_path: Path) -> Path:
    """Directory of a fresh copy of the artifact."""
    directory = tmp_path / "model"
    artifact.save(directory)
    return directory
