"""The golden model on random artifacts: every tensor against the page, and what `run` promises."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.operator_base import Operator
from rootshift.sim.golden.model import GoldenModel, Inference
from rootshift.sim.golden.pool import GoldenPool

from ..random_model import Size, random_artifact, random_pixels
from ..random_swin import random_swin
from ..seeds import generator
from . import page

# Page argument -> field of the operator.
GEMM = {"zw": "weight_zero", "bias": "bias", "mult": "multiplier", "shift": "shift", "z": "zero"}
SIZES = [
    Size(),
    Size(image=(6, 4, 3), patch=2, depth=2, prefix=2, pool="avg", width=8, heads=1, classes=3),
    Size(image=(4, 4, 1), patch=4, prefix=0, pool="avg", width=6, heads=3, hidden=5),
]


def on_the_page(operator: Operator, *inputs: np.ndarray) -> tuple[list, int]:
    """Output of one operator for one image, nested lists, and the number of clamped values."""
    fields = {k: v.tolist() for k, v in operator.tensors().items()} | operator.parameters()
    first = inputs[0].tolist()
    match operator.kind:
        case "patchify":
            return page.patches(first, fields["patch_height"], fields["patch_width"]), 0
        case "gemm":
            named = {argument: fields[name] for argument, name in GEMM.items()}
            return page.gemm(first, fields["weight"], **named, width=fields["width"])
        case "scores":
            named = {"mult": operator.multiplier, "shift": operator.shift}
            return [
                page.scores(q.tolist(), k.tolist(), zq=operator.query_zero, **named)
                for rows in zip(*(np.split(x, operator.windows) for x in inputs), strict=True)
                for q, k in zip(*(np.split(x, operator.heads, axis=1) for x in rows), strict=True)
            ], 0
        case "score_bias":
            bias, region = fields["bias"], fields["region"]
            pairs = [(by_head, row) for row in region for by_head in bias]
            return [
                page.score_bias(matrix, bias=by_head, region=row)
                for matrix, (by_head, row) in zip(first, pairs, strict=True)
            ], 0
        case "log2_softmax":
            return [[page.log2_softmax(row, **fields) for row in head] for head in first], 0
        case "shift_attention":
            windows = np.split(inputs[0], operator.windows)
            values = np.split(inputs[1], operator.windows)
            if len(windows) > 1:
                one = replace(operator, windows=1)
                parts = [on_the_page(one, *each) for each in zip(windows, values, strict=True)]
                return [row for rows, _ in parts for row in rows], sum(n for _, n in parts)
            values = np.split(inputs[1], len(first), axis=1)
            named = {
                "log_width": operator.log_width, "base": operator.base,
                "zv": operator.value_zero, "me": operator.multiplier_even,
                "mo": operator.multiplier_odd, "shift": operator.shift, "z": operator.zero,
                "width": operator.width,
            }  # fmt: skip
            results = [
                [page.shift_attention(row, v.tolist(), **named) for v, row in heads]
                for heads in (
                    [(v, first[h][t]) for h, v in enumerate(values)] for t in range(len(first[0]))
                )
            ]
            rows = [[y for codes, _ in row for y in codes] for row in results]
            return rows, sum(count for row in results for _, count in row)
        case "layernorm":
            fields["eps"] = fields.pop("epsilon")
            results = [page.layernorm(row, **fields) for row in first]
            return [codes for codes, _ in results], sum(count for _, count in results)
        case "gelu_table":
            return [[fields["table"][i] for i in row] for row in first], 0
        case "pool" if operator.mode == "token":
            return first[:1], 0
        case "pool":
            columns = zip(*first[operator.prefix :], strict=True)
            named = {"mult": operator.multiplier, "shift": operator.shift}
            return [[page.mean(list(column), **named) for column in columns]], 0
        case "residual_add":
            return added(first, inputs[1].tolist(), operator.shift)
        case "requantize":
            named = {
                "mult": operator.multiplier, "shift": operator.shift, "z": operator.zero,
                "width": operator.width,
            }  # fmt: skip
            results = [[page.requantize(x, **named) for x in row] for row in first]
            return [[y for y, _ in row] for row in results], sum(n for r in results for _, n in r)
        case "gather":
            return page.gather(first, index=fields["index"], fill=fields["fill"]), 0
        case "embed":
            rows = fields["position"]
            sums, count = added(rows[operator.prefix :], first, 0)
            return rows[: operator.prefix] + sums, count


def added(residual: page.Matrix, branch: page.Matrix, shift: int) -> tuple[page.Matrix, int]:
    pairs = [
        [page.residual_add(a, b, shift=shift) for a, b in zip(*rows, strict=True)]
        for rows in zip(residual, branch, strict=True)
    ]
    return [[y for y, _ in row] for row in pairs], sum(count for row in pairs for _, count in row)


def names(artifact: Artifact) -> list[str]:
    return ["pixels", *(operator.name for operator in artifact.operators)]


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return random_artifact(np.random.default_rng(5))


@pytest.fixture(scope="module")
def pixels(artifact: Artifact) -> np.ndarray:
    return random_pixels(np.random.default_rng(6), artifact, 5)


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("bits", ["W3A3", "W4A4", "W5A6L7", "W8A8", "W3A8L4", "W8A3L8"])
@pytest.mark.parametrize("size", SIZES, ids=["token", "avg", "one-patch"])
def test_every_tensor_equals_the_page(size: Size, bits: str, base: str) -> None:
    rng = generator(SIZES.index(size), sum(map(ord, bits + base)))
    artifact = random_artifact(rng, size, bits=bits, base=base)
    inference = equals_the_page(artifact, random_pixels(rng, artifact, 3))
    assert inference.logits.dtype == np.int32
    np.testing.assert_array_equal(inference.logits, inference.tensors["head"][:, 0])


@pytest.mark.parametrize(
    ("bits", "base", "image", "window"),
    [
        ("W4A4", "sqrt2", (10, 14, 3), (4, 4)),
        ("W8A8", "2", (8, 8, 1), (2, 2)),
        ("W3A6L4", "sqrt2", (6, 16, 1), (3, 5)),
    ],
)
def test_every_tensor_of_windows_equals_the_page(
    bits: str, base: str, image: tuple[int, int, int], window: tuple[int, int]
) -> None:
    """Padded, rolled and masked windows, patch merging, norms into the stream, a mean to codes."""
    rng = generator(*image, sum(map(ord, bits + base)))
    artifact = random_swin(rng, image, window, bits=bits, base=base)
    equals_the_page(artifact, random_pixels(rng, artifact, 2))


def equals_the_page(artifact: Artifact, pixels: np.ndarray) -> Inference:
    """Every tensor and every count of saturated values; the inference with all tensors."""
    inference = GoldenModel(artifact).run(pixels, keep=names(artifact))
    shapes = artifact.shapes()
    saturated = dict.fromkeys(names(artifact)[1:], 0)
    for image in range(len(pixels)):
        tensors = {name: inference.tensors[name][image] for name in inference.tensors}
        for operator in artifact.operators:
            want, count = on_the_page(operator, *(tensors[name] for name in operator.inputs))
            assert tensors[operator.name].shape == shapes[operator.name], operator.name
            assert tensors[operator.name].tolist() == want, operator.name
            saturated[operator.name] += count
    assert {name: inference.saturated[name] for name in saturated} == saturated
    return inference


def test_features_are_the_outputs_of_a_backbone() -> None:
    rng = generator()
    artifact = random_swin(rng, features=True)
    pixels = random_pixels(rng, artifact, 3)
    first, second = artifact.outputs
    inference = GoldenModel(artifact).run(pixels, keep=[first.name])
    assert inference.tensors.keys() == {first.name}
    assert inference.outputs.keys() == {first.name, second.name}
    for output, shape in ((first, (3, 5, 7, 8)), (second, (3, 3, 4, 16))):
        rows = inference.outputs[output.name]
        assert rows.dtype == np.int16
        features = output.feature_map(rows)
        assert features.shape == shape
        np.testing.assert_array_equal(features[:, 1, 2], rows[:, shape[2] + 2])
    with pytest.raises(ValueError, match=r"^outputs must be logits, not the features stage0"):
        _ = inference.logits


def test_random_models_are_not_degenerate(artifact: Artifact, pixels: np.ndarray) -> None:
    """What the tests above compare is spread over the codes, and some of it saturates."""
    inference = GoldenModel(artifact).run(pixels, keep=names(artifact))
    for name, tensor in inference.tensors.items():
        assert len(np.unique(tensor)) >= 8, name
    assert 0 < inference.saturated.total() < inference.tensors["embed"].size


def test_keep_gives_exactly_what_is_asked_for(artifact: Artifact, pixels: np.ndarray) -> None:
    model = GoldenModel(artifact)
    everything = model.run(pixels, keep=names(artifact))
    for kept in ((), ("pixels",), ("block0.scores", "head"), {"embed"}):
        inference = model.run(pixels, keep=kept)
        assert inference.tensors.keys() == set(kept)
        for name in kept:
            np.testing.assert_array_equal(inference.tensors[name], everything.tensors[name])
        np.testing.assert_array_equal(inference.logits, everything.logits)
        assert inference.saturated == everything.saturated
    np.testing.assert_array_equal(everything.tensors["pixels"], pixels)


def test_kept_tensors_are_not_overwritten_by_later_operators(
    artifact: Artifact, pixels: np.ndarray
) -> None:
    before = pixels.copy()
    model = GoldenModel(artifact)
    first = model.run(pixels[:1], keep=["embed"]).tensors["embed"].copy()
    kept = model.run(pixels, keep=["embed"]).tensors["embed"]
    np.testing.assert_array_equal(kept[:1], first)
    np.testing.assert_array_equal(pixels, before)


def test_a_batch_equals_its_images_one_by_one(artifact: Artifact, pixels: np.ndarray) -> None:
    model = GoldenModel(artifact)
    batch = model.run(pixels, keep=["block0.softmax"])
    parts = [model.run(pixels[i : i + 1], keep=["block0.softmax"]) for i in range(len(pixels))]
    np.testing.assert_array_equal(batch.logits, np.concatenate([p.logits for p in parts]))
    np.testing.assert_array_equal(
        batch.tensors["block0.softmax"],
        np.concatenate([p.tensors["block0.softmax"] for p in parts]),
    )
    for name in names(artifact)[1:]:
        assert batch.saturated[name] == sum(part.saturated[name] for part in parts)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((1, 8, 8, 1)), TypeError, r"pixels must be uint8, not float64"),
        (np.zeros((1, 8, 8, 1), np.int8), TypeError, r"pixels must be uint8, not int8"),
        (np.zeros((8, 8, 1), np.uint8), ValueError, r"\[images, 8, 8, 1\], not \[8, 8, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), ValueError, r"\[images, 8, 8, 1\], not \[2, 8, 8, 3\]"),
        (np.zeros((2, 1, 8, 8), np.uint8), ValueError, r"\[images, 8, 8, 1\], not \[2, 1, 8, 8\]"),
        (
            np.zeros((0, 8, 8, 1), np.uint8),
            ValueError,
            r"^pixels must hold at least one image, not",
        ),
    ],
)
def test_wrong_pixels_are_refused(
    artifact: Artifact, bad: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        GoldenModel(artifact).run(bad)


def test_an_unknown_tensor_is_refused(artifact: Artifact, pixels: np.ndarray) -> None:
    with pytest.raises(KeyError, match=r"no tensor is named block9\.q"):
        GoldenModel(artifact).run(pixels, keep=["head", "block9.q"])


def test_processes_change_nothing(artifact: Artifact, pixels: np.ndarray) -> None:
    kept = ["block0.softmax", "head"]
    one = GoldenModel(artifact).run(pixels, keep=kept)
    with GoldenPool(artifact, 2) as pool:
        many = pool.run(pixels, keep=kept)
        with pytest.raises(TypeError, match="pixels must be uint8"):
            pool.run(pixels.astype(float))
    np.testing.assert_array_equal(many.logits, one.logits)
    for name in kept:
        np.testing.assert_array_equal(many.tensors[name], one.tensors[name])
    assert many.saturated == one.saturated
