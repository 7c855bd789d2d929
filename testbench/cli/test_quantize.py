"""`rootshift quantize`: what it writes, what it refuses, nothing half-written."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rootshift.artifact import MANIFEST, TENSORS, Artifact
from rootshift.bits import Bits
from rootshift.errors import CalibrationError
from rootshift.quant.models import load_model

from .running import files, invoke, labels_csv, refused

KEYS = {"artifact", "model", "method", "bits", "operators", "weight_bytes", "images", "seconds"}


@pytest.fixture
def quick(images: Path) -> tuple[object, ...]:
    """A command line that calibrates on four images; add `--out`."""
    return ("quantize", "digits", "--calibration", images, "--limit", "4")


def test_json_and_artifact_of_the_embedded_model(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    outcome = invoke(
        "quantize", "digits", "--bits", "w5a4l6", "--base", "2", "--limit", "6", "--seed", "3",
        "--out", out, "--json",
    )  # fmt: skip
    result, artifact = outcome.json, Artifact.load(out)
    assert outcome.code == 0
    assert outcome.err == ""
    assert result.keys() == KEYS
    assert result["artifact"] == str(out)
    assert (result["model"], result["bits"], result["images"]) == ("digits", "W5A4L6", 6)
    assert result["operators"] == len(artifact.operators)
    bits = sum(op.weight.size * op.weight_width for op in artifact.operators if op.kind == "gemm")
    assert result["weight_bytes"] == -(-bits // 8)
    assert artifact.bits == Bits(5, 4, 6)
    assert {op.base for op in artifact.operators if op.kind == "log2_softmax"} == {"2"}
    assert artifact.source["model"] == "digits"
    assert artifact.source["seed"] == 3
    assert len(artifact.source["calibration"]) == 6
    assert {path.name for path in out.parent.iterdir()} == {"model"}


def test_method_and_table_of_bits(quick: tuple, tmp_path: Path) -> None:
    table = tmp_path / "bits.toml"
    table.write_text('default = "W4A4"\n[layers]\n"blocks.1.*" = "W6"\n"head" = "W8A5"\n')
    words = (*quick, "--bits", table, "--method", "repq+gptq", "--out", tmp_path / "a", "--json")
    result, artifact = invoke(*words).json, Artifact.load(tmp_path / "a")
    assert (result["bits"], result["method"]) == ("W4A4 mixed", "repq+gptq")
    assert artifact.source["method"] == "repq+gptq"
    widths = {
        op.name: (op.weight_width, op.input_width) for op in artifact.operators if op.kind == "gemm"
    }
    assert widths["blocks.1.mlp.fc1"] == (6, 4)
    assert widths["blocks.2.mlp.fc1"] == (4, 4)
    assert widths["head"] == (8, 5)
    assert widths["patch_embed.proj"] == (8, 8)
    assert result["weight_bytes"] == artifact.weight_bytes


def test_image_size_and_features(quick: tuple, tmp_path: Path) -> None:
    words = (*quick, "--image-size", "8x12", "--features", "1", "-1", "--out", tmp_path / "a")
    assert invoke(*words).code == 0
    artifact = Artifact.load(tmp_path / "a")
    assert artifact.preprocessing.shape == (8, 12, 1)
    assert [(each.name, each.grid) for each in artifact.outputs] == [
        ("blocks.1.mlp.residual", (4, 6)),
        ("blocks.3.mlp.residual", (4, 6)),
    ]
    assert "must be a classifier" in refused("evaluate", tmp_path / "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "ptq4vit"), "invalid choice: 'ptq4vit'"),
        (("--image-size", "0"), "must be a side or HxW in pixels, not '0'"),
        (("--image-size", "9"), "patch_embed must have whole patches"),
        (("--features", "7"), "features must be numbers from -4 to 3"),
        (("--device", "cuda:77"), "device must be one that torch can use, not 'cuda:77'"),
        (("--bits", "missing.toml"), "missing.toml"),
    ],
)
def test_bad_options_leave_nothing(
    quick: tuple, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    before = files(tmp_path)
    assert message in refused(*quick, *words, "--out", tmp_path / "a")
    assert files(tmp_path) == before


def test_report_beside_the_artifact(quick: tuple, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "report.html"
    words = (*quick, "--report", page, "--out", tmp_path / "a")
    assert invoke(*words, "--json").json["report"] == str(page)
    text = page.read_text()
    assert Artifact.load(tmp_path / "a").digest[:12] in text
    # The embedded model has labelled images of its own.
    assert "449" in text


def test_labels_without_a_report_are_refused(quick: tuple, images: Path, tmp_path: Path) -> None:
    words = (*quick, "--labels", images / "labels.csv", "--out", tmp_path / "a")
    assert refused(*words) == "--labels must come with --report"


def test_a_table_for_another_model_is_refused_before_any_work(quick: tuple, tmp_path: Path) -> None:
    table = tmp_path / "bits.toml"
    table.write_text('default = "W4A4"\n[layers]\n"layers.0.*" = "W6"\n')
    message = refused(*quick, "--bits", table, "--out", tmp_path / "a")
    assert "layers.0.*" in message
    assert str(table) in message


def test_text_says_what_came_of_it(quick: tuple, tmp_path: Path) -> None:
    outcome = invoke(*quick, "--out", tmp_path / "a")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("digits W4A4 by repq: ")
    assert outcome.out.endswith(f"-> {tmp_path / 'a'}\n")
    assert "calibrated on 4 images" in outcome.out


def test_the_manifest_records_the_calibration_files(
    quick: tuple, images: Path, tmp_path: Path
) -> None:
    invoke(*quick, "--seed", "1", "--out", tmp_path / "a")
    recorded = Artifact.load(tmp_path / "a").source["calibration"]
    assert len(recorded) == 4
    assert [item["file"] for item in recorded] == sorted(item["file"] for item in recorded)
    for item in recorded:
        content = (images / item["file"]).read_bytes()
        assert item["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_same_seed_gives_the_same_bytes(quick: tuple, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert invoke(*quick, "--seed", seed, "--out", tmp_path / name).code == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    drawn = [Artifact.load(tmp_path / name).source["calibration"] for name in "ac"]
    assert drawn[0] != drawn[1]


def test_a_csv_gives_the_rows_that_say_calibration(images: Path, tmp_path: Path) -> None:
    result = invoke(
        "quantize", "digits", "--calibration", images / "labels.csv", "--out", tmp_path / "a"
    )
    assert result.code == 0
    recorded = Artifact.load(tmp_path / "a").source["calibration"]
    assert [item["file"] for item in recorded] == ["0.png", "1.png"]


def test_an_old_artifact_is_replaced(quick: tuple, saved: Path) -> None:
    assert invoke(*quick, "--out", saved).code == 0
    assert Artifact.load(saved).source["model"] == "digits"
    assert files(saved).keys() == {MANIFEST, TENSORS}


@pytest.mark.parametrize(
    "error", [CalibrationError("blocks.0: no"), RuntimeError("bug"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("step", ["quant.quantize.export", "artifact.write_folder"])
def test_nothing_is_half_written(
    quick: tuple,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    def broken(*arguments: object) -> None:
        raise error

    before = files(tmp_path)
    monkeypatch.setattr(f"rootshift.{step}", broken)
    for out in (saved, tmp_path / "new"):
        if isinstance(error, RuntimeError):
            with pytest.raises(RuntimeError, match="bug"):
                invoke(*quick, "--out", out)
        else:
            code = invoke(*quick, "--out", out, "--json").code
            assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert files(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("mine", "mine must be a new, empty or artifact directory"),
        ("file", "file must be a new, empty or artifact directory"),
        (".", ". must be a new, empty or artifact directory"),
        ("file/model", "file/model: cannot be written: Not a directory"),
        ("", "argument --out: must name a file or folder, not ''"),
    ],
)
def test_out_must_not_destroy_anything(
    quick: tuple, elsewhere: Path, place: str, reason: str
) -> None:
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "thesis.tex").write_text("ten years of work")
    (elsewhere / "file").write_text("mine")
    before = files(elsewhere)
    assert reason in refused(*quick, "--out", place)
    assert files(elsewhere) == before


@pytest.mark.parametrize("place", ["mine", "file", "."])
def test_a_bad_place_is_refused_before_the_work(
    quick: tuple, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def worked(*arguments: object, **options: object) -> None:
        raise AssertionError("the work was done before the place was looked at")

    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "thesis.tex").touch()
    (elsewhere / "file").touch()
    monkeypatch.setattr("rootshift.quant.quantize.quantize", worked)
    refused(*quick, "--out", place)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bits", "4"], "bits must be spelled like W4A4 or W4A4L5, not '4'"),
        (["--bits", "W4"], "bits must be spelled like W4A4 or W4A4L5, not 'W4'"),
        (["--bits", "W4A4L"], "bits must be spelled like W4A4 or W4A4L5, not 'W4A4L'"),
        (["--bits", "W2A4"], "bits.weights must be from 3 to 8, not 2"),
        (["--bits", "W4A9"], "bits.activations must be from 3 to 8, not 9"),
        (["--bits", "W4A4L0"], "bits.log must be from 3 to 8, not 0"),
        (["--bits", "W-4A4"], "bits must be spelled"),
        (["--bits", "W" + "9" * 5000 + "A4"], "bits must be spelled"),
        (["--limit", "0"], "--limit must be at least 1, not 0"),
        (["--limit", "-1"], "--limit must be at least 1, not -1"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--base", "e"], "--base: invalid choice: 'e'"),
        (["--method", "up"], "--method: invalid choice: 'up'"),
        (["--calibration", "no"], "images folder no: no such folder"),
        (["--calibration", "empty"], "images folder empty: no .bmp"),
        (["--calibration", "text"], "image text/a.png: cannot be decoded"),
        (["--calibration", "no.csv"], "labels file no.csv: no such file"),
        (["--calibration", "labels.csv"], "labels file labels.csv: no column split"),
        (["--calibration", "none.csv"], "labels file none.csv: no calibration row in it"),
        (["--calibration", "outside.csv"], "row 2: file ../a.png must be inside the images fol"),
        (["--calibration", ""], "--calibration: must name a file or folder, not ''"),
        (["--weights", "no.safetensors"], "weights no.safetensors: no such file"),
        (["--weights", "empty"], "weights empty: no such file"),
        (["--weights", "text/a.png"], "weights text/a.png: suffix must be one of .safetensors"),
        (["--weights", "half.safetensors"], "weights half.safetensors: cannot be read"),
        (["--weights", "half.pth"], "weights half.pth: cannot be read"),
        (["--weights", "code.pth"], "weights code.pth: cannot be read"),
        (["--weights", "list.pt"], "weights list.pt: must hold tensors by name, not list"),
        (["--weights", "nan.safetensors"], "blocks.1.mlp.fc2.weight has 1 values that are NaN"),
        (["--weights", "headless.safetensors"], "keys must match the model: missing: head.bias"),
    ],
)
def test_bad_input_is_named(weights: Path, quick: tuple, words: list[str], message: str) -> None:
    assert message in refused(*quick, *words, "--out", "out")
    assert not (weights / "out").exists()
    assert not (weights / "executed").exists()


class Code:
    """Unpickled without care, this runs a program."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


@pytest.fixture
def weights(elsewhere: Path) -> Path:
    """The present folder, full of things that look like weights and calibration images."""
    for name in ("empty", "text"):
        (elsewhere / name).mkdir()
    (elsewhere / "text" / "a.png").write_text("this is no image")
    labels_csv(elsewhere / "labels.csv", [("text/a.png", 1)])
    labels_csv(elsewhere / "none.csv", [("text/a.png", "evaluation")], "file,split")
    labels_csv(elsewhere / "outside.csv", [("../a.png", "calibration")], "file,split")
    tensors = {
        key: value.clone() for key, value in load_model("digits", "timm").state_dict().items()
    }
    torch.save(tensors, "half.pth")
    save_file(tensors, "half.safetensors")
    for name in ("half.pth", "half.safetensors"):
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])
    Path("code.pth").write_bytes(pickle.dumps({"head.bias": Code()}))
    torch.save([1, 2], "list.pt")
    save_file({k: v for k, v in tensors.items() if k != "head.bias"}, "headless.safetensors")
    tensors["blocks.1.mlp.fc2.weight"][3, 4] = torch.nan
    save_file(tensors, "nan.safetensors")
    return elsewhere


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vit_tinny_patch16_224", "model 'vit_tinny_patch16_224' must be a timm model name"),
        ("../digits", "model '../digits' must be a timm model name or 'digits'"),
        ("", "model '' must be a timm model name or 'digits'"),
        ("resnet18", "model is not supported: model must be a timm VisionTransformer, "),
    ],
)
def test_a_model_that_is_not_covered_is_named(images: Path, tmp_path: Path, model, message) -> None:
    out = tmp_path / "a"
    assert message in refused("quantize", model, "--calibration", images, "--out", out)
    assert not out.exists()


def test_another_model_needs_calibration_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_model("digits", "timm")
    monkeypatch.setattr("rootshift.quant.quantize.load_model", lambda *_: digits)
    message = refused("quantize", "deit_tiny_patch16_224", "--out", tmp_path / "a")
    expected = "--calibration must be given for deit_tiny_patch16_224: a folder or a CSV file"
    assert message == expected


@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_images_calibrate_or_are_refused(tmp_path: Path, level: int) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(folder / "a.png")
    outcome = invoke("quantize", "digits", "--calibration", folder, "--out", tmp_path / "a")
    if outcome.code:
        assert outcome.code == 2
        assert outcome.err.startswith(("rootshift quantize: blocks.", "rootshift quantize: head"))
        assert outcome.err.count("\n") == 1
    else:
        scored = invoke("evaluate", tmp_path / "a", "--json", "--limit", "50").json
        assert scored["images"] == 50
