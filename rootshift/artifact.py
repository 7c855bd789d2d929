"""The artifact: a quantized model on disk, the only thing that `quant` hands over.

A directory of two files: `manifest.json` (schema, source, preprocessing, and every operator with
its parameters in execution order) and `tensors.safetensors` (integer arrays only, named
`<operator>.<field>`). The manifest holds the digest of the tensor file and its own.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .bits import Bits
from .errors import ArtifactError, ConfigError
from .operators import KINDS, Operator, Shape, tensor_shapes
from .preprocessing import Preprocessing

SCHEMA = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"


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
        self.shapes()

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

    def save(self, directory: str | Path) -> None:
        """Write atomically: `directory` is the old artifact or the new one, never a part of it.

        Raises: ArtifactError where `directory` exists and is not an artifact, or cannot be written.
        """
        target = Path(directory)
        if target.exists() and not _replaceable(target):
            raise ArtifactError(f"{target} must be a new, empty or artifact directory")
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
            "bits": _bits_to_json(self.bits),
            "preprocessing": self.preprocessing.to_json(),
            "operators": [_to_json(operator) for operator in self.operators],
            "tensors_sha256": hashlib.sha256(payload).hexdigest(),
        }
        manifest["manifest_sha256"] = _digest(manifest)
        try:
            _write(target, {TENSORS: payload, MANIFEST: _render(manifest)})
        except OSError as error:
            raise ArtifactError(f"{target}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, directory: str | Path) -> "Artifact":
        """Read and check schema, digests, fields, shapes, ranges and worst-case sums.

        Raises: ArtifactError that says which of them is wrong.
        """
        path = Path(directory)
        manifest = _read_manifest(path / MANIFEST)
        try:
            payload = (path / TENSORS).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path / TENSORS}: cannot be read: {error.strerror}") from None
        if hashlib.sha256(payload).hexdigest() != manifest.get("tensors_sha256"):
            raise ArtifactError(f"{path / TENSORS}: altered or truncated: digest does not match")
        try:
            tensors = load(payload)
            operators = tuple(_from_json(item, tensors) for item in manifest["operators"])
            if tensors:
                raise ArtifactError(f"{TENSORS}: {min(tensors)} belongs to no operator")
            return cls(
                source=manifest["source"],
                bits=Bits(**manifest["bits"]),
                preprocessing=Preprocessing.from_json(manifest["preprocessing"]),
                operators=operators,
            )
        except KeyError as error:
            raise ArtifactError(f"{path / MANIFEST}: key {error} is missing") from None
        except (ArtifactError, ConfigError, TypeError, ValueError, SafetensorError) as error:
            raise ArtifactError(f"{path}: {error}") from None


def _bits_to_json(bits: Bits) -> dict[str, int]:
    return {"weights": bits.weights, "activations": bits.activations, "log": bits.log}


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


def _from_json(item: Any, tensors: dict[str, np.ndarray]) -> Operator:
    """One operator; takes its arrays out of `tensors`."""
    name, kind = item["name"], item["kind"]
    if not isinstance(name, str) or not all(isinstance(i, str) for i in item["inputs"]):
        raise ArtifactError("operator and input names must be text")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArtifactError(f"{name}: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    arrays = {}
    for key in item["tensors"]:
        if f"{name}.{key}" not in tensors:
            raise ArtifactError(f"{name}: {key} is missing in {TENSORS}")
        arrays[key] = tensors.pop(f"{name}.{key}")
    return KINDS[kind](
        name=name,
        inputs=tuple(item["inputs"]),
        scale=item["scale"],
        **item["parameters"],
        **arrays,
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ArtifactError(f"{path}: altered or truncated: not JSON") from None
    if not isinstance(manifest, dict) or "schema" not in manifest:
        raise ArtifactError(f"{path}: not the manifest of an artifact")
    if manifest["schema"] != SCHEMA:
        raise ArtifactError(f"{path}: schema must be {SCHEMA}, not {manifest['schema']!r}")
    if manifest.get("manifest_sha256") != _digest(manifest):
        raise ArtifactError(f"{path}: altered: digest does not match")
    return manifest


def _replaceable(target: Path) -> bool:
    if not target.is_dir():
        return False
    content = {entry.name for entry in target.iterdir()}
    return content <= {MANIFEST, TENSORS}


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` beside `target`, then put the directory in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    fresh, old = work / "new", work / "old"
    try:
        fresh.mkdir()
        for name, payload in files.items():
            with (fresh / name).open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
