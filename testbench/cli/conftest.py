"""Inputs of the command line: artifacts, images and labels."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootshift.artifact import Artifact

from ..random_model import random_artifact
from .running import labels_csv


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of the embedded model at W4A4, calibrated on few images; read only."""
    from rootshift.bits import Bits
    from rootshift.quant.digits import digits_images
    from rootshift.quant.quantize import quantize

    artifact = quantize(
        "digits",
        "timm",
        lambda preprocessing: digits_images("calibration", preprocessing),
        Bits(4, 4),
        limit=8,
    )
    path = tmp_path_factory.mktemp("digits") / "artifact"
    artifact.save(path)
    return path


@pytest.fixture(scope="session")
def random_model() -> Artifact:
    """An artifact of random integers for images of 8 x 8 grey pixels: no torch, no training."""
    return random_artifact(np.random.default_rng(7))


@pytest.fixture
def saved(random_model: Artifact, tmp_path: Path) -> Path:
    """Directory of a fresh copy of the random artifact."""
    random_model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder of six images and a labels file that lists them, two for calibration."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(3)
    rows = []
    for index in range(6):
        pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        rows.append((f"{index}.png", index % 3, "calibration" if index < 2 else "evaluation"))
    labels_csv(folder / "labels.csv", rows, "file,label,split")
    return folder


@pytest.fixture
def image(images: Path) -> Path:
    """One image."""
    return images / "5.png"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that the test runs in, so that a stray output is seen."""
    before, folder = Path.cwd(), tmp_path / "elsewhere"
    folder.mkdir()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips Yosys, which takes all the time: Verilog is the name of its module."""
    monkeypatch.setattr("rootshift.hw.top.Accelerator", lambda config: None)
    monkeypatch.setattr("rootshift.hw.verilog.convert", lambda component, name: f"// {name}\n")
