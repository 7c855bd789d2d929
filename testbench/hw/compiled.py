"""Programs of small models, for the tests of the compiler."""

from dataclasses import replace
from typing import Any

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.program import Program

from ..random_model import Size, random_artifact


def model(size: Size | None = None, bits: str = "W4A4") -> Artifact:
    return random_artifact(np.random.default_rng(0), size, bits=bits)


def built(
    artifact: Artifact,
    array: str = "4x4",
    images: int = 1,
    norm_bands: int = 1,
    batch: int = 1,
    **fields: Any,
) -> Program:
    config = replace(AcceleratorConfig.for_artifact(artifact, array, max(1, batch)), **fields)
    return compile_program(artifact, config, images, norm_bands, batch)


def commands(program: Program, name: str) -> list[Any]:
    return [placed.command for placed in program.commands if placed.command.name == name]
