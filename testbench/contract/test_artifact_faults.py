"""Artifacts with right digests and one fault each: every one has its own message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from .tampering import alter, read, refused, write


def operator(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in manifest["operators"] if item["name"] == name)


def parameter(name: str, key: str, value: Any) -> Callable[..., object]:
    """A change of one parameter of one operator."""
    return lambda manifest, _: operator(manifest, name)["parameters"].update({key: value})


def entry(name: str, /, **changes: Any) -> Callable[..., object]:
    """A change of the entry of one operator."""
    return lambda manifest, _: operator(manifest, name).update(changes)


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., object]:
    """A change of one array."""
    return lambda _, tensors: tensors.update({name: np.ascontiguousarray(change(tensors[name]))})


def first(value: int) -> Callable[[np.ndarray], np.ndarray]:
    """Put `value` into the first element."""

    def change(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        a.flat[0] = value
        return a

    return change


CHANGES: dict[str, tuple[Callable[..., object], str]] = {
    "missing array": (
        lambda _, tensors: tensors.pop("head.bias"),
        r"head: bias is missing in tensors\.safetensors",
    ),
    "extra array": (
        lambda _, tensors: tensors.update({"head.more": np.zeros(1, np.int8)}),
        r"tensors\.safetensors: 'head\.more' belongs to no operator",
    ),
    "float array": (
        array("head.bias", lambda a: a.astype(np.float32)),
        r"head: bias must be of type int32, not float32",
    ),
    "wider array": (
        array("head.weight_zero", lambda a: a.astype(np.int32)),
        r"head: weight_zero must be of type int16, not int32",
    ),
    "another rank": (
        array("head.bias", lambda a: a[None]),
        r"head: bias must be of shape \[channels\], not \[1, 10\]",
    ),
    "empty array": (
        array("head.bias", lambda a: a[:0]),
        r"head: bias must be of shape \[channels\], not \[0\]",
    ),
    "another length": (
        array("head.bias", lambda a: a[:-1]),
        r"head: bias must have 10 channels, not 9",
    ),
    "another depth": (
        array("head.weight", lambda a: a[:, 1:]),
        r"head: depth must be 11, not 12",
    ),
    "weight out of range": (
        array("block0.q.weight", first(16)),
        r"block0\.q: weight must be below 2\^4, not 16",
    ),
    "table out of range": (
        array("block0.gelu.table", first(16)),
        r"block0\.gelu: table must be below 2\^4, not 16",
    ),
    "short table": (
        array("block0.gelu.table", lambda a: a[1:]),
        r"block0\.gelu: entries must be 256, not 255",
    ),
    "bias beyond the sum": (
        array("block0.q.bias", first((1 << 31) - 1)),
        r"block0\.q: worst-case accumulator must fit 32 bits, not 33",
    ),
    "logit beyond its width": (
        lambda manifest, tensors: (
            parameter("head", "shift", 0)(manifest, tensors),
            array("head.bias", first(1 << 30))(manifest, tensors),
        ),
        r"head: worst-case logit must fit 32 bits, not \d+",
    ),
    "shift out of range": (
        parameter("head", "shift", 48),
        r"head: shift must be in 0\.\.47, not 48",
    ),
    "negative shift": (parameter("head", "shift", -1), r"head: shift must be in 0\.\.47, not -1"),
    "text for a number": (
        parameter("head", "shift", "3"),
        r"head: shift must be an integer, not '3'",
    ),
    "true for a number": (
        parameter("block0.scores", "heads", True),
        r"block0\.scores: heads must be an integer, not True",
    ),
    "float for a width": (
        parameter("block0.softmax", "log_width", 4.0),
        r"block0\.softmax: log_width must be one of 3, 4, 5, 6, 7, 8, not 4\.0",
    ),
    "unknown base": (
        parameter("block0.softmax", "base", "e"),
        r"block0\.softmax: base must be one of 'sqrt2', '2', not 'e'",
    ),
    "unknown parameter": (
        parameter("head", "colour", 1),
        r"head: field 'colour' is unknown",
    ),
    "missing parameter": (
        lambda manifest, _: operator(manifest, "head")["parameters"].pop("width"),
        r"head: field 'width' is missing",
    ),
    "parameters as a list": (
        entry("head", parameters=[1]),
        r"operator: parameters must be of type dict, not \[1\]",
    ),
    "unknown kind": (
        entry("head", kind="conv"),
        r"head: kind must be one of patchify, .*, not 'conv'",
    ),
    "scale of text": (entry("head", scale="1"), r"operator: scale must be of type float, not '1'"),
    "scale of zero": (entry("head", scale=0.0), r"head: scale must be a positive number, not 0\.0"),
    "infinite scale": (entry("head", scale=float("inf")), r"head: scale must be .*, not inf"),
    "unknown input": (
        entry("head", inputs=["nowhere"]),
        r"head: input must be made before use, not nowhere",
    ),
    "its own input": (entry("head", inputs=["head"]), r"head: input must be made before use"),
    "too few inputs": (
        entry("block0.scores", inputs=["block0.q"]),
        r"block0\.scores: inputs must be 2 names, not \['block0\.q'\]",
    ),
    "inputs as text": (
        entry("head", inputs="n"),
        r"operator: inputs must be of type list, not 'n'",
    ),
    "clashing shapes": (
        entry("block0.add1", inputs=["embed", "patch_embed"]),
        r"block0\.add1: branch must be \(5, 12\), not \(4, 12\)",
    ),
    "axes of another operator": (
        entry("block0.softmax", inputs=["block0.q"]),
        r"block0\.",
    ),
    "repeated name": (
        lambda manifest, _: manifest["operators"].insert(1, manifest["operators"][0]),
        r"patches: name must be unique",
    ),
    "name of the input": (entry("patches", name="pixels"), r"pixels: name must be unique"),
    "name of a number": (entry("patches", name=3), r"operator: name must be of type str, not 3"),
    "no operators": (
        lambda manifest, tensors: (manifest["operators"].clear(), tensors.clear()),
        r"operators must not be empty",
    ),
    "operators as an object": (
        lambda manifest, _: manifest.update(operators={"head": {}}),
        r"manifest\.json: operators must be of type list, not",
    ),
    "operator as text": (
        lambda manifest, _: manifest["operators"].append("head"),
        r"operator must be of type dict, not 'head'",
    ),
    "name of two lines": (
        entry("patches", name="a\nb"),
        r"operator and input names must be printable text, not 'a\\nb'",
    ),
    "input of a number": (
        entry("patches", inputs=[1]),
        r"operator and input names must be printable text, not 1",
    ),
    "another list of arrays": (
        entry("head", tensors=["bias"]),
        r"head: tensors must be \['bias', .*\], not \['bias'\]",
    ),
    "no scale": (
        lambda manifest, _: operator(manifest, "head").pop("scale"),
        r"operator: field 'scale' is missing",
    ),
    "no bits": (
        lambda manifest, _: manifest.pop("bits"),
        r"manifest\.json: field 'bits' is missing",
    ),
    "bits of text": (
        lambda manifest, _: manifest.update(bits="W4A4"),
        r"manifest\.json: bits must be of type dict, not 'W4A4'",
    ),
    "bits out of range": (
        lambda manifest, _: manifest["bits"].update(log=9),
        r"bits\.log must be from 3 to 8, not 9",
    ),
    "log bits left out": (
        lambda manifest, _: manifest["bits"].pop("log"),
        r"bits: field 'log' is missing",
    ),
    "bits of the future": (
        lambda manifest, _: manifest["bits"].update(gelu=9),
        r"bits: field 'gelu' is unknown",
    ),
    "field of the future": (
        lambda manifest, _: manifest.update(license="MIT"),
        r"manifest\.json: field 'license' is unknown",
    ),
    "no outputs": (
        lambda manifest, _: manifest.update(outputs=[]),
        r"outputs must not be empty",
    ),
    "output as text": (
        lambda manifest, _: manifest.update(outputs=["head"]),
        r"output must be of type dict, not 'head'",
    ),
    "output without a prefix": (
        lambda manifest, _: manifest["outputs"][0].pop("prefix"),
        r"output: field 'prefix' is missing",
    ),
    "grid of null": (
        lambda manifest, _: manifest["outputs"][0].update(grid=None),
        r"output: grid must be of type list, not None",
    ),
    "logits behind a prefix": (
        lambda manifest, _: manifest["outputs"][0].update(prefix=1),
        r"output head: prefix must be 0, not 1",
    ),
    "output of nothing": (
        lambda manifest, _: manifest["outputs"][0].update(name="tail"),
        r"output tail: must be the name of an operator",
    ),
    "logits in the middle": (
        lambda manifest, _: manifest["outputs"][0].update(name="norm"),
        r"output norm: logits must be the last operator's, head's",
    ),
    "source of text": (
        lambda manifest, _: manifest.update(source="timm"),
        r"manifest\.json: source must be of type dict, not 'timm'",
    ),
    "image of another size": (
        lambda manifest, _: manifest["preprocessing"].update(height=6),
        r"patches: image of 6x8 must be a multiple of the patch 4x4",
    ),
    "preprocessing without a field": (
        lambda manifest, _: manifest["preprocessing"].pop("mean"),
        r"preprocessing must have the fields .* missing \['mean'\]",
    ),
    "enormous mean": (
        lambda manifest, _: manifest["preprocessing"].update(mean=[10**400]),
        r"mean",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_with_right_digests_is_refused(saved: Path, what: str) -> None:
    change, message = CHANGES[what]
    alter(saved, change)
    refused(saved, message)


@pytest.mark.parametrize("payload", [b"", b"\0" * 8, b"\xff" * 64, save({})[:-1], b"{}"])
def test_tensors_of_another_format_are_refused(saved: Path, payload: bytes) -> None:
    write(saved, read(saved)[0], payload)
    refused(saved, r"tensors\.safetensors: \w+")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_other_number_types_are_refused(saved: Path, dtype: str) -> None:
    size = {"BF16": 2}.get(dtype, 1)
    header = {"head.bias": {"dtype": dtype, "shape": [10], "data_offsets": [0, 10 * size]}}
    text = json.dumps(header).encode()
    payload = len(text).to_bytes(8, "little") + text + bytes(10 * size)
    write(saved, read(saved)[0], payload)
    refused(saved, r"tensors\.safetensors: \w+")
