"""The ONNX model against the fake level: logits, labels, integers, names, bytes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rootshift import __version__
from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.bits import Bits
from rootshift.errors import OutputError
from rootshift.operators import Gemm, LayerNorm, Scores, ShiftAttention
from rootshift.quant.digits import digits_images
from rootshift.quant.fake import FakeModel
from rootshift.quant.onnx import graph
from rootshift.quant.onnx.model import onnx_bytes, onnx_model
from rootshift.quant.quantize import quantize

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .levels import session

SIZES = {
    "two blocks": Size(image=(8, 8, 3), width=24, depth=2),
    "odd, registers, mean": Size(image=(4, 12, 1), width=15, heads=3, prefix=2, pool="avg"),
    "no class token": Size(prefix=0, pool="avg", classes=3),
}
IMAGES = 64


def onnx_logits(artifact: Artifact, pixels: np.ndarray) -> np.ndarray:
    (logits,) = session(onnx_bytes(artifact)).run(["logits"], {"pixels": pixels})
    return logits


def equals_fake(artifact: Artifact, pixels: np.ndarray) -> None:
    """Labels of all images and nearly all logits are equal.

    Where sums are whole numbers below 2^24, which those of codes are here, they are equal in any
    order. LayerNorm, softmax and shift attention round in the last of 24 bits in an order of their
    own, and then a code: one value in 10^5 lies so near the middle of two codes that it becomes the
    other one, and moves its image's logits by what one code weighs.
    """
    want = FakeModel(artifact).logits(torch.from_numpy(pixels)).numpy()
    have = onnx_logits(artifact, pixels)
    assert (have.dtype, have.shape) == (np.float32, want.shape)
    np.testing.assert_array_equal(have.argmax(1), want.argmax(1))
    difference = np.abs(have - want).max(1) / np.abs(want).max()
    assert np.count_nonzero(difference > 2.0**-20) <= 2, difference.max()
    assert difference.max() < 0.05


@pytest.mark.parametrize("base", ["sqrt2", "2"])
@pytest.mark.parametrize("bits", ["W3A5", "W4A4", "W3A4L8", "W8A8"])
@pytest.mark.parametrize("size", SIZES)
def test_random_models(size: str, bits: str, base: str) -> None:
    rng = generator(len(size), *map(ord, bits), *map(ord, base))
    artifact = random_artifact(rng, SIZES[size], bits=bits, base=base)
    equals_fake(artifact, random_pixels(rng, artifact, IMAGES))


@pytest.mark.parametrize("bits", ["W4A4", "W8A8"])
def test_embedded_model(bits: str) -> None:
    artifact = quantize(
        "digits", "timm", lambda p: digits_images("calibration", p), Bits.parse(bits), limit=8
    )
    equals_fake(artifact, next(digits_images("test", artifact.preprocessing).batches(IMAGES)))


def changed(artifact: Artifact, change: Callable) -> Artifact:
    """The artifact with other operators."""
    return replace(artifact, operators=tuple(map(change, artifact.operators)))


def test_zero_points_outside_the_codes() -> None:
    """Negative, above 255 and beside each other: a sum of Sub and DequantizeLinear, and Clip."""
    rng = generator(1)

    def shift(op):
        if isinstance(op, Gemm) and op.width == 4:
            zero = op.weight_zero + rng.choice([-40, 0, 290], op.weight_zero.size)
            moved = op.weight.shape[1] * 8 * (zero - op.weight_zero)
            return replace(
                op, zero=-3, weight_zero=zero.astype(np.int16),
                bias=(op.bias + moved).astype(np.int32),
            )  # fmt: skip
        if isinstance(op, Scores):
            return replace(op, query_zero=-3)
        return replace(op, value_zero=-4, zero=-2) if isinstance(op, ShiftAttention) else op

    artifact = changed(random_artifact(rng, SIZES["two blocks"]), shift)
    equals_fake(artifact, random_pixels(rng, artifact, IMAGES))


def test_codes_stay_in_their_width() -> None:
    """QuantizeLinear alone would go on to 255."""
    rng = generator(2)

    def widen(op):
        return replace(op, gain=op.gain * np.int16(4)) if isinstance(op, LayerNorm) else op

    artifact = changed(random_artifact(rng, SIZES["two blocks"], bits="W4A3"), widen)
    model = onnx_model(artifact)
    codes = [op.name for op in artifact.operators if op.output_width == 3]
    shown = {info.name: info for info in model.graph.value_info}
    model.graph.output.extend(shown[name] for name in codes)
    pixels = random_pixels(rng, artifact, 4)
    values = session(model.SerializeToString()).run(codes, {"pixels": pixels})
    assert all(value.dtype == np.uint8 for value in values)
    most = {name: value.max() for name, value in zip(codes, values, strict=True)}
    assert max(most.values()) == 7, most
    assert most["block0.norm1"] == most["block1.norm2"] == most["norm"] == 7


@pytest.mark.parametrize("images", [1, 5])
def test_any_number_of_images(images: int) -> None:
    artifact = random_artifact(generator(3), SIZES["odd, registers, mean"])
    pixels = random_pixels(generator(4), artifact, 8)
    some = onnx_logits(artifact, pixels[:images])
    np.testing.assert_allclose(some, onnx_logits(artifact, pixels)[:images], rtol=1e-6)


def test_every_integer_is_in_the_file() -> None:
    rng = generator(5)
    artifact = random_artifact(rng, SIZES["odd, registers, mean"], bits="W5A6L4")
    model = onnx.load_from_string(onnx_bytes(artifact))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for op in artifact.operators:
        for key, value in op.tensors().items():
            found = stored[f"{op.name}.{key}"]
            expected = value.T if key == "weight" else value
            np.testing.assert_array_equal(found, expected, err_msg=f"{op.name}.{key}")
            # Zero points of weights have the type of the weights.
            assert found.dtype == (np.uint8 if key == "weight_zero" else value.dtype)


def test_checker_and_shapes() -> None:
    artifact = random_artifact(generator(6), SIZES["two blocks"])
    model = onnx_model(artifact)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        info.name: tuple(d.dim_value or d.dim_param for d in info.type.tensor_type.shape.dim)
        for info in inferred.graph.value_info
    }
    for op in artifact.operators:
        assert shapes[op.name] == ("batch", *artifact.shapes()[op.name])
    kinds = {(node.domain, node.op_type) for node in model.graph.node}
    assert {domain for domain, _ in kinds} == {"", "rootshift"}
    assert [function.name for function in model.functions] == ["LogSoftmaxCodes"]
    assert "Attributes" in model.functions[0].doc_string


def test_metadata_names_the_artifact(tmp_path) -> None:
    artifact = random_artifact(generator(7))
    artifact.save(tmp_path / "a")
    meta = session(onnx_bytes(Artifact.load(tmp_path / "a"))).get_modelmeta()
    assert meta.custom_metadata_map == {
        "rootshift.model": "random",
        "rootshift.bits": "W4A4",
        "rootshift.artifact": artifact.digest,
        "rootshift.version": __version__,
    }
    assert f'"manifest_sha256": "{artifact.digest}"' in (tmp_path / "a/manifest.json").read_text()


def test_equal_artifacts_give_equal_bytes(tmp_path) -> None:
    artifact, other = (random_artifact(np.random.default_rng(8)) for _ in range(2))
    other.save(tmp_path / "a")
    content = onnx_bytes(artifact)
    assert content == onnx_bytes(other) == onnx_bytes(Artifact.load(tmp_path / "a"))
    assert content != onnx_bytes(random_artifact(np.random.default_rng(9)))


def test_operators_may_have_any_name() -> None:
    """Even the names of what lies between them."""
    artifact = random_artifact(generator(10))
    names = {
        "head": "logits", "norm": "logits.shape", "pool": "float32:1.0", "embed": "head/sum",
        "block0.add1": "block0.fc1/sum", "block0.q": "pixels_2", "block0.k": "logits/scaled",
    }  # fmt: skip

    def rename(op):
        inputs = tuple(names.get(name, name) for name in op.inputs)
        return replace(op, name=names.get(op.name, op.name), inputs=inputs)

    operators = tuple(map(rename, artifact.operators))
    renamed = replace(artifact, operators=operators, outputs=(Output("logits"),))
    pixels = random_pixels(generator(11), artifact, 4)
    np.testing.assert_array_equal(onnx_logits(renamed, pixels), onnx_logits(artifact, pixels))


def test_a_model_too_large_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "BYTES_MAX", 1000)
    with pytest.raises(OutputError, match="ONNX model must be at most 1000 bytes, not"):
        onnx_bytes(random_artifact(generator(12)))
