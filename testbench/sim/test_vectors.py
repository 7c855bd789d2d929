"""Test vectors: all operands and results of one block, and how wide they are."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.formats import output_range
from rootshift.sim.golden.model import GoldenModel, execute
from rootshift.sim.vectors import block_tensors, tensor_widths

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator


def named_as_exported(artifact: Artifact) -> Artifact:
    """The same model with its blocks called `blocks.0.`, `blocks.1.` as the exporter does."""

    def renamed(name: str) -> str:
        return name.replace("block", "blocks.", 1) if name.startswith("block") else name

    return Artifact(
        source=artifact.source,
        bits=artifact.bits,
        preprocessing=artifact.preprocessing,
        operators=tuple(
            replace(op, name=renamed(op.name), inputs=tuple(map(renamed, op.inputs)))
            for op in artifact.operators
        ),
    )


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """Twelve blocks, so that block 1 could be taken for blocks 10 and 11."""
    return named_as_exported(random_artifact(generator(1), Size(depth=12), bits="W4A5L3"))


@pytest.fixture(scope="module")
def pixels(artifact: Artifact) -> np.ndarray:
    return random_pixels(generator(2), artifact, 3)[2]


@pytest.mark.parametrize("block", [0, 1, 11])
def test_a_block_is_complete_and_nothing_more(
    artifact: Artifact, pixels: np.ndarray, block: int
) -> None:
    tensors = block_tensors(artifact, pixels, block)
    operators = [op for op in artifact.operators if op.name.startswith(f"blocks.{block}.")]
    assert len(operators) == 14
    outside = {name for op in operators for name in op.inputs} - {op.name for op in operators}
    assert tensors.keys() == {op.name for op in operators} | outside
    assert outside == {"embed"} if block == 0 else outside == {f"blocks.{block - 1}.add2"}


def test_every_operator_can_be_checked_alone(artifact: Artifact, pixels: np.ndarray) -> None:
    tensors = block_tensors(artifact, pixels, 1)
    for op in artifact.operators:
        if op.name.startswith("blocks.1."):
            output, _ = execute(op, *(tensors[name] for name in op.inputs))
            np.testing.assert_array_equal(tensors[op.name], output, op.name)


def test_tensors_are_those_of_the_whole_inference(artifact: Artifact, pixels: np.ndarray) -> None:
    tensors = block_tensors(artifact, pixels, 3)
    whole = GoldenModel(artifact).run(pixels[None], list(tensors)).tensors
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, whole[name][0], name)


def test_widths_hold_every_value(artifact: Artifact, pixels: np.ndarray) -> None:
    widths = tensor_widths(artifact)
    assert widths.keys() == artifact.shapes().keys()
    whole = GoldenModel(artifact).run(pixels[None], list(widths)).tensors
    for name, values in whole.items():
        low, high = output_range(widths[name])
        assert low <= values.min(), name
        assert values.max() <= high, name


def test_widths_are_those_of_the_contract(artifact: Artifact) -> None:
    widths = tensor_widths(artifact)
    assert widths["pixels"] == widths["patches"] == 8
    assert widths["embed"] == widths["pool"] == widths["blocks.0.add1"] == 16
    assert widths["blocks.0.scores"] == 24
    assert widths["blocks.0.softmax"] == 3
    assert widths["blocks.0.q"] == widths["blocks.0.gelu"] == widths["blocks.0.attention"] == 5
    assert widths["blocks.0.fc1"] == 8
    assert widths["head"] == 32


@pytest.mark.parametrize("block", [12, -1])
def test_a_block_that_is_not_there_is_refused(
    artifact: Artifact, pixels: np.ndarray, block: int
) -> None:
    with pytest.raises(KeyError, match=f"no block {block}"):
        block_tensors(artifact, pixels, block)
