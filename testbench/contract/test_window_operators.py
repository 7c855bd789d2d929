"""Operators of windows, masks and rearranged tokens: shapes, work, and each refusal by message."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rootshift.errors import ArtifactError
from rootshift.formats import MASK_GAP, SCORE_MIN
from rootshift.operator_base import Operator
from rootshift.operators import (
    LayerNorm,
    Scores,
    tensor_shapes,
)

from ..random_model import Size, random_artifact
from ..random_swin import random_swin
from ..seeds import generator

SWIN = random_swin(np.random.default_rng(2))
IMAGE = SWIN.preprocessing.shape
BLOCK = "stage0.block1"
SCORES, BIAS, ATTENTION = (SWIN[f"{BLOCK}.{name}"] for name in ("scores", "bias", "attention"))
PARTITION, MERGE = SWIN["stage0.block1.partition"], SWIN["stage1.merge"]


def refused(call: Any, *arguments: Any, **fields: Any) -> str:
    with pytest.raises(ArtifactError) as caught:
        call(*arguments, **fields)
    return str(caught.value)


def changed(name: str, **fields: Any) -> tuple[Operator, ...]:
    """The Swin with other fields of one operator."""
    return tuple(replace(op, **fields) if op.name == name else op for op in SWIN.operators)


def test_shapes_of_windows() -> None:
    """5 x 7 tokens padded to 8 x 8, four windows of 16 tokens, two heads."""
    assert (SCORES.windows, SCORES.heads) == (BIAS.windows, BIAS.heads) == (4, 2)
    assert SCORES.output_shape((64, 8), (64, 8)) == (8, 16, 16)
    assert BIAS.output_shape((8, 16, 16)) == (8, 16, 16)
    assert ATTENTION.output_shape((8, 16, 16), (64, 8)) == (64, 8)
    assert PARTITION.output_shape((35, 8)) == (64, 8)
    assert MERGE.output_shape((35, 8)) == (12, 32)
    assert (SCORES.output_width, BIAS.output_width) == (24, 24)


def test_work_of_windows() -> None:
    """Each of the 4 windows has 2 heads of 16 x 16 pairs of 4 channels."""
    assert SCORES.macs((64, 8), (64, 8)) == 4 * 16 * 16 * 8
    assert ATTENTION.macs((8, 16, 16), (64, 8)) == 4 * 16 * 16 * 8
    assert BIAS.macs((8, 16, 16)) == PARTITION.macs((35, 8)) == 0


@pytest.mark.parametrize(
    ("operator", "shapes", "message"),
    [
        (SCORES, [(63, 8), (63, 8)], "scores: tokens must be a multiple of 4 windows, not 63"),
        (ATTENTION, [(7, 16, 16), (64, 8)],
         "attention: probability matrices must be a multiple of 4 windows, not 7"),
        (ATTENTION, [(8, 16, 16), (16, 8)], "attention: keys must be 64, not 16"),
        (BIAS, [(4, 16, 16)], "bias: scores must be (8, 16, 16), not (4, 16, 16)"),
        (PARTITION, [(35, 9)], "partition: channels must be 8, not 9"),
        (PARTITION, [(34, 8)], "partition: index must be in -1..33, not 34"),
        (MERGE, [(34, 8)], "merge: index must be in -1..33, not 34"),
    ],
)  # fmt: skip
def test_clashing_shapes(operator: Operator, shapes: list[Any], message: str) -> None:
    assert refused(operator.output_shape, *shapes).endswith("." + message)


def test_an_index_below_the_padding_is_refused() -> None:
    index = PARTITION.index.copy()
    index[3] = -2
    below = replace(PARTITION, index=index)
    assert refused(below.output_shape, (35, 8)).endswith("index must be in -1..34, not -2")


def test_a_gather_of_pixels_or_scores_is_refused() -> None:
    axes = "inputs must have the axes of a gather, not shapes"
    for name, maker in ((PARTITION.name, "pixels"), ("stage0.block1.reverse", SCORES.name)):
        operators = changed(name, inputs=(maker,))
        assert axes in refused(tensor_shapes, operators, IMAGE)


@pytest.mark.parametrize(
    ("width", "value", "legal"),
    [(4, 16, "0..15"), (4, -1, "0..15"), (8, 256, "0..255")],
)
def test_padding_must_be_a_code(width: int, value: int, legal: str) -> None:
    fill = np.full(8, value, np.int16)
    message = refused(replace, PARTITION, fill=fill, width=width)
    assert message == f"{PARTITION.name}: fill must be in {legal}, not {value}"
    replace(PARTITION, fill=np.full(8, -(1 << 15), np.int16), width=16)


@pytest.mark.parametrize(("name", "have"), [(PARTITION.name, 4), ("stage0.block1.reverse", 16)])
def test_a_gather_takes_what_its_width_says(name: str, have: int) -> None:
    """A wider gather takes narrower codes; the stream and codes are never taken for another."""
    if have == 4:
        products = {f"stage0.block1.{part}" for part in "qkv"}
        operators = tuple(
            replace(op, input_width=8) if op.name in products else op
            for op in changed(name, width=8)
        )
        tensor_shapes(operators, IMAGE)
    wrong, fill = 3 if have == 4 else 8, np.zeros(8, np.int16)
    message = refused(tensor_shapes, changed(name, width=wrong, fill=fill), IMAGE)
    assert message.endswith(f"must have at most {wrong} bits, not {have}")
    other = {4: 16, 16: 4}[have]
    message = refused(tensor_shapes, changed(name, width=other, fill=fill), IMAGE)
    assert message.endswith(f"{other} bits, not {have}")


class TestScoreBias:
    """What a bias may be added to, and how far from a masked score that must stay."""

    def test_matrices_are_square(self) -> None:
        message = refused(replace, BIAS, bias=BIAS.bias[:, :, 1:])
        assert message == f"{BIAS.name}: keys must be 16, not 15"
        message = refused(replace, BIAS, region=BIAS.region[:, 1:])
        assert message == f"{BIAS.name}: region must have 16 queries, not 15"

    def test_only_scores_are_biased(self) -> None:
        twice = replace(BIAS, name="again", inputs=(BIAS.name,))
        at = SWIN.operators.index(BIAS) + 1
        operators = (*SWIN.operators[:at], twice, *SWIN.operators[at:])
        message = refused(tensor_shapes, operators, IMAGE)
        assert message == f"again: input {BIAS.name} must be scores"
        message = refused(tensor_shapes, changed(BIAS.name, inputs=("stage0.block1.q",)), IMAGE)
        assert message.startswith(f"{BIAS.name}: ")

    def test_windows_and_heads_are_those_of_the_scores(self) -> None:
        bias, region = BIAS.bias, BIAS.region
        wide = {"bias": np.concatenate([bias, bias]), "region": region[::2]}
        message = refused(tensor_shapes, changed(BIAS.name, **wide), IMAGE)
        assert message == f"{BIAS.name}: windows must be 4, not 2"

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_every_score_is_far_from_a_masked_one(self, sign: int) -> None:
        room = -SCORE_MIN - MASK_GAP
        bias = BIAS.bias.copy()
        bias[1, 2, 3] = sign * 30000
        scores = fitting(SCORES, room - 30000)
        rest = room - 30000 - scores.worst
        assert 0 <= rest < 2000
        bias[1, 2, 3] += sign * rest
        replace(BIAS, bias=bias).check_operands(scores)
        bias[1, 2, 3] += sign
        message = refused(replace(BIAS, bias=bias).check_operands, scores)
        assert message == (
            f"{BIAS.name}: worst-case biased score must be at most {room}, 65536 above a masked "
            f"one, not {room + 1}"
        )


def fitting(scores: Scores, most: int) -> Scores:
    """The scores with the largest multiplier whose worst case is at most `most`."""
    largest = (1 << 16) - 1
    shift = next(s for s in range(47, -1, -1) if replaced(scores, largest, s).worst > most)
    low, high = 1, largest
    while low < high:
        middle = (low + high + 1) // 2
        if replaced(scores, middle, shift).worst <= most:
            low = middle
        else:
            high = middle - 1
    return replaced(scores, low, shift)


def replaced(scores: Scores, multiplier: int, shift: int) -> Scores:
    """Without the check of its worst case."""
    copy = object.__new__(Scores)
    copy.__dict__.update(vars(scores) | {"multiplier": multiplier, "shift": shift})
    return copy


def test_a_norm_into_the_stream() -> None:
    norm = SWIN["patch_norm"]
    assert isinstance(norm, LayerNorm)
    assert norm.output_width == 16
    message = refused(tensor_shapes, changed("patch_norm", width=8), IMAGE)
    assert message == "stage0.block0.norm1: input patch_norm must have 16 bits, not 8"


def test_a_mean_to_codes() -> None:
    head = SWIN["head_input"]
    assert (head.operand_widths, head.output_width) == ((16,), 4)
    message = refused(tensor_shapes, changed("head_input", inputs=("stage1.block1.norm2",)), IMAGE)
    assert message == "head_input: input stage1.block1.norm2 must have 16 bits, not 4"


def test_the_two_tokens_of_a_distilled_head() -> None:
    shapes = random_artifact(generator(), Size(prefix=2, pool="distilled")).shapes()
    assert [shapes[name] for name in ("pool", "norm", "head.tokens", "head")] == [
        (2, 12), (2, 12), (1, 24), (1, 10),
    ]  # fmt: skip
