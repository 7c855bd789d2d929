"""What reads files of others: for each kind some valid bytes, and what is done with any."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.isa import COMMAND_BYTES
from rootshift.program import IMAGE, MAP, Program

from ..contract import tampering
from ..random_model import random_artifact
from . import (
    test_artifact_files,
    test_labels,
    test_program,
    test_results_files,
    test_toml,
    test_weights,
)


class Target(NamedTuple):
    """Valid bytes to begin with; and what must end well with whatever bytes."""

    valid: bytes
    read: Callable[[bytes], Any]


def _model() -> Artifact:
    return random_artifact(np.random.default_rng(7))


def _compiled() -> Program:
    return compile_program(_model(), AcceleratorConfig.for_artifact(_model(), "4x4"))


def artifact(folder: Path) -> Target:
    """A manifest whose digest is right."""
    _model().save(folder / "model")
    path = folder / "model" / tampering.MANIFEST

    def read(content: bytes) -> None:
        path.write_bytes(_sealed(content, tampering.rendered))
        test_artifact_files.loads_and_runs_or_refuses(path.parent)

    return Target(path.read_bytes(), read)


def program(folder: Path) -> Target:
    """A program's map whose digest is right, of a few commands."""
    files = _compiled().files()
    (folder / IMAGE).write_bytes(files[IMAGE])
    table = json.loads(files[MAP])
    small = table | {"commands": table["commands"][:3]}

    def read(content: bytes) -> None:
        (folder / MAP).write_bytes(_sealed(content, test_program.rendered))
        test_program.loads_or_refuses(folder)

    return Target(test_program.rendered(small), read)


def _sealed(content: bytes, rendered: Callable[[dict[str, Any]], bytes]) -> bytes:
    """With its digest, where it is what can have one."""
    try:
        found = json.loads(content)
        return rendered(found) if isinstance(found, dict) else content
    except (ValueError, RecursionError):
        return content


def assembly(folder: Path) -> Target:
    """Text of a program."""
    text = b"\n".join(_compiled().files()["program.asm"].splitlines()[:40])
    return Target(text, test_program.assembles_or_refuses)


def command(folder: Path) -> Target:
    """Bytes of one command."""
    return Target(_compiled().image[:COMMAND_BYTES], test_program.decodes_or_refuses)


def labels(folder: Path) -> Target:
    """A labels file, beside its images."""
    inside = folder / "images"
    (inside / "sub").mkdir(parents=True)
    for name in test_labels.NAMES:
        Image.new("RGB", (4, 4), (0, 90, 0)).save(inside / name)
    rows = "file,label,split\na.png,0,calibration\nb.png,1,\nsub/c.png,2,evaluation\n"
    return Target(rows.encode(), partial(test_labels.lists_or_refuses, folder=inside))


def exploration(folder: Path) -> Target:
    """Results of an exploration."""
    test_results_files.made_up(folder)
    valid = (folder / "exploration.json").read_bytes()
    return Target(valid, partial(test_results_files.reads_or_refuses, folder))


def weights(folder: Path) -> Target:
    """A safetensors file."""
    valid = test_weights.file_of(test_weights.SMALL, test_weights.DATA)
    read = partial(test_weights.reads_or_refuses, path=folder / "x.safetensors")
    return Target(valid, read)


def toml(kind: str, folder: Path) -> Target:
    """One of the TOML files."""
    read = partial(test_toml.reads_or_refuses, kind, path=folder / "x.toml")
    return Target(test_toml.KINDS[kind][0].encode(), read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "artifact": artifact,
    "assembly": assembly,
    "command": command,
    "exploration": exploration,
    "labels": labels,
    "program": program,
    "weights": weights,
    **{f"toml-{kind}": partial(toml, kind) for kind in test_toml.KINDS},
}
"""Name -> its target, which may write into the folder that it is given."""
