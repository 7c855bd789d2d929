"""The front end in one call: which images, which weights, and what the artifact tells of them."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rootshift import __version__
from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.errors import CalibrationError, ImageError
from rootshift.images import ImageSet
from rootshift.preprocessing import Preprocessing
from rootshift.quant.digits import digits_images
from rootshift.quant.models import load_model
from rootshift.quant.quantize import draw, quantize, state_digest
from rootshift.sim.golden.model import GoldenModel

from .small_vit import small_vit


def calibration(preprocessing: Preprocessing) -> ImageSet:
    return digits_images("calibration", preprocessing)


def numbered(count: int) -> ImageSet:
    """Images of one pixel that tell their position."""
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ImageSet.from_arrays([f"{i}" for i in range(count)], pixels)


@pytest.fixture(scope="module")
def quantized() -> Artifact:
    return quantize(
        "digits", "timm", calibration, Bits(4, 5, 6), method="repq+gptq", limit=8, seed=4
    )


def test_the_source_tells_where_it_comes_from(quantized: Artifact) -> None:
    source = dict(quantized.source)
    recorded = source.pop("calibration")
    model = load_model("digits", "timm")
    assert source == {
        "rootshift": __version__,
        "model": "digits",
        "weights": "timm",
        "weights_sha256": state_digest(model),
        "base": "sqrt2",
        "method": "repq+gptq",
        "seed": 4,
    }
    images = draw(calibration(quantized.preprocessing), 8, 4)
    assert [item["file"] for item in recorded] == list(images.names)
    for index, item in enumerate(recorded):
        assert item["sha256"] == hashlib.sha256(images.pixels(index).tobytes()).hexdigest()


def test_bits_and_options_reach_the_operators() -> None:
    options = {"base": "2", "method": "repq", "limit": 4}
    artifact = quantize("digits", "timm", calibration, Bits(3, 5, 7), **options)
    assert artifact.bits == Bits(3, 5, 7)
    kinds = {kind: [op for op in artifact.operators if op.kind == kind] for kind in (
        "gemm", "layernorm", "log2_softmax", "gelu_table",
    )}  # fmt: skip
    assert {op.weight_width for op in kinds["gemm"]} == {3, 8}
    assert [op.name for op in kinds["gemm"] if op.weight_width == 8] == ["patch_embed.proj"]
    assert {op.width for op in kinds["layernorm"] + kinds["gelu_table"]} == {5}
    assert {(op.log_width, op.base) for op in kinds["log2_softmax"]} == {(7, "2")}
    assert artifact.source["base"] == "2"
    assert artifact.source["method"] == "repq"


def test_the_embedded_model_stays_right(quantized: Artifact) -> None:
    images = digits_images("test", quantized.preprocessing).take(range(100))
    pixels = np.concatenate(list(images.batches(100)))
    labels = GoldenModel(quantized).run(pixels).logits.argmax(1)
    assert (labels == images.labels).mean() > 0.9


def test_progress_reaches_its_end() -> None:
    calls: list[tuple[int, int, str]] = []
    quantize(
        "digits", "timm", calibration, Bits(4, 4), limit=2,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert calls[-1][0] == calls[-1][1]
    assert all(name for _, _, name in calls)


def test_threads_and_memory_of_torch_do_not_change_the_result(quantized: Artifact) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        again = quantize(
            "digits", "timm", calibration, Bits(4, 5, 6), method="repq+gptq", limit=8, seed=4
        )
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(quantized.operators, again.operators, strict=True):
        assert a.parameters() == b.parameters()
        for key, value in a.tensors().items():
            np.testing.assert_array_equal(value, b.tensors()[key], f"{a.name}.{key}")


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (lambda preprocessing: numbered(0), ValueError),
        (lambda preprocessing: (_ for _ in ()).throw(ImageError("no folder")), ImageError),
    ],
)
def test_errors_of_the_images_come_through(
    images: Callable[[Preprocessing], ImageSet], error: type[Exception]
) -> None:
    with pytest.raises(error):
        quantize("digits", "timm", images, Bits(4, 4))


def test_weights_that_explode_name_the_layer(tmp_path) -> None:
    from safetensors.torch import save_file

    state = load_model("digits", "timm").state_dict()
    tensors = {key: value.clone() for key, value in state.items()}
    tensors["blocks.2.attn.qkv.weight"] *= 1e30
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(CalibrationError, match=r"^blocks\.2\.attn"):
        quantize("digits", tmp_path / "w.safetensors", calibration, Bits(4, 4), limit=2)


@pytest.mark.parametrize(("count", "limit"), [(1, 1), (5, 5), (5, 32), (3, 4)])
def test_few_images_are_all_drawn(count: int, limit: int) -> None:
    assert draw(numbered(count), limit, 0).names == numbered(count).names


def test_many_images_are_drawn_by_seed_and_kept_in_order() -> None:
    drawn = {seed: draw(numbered(60), 7, seed).names for seed in range(40)}
    for seed, names in drawn.items():
        assert len(set(names)) == 7
        assert sorted(names, key=int) == list(names)
        assert draw(numbered(60), 7, seed).names == names
    assert len(set(drawn.values())) > 35
    assert len({name for names in drawn.values() for name in names}) > 50


def test_a_digest_tells_weights_apart() -> None:
    model = small_vit(3, depth=1)
    digest = state_digest(model)
    assert len(digest) == 64
    assert state_digest(small_vit(3, depth=1)) == digest
    assert state_digest(small_vit(4, depth=1)) != digest
    assert state_digest(small_vit(3, depth=1, num_classes=8)) != digest
    with torch.no_grad():
        model.head.bias[3] += 1e-6
    assert state_digest(model) != digest


def test_a_digest_does_not_depend_on_layout() -> None:
    model = small_vit(3, depth=1)
    digest = state_digest(model)
    weight = model.head.weight
    model.head.weight.data = weight.data.t().contiguous().t()
    assert not model.head.weight.is_contiguous()
    assert state_digest(model) == digest
