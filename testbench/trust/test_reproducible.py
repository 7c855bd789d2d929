"""The same inputs give the same bytes, whatever the machine's settings around the process are."""

import hashlib
import locale
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootshift.artifact import Artifact

from ..cli.running import files
from . import tally
from .kills import COMMAND, command

FREE = (
    "ATEN_CPU_CAPABILITY",
    "LANG",
    "LC_ALL",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "PYTHONHASHSEED",
    "TZ",
)
"""Variables of the environment that a setting decides alone."""


def turkish() -> str:
    """A locale in which the capital of i is another letter, or what comes nearest."""
    try:
        before = locale.setlocale(locale.LC_ALL)
        locale.setlocale(locale.LC_ALL, "tr_TR.UTF-8")
        locale.setlocale(locale.LC_ALL, before)
    except locale.Error:
        return "C.UTF-8"
    return "tr_TR.UTF-8"


@dataclass(frozen=True)
class Setting:
    """What should not matter: variables, umask, folder to work in, path of what comes out."""

    variables: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    folder: str = "here"
    out: str = "out"


PLAIN = Setting({"LC_ALL": "C", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "TZ": "UTC"})
SETTINGS = {
    "locale and hashes": Setting(
        {"LC_ALL": turkish(), "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    ),
    "time zone and random hashes": Setting(
        {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "random", "OMP_NUM_THREADS": "1"}
    ),
    # Other code for vectors, sums in another order.
    "another processor": Setting(
        {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "OMP_NUM_THREADS": "1",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Prescott",
        }
    ),
    "two threads": Setting({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}),
    "umask, folder and path": Setting(
        {"OMP_NUM_THREADS": "1"}, 0o077, "ein Ordner/ü \u202e", "../../another place/deep/er"
    ),
    "all at once": Setting(
        {"LC_ALL": turkish(), "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo"},
        0o007,
        "b/c/d",
        "e",
    ),
}
QUICK = ("locale and hashes", "another processor")


DIGITS = "a416c461a83105babf439955680cd5c6383bfd9eeaca14662562d80b50699a10"
"""SHA-256 of the tensors of `quantize digits --limit 4`, made on an AMD EPYC with AVX-512."""


def made(words: Sequence[object], setting: Setting, root: Path, start: Sequence[str] = ()) -> str:
    """Digest of all that a command leaves under a setting: names and bytes of a tree.

    Parameters: `words` without `--out`; `root`, a new folder; `start`, another way to begin.
    """
    folder = root / setting.folder
    folder.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if name not in FREE}
    started = [*start, *map(str, words)] if start else command(words)
    done = subprocess.run(
        [*started, "--out", setting.out],
        cwd=folder, env={**kept, **setting.variables}, umask=setting.umask,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    digest = hashlib.sha256()
    found = files(folder / setting.out)
    assert found
    for name, content in sorted(found.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def same(words: Sequence[object], names: Sequence[str], root: Path, *start: str) -> None:
    """The command leaves the same under the plain setting and under each of those named."""
    expected = made(words, PLAIN, root / "plain", start)
    for name in names:
        assert made(words, SETTINGS[name], root / name, start) == expected, name
        tally.count(f"{words[0]}: {name}", "equal")


def quantize(*more: object) -> tuple[object, ...]:
    return "quantize", "digits", "--limit", 4, *more


def generate(saved: Path, array: str) -> tuple[object, ...]:
    return "generate", saved, "--array", array, "--image", saved.parent / "image.png"


@pytest.fixture(scope="module")
def model(artifact: Artifact, work: Path) -> Path:
    """A model and an image for its test vectors."""
    artifact.save(work / "model")
    noise = np.random.default_rng(3).integers(0, 256, (9, 11), dtype=np.uint8)
    Image.fromarray(noise).save(work / "image.png")
    return work / "model"


def test_quantize(tmp_path: Path) -> None:
    """The bytes of the machine where this was written; under every setting below."""
    same(quantize(), QUICK, tmp_path)
    tensors = tmp_path / "plain" / PLAIN.folder / PLAIN.out / "tensors.safetensors"
    assert hashlib.sha256(tensors.read_bytes()).hexdigest() == DIGITS


def test_generate_but_for_verilog(model: Path, tmp_path: Path) -> None:
    """Program, memory images, headers, drivers, vectors."""
    same(generate(model, "4x4"), QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["repq", "repq+gptq", "repq+erq"])
def test_quantize_under_every_setting(method: str, tmp_path: Path) -> None:
    same(quantize("--method", method, "--bits", "W3A5"), list(SETTINGS), tmp_path)


@pytest.mark.slow
def test_generate_under_every_setting(model: Path, tmp_path: Path) -> None:
    same(generate(model, "4x4"), list(SETTINGS), tmp_path)


@pytest.mark.slow
def test_verilog(model: Path, tmp_path: Path) -> None:
    """The whole design, by Amaranth and Yosys."""
    same(generate(model, "2x2"), ["all at once"], tmp_path, *COMMAND)


@pytest.mark.slow
def test_a_real_model(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    words = (
        "quantize", "deit_tiny_patch16_224",
        "--weights", data / "deit_tiny" / "deit_tiny_patch16_224.safetensors",
        "--calibration", data / "imagenet_samples" / "labels.csv", "--limit", 8,
    )  # fmt: skip
    same(words, ["all at once", "another processor"], tmp_path)
