"""`rootshift generate`: Verilog, memory, C header and vectors, written whole or not at all."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.preprocessing import load_pixels
from rootshift.sim.golden.model import GoldenModel

from ..contract.tampering import alter
from .conftest import UNITS
from .running import Outcome, files, invoke, refused


@pytest.fixture(scope="module")
def generated(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Everything, for the embedded model on a 2 x 3 array; read only."""
    out = tmp_path_factory.mktemp("generate") / "new" / "out"
    return out, invoke("generate", digits, "--array", "2x3", "--out", out, "--json")


def vectors(out: Path) -> dict[str, np.ndarray]:
    """Tensors read back from their hexadecimal text, unsigned as they stand there."""
    index = json.loads((out / "vectors" / "index.json").read_text())
    assert files(out / "vectors").keys() == {"index.json", *(f"{name}.hex" for name in index)}
    found = {}
    for name, about in index.items():
        lines = (out / "vectors" / f"{name}.hex").read_text().split()
        digits = -(-about["width"] // 4)
        assert {len(line) for line in lines} == {digits}, name
        values = np.array([int(line, 16) for line in lines]).reshape(about["shape"])
        found[name] = values
        assert values.max() < 1 << about["width"]
    return found


def test_json_counts_what_is_there(generated: tuple[Path, Outcome], digits: Path) -> None:
    out, outcome = generated
    result, there = outcome.json, files(out)
    assert (outcome.code, outcome.err) == (0, "")
    assert result == {
        "out": str(out), "array": "2x3", "units": 6, "files": len(there), "written": len(there),
    }  # fmt: skip
    config = AcceleratorConfig.load(out / "config.toml")
    assert config == AcceleratorConfig.for_artifact(Artifact.load(digits), "2x3")
    assert {name for name in there if name.endswith(".v")} == {f"rtl/{name}.v" for name in UNITS}


def test_every_unit_is_a_module_of_its_name(generated: tuple[Path, Outcome]) -> None:
    for path in (generated[0] / "rtl").iterdir():
        assert re.search(rf"^module {path.stem}\(", path.read_text(), re.M), path


def test_nothing_depends_on_place_or_time(generated: tuple[Path, Outcome]) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for name, content in files(generated[0]).items():
        assert root not in content, name
        assert str(generated[0]).encode() not in content, name
        assert not re.search(rb"20\d\d-\d\d-\d\d", content), name


def test_a_second_run_writes_nothing(
    generated: tuple[Path, Outcome], digits: Path, tmp_path: Path, quick: None
) -> None:
    words = ("generate", digits, "--array", "2x3", "--out", tmp_path / "out")
    assert invoke(*words, "--json").json["written"] == len(files(generated[0]))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert invoke(*words, "--json").json["written"] == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert invoke(*words).out == (
        f"6 Verilog modules for a 2x3 array, {len(files(generated[0]))} files in all, "
        f"0 new or changed -> {tmp_path / 'out'}\n"
    )


def test_another_image_changes_vectors_only(
    digits: Path, image: Path, tmp_path: Path, quick: None
) -> None:
    words = ("generate", digits, "--array", "2x3", "--out", tmp_path)
    invoke(*words)
    before = files(tmp_path)
    result = invoke(*words, "--image", image, "--json").json
    changed = {name for name, content in files(tmp_path).items() if before.get(name) != content}
    assert result["written"] == len(changed)
    assert changed
    assert all(name.startswith("vectors/") for name in changed)


def test_vectors_are_the_tensors_of_the_image(
    digits: Path, image: Path, tmp_path: Path, quick: None
) -> None:
    invoke("generate", digits, "--image", image, "--out", tmp_path)
    artifact, found = Artifact.load(digits), vectors(tmp_path)
    block = [op for op in artifact.operators if op.name.startswith("blocks.0.")]
    assert found.keys() == {name for op in block for name in (*op.inputs, op.name)}
    pixels = load_pixels(image, artifact.preprocessing)
    golden = GoldenModel(artifact).run(pixels[None], list(found)).tensors
    index = json.loads((tmp_path / "vectors" / "index.json").read_text())
    for name, values in found.items():
        mask = (1 << index[name]["width"]) - 1
        np.testing.assert_array_equal(values, golden[name][0].astype(np.int64) & mask, name)


def test_memory_images_hold_the_artifact(generated: tuple[Path, Outcome], digits: Path) -> None:
    artifact, there = Artifact.load(digits), files(generated[0] / "memory")
    expected = {
        f"{op.name}.{key}.hex": values
        for op in artifact.operators
        for key, values in op.tensors().items()
    }
    assert there.keys() == expected.keys()
    for name, values in expected.items():
        words = [int(line, 16) for line in there[name].split()]
        mask = (1 << 8 * values.dtype.itemsize) - 1
        np.testing.assert_array_equal(words, values.reshape(-1).astype(np.int64) & mask, name)
    weights = there["blocks.0.mlp.fc1.weight.hex"].split()
    assert {len(word) for word in weights} == {1}, "4-bit weights are one digit each"


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler g++ on PATH")
@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_compiles_and_tells_sizes(
    generated: tuple[Path, Outcome], digits: Path, language: str, tmp_path: Path
) -> None:
    artifact = Artifact.load(digits)
    source = tmp_path / "main.c"
    source.write_text(
        '#include "rootshift_model.h"\n#include "rootshift_model.h"\n#include <stdio.h>\n'
        'int main(void) { printf("%d %d %d %d %d %.17g", ROOTSHIFT_CLASSES, ROOTSHIFT_ARRAY_ROWS,'
        " ROOTSHIFT_ARRAY_COLS, ROOTSHIFT_SIZE_PIXELS, ROOTSHIFT_SIZE_BLOCKS_0_ATTN_SCORES,"
        " ROOTSHIFT_LOGIT_STEP); return 0; }\n"
    )
    standard = "-std=c99" if language == "c" else "-std=c++17"
    header = f"-I{generated[0] / 'include'}"
    program = tmp_path / "main"
    command = ["g++", "-x", language, standard, "-Wall", "-Wextra", "-Werror", header]
    subprocess.run([*command, "-o", program, source], check=True)
    told = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    shapes = artifact.shapes()
    sizes = [int(np.prod(shapes[name])) for name in ("pixels", "blocks.0.attn.scores")]
    assert [int(word) for word in told[:5]] == [10, 2, 3, *sizes]
    assert float(told[5]) == artifact.operators[-1].scale


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "--out must be a directory, not the file file"),
        ("file/below", "file/below/config.toml: cannot be written: Not a directory"),
        ("", "--out: must name a file or folder, not ''"),
    ],
)
def test_out_must_be_a_directory(
    digits: Path, elsewhere: Path, quick: None, place: str, message: str
) -> None:
    (elsewhere / "file").write_text("mine")
    assert message in refused("generate", digits, "--out", place)
    assert files(elsewhere) == {"file": b"mine"}


def test_what_else_is_in_the_directory_stays(digits: Path, tmp_path: Path, quick: None) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert invoke("generate", digits, "--out", tmp_path).code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "step", ["hw.verilog.convert", "hw.memory.c_header", "hw.memory.hex_image"]
)
def test_nothing_is_written_before_everything_is_made(
    digits: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    calls = []

    def broken(*arguments: object) -> str:
        calls.append(arguments)
        if len(calls) > 2 or "header" in step:
            raise RuntimeError("in the middle")
        return ""

    monkeypatch.setattr(f"rootshift.{step}", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        invoke("generate", digits, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_an_interrupted_write_leaves_whole_files(
    digits: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("generate", digits, "--out", tmp_path / "whole")
    count = 0

    def interrupted(*places: object) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        rename(*places)

    rename = os.replace
    monkeypatch.setattr("rootshift.output.os.replace", interrupted)
    assert invoke("generate", digits, "--out", tmp_path / "part").code == 130
    whole, part = files(tmp_path / "whole"), files(tmp_path / "part")
    assert len(part) == 5
    assert part.items() <= whole.items()


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/b"])
def test_an_artifact_cannot_write_elsewhere(digits: Path, tmp_path: Path, quick, name: str) -> None:
    shutil.copytree(digits, tmp_path / "evil")

    def rename(manifest: dict, tensors: dict[str, np.ndarray]) -> None:
        manifest["operators"][-1]["name"] = name
        for key in [key for key in tensors if key.startswith("head.")]:
            tensors[f"{name}.{key.removeprefix('head.')}"] = tensors.pop(key)

    alter(tmp_path / "evil", rename)
    before = files(tmp_path)
    message = refused("generate", tmp_path / "evil", "--out", tmp_path / "x" / "o")
    assert message.startswith(f"{name!r}: name must be a file name")
    assert files(tmp_path) == before


def test_an_artifact_without_blocks_is_refused(saved: Path, tmp_path: Path, quick: None) -> None:
    message = refused("generate", saved, "--out", tmp_path / "o")
    assert message == "operators must form an encoder block named blocks.0"
    assert not (tmp_path / "o").exists()
