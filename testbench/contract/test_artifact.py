"""The artifact on disk: what is saved comes back, and nothing else is accepted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact

from ..random_model import Size, random_artifact
from ..random_swin import random_swin
from ..seeds import generator
from .tampering import MANIFEST, TENSORS, read, refused


def assert_equal(a: Artifact, b: Artifact) -> None:
    assert (dict(a.source), a.bits, a.preprocessing) == (dict(b.source), b.bits, b.preprocessing)
    assert a.outputs == b.outputs
    assert len(a.operators) == len(b.operators)
    for x, y in zip(a.operators, b.operators, strict=True):
        assert type(x) is type(y)
        assert (x.name, x.inputs, x.scale) == (y.name, y.inputs, y.scale)
        assert x.parameters() == y.parameters()
        assert {k: type(v) for k, v in x.parameters().items()} == {
            k: type(v) for k, v in y.parameters().items()
        }
        for key, array in x.tensors().items():
            np.testing.assert_array_equal(y.tensors()[key], array, strict=True)


@pytest.mark.parametrize("bits", ["W3A3", "W4A4L5", "W8A8"])
@pytest.mark.parametrize("base", ["sqrt2", "2"])
def test_what_is_saved_comes_back(bits: str, base: str, tmp_path: Path) -> None:
    size = Size(image=(4, 8, 3), depth=2, pool="avg")
    artifact = random_artifact(generator(), size, bits=bits, base=base)
    comes_back(artifact, tmp_path)


@pytest.mark.parametrize("features", [False, True])
def test_windows_and_feature_maps_come_back(features: bool, tmp_path: Path) -> None:
    artifact = random_swin(generator(), features=features)
    comes_back(artifact, tmp_path)
    assert artifact.is_classifier is not features


def comes_back(artifact: Artifact, tmp_path: Path) -> None:
    """Equal when loaded, and equal files when saved again."""
    artifact.save(tmp_path / "a")
    loaded = Artifact.load(tmp_path / "a")
    assert_equal(artifact, loaded)
    assert loaded.shapes() == artifact.shapes()
    loaded.save(tmp_path / "b")
    for name in (MANIFEST, TENSORS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_on_disk_is_two_files_of_integers(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {MANIFEST, TENSORS}
    manifest, tensors = read(saved)
    assert {array.dtype.kind for array in tensors.values()} <= {"i", "u"}
    assert [item["kind"] for item in manifest["operators"]][:3] == ["patchify", "gemm", "embed"]


def test_awkward_sources_come_back(artifact: Artifact, saved: Path) -> None:
    source = {"ü": '\udc80\n"', "float": 0.1 + 0.2, "none": None, "deep": [{"a": [1, 2.5e300]}]}
    changed = Artifact(
        source=source,
        bits=artifact.bits,
        preprocessing=artifact.preprocessing,
        operators=artifact.operators,
        outputs=artifact.outputs,
    )
    changed.save(saved)
    assert Artifact.load(saved).source == source


def test_an_operator_is_found_by_name(artifact: Artifact) -> None:
    assert artifact["head"].kind == "gemm"
    with pytest.raises(KeyError, match="tail"):
        artifact["tail"]


def test_macs_of_a_model_worked_out_by_hand() -> None:
    """4 patches of 16 pixels, 5 tokens of width 12, hidden 24, 10 classes."""
    artifact = random_artifact(np.random.default_rng(0))
    block = 5 * (4 * 12 * 12 + 2 * 12 * 24) + 2 * 5 * 5 * 12
    assert artifact.macs() == 4 * 16 * 12 + block + 12 * 10


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_truncated_file_is_refused(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    lengths = {0, 1, 7, 8, 9, len(content) - 2, len(content) - 1}
    lengths |= set(generator().integers(0, len(content), 100).tolist())
    for length in sorted(lengths):
        (saved / name).write_bytes(content[:length])
        refused(saved, name)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_an_altered_byte_anywhere_is_refused(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    rng = generator()
    positions = {0, 1, 7, 8, len(content) - 1} | set(rng.integers(0, len(content), 300).tolist())
    for position in sorted(positions):
        changed = bytearray(content)
        changed[position] ^= int(rng.integers(1, 256))
        (saved / name).write_bytes(changed)
        refused(saved, name)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
@pytest.mark.parametrize("extra", [b"\n", b" ", b"\0", b"{}"])
def test_an_appended_byte_is_refused(saved: Path, name: str, extra: bytes) -> None:
    with (saved / name).open("ab") as file:
        file.write(extra)
    refused(saved, name)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    refused(saved, rf"{name}: cannot be read: No such file")


def test_a_missing_or_wrong_directory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", r"manifest\.json: cannot be read: No such file")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", r"manifest\.json: cannot be read: Not a directory")


def test_files_of_two_artifacts_are_not_mixed(saved: Path, tmp_path: Path) -> None:
    random_artifact(np.random.default_rng(8)).save(tmp_path / "other")
    (saved / TENSORS).write_bytes((tmp_path / "other" / TENSORS).read_bytes())
    refused(saved, r"tensors\.safetensors: altered or truncated: digest does not match")


@pytest.mark.parametrize("schema", [1, 3, 0, "1", True, 1.0, None, [1]])
def test_another_schema_is_refused_before_all_else(saved: Path, schema: Any) -> None:
    (saved / MANIFEST).write_text(json.dumps({"schema": schema, "new": "layout"}))
    (saved / TENSORS).unlink()
    refused(saved, rf"schema must be 2, not {'True' if schema is True else ''}")


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{}", "{", "\xff", "[" * 100_000])
def test_what_is_no_manifest_is_refused(saved: Path, text: str) -> None:
    (saved / MANIFEST).write_bytes(text.encode("latin-1"))
    refused(saved, r"manifest\.json: (not the manifest of an artifact|altered or truncated)")
