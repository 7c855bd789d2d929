"""The artifact: a quantized model on disk, the only thing that `quant` hands over.

A directory of two files: `manifest.json` (schema, source, preprocessing, and every operator with
its parameters in execution order) and `tensors.safetensors` (integer arrays only, named
`<operator>.<field>`). The manifest holds the digest of the tensor file and its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .bits import Bits
from .errors import ArtifactError, ConfigError
from .formats import LOGIT_WIDTH
from .operator_base import Operator, Shape, Tensor
from .operators import KINDS, tensor_shapes
from .output import write_folder
from .preprocessing import Preprocessing

SCHEMA = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"

_MANIFEST_FIELDS = {
    "schema": int, "source": dict, "bits": dict, "preprocessing": dict, "operators": list,
    "tensors_sha256": str, "manifest_sha256": str,
}  # fmt: skip
_BITS_FIELDS = {"weights": int, "activations": int, "log": int}
_OPERATOR_FIELDS = {
    "name": str, "kind": str, "inputs": list, "scale": float, "parameters": dict, "tensors": list,
}  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Artifact:
    """An integer model.

    Parameters:
        source: where it comes from, JSON values: model, weights digest, calibration files, options.
        bits: widths of weight, activation and log codes.
        preprocessing: from image file to the uint8 pixels of the input.
        operators: the integer program, in execution order; the last one makes the logits.
    Raises: ArtifactError where names, shapes or sums of the operators do not fit together.
    """

    source: Mapping[str, Any]
    bits: Bits
    preprocessing: Preprocessing
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        if not self.operators:
            raise ArtifactError("operators must not be empty")
        last, shape = self.operators[-1], list(self.shapes().values())[-1]
        if last.output_width != LOGIT_WIDTH or len(shape) != 2 or shape[0] != 1:
            raise ArtifactError(
                f"{last.name}: the last operator must make one row of {LOGIT_WIDTH}-bit logits, "
                f"not {last.output_width} bits of shape {list(shape)}"
            )

    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor of one image's inference, pixels to logits, in order."""
        return tensor_shapes(self.operators, self.preprocessing.shape)

    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        shapes = self.shapes()
        return sum(op.macs(*(shapes[name] for name in op.inputs)) for op in self.operators)

    def __getitem__(self, name: str) -> Operator:
        for operator in self.operators:
            if operator.name == name:
                return operator
        raise KeyError(name)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the artifact holds: `manifest_sha256` of its manifest."""
        return self._content()[0]["manifest_sha256"]

    def _content(self) -> tuple[dict[str, Any], bytes]:
        """The manifest and the tensor file."""
        payload = save(
            {
                f"{operator.name}.{key}": np.ascontiguousarray(value)
                for operator in self.operators
                for key, value in operator.tensors().items()
            }
        )
        manifest = {
            "schema": SCHEMA,
            "source": dict(self.source),
            "bits": {key: getattr(self.bits, key) for key in _BITS_FIELDS},
            "preprocessing": self.preprocessing.to_json(),
            "operators": [_to_json(operator) for operator in self.operators],
            "tensors_sha256": hashlib.sha256(payload).hexdigest(),
        }
        manifest["manifest_sha256"] = _digest(manifest)
        return manifest, payload

    def save(self, directory: str | Path) -> None:
        """Write atomically: `directory` is the old artifact or the new one, never a part of it.

        Raises: ArtifactError where `directory` exists and is not an artifact, or cannot be written.
        """
        target = Path(directory)
        manifest, payload = self._content()
        try:
            check_replaceable(target)
            write_folder(target, {TENSORS: payload, MANIFEST: _render(manifest)})
        except OSError as error:
            # What stands in the way of the folder is a file.
            known = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
            raise ArtifactError(f"{target}: cannot be written: {known or error}") from None

    @classmethod
    def load(cls, directory: str | Path) -> "Artifact":
        """Read and check schema, digests, fields, shapes, ranges and worst-case sums.

        Raises: ArtifactError that says which of them is wrong.
        """
        path = Path(directory)
        manifest = _read_manifest(path / MANIFEST)
        tensors = _read_tensors(path / TENSORS, manifest["tensors_sha256"])
        try:
            _check_fields("bits", manifest["bits"], _BITS_FIELDS)
            operators = tuple(_from_json(item, tensors) for item in manifest["operators"])
            if tensors:
                raise ArtifactError(f"{TENSORS}: {min(tensors)!r} belongs to no operator")
            return cls(
                source=manifest["source"],
                bits=Bits(**manifest["bits"]),
                preprocessing=Preprocessing.from_json(manifest["preprocessing"]),
                operators=operators,
            )
        except (ArtifactError, ConfigError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path}: {error}") from None


def _render(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def _digest(manifest: Mapping[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(_render(body)).hexdigest()


def _to_json(operator: Operator) -> dict[str, Any]:
    return {
        "name": operator.name,
        "kind": operator.kind,
        "inputs": list(operator.inputs),
        "scale": operator.scale,
        "parameters": operator.parameters(),
        "tensors": sorted(operator.tensors()),
    }


def _check_fields(owner: str, item: Any, kinds: Mapping[str, type]) -> None:
    """Refuse what is not a JSON object of exactly these fields and kinds."""
    if not isinstance(item, dict):
        raise ArtifactError(f"{owner} must be of type dict, not {item!r}")
    for key in sorted(kinds.keys() ^ item.keys()):
        state = "missing" if key in kinds else "unknown"
        raise ArtifactError(f"{owner}: field {key!r} is {state}")
    for key, kind in kinds.items():
        if not isinstance(item[key], kind):
            raise ArtifactError(
                f"{owner}: {key} must be of type {kind.__name__}, not {item[key]!r}"
            )


def _from_json(item: Any, tensors: dict[str, np.ndarray]) -> Operator:
    """One operator; takes its arrays out of `tensors`."""
    _check_fields("operator", item, _OPERATOR_FIELDS)
    name, kind, inputs, parameters = (item[key] for key in ("name", "kind", "inputs", "parameters"))
    for text in (name, *inputs):
        if not (isinstance(text, str) and text.isprintable() and text):
            raise ArtifactError(f"operator and input names must be printable text, not {text!r}")
    if kind not in KINDS:
        raise ArtifactError(f"{name}: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    rules = KINDS[kind].rules()
    keys = sorted(key for key, rule in rules.items() if isinstance(rule, Tensor))
    _check_fields(name, parameters, dict.fromkeys(rules.keys() - keys, object))
    if item["tensors"] != keys:
        raise ArtifactError(f"{name}: tensors must be {keys}, not {item['tensors']!r}")
    arrays = {}
    for key in keys:
        if f"{name}.{key}" not in tensors:
            raise ArtifactError(f"{name}: {key} is missing in {TENSORS}")
        arrays[key] = tensors.pop(f"{name}.{key}")
    return KINDS[kind](name=name, inputs=tuple(inputs), scale=item["scale"], **parameters, **arrays)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        if not isinstance(manifest, dict) or "schema" not in manifest:
            raise ArtifactError(f"{path}: not the manifest of an artifact")
        schema = manifest["schema"]
        if type(schema) is not int or schema != SCHEMA:
            raise ArtifactError(f"{path}: schema must be {SCHEMA}, not {schema!r}")
        whole = manifest.get("manifest_sha256") == _digest(manifest)
        if not whole or content != _render(manifest):
            raise ArtifactError(f"{path}: altered or truncated: digest does not match")
        _check_fields(str(path), manifest, _MANIFEST_FIELDS)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path}: altered or truncated: not JSON") from None
    return manifest


def _read_tensors(path: Path, digest: Any) -> dict[str, np.ndarray]:
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(payload).hexdigest() != digest:
        raise ArtifactError(f"{path}: altered or truncated: digest does not match")
    try:
        return load(payload)
    except KeyError as error:  # safetensors looks the number type up
        raise ArtifactError(f"{path}: tensors must be of integers, not {error}") from None
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path}: not a safetensors file: {error}") from None


def check_replaceable(directory: str | Path) -> None:
    """Refuse a place where `Artifact.save` would destroy something else: ArtifactError."""
    target = Path(directory)
    if not target.exists():
        return
    if not target.is_dir() or {entry.name for entry in target.iterdir()} - {MANIFEST, TENSORS}:
        raise ArtifactError(f"{target} must be a new, empty or artifact directory")
