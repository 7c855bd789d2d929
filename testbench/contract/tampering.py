"""Changes artifacts on disk with every digest recomputed, and checks how they are refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from rootshift.artifact import Artifact
from rootshift.errors import ArtifactError

MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"


def rendered(manifest: dict[str, Any]) -> bytes:
    """The bytes of a manifest as `Artifact.save` writes them, its own digest recomputed."""

    def text(body: dict[str, Any]) -> bytes:
        return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()

    body = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return text(body | {"manifest_sha256": hashlib.sha256(text(body)).hexdigest()})


def read(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays of an artifact."""
    manifest = json.loads((directory / MANIFEST).read_bytes())
    return manifest, load((directory / TENSORS).read_bytes())


def write(directory: Path, manifest: dict[str, Any], tensors: bytes | None = None) -> None:
    """Write a manifest, and the tensor file if given; both digests match what is written."""
    if tensors is not None:
        (directory / TENSORS).write_bytes(tensors)
        manifest = manifest | {"tensors_sha256": hashlib.sha256(tensors).hexdigest()}
    (directory / MANIFEST).write_bytes(rendered(manifest))


def alter(
    directory: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object]
) -> None:
    """Let `change` edit manifest and arrays in place, and write them back with fresh digests."""
    manifest, tensors = read(directory)
    change(manifest, tensors)
    write(directory, manifest, save(tensors))


def refused(directory: Path, message: str) -> None:
    """Loading ends in an ArtifactError of one line that names the artifact and matches."""
    with pytest.raises(ArtifactError, match=message) as caught:
        Artifact.load(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)
