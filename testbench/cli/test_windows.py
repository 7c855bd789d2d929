"""The command line on models with windows and on backbones: what runs, and what is refused."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from rootshift.artifact import Artifact
from rootshift.program import Program

from ..random_model import Size, random_artifact
from ..random_swin import random_swin
from .running import files, invoke, labels_csv, refused


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image and a CSV that labels it."""
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(5).integers(0, 256, (10, 14, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    labels_csv(tmp_path / "labels.csv", [("photo.png", 3)])
    return path


def saved(folder: Path, *, features: bool = False) -> Path:
    random_swin(np.random.default_rng(6), features=features).save(folder / "model")
    return folder / "model"


def test_a_model_of_windows_runs_at_the_levels(tmp_path: Path, photo: Path) -> None:
    model = saved(tmp_path)
    outcome = invoke("simulate", model, "--image", photo, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.json["logits"]) == 10
    words = ("--labels", tmp_path / "labels.csv", "--level", "fake", "integer")
    outcome = invoke("evaluate", model, *words, "--json")
    assert (outcome.code, outcome.json["images"]) == (0, 1)


@pytest.mark.parametrize("engine", ["cycles", "rtl"])
def test_no_engine_of_the_accelerator_takes_it(tmp_path: Path, photo: Path, engine: str) -> None:
    message = refused("simulate", saved(tmp_path), "--image", photo, "--engine", engine)
    assert message.startswith("the accelerator has no unit for windowed attention")


def test_nothing_is_generated_for_it(tmp_path: Path, elsewhere: Path) -> None:
    out = elsewhere / "out"
    message = refused("generate", saved(tmp_path), "--out", out)
    assert message.startswith("the accelerator has no unit for windowed attention")
    assert files(elsewhere) == {}
    assert not out.exists()


def test_a_distilled_head_runs_on_the_accelerator(tmp_path: Path) -> None:
    size = Size(prefix=2, pool="distilled")
    random_artifact(np.random.default_rng(6), size).save(tmp_path / "model")
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    words = (tmp_path / "model", "--image", tmp_path / "photo.png", "--json")
    golden = invoke("simulate", *words).json["logits"]
    outcome = invoke("simulate", *words, "--engine", "cycles", "--report", tmp_path / "r.html")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json["logits"] == golden
    outcome = invoke("generate", tmp_path / "model", "--array", "2x3", "--out", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert Program.load(tmp_path / "out" / "program").rows["head.tokens"] == ("norm", 0)


def test_a_backbone_has_no_logits(tmp_path: Path, photo: Path, elsewhere: Path) -> None:
    model = saved(tmp_path, features=True)
    for words in (
        ("simulate", model, "--image", photo),
        ("evaluate", model, "--labels", tmp_path / "labels.csv"),
        ("generate", model, "--out", elsewhere / "out"),
    ):
        assert refused(*words) == (
            "the artifact must be a classifier, not a feature extractor of stage0.block1.add2, "
            "stage1.block1.add2"
        )
    assert not (elsewhere / "out").exists()


def test_a_backbone_is_exported(tmp_path: Path) -> None:
    model, out = saved(tmp_path, features=True), tmp_path / "backbone.onnx"
    assert invoke("export", model, "--out", out).code == 0
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in Artifact.load(model).outputs]
    assert [output.name for output in session.get_outputs()] == [f"{n}/features" for n in names]
