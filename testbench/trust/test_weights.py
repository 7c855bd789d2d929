"""Weights: the model they are, or a refusal; nothing is run from them and sizes cost nothing."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from rootshift.errors import ModelError
from rootshift.quant.models import load_model, read_checkpoint

from ..seeds import explored
from .damage import VALUES, damaged, replaced
from .tally import attempt

MEMORY = 6 << 30
"""Address space of a child that loads malformed sizes; torch alone maps over two."""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_model("digits", "timm").state_dict()


def file_of(header: Any, data: bytes) -> bytes:
    """A safetensors file of any header, JSON values or the text itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


SMALL = {
    "__metadata__": {"format": "pt"},
    "head.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "head.bias": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
}
DATA = bytes(range(28))


def reads_or_refuses(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    found = attempt(f"weights, {path.suffix}", lambda: read_checkpoint(path))
    for value in (found or {}).values():
        assert value.is_floating_point()
        assert value.numel() * value.element_size() <= len(content)


def test_the_original_is_read(work: Path) -> None:
    path = work / "x.safetensors"
    path.write_bytes(file_of(SMALL, DATA))
    assert read_checkpoint(path)["head.weight"].shape == (2, 3)


@explored(150)
@given(content=damaged(file_of(SMALL, DATA)))
def test_damaged_bytes(content: bytes, work: Path) -> None:
    reads_or_refuses(content, work / "x.safetensors")


DTYPES = st.sampled_from(["F64", "BF16", "F8_E4M3", "I64", "BOOL", "U8", "C64", "F4", "", "f32"])
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, -1, 6, 1 << 31, 1 << 62, 1 << 64]), max_size=4)


@explored(300)
@given(header=replaced(SMALL, st.one_of(VALUES, DTYPES, SHAPES)))
def test_headers(header: Any, work: Path) -> None:
    reads_or_refuses(file_of(header, DATA), work / "x.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(8),
        (1 << 62).to_bytes(8, "little"),
        (99_000_000).to_bytes(8, "little") + b"{}",
        file_of(b"[" * 100_000, b""),
        file_of(b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b""),
        file_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2, DATA),
        file_of(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[7],"data_offsets":[0,28]}}',
            DATA,
        ),
    ],
    ids=["nothing", "no header", "2^62", "99 MB", "deep list", "deep", "cut", "double keys"],
)
def test_headers_that_are_none(content: bytes, work: Path) -> None:
    reads_or_refuses(content, work / "x.safetensors")


def pickled(weights: dict[str, torch.Tensor], work: Path) -> bytes:
    path = work / "good.pth"
    torch.save({"head.weight": weights["head.weight"]}, path)
    return path.read_bytes()


@explored(150)
@given(data=st.data())
def test_damaged_pickles(data: st.DataObject, weights: dict[str, torch.Tensor], work: Path) -> None:
    reads_or_refuses(data.draw(damaged(pickled(weights, work))), work / "x.pth")


class Touch:
    """Unpickles by running a command."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_nothing_in_a_file_is_run(suffix: str, wrapped: bool, work: Path) -> None:
    mark, path = work / "mark", work / f"evil{suffix}"
    for call, arguments in (
        (os.system, (f"touch {mark}",)),
        (open, (str(mark), "w")),
        (eval, (f"open({str(mark)!r}, 'w')",)),
    ):
        body = {"head.weight": Touch(call, *arguments)}
        plain = pickle.dumps({"model": body} if wrapped else body)
        path.write_bytes(plain)
        assert attempt(f"weights, {suffix}", lambda: read_checkpoint(path)) is None
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", plain)
            archive.writestr("archive/version", "3\n")
        assert attempt(f"weights, {suffix}", lambda: read_checkpoint(path)) is None
        assert not mark.exists()


LOAD = """
import resource, sys
from rootshift.errors import ModelError
from rootshift.quant.models import load_model
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        load_model("digits", path)
        sys.exit("it was loaded")
    except ModelError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_malformed_sizes_cost_no_memory(work: Path) -> None:
    """A head of no bytes but ten million classes must not make a model of so many."""
    shapes = [[10_000_000, 0], [1 << 40, 0], [0, 48], [20_000_000, 0, 5], [0, 1 << 40]]
    paths = []
    for number, shape in enumerate(shapes):
        header = {"head.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
        paths.append(work / f"size{number}.safetensors")
        paths[-1].write_bytes(file_of(header, b""))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(MEMORY), *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = [int(line) for line in done.stdout.split()]
    print(dict(zip(map(str, shapes), grown, strict=True)))
    assert max(grown) < 200_000  # kilobytes
    for path in paths:
        assert attempt("weights, sizes", lambda p=path: load_model("digits", p)) is None


def test_no_file_is_given_by_a_name_of_timm(work: Path) -> None:
    for name in ("", "digits\0", "../digits", "hf-hub:x/y", "local-dir:/tmp", "é" * 300):
        with pytest.raises(ModelError, match="must be a timm model name or 'digits'"):
            load_model(name, "timm")
