"""`rootshift simulate`: one image on golden, and every tensor of it on request."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootshift.artifact import SCHEMA, Artifact
from rootshift.preprocessing import load_pixels
from rootshift.sim.golden.model import GoldenModel

from ..contract.tampering import alter, read, write
from .running import files, invoke, refused

KEYS = {"engine", "label", "logits", "seconds", "saturated", "tensors"}


def test_json_is_what_golden_computes(saved: Path, image: Path, random_model: Artifact) -> None:
    result = invoke("simulate", saved, "--image", image, "--engine", "golden", "--json").json
    inference = GoldenModel(random_model).run(load_pixels(image, random_model.preprocessing)[None])
    logits = inference.logits[0] * random_model.operators[-1].scale
    assert result.keys() == KEYS
    assert result["engine"] == "golden"
    assert result["label"] == int(logits.argmax())
    np.testing.assert_allclose(result["logits"], logits, atol=1e-6)
    assert result["saturated"] == dict(inference.saturated)
    assert result["tensors"] == 0
    assert result["seconds"] > 0


RTL_KEYS = KEYS | {
    "array", "cycles", "mac_utilization", "cycles_per_second", "compared", "mismatches", "first",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler g++ on PATH")
def test_rtl_equals_golden_in_every_value(saved: Path, image: Path, random_model: Artifact) -> None:
    words = "simulate", saved, "--image", image, "--engine", "rtl", "--array", "2x2"
    result = invoke(*words, "--json").json
    golden = invoke("simulate", saved, "--image", image, "--json").json
    assert result.keys() == RTL_KEYS
    assert (result["engine"], result["array"]) == ("rtl", "2x2")
    assert (result["label"], result["logits"]) == (golden["label"], golden["logits"])
    assert (result["mismatches"], result["first"]) == (0, None)
    shapes = random_model.shapes()
    values = sum(int(np.prod(shape)) for name, shape in shapes.items() if name != "pixels")
    assert result["compared"] == values + len(golden["logits"])
    assert sum(result["saturated"].values()) == sum(golden["saturated"].values())
    assert 0 < result["mac_utilization"] < 2
    text = invoke(*words).out
    assert f"{result['compared']} values compared with golden, 0 mismatches" in text


def test_text_ranks_the_classes(saved: Path, image: Path) -> None:
    result = invoke("simulate", saved, "--image", image, "--json").json
    outcome = invoke("simulate", saved, "--image", image)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"label {result['label']} ")
    ranked = [int(line.split()[1]) for line in outcome.out.splitlines() if "class" in line]
    assert ranked == np.argsort(-np.array(result["logits"]), kind="stable")[:5].tolist()


def test_every_tensor_is_written_by_name(
    saved: Path, image: Path, tmp_path: Path, random_model: Artifact
) -> None:
    out = tmp_path / "new" / "tensors.npz"
    result = invoke("simulate", saved, "--image", image, "--tensors", out, "--json").json
    shapes = random_model.shapes()
    with np.load(out) as tensors:
        assert {name: tensors[name].shape for name in tensors} == shapes
        assert {tensors[name].dtype.kind for name in tensors} <= {"i", "u"}
        np.testing.assert_array_equal(
            tensors["pixels"], load_pixels(image, random_model.preprocessing)
        )
        scale = random_model.operators[-1].scale
        logits = tensors[random_model.operators[-1].name][0] * scale
    np.testing.assert_allclose(result["logits"], logits, atol=1e-6)
    assert result["tensors"] == len(shapes)
    assert {path.name for path in out.parent.iterdir()} == {"tensors.npz"}


def test_images_of_any_size_and_colour_are_fitted(saved: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (31, 17), (200, 10, 30, 255)).save(tmp_path / "wide.png")
    assert invoke("simulate", saved, "--image", tmp_path / "wide.png").code == 0


def test_tensors_stay_as_they_were_after_an_exception(
    saved: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "t.npz").write_bytes(b"before")

    def broken(file: object, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr("rootshift.cli.simulate.np.savez", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        invoke("simulate", saved, "--image", image, "--tensors", out / "t.npz")
    assert files(out) == {"t.npz": b"before"}


@pytest.mark.parametrize("place", ["", "file/tensors.npz", "."])
def test_tensors_go_to_a_file_that_can_be_written(
    saved: Path, image: Path, elsewhere: Path, place: str
) -> None:
    (elsewhere / "file").write_text("mine")
    message = refused("simulate", saved, "--image", image, "--tensors", place)
    assert ("cannot be written" if place else "must name a file") in message
    assert files(elsewhere) == {"file": b"mine"}


def image_directory(folder: Path) -> Path:
    return folder


def image_missing(folder: Path) -> Path:
    return folder / "no.png"


def image_of_text(folder: Path) -> Path:
    path = folder / "text.png"
    path.write_text("this is no image")
    return path


def image_truncated(folder: Path) -> Path:
    path = folder / "half.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def image_empty(folder: Path) -> Path:
    path = folder / "empty.png"
    path.touch()
    return path


def image_of_16_bits(folder: Path) -> Path:
    path = folder / "deep.png"
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (image_directory, "cannot be decoded"),
        (image_missing, "no such file"),
        (image_of_text, "cannot be decoded"),
        (image_truncated, "cannot be decoded"),
        (image_empty, "cannot be decoded"),
        (image_of_16_bits, "must have 8 bits per channel"),
    ],
)
def test_a_bad_image_is_named(saved: Path, tmp_path: Path, make, reason: str) -> None:
    path = make(tmp_path)
    message = refused("simulate", saved, "--image", path, "--json")
    assert message.startswith(f"image {path}: {reason}")


def no_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def no_tensors(directory: Path) -> None:
    (directory / "tensors.safetensors").unlink()


def newer_schema(directory: Path) -> None:
    manifest, _ = read(directory)
    write(directory, manifest | {"schema": SCHEMA + 1})


def corrupt_tensors(directory: Path) -> None:
    path = directory / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncated_manifest(directory: Path) -> None:
    path = directory / "manifest.json"
    path.write_bytes(path.read_bytes()[:-40])


def other_numbers(directory: Path) -> None:
    alter(directory, lambda manifest, tensors: tensors["head.bias"].fill(2**31 - 1))


def other_width(directory: Path) -> None:
    alter(directory, lambda manifest, tensors: manifest["bits"].update(weights=12))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (no_manifest, "manifest.json: cannot be read: No such file"),
        (no_tensors, "tensors.safetensors: cannot be read: No such file"),
        (newer_schema, f"manifest.json: schema must be {SCHEMA}, not {SCHEMA + 1}"),
        (corrupt_tensors, "tensors.safetensors: altered or truncated"),
        (truncated_manifest, "manifest.json: altered or truncated"),
        (other_numbers, "head: worst-case accumulator must fit 32 bits"),
        (other_width, "bits.weights must be from 3 to 8, not 12"),
    ],
)
def test_a_bad_artifact_is_named(saved: Path, image: Path, damage, reason: str) -> None:
    damage(saved)
    message = refused("simulate", saved, "--image", image)
    assert str(saved) in message
    assert reason in message


def test_an_engine_that_is_not_there_is_refused(saved: Path, image: Path) -> None:
    message = refused("simulate", saved, "--image", image, "--engine", "warp")
    assert "--engine: invalid choice: 'warp'" in message
