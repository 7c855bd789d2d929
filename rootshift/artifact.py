"""The artifact: a quantized model on disk, the only thing that `quant` hands over.

A directory of two files: `manifest.json` (schema, source, preprocessing, every operator with its
parameters in execution order, outputs) and `tensors.safetensors` (integer arrays only, named
`<operator>.<field>`). The manifest holds the digest of the tensor file and its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .artifact_outputs import Output, check_outputs
from .bit_table import BitTable, bits_from_json
from .bits import Bits
from .errors import ArtifactError, ConfigError
from .operator_base import Operator, Shape, Tensor
from .operators import KINDS, tensor_shapes
from .output import write_folder
from .preprocessing import Preprocessing

SCHEMA = 2
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"

_MANIFEST_FIELDS = {
    "schema": int, "source": dict, "bits": dict, "preprocessing": dict, "operators": list,
    "outputs": list, "tensors_sha256": str, "manifest_sha256": str,
}  # fmt: skip
_OPERATOR_FIELDS = {
    "name": str, "kind": str, "inputs": list, "scale": float, "parameters": dict, "tensors": list,
}  # fmt: skip
_OUTPUT_FIELDS = {"name": str, "grid": list, "prefix": int}


@dataclass(frozen=True, eq=False, kw_only=True)
class Artifact:
    """An integer model.

    Parameters:
        source: where it comes from, JSON values: model, weights digest, calibration files, options.
        bits: widths of weight, activation and log codes, of all layers or layer by layer.
        preprocessing: from image file to the uint8 pixels of the input.
        operators: the integer program, in execution order.
        outputs: what a run gives. A classifier has one, the last operator's, which is one row of
            32-bit logits; a feature extractor has feature maps, tensors of the residual stream.
    Raises: ArtifactError where names, shapes or sums of the operators do not fit together.
    """

    source: Mapping[str, Any]
    bits: Bits | BitTable
    preprocessing: Preprocessing
    operators: tuple[Operator, ...]
    outputs: tuple[Output, ...]

    def __post_init__(self) -> None:
        if not self.operators:
            raise ArtifactError("operators must not be empty")
        check_outputs(self.outputs, self.operators, self.shapes())

    @property
    def is_classifier(self) -> bool:
        """Whether the output is logits; otherwise the outputs are feature maps."""
        return self.outputs[0].grid is None

    def require_classifier(self) -> None:
        """Refuse a feature extractor: ArtifactError."""
        if not self.is_classifier:
            names = ", ".join(output.name for output in self.outputs)
            raise ArtifactError(
                f"the artifact must be a classifier, not a feature extractor of {names}"
            )

    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor of one image's inference, from the pixels on, in order."""
        return self._shapes

    @cached_property
    def _shapes(self) -> Mapping[str, Shape]:
        return tensor_shapes(self.operators, self.preprocessing.shape)

    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        shapes = self.shapes()
        return sum(op.macs(*(shapes[name] for name in op.inputs)) for op in self.operators)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weight codes, bit after bit."""
        bits = sum(op.weight.size * op.weight_width for op in self.operators if op.kind == "gemm")
        return -(-bits // 8)

    def __getitem__(self, name: str) -> Operator:
        for operator in self.operators:
            if operator.name == name:
                return operator
        raise KeyError(name)

    @cached_property
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
            "bits": self.bits.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "operators": [_to_json(operator) for operator in self.operators],
            "outputs": [output.to_json() for output in self.outputs],
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
            operators = tuple(_from_json(item, tensors) for item in manifest["operators"])
            for item in manifest["outputs"]:
                _check_fields("output", item, _OUTPUT_FIELDS)
            if tensors:
                raise ArtifactError(f"{TENSORS}: {min(tensors)!r} belongs to no operator")
            return cls(
                source=manifest["source"],
                bits=bits_from_json(manifest["bits"]),
                preprocessing=Preprocessing.from_json(manifest["preprocessing"]),
                operators=operators,
                outputs=tuple(map(Output.from_json, manifest["outputs"])),
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
