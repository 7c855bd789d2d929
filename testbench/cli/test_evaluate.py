"""`rootshift evaluate`: accuracy by level, and which images and weights it takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rootshift.artifact import Artifact
from rootshift.preprocessing import load_pixels
from rootshift.quant.models import load_model
from rootshift.sim.golden.model import GoldenModel

from ..contract.tampering import alter
from .running import invoke, labels_csv, refused


@pytest.fixture
def labels(images: Path) -> Path:
    return images / "labels.csv"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The embedded model's weights as a local file, and the same with one number changed."""
    folder = tmp_path_factory.mktemp("weights")
    tensors = load_model("digits", "timm").state_dict()
    save_file({key: value.clone() for key, value in tensors.items()}, folder / "right.safetensors")
    tensors["head.bias"] = tensors["head.bias"] + torch.eye(10)[0]
    save_file({key: value.clone() for key, value in tensors.items()}, folder / "wrong.safetensors")
    return {"right": folder / "right.safetensors", "wrong": folder / "wrong.safetensors"}


def test_integer_level_counts_golden_labels(
    saved: Path, images: Path, labels: Path, random_model: Artifact
) -> None:
    pixels = np.stack(
        [load_pixels(images / f"{i}.png", random_model.preprocessing) for i in range(2, 6)]
    )
    ranked = np.argsort(-GoldenModel(random_model).run(pixels).logits, axis=1, kind="stable")
    # Two right, one second, one past the fifth place.
    places = [0, 0, 1, 7]
    labels_csv(labels, [(f"{i + 2}.png", ranked[i, place]) for i, place in enumerate(places)])
    result = invoke("evaluate", saved, "--labels", labels, "--json")
    assert result.err == ""
    assert result.json == {"images": 4, "integer": {"top1": 50.0, "top5": 75.0}}


def test_calibration_rows_are_left_out(saved: Path, labels: Path) -> None:
    assert invoke("evaluate", saved, "--labels", labels, "--json").json["images"] == 4


def test_images_may_lie_apart_from_the_labels(saved: Path, images: Path, tmp_path: Path) -> None:
    apart = labels_csv(tmp_path / "apart.csv", [("5.png", 1), ("4.png", 0)])
    result = invoke("evaluate", saved, "--labels", apart, "--images", images, "--json").json
    assert result["images"] == 2


def test_limit_takes_the_first_images(saved: Path, images: Path, labels: Path) -> None:
    first = labels_csv(images / "first.csv", [("2.png", 2)])
    whole = invoke("evaluate", saved, "--labels", first, "--json").json
    limited = invoke("evaluate", saved, "--labels", labels, "--limit", "1", "--json").json
    assert limited == whole
    assert (
        invoke("evaluate", saved, "--labels", labels, "--limit", "99", "--json").json["images"] == 4
    )


def test_three_levels_of_the_embedded_model(digits: Path) -> None:
    words = ("evaluate", digits, "--level", "float", "fake", "integer", "--limit", "60")
    result = invoke(*words, "--json").json
    assert list(result) == ["images", "float", "fake", "integer"]
    assert result["images"] == 60
    for level in ("float", "fake", "integer"):
        assert result[level].keys() == {"top1", "top5"}
        assert 85 < result[level]["top1"] <= result[level]["top5"] <= 100
    text = invoke(*words)
    assert text.code == 0
    lines = text.out.splitlines()
    assert lines[0].startswith("60 images")
    for level, line in zip(("float", "fake", "integer"), lines[1:], strict=True):
        name, top1, top5 = line.split()
        assert name == level
        assert (float(top1), float(top5)) == (result[level]["top1"], result[level]["top5"])


def test_float_level_takes_the_weights_that_were_quantized(
    digits: Path, weights: dict[str, Path]
) -> None:
    words = ("evaluate", digits, "--level", "float", "--limit", "20", "--json")
    expected = invoke(*words).json
    assert invoke(*words, "--weights", weights["right"]).json == expected
    message = refused(*words, "--weights", weights["wrong"])
    assert message == f"--weights must be the ones that were quantized, not {weights['wrong']}"


def test_float_level_of_local_weights_needs_them_again(digits: Path, tmp_path: Path) -> None:
    artifact = Artifact.load(digits)
    local = Artifact(
        source=dict(artifact.source) | {"weights": "mine.safetensors"},
        bits=artifact.bits,
        preprocessing=artifact.preprocessing,
        operators=artifact.operators,
        outputs=artifact.outputs,
    )
    local.save(tmp_path / "local")
    message = refused("evaluate", tmp_path / "local", "--level", "integer", "float")
    assert message == "--weights must name the float weights, mine.safetensors, for level float"


def test_a_weights_file_that_is_missing_is_named(digits: Path, tmp_path: Path) -> None:
    message = refused("evaluate", digits, "--level", "float", "--weights", tmp_path / "no.pth")
    assert message.startswith(f"weights {tmp_path / 'no.pth'}: no such file")


@pytest.mark.parametrize("value", [None, 3])
def test_an_artifact_of_unknown_source_has_no_float_level(
    saved: Path, labels: Path, value: int | None
) -> None:
    alter(saved, lambda manifest, tensors: manifest["source"].update(weights=value))
    words = ("evaluate", saved, "--labels", labels)
    assert invoke(*words, "--level", "integer").code == 0
    message = refused(*words, "--level", "float")
    assert message == f"source must tell weights for level float, not {value!r}"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("2.png", 1)], "name,label", "no column file"),
        ([("2.png", 1)], "file,class", "no column label"),
        ([("2.png", 10)], "file,label", "label must be below 10, the model's classes, not 10"),
        ([("2.png", -1)], "file,label", "row 2: label must be a class number from 0, not '-1'"),
        ([("2.png", "cat")], "file,label", "row 2: label must be a class number from 0"),
        ([("2.png", "")], "file,label", "row 2: label must be a class number from 0, not ''"),
        ([("", 1)], "file,label", "row 2: no file"),
        ([("no.png", 1)], "file,label", "row 2: file no.png is not in the images folder"),
        ([("../5.png", 1)], "file,label", "row 2: file ../5.png must be inside the images fol"),
        ([("a/../../5.png", 1)], "file,label", "must be inside the images folder"),
        ([("/etc/passwd", 1)], "file,label", "must be inside the images folder"),
        ([("x" * 5000, 1)], "file,label", "is not in the images folder"),
        ([("2.png", 1), ("2.png", 1)], "file,label", "row 3: file 2.png is listed twice"),
        ([("2.png", 1), ("./2.png", 1)], "file,label", "row 3: file 2.png is listed twice"),
        ([], "file,label", "no evaluation row in it"),
        ([("2.png", 1, "calibration")], "file,label,split", "no evaluation row in it"),
        ([("labels.csv", 1)], "file,label", "cannot be decoded"),
    ],
)
def test_bad_labels_are_named(
    saved: Path, labels: Path, rows: list[tuple], header: str, message: str
) -> None:
    labels_csv(labels, rows, header)
    assert message in refused("evaluate", saved, "--labels", labels, "--json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "no.csv"], "labels file no.csv: no such file"),
        (["--labels", "."], "labels file .: cannot be read as CSV"),
        (["--labels", "bytes.csv"], "labels file bytes.csv: cannot be read as CSV"),
        (["--labels", "ok.csv", "--images", "no"], "images folder no: no such folder"),
        (["--labels", "ok.csv", "--images", "ok.csv"], "images folder ok.csv: no such folder"),
        (["--labels", "ok.csv", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["--labels", "ok.csv", "--limit", "1.5"], "--limit: invalid int value: '1.5'"),
        (["--labels", "ok.csv", "--level", "double"], "invalid choice: 'double'"),
        (["--labels", ""], "--labels: must name a file or folder, not ''"),
        ([], "--labels must be given: a CSV file with columns file and label"),
        (["--images", "."], "--labels must be given"),
    ],
)
def test_bad_words_are_named(saved: Path, elsewhere: Path, words: list[str], message: str) -> None:
    (elsewhere / "bytes.csv").write_bytes(b"\xff\xfe\x00,\n")
    labels_csv(elsewhere / "ok.csv", [("a.png", 1)])
    assert message in refused("evaluate", saved, *words)


def test_images_of_the_embedded_model_need_labels(digits: Path, images: Path) -> None:
    message = refused("evaluate", digits, "--images", images)
    assert message.startswith("--labels must be given")
