"""What the accelerator has no unit for is refused in one line, before anything is sized for it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rootshift.accelerated import check_accelerated
from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.config import AcceleratorConfig
from rootshift.errors import ArtifactError, ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.views import views

from ..random_model import Size, random_artifact
from ..random_swin import random_swin


def compiled(artifact: Artifact) -> Any:
    return compile_program(artifact, AcceleratorConfig())


def sized(artifact: Artifact) -> Any:
    return AcceleratorConfig.for_artifact(artifact, "8x8")


def fitted(artifact: Artifact) -> Any:
    return AcceleratorConfig().check_fits(artifact)


WAYS = pytest.mark.parametrize("way", [check_accelerated, sized, fitted, compiled])


@WAYS
def test_windows_are_named_by_kind_and_layer(way: Callable[[Artifact], Any]) -> None:
    artifact = random_swin(np.random.default_rng(1))
    with pytest.raises(ProgramError) as caught:
        way(artifact)
    assert str(caught.value) == (
        "the accelerator has no unit for windowed attention and rearranged tokens yet, which this "
        "model needs: layernorm of 16 bits (patch_norm and 1 more), "
        "gather (stage0.block0.partition and 8 more), "
        "scores of windows (stage0.block0.scores and 1 more), "
        "score_bias (stage0.block0.bias and 3 more), "
        "shift_attention of windows (stage0.block0.attention and 1 more), "
        "requantize (head_input); the levels float, fake and integer run it"
    )


DISTILLED = random_artifact(np.random.default_rng(1), Size(prefix=3, pool="distilled"))


def changed(name: str, **fields: Any) -> Artifact:
    """`DISTILLED` with other fields of one operator."""
    operators = (replace(op, **fields) if op.name == name else op for op in DISTILLED.operators)
    return replace(DISTILLED, operators=tuple(operators))


def read_twice(name: str) -> Artifact:
    """`DISTILLED` with one more LayerNorm of a gather's rows, or product of what it reads."""
    operators = list(DISTILLED.operators)
    reader = next(op for op in operators if name in op.inputs)
    operators.insert(operators.index(reader), replace(reader, name="again"))
    return replace(DISTILLED, operators=tuple(operators))


def test_the_two_tokens_of_a_distilled_head_pass() -> None:
    check_accelerated(DISTILLED)
    found = views(DISTILLED)
    assert (found.front, found.joined) == ({"pool": "block0.add2"}, {"head.tokens": "norm"})
    assert [found.stored(name) for name in ("head.tokens", "norm", "pool")] == [
        "norm", "norm", "pool",
    ]  # fmt: skip


@WAYS
@pytest.mark.parametrize(
    "artifact",
    [
        changed("pool", index=np.array([[1], [0]], np.int32)),
        changed("pool", index=np.array([[1], [2]], np.int32)),
        changed("pool", index=np.array([[0], [-1]], np.int32)),
        changed("head.tokens", index=np.array([[1, 0]], np.int32)),
        changed("head.tokens", index=np.array([[0, 0]], np.int32)),
        read_twice("pool"),
        read_twice("norm"),
    ],
    ids=["swapped", "from row 1 on", "fill", "swapped behind", "one twice", "norms", "gathers"],
)
def test_other_tokens_of_a_head_are_refused(
    way: Callable[[Artifact], Any], artifact: Artifact
) -> None:
    with pytest.raises(ProgramError, match=r"needs: gather \(pool and [12] more\); the levels"):
        way(artifact)


@WAYS
def test_a_backbone_is_refused(way: Callable[[Artifact], Any]) -> None:
    model = random_artifact(np.random.default_rng(1))
    end = [op.name for op in model.operators].index("block0.add2") + 1
    output = Output("block0.add2", (2, 2), 1)
    backbone = replace(model, operators=model.operators[:end], outputs=(output,))
    message = "the artifact must be a classifier, not a feature extractor of block0.add2"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        way(backbone)


def test_a_plain_vision_transformer_passes() -> None:
    check_accelerated(random_artifact(np.random.default_rng(1)))
