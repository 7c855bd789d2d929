"""Any JSON anywhere in a manifest, digests right: loading refuses it, or the model runs."""

import copy
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.artifact import Artifact
from rootshift.errors import ArtifactError
from rootshift.sim.golden.model import GoldenModel

from ..random_model import Size, random_artifact, random_pixels
from ..random_swin import random_swin
from ..seeds import explored
from .tampering import MANIFEST, read, write

NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([1 << 15, (1 << 16) - 1, 1 << 31, 1 << 63, 1 << 64, 10**400, -1]),
    st.floats(),
    st.booleans(),
)
WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["sqrt2", "2", "token", "avg", "gemm", "pool", "pixels", "head", "embed"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> list[Place]:
    """Where a value and all that it holds can be found."""
    keys = value if isinstance(value, dict) else range(len(value)) if holds(value) else ()
    inner = [place for key in keys for place in places(value[key], (*at, key))]
    return [at, *inner] if at else inner


def holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def found(manifest: Any, place: Place) -> Any:
    for key in place:
        manifest = manifest[key]
    return manifest


def loads_and_runs_or_refuses(directory: Path) -> None:
    """Only an ArtifactError of one line; what loads must run, and fit its own shapes."""
    try:
        artifact = Artifact.load(directory)
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert artifact.macs() >= 0
    if np.prod(artifact.preprocessing.shape) > 1 << 20:
        return
    pixels = random_pixels(np.random.default_rng(0), artifact, 3)
    shapes = artifact.shapes()
    inference = GoldenModel(artifact).run(pixels, keep=shapes)
    want = np.int32 if artifact.is_classifier else np.int16
    assert {output.dtype for output in inference.outputs.values()} == {np.dtype(want)}
    for name, shape in shapes.items():
        assert inference.tensors[name].shape == (3, *shape), name


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tensors all have the same shape, so that shapes alone refuse little."""
    directory = tmp_path_factory.mktemp("fuzz") / "model"
    size = Size(width=8, hidden=8, classes=8, heads=1, prefix=0, pool="avg")
    random_artifact(np.random.default_rng(3), size).save(directory)
    return directory


@pytest.fixture(scope="module")
def original(fuzzed: Path) -> dict[str, Any]:
    return read(fuzzed)[0]


def test_the_original_loads(fuzzed: Path, original: dict[str, Any]) -> None:
    """The fuzz tests below must fail for what they change, not for how they write it."""
    before = (fuzzed / MANIFEST).read_bytes()
    write(fuzzed, original)
    assert (fuzzed / MANIFEST).read_bytes() == before
    loads_and_runs_or_refuses(fuzzed)
    Artifact.load(fuzzed)


@explored(500)
@given(data=st.data())
def test_values_replaced(data: st.DataObject, fuzzed: Path, original: dict[str, Any]) -> None:
    manifest = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(manifest)))
        found(manifest, place[:-1])[place[-1]] = data.draw(VALUES)
    write(fuzzed, manifest)
    loads_and_runs_or_refuses(fuzzed)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone with windows, masks, gathers and two outputs."""
    directory = tmp_path_factory.mktemp("fuzz") / "swin"
    random_swin(np.random.default_rng(3), (4, 6, 1), (2, 2), width=4, features=True).save(directory)
    return directory


@explored(200)
@given(data=st.data())
def test_values_of_windows_replaced(data: st.DataObject, windowed: Path) -> None:
    before = (windowed / MANIFEST).read_bytes()
    manifest = read(windowed)[0]
    kinds = ("scores", "score_bias", "shift_attention", "gather", "layernorm")
    chosen = [item for item in manifest["operators"] if item["kind"] in kinds]
    target = data.draw(st.sampled_from([*chosen, *manifest["outputs"]]))
    place = data.draw(st.sampled_from(places(target)))
    found(target, place[:-1])[place[-1]] = data.draw(VALUES)
    write(windowed, manifest)
    try:
        loads_and_runs_or_refuses(windowed)
    finally:
        (windowed / MANIFEST).write_bytes(before)


@explored(400)
@given(data=st.data())
def test_values_swapped_for_others_of_the_manifest(
    data: st.DataObject, fuzzed: Path, original: dict[str, Any]
) -> None:
    """The likely mistakes: another operator's input, width, kind, shift."""
    manifest = copy.deepcopy(original)
    operators = manifest["operators"]
    key = data.draw(st.sampled_from(["inputs", "inputs", "kind", "parameters", "name", "tensors"]))
    target = data.draw(st.sampled_from(operators))
    if key == "inputs":
        names = ["pixels", *(item["name"] for item in operators)]
        index = data.draw(st.integers(0, len(target["inputs"]) - 1))
        target["inputs"][index] = data.draw(st.sampled_from(names))
    elif key == "parameters" and target["parameters"]:
        name = data.draw(st.sampled_from(sorted(target["parameters"])))
        others = [o["parameters"][name] for o in operators if name in o["parameters"]]
        target["parameters"][name] = data.draw(st.sampled_from(others))
    else:
        target[key] = copy.deepcopy(data.draw(st.sampled_from(operators))[key])
    write(fuzzed, manifest)
    loads_and_runs_or_refuses(fuzzed)


@explored(200)
@given(data=st.data())
def test_fields_dropped_and_added(
    data: st.DataObject, fuzzed: Path, original: dict[str, Any]
) -> None:
    manifest = copy.deepcopy(original)
    holders = [(), *(p for p in places(manifest) if holds(found(manifest, p)))]
    holder = found(manifest, data.draw(st.sampled_from(holders)))
    keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
    if keys and data.draw(st.booleans()):
        del holder[data.draw(st.sampled_from(keys))]
    elif isinstance(holder, dict):
        holder[data.draw(st.text(max_size=5))] = data.draw(VALUES)
    else:
        holder.insert(data.draw(st.integers(0, len(holder))), data.draw(VALUES))
    write(fuzzed, manifest)
    loads_and_runs_or_refuses(fuzzed)
