"""Fields, shapes, widths and sums of the operators: legal ones pass, each fault has its message."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.errors import ArtifactError
from rootshift.formats import fixed_point
from rootshift.operator_base import Choice, Integer, Operator, Tensor
from rootshift.operators import (
    KINDS,
    Embed,
    Gather,
    GeluTable,
    Gemm,
    LayerNorm,
    Log2Softmax,
    Patchify,
    Pool,
    Requantize,
    ResidualAdd,
    ScoreBias,
    Scores,
    ShiftAttention,
    tensor_shapes,
)

from ..random_model import Size, random_artifact
from ..random_swin import random_swin

MODEL = random_artifact(np.random.default_rng(1))
SWIN = random_swin(np.random.default_rng(1))
SAMPLES = {operator.kind: operator for operator in (*SWIN.operators, *MODEL.operators)}
FIELDS = [(kind, key, rule) for kind, cls in KINDS.items() for key, rule in cls.rules().items()]


def fields_of(rule: type) -> pytest.MarkDecorator:
    """Parametrize over every field with this sort of rule."""
    chosen = [field for field in FIELDS if isinstance(field[2], rule)]
    return pytest.mark.parametrize(
        ("kind", "key", "rule"), chosen, ids=[f"{kind}.{key}" for kind, key, _ in chosen]
    )


def refused(operator: Operator, **changes: Any) -> str:
    """The message that refuses a changed operator; it begins with the operator's name."""
    with pytest.raises(ArtifactError) as caught:
        replace(operator, **changes)
    message = str(caught.value)
    assert message.startswith(f"{operator.name}: ")
    return message.removeprefix(f"{operator.name}: ")


def test_the_random_models_have_every_kind() -> None:
    assert SAMPLES.keys() == KINDS.keys()


@fields_of(Integer)
def test_integers(kind: str, key: str, rule: Integer) -> None:
    assert rule.check(rule.low) is None
    assert rule.check(rule.high) is None
    for bad in (rule.low - 1, rule.high + 1):
        message = refused(SAMPLES[kind], **{key: bad})
        assert message == f"{key} must be in {rule.low}..{rule.high}, not {bad}"
    for bad in (1.0, True, "1", None, np.int64(1), [1]):
        assert refused(SAMPLES[kind], **{key: bad}) == f"{key} must be an integer, not {bad!r}"


@fields_of(Choice)
def test_choices(kind: str, key: str, rule: Choice) -> None:
    for good in rule.values:
        assert rule.check(good) is None
    other = [float(v) if isinstance(v, int) else v.upper() + " " for v in rule.values]
    for bad in (*other, None, True, 2, 9, [], np.zeros(3)):
        message = refused(SAMPLES[kind], **{key: bad})
        assert message.startswith(f"{key} must be one of {rule.values[0]!r}, ")
        assert message.endswith(f"not {bad!r}")


@fields_of(Tensor)
def test_arrays(kind: str, key: str, rule: Tensor) -> None:
    array = getattr(SAMPLES[kind], key)
    axes = ", ".join(rule.axes)
    for bad, why in (
        (array.tolist(), "an array, not list"),
        (array.astype(np.float64), f"of type {rule.dtype}, not float64"),
        (array.astype(">i8"), f"of type {rule.dtype}, not >i8"),
        (array[None], f"of shape [{axes}], not {[1, *array.shape]}"),
        (array[:0], f"of shape [{axes}], not {[0, *array.shape[1:]]}"),
    ):
        assert refused(SAMPLES[kind], **{key: bad}) == f"{key} must be {why}"


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_scale(kind: str) -> None:
    operator = SAMPLES[kind]
    count = operator.operands
    assert refused(operator, inputs=()) == f"inputs must be {count} names, not []"
    assert refused(operator, inputs=("a",) * 3) == f"inputs must be {count} names, not " + str(
        ["a"] * 3
    )
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1, "1", None):
        assert refused(operator, scale=bad) == f"scale must be a positive number, not {bad!r}"


def test_axes_of_arrays_must_agree() -> None:
    gemm = SAMPLES["gemm"]
    for key in ("weight_zero", "bias", "multiplier"):
        message = refused(gemm, **{key: getattr(gemm, key)[1:]})
        assert message == f"{key} must have 10 channels, not 9"
    assert refused(SAMPLES["layernorm"], offset=np.zeros(5, np.int32)) == (
        "offset must have 12 channels, not 5"
    )


def test_multiplier_0_is_for_channels_that_only_fill_up() -> None:
    gemm = SAMPLES["gemm"]
    multiplier = gemm.multiplier.copy()
    multiplier[3] = 0
    assert refused(gemm, multiplier=multiplier) == "multiplier must be at least 1, not 0"
    assert refused(SAMPLES["scores"], multiplier=0) == "multiplier must be in 1..65535, not 0"


def shape(operator: Operator, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    return operator.output_shape(*shapes)


def test_shapes_of_outputs() -> None:
    assert shape(SAMPLES["patchify"], (8, 12, 3)) == (6, 48)
    assert shape(SAMPLES["gemm"], (1, 12)) == (1, 10)
    assert shape(SAMPLES["scores"], (7, 12), (7, 12)) == (2, 7, 7)
    assert shape(SAMPLES["log2_softmax"], (2, 7, 7)) == (2, 7, 7)
    assert shape(SAMPLES["shift_attention"], (2, 7, 7), (7, 12)) == (7, 12)
    assert shape(SAMPLES["layernorm"], (7, 12)) == (7, 12)
    assert shape(SAMPLES["gelu_table"], (7, 24)) == (7, 24)
    assert shape(SAMPLES["residual_add"], (7, 12), (7, 12)) == (7, 12)
    assert shape(SAMPLES["embed"], (4, 12)) == (5, 12)
    assert shape(SAMPLES["pool"], (7, 12)) == (1, 12)
    assert shape(SAMPLES["requantize"], (7, 12)) == (7, 12)


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("patchify", [(8, 10, 1)], "image of 8x10 must be a multiple of the patch 4x4"),
        ("gemm", [(5, 13)], "depth must be 12, not 13"),
        ("scores", [(5, 12), (6, 12)], "query and key must be (5, 12), not (6, 12)"),
        ("scores", [(5, 14), (5, 14)], "width must be 12, not 14"),
        ("log2_softmax", [(1, 1, 4097)], "keys must be at most 4096, not 4097"),
        ("shift_attention", [(2, 5, 5), (6, 12)], "keys must be 5, not 6"),
        ("shift_attention", [(2, 5, 5), (5, 13)], "width must be a multiple of 2 heads, not 13"),
        ("layernorm", [(5, 11)], "channels must be 12, not 11"),
        ("residual_add", [(5, 12), (1, 12)], "branch must be (5, 12), not (1, 12)"),
        ("embed", [(5, 12)], "patches must be (4, 12), not (5, 12)"),
    ],
)
def test_clashing_shapes(kind: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        shape(SAMPLES[kind], *shapes)
    assert str(caught.value) == f"{SAMPLES[kind].name}: {message}"


def test_a_layernorm_of_more_than_4096_channels_is_refused() -> None:
    wide = replace(
        SAMPLES["layernorm"], gain=np.ones(4097, np.int16), offset=np.ones(4097, np.int32)
    )
    with pytest.raises(ArtifactError, match=r"^norm: channels must be at most 4096, not 4097$"):
        shape(wide, (1, 4097))


def avg(count: int, multiplier: int, shift: int) -> tuple[int, ...]:
    pool = replace(SAMPLES["pool"], mode="avg", multiplier=multiplier, shift=shift)
    return shape(pool, (count + pool.prefix, 12))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 64, 196, 255, 1000, 4095, 4096])
def test_means_fit_the_residual_stream(count: int) -> None:
    """The multiplier of one over the count passes; one a little larger could overflow."""
    multiplier, shift = fixed_point(1 / count)
    assert avg(count, int(multiplier), shift) == (1, 12)
    with pytest.raises(ArtifactError, match=r"^pool: worst-case mean must fit 16 bits, not 17$"):
        avg(count, int(multiplier * 1.001) + 2, shift)


def test_a_mean_of_no_rows_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"^pool: prefix must be below 1, not 1$"):
        avg(0, 1, 0)


def program(**changes: Any) -> tuple[Operator, ...]:
    """The model with one operator replaced: `kind=(index of that kind, changes)`."""
    operators = list(MODEL.operators)
    for kind, (index, fields) in changes.items():
        position = [i for i, op in enumerate(operators) if op.kind == kind][index]
        operators[position] = replace(operators[position], **fields)
    return tuple(operators)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gemm": (0, {"inputs": ("nowhere",)})},
         "patch_embed: input must be made before use, not nowhere"),
        ({"gemm": (0, {"name": "patches"})}, "patches: name must be unique"),
        ({"gemm": (1, {"input_width": 3})},
         "block0.q: input block0.norm1 must have at most 3 bits, not 4"),
        ({"gemm": (1, {"inputs": ("embed",)})},
         "block0.q: input embed must have at most 4 bits, not 16"),
        ({"layernorm": (0, {"inputs": ("block9",)})},
         "block0.norm1: input must be made before use, not block9"),
        ({"layernorm": (1, {"inputs": ("block0.attention",)})},
         "block0.norm2: input block0.attention must have 16 bits, not 4"),
        ({"gelu_table": (0, {"inputs": ("block0.scores",)})},
         "block0.gelu: input block0.scores must have at most 8 bits, not 24"),
        ({"residual_add": (0, {"inputs": ("embed", "block0.v")})},
         "block0.add1: input block0.v must have 16 bits, not 4"),
        ({"log2_softmax": (0, {"base": "2"})}, "block0.attention: base must be 2, not sqrt2"),
        ({"log2_softmax": (0, {"log_width": 3})},
         "block0.attention: log_width must be 3, not 4"),
        ({"log2_softmax": (0, {"inputs": ("block0.q",)})},
         "block0.softmax: input block0.q must have 24 bits, not 4"),
        ({"patchify": (0, {"patch_height": 8})},
         "patch_embed: depth must be 16, not 32"),
    ],
)  # fmt: skip
def test_operands_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        tensor_shapes(program(**changes), (8, 8, 1))
    assert str(caught.value) == message


def test_codes_may_be_narrower_than_the_operand() -> None:
    tensor_shapes(program(gemm=(1, {"input_width": 8})), (8, 8, 1))


def test_plain_codes_are_no_probabilities() -> None:
    gelu = replace(SAMPLES["gelu_table"], name="fake", inputs=("block0.softmax",))
    operators = list(MODEL.operators)
    position = operators.index(SAMPLES["shift_attention"])
    operators[position : position + 1] = [
        gelu,
        replace(SAMPLES["shift_attention"], inputs=("fake", "block0.v")),
    ]
    with pytest.raises(ArtifactError, match=r"^block0\.attention: input fake must be log codes$"):
        tensor_shapes(tuple(operators), (8, 8, 1))


@pytest.mark.parametrize("end", [-1, -2, -3])
def test_the_last_operator_makes_the_logits(end: int) -> None:
    last = MODEL.operators[end - 1]
    with pytest.raises(
        ArtifactError, match=rf"^{last.name}: the last operator must make one row of 32-bit logits"
    ):
        Artifact(
            source={},
            bits=MODEL.bits,
            preprocessing=MODEL.preprocessing,
            operators=MODEL.operators[:end],
            outputs=(Output(last.name),),
        )


def test_parameters_and_arrays_are_all_there_is() -> None:
    """What the artifact stores: every field but name, inputs and scale, once."""
    for kind, operator in SAMPLES.items():
        stored = operator.parameters().keys() | operator.tensors().keys()
        assert stored == operator.rules().keys(), kind
        assert vars(operator).keys() == stored | {"name", "inputs", "scale"}


def test_an_operator_is_named_as_its_section_of_the_page() -> None:
    classes = (
        Patchify, Gemm, Scores, Log2Softmax, ShiftAttention, LayerNorm, GeluTable, ResidualAdd,
        Embed, Pool, ScoreBias, Requantize, Gather,
    )  # fmt: skip
    assert {cls.kind: cls for cls in classes} == KINDS
    assert random_artifact(np.random.default_rng(0), Size(depth=3))["block2.q"].kind == "gemm"
