"""`rootshift export`: one ONNX file, whole or not at all, and a clear word where it cannot be."""

import sys
from pathlib import Path

import onnxruntime
import pytest

from rootshift.artifact import TENSORS, Artifact
from rootshift.quant.onnx.model import onnx_bytes

from .running import files, invoke, refused


def test_json_says_what_is_there(saved: Path, random_model: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model.onnx"
    outcome = invoke("export", saved, "--format", "onnx", "--out", out, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    content = out.read_bytes()
    assert content == onnx_bytes(random_model)
    assert outcome.json == {
        "out": str(out),
        "format": "onnx",
        "bits": "W4A4",
        "operators": len(random_model.operators),
        "bytes": len(content),
        "artifact": random_model.digest,
    }
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [given.shape for given in session.get_inputs()] == [["batch", 8, 8, 1]]
    assert [made.shape for made in session.get_outputs()] == [["batch", 10]]


def test_text_says_where_it_is(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    text = invoke("export", saved, "--out", out).out
    assert text.startswith("onnx model of ")
    assert text.endswith(f" W4A4, {out.stat().st_size} bytes -> {out}\n")


def test_a_directory_is_no_file(saved: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    why = refused("export", saved, "--out", tmp_path)
    assert why == f"--out must be a file, not the directory {tmp_path}"
    why = refused("export", saved, "--out", saved / TENSORS / "model.onnx")
    assert why.endswith("cannot be written: Not a directory")
    assert files(tmp_path) == before


def test_wrong_words(saved: Path, elsewhere: Path) -> None:
    assert "--out" in refused_line("export", saved)
    assert "invalid choice: 'tflite'" in refused_line(
        "export", saved, "--format", "tflite", "--out", "x"
    )
    assert not files(elsewhere)


def refused_line(*words: object) -> str:
    """What the parser says of a wrong command line."""
    outcome = invoke(*words)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    return outcome.err


def test_a_damaged_artifact(saved: Path, elsewhere: Path) -> None:
    content = bytearray((saved / TENSORS).read_bytes())
    content[-1] ^= 1
    (saved / TENSORS).write_bytes(content)
    why = refused("export", saved, "--out", "model.onnx")
    assert why == f"{saved / TENSORS}: altered or truncated: digest does not match"
    assert "cannot be read" in refused("export", "absent", "--out", "model.onnx")
    assert not files(elsewhere)


def test_onnx_is_not_installed(
    saved: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("rootshift.quant.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    why = refused("export", saved, "--out", "model.onnx")
    assert why == "onnx is needed to export: pip install 'rootshift[onnx]'"
    assert not files(elsewhere)
