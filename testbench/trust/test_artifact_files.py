"""What `contract/test_artifact_fuzz.py` leaves out of an artifact: bytes, tensors, deep nesting.

There every JSON value of a manifest is replaced; here the files themselves are damaged, tensor
files get other headers, and what loads goes through a command of the command line.
"""

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import save

from rootshift.artifact import MANIFEST, TENSORS, Artifact
from rootshift.errors import ArtifactError
from rootshift.sim.golden.model import GoldenModel

from ..contract.tampering import read, write
from ..random_model import random_pixels
from ..seeds import explored
from .damage import DEPTHS, VALUES, damaged, nested, replaced
from .tally import attempt


@pytest.fixture(scope="module")
def folder(artifact: Artifact, work: Path) -> Path:
    """A copy to damage."""
    artifact.save(work / "model")
    return work / "model"


@pytest.fixture(scope="module")
def manifest(saved: Path) -> dict[str, Any]:
    return read(saved)[0]


def loads_and_runs_or_refuses(folder: Path) -> Artifact | None:
    found = attempt("artifact", lambda: Artifact.load(folder))
    if found is not None and np.prod(found.preprocessing.shape) < 1 << 20:
        GoldenModel(found).run(random_pixels(np.random.default_rng(0), found, 1))
    return found


@explored(200)
@given(data=st.data())
def test_damaged_files(data: st.DataObject, saved: Path, folder: Path) -> None:
    """Digests see every damage."""
    contents = {name: (saved / name).read_bytes() for name in (MANIFEST, TENSORS)}
    name = data.draw(st.sampled_from([MANIFEST, TENSORS]))
    changed = contents | {name: data.draw(damaged(contents[name]))}
    for each, content in changed.items():
        (folder / each).write_bytes(content)
    assert (loads_and_runs_or_refuses(folder) is None) == (changed != contents)


@explored(200)
@given(data=st.data())
def test_tensor_files_with_right_digests(
    data: st.DataObject, saved: Path, folder: Path, manifest: dict[str, Any]
) -> None:
    payload = (saved / TENSORS).read_bytes()
    if data.draw(st.booleans()):
        payload = data.draw(damaged(payload))
    else:
        size = int.from_bytes(payload[:8], "little")
        header = data.draw(replaced(json.loads(payload[8 : 8 + size]), st.one_of(VALUES, SHAPES)))
        text = json.dumps(header).encode()
        payload = len(text).to_bytes(8, "little") + text + payload[8 + size :]
    write(folder, manifest, payload)
    loads_and_runs_or_refuses(folder)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 12, -1, 1 << 31, 1 << 62, 1 << 64]), max_size=4)


@explored(150)
@given(data=st.data())
def test_integers_at_the_ends_of_types(data: st.DataObject, saved: Path, folder: Path) -> None:
    """What loads runs within its widths, whatever its arrays hold."""
    manifest, tensors = read(saved)
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3)):
        array = tensors[name].copy()
        low, high = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
        value = data.draw(st.sampled_from([low, high, 0, 1, high // 2]))
        array.flat[data.draw(st.integers(0, array.size - 1)) :] = value
        tensors[name] = array
    write(folder, manifest, save(tensors))
    loads_and_runs_or_refuses(folder)


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_nesting(depth: int, folder: Path, saved: Path, manifest: dict[str, Any]) -> None:
    """In every field, and as the whole manifest, with digests where Python can make them."""
    for content in (b"[" * depth + b"]" * depth, b'{"schema":' * depth + b"2" + b"}" * depth):
        (folder / MANIFEST).write_bytes(content)
        with pytest.raises(ArtifactError, match=r"manifest\.json: "):
            Artifact.load(folder)
    for key in manifest if depth < 500 else ():
        write(folder, manifest | {key: nested(depth)}, (saved / TENSORS).read_bytes())
        found = attempt("artifact", lambda: Artifact.load(folder))
        assert found is None or key in ("tensors_sha256", "manifest_sha256")  # made anew by `write`


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
@pytest.mark.parametrize("kind", ["folder", "link to nothing", "link to itself", "empty"])
def test_files_that_are_something_else(
    name: str, kind: str, artifact: Artifact, tmp_path: Path
) -> None:
    artifact.save(tmp_path / "model")
    path = tmp_path / "model" / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    else:
        path.symlink_to(path if kind == "link to itself" else tmp_path / "nothing")
    assert attempt("artifact", lambda: Artifact.load(tmp_path / "model")) is None
