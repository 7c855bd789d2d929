"""Real models on a real image, by blocks or whole: every operator's RTL equals golden."""

from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.images import ImageSet
from rootshift.quant.digits import digits_images
from rootshift.quant.quantize import quantize
from rootshift.sim.golden.model import GoldenModel, Inference
from rootshift.testbench.hw.replay import replay

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator

MODEL = "deit_tiny_patch16_224"


def digits(bits: str, base: str = "sqrt2") -> Artifact:
    """The embedded model, calibrated on its own images."""
    return quantize(
        "digits", "timm", lambda p: digits_images("calibration", p), Bits.parse(bits), base=base
    )


def check(artifact: Artifact, pixels: np.ndarray, array: str, blocks: list[int] | None) -> None:
    """Replay and require every value of every operator, none of them different.

    `blocks` as in `replay`: None is the whole model, where only two operators move data.
    """
    config = AcceleratorConfig.for_artifact(artifact, array)
    found = replay(artifact, pixels, config, blocks=blocks)
    assert [unit.first for unit in found if unit.mismatches] == []
    names = [op.name for op in artifact.operators]
    if blocks is None:
        expected = set(names) - {"patch_embed.patches", "pool"}
        assert {"patch_embed.proj", "embed", "norm", "head"} <= expected
    else:
        expected = {n for n in names if n.startswith(tuple(f"blocks.{b}." for b in blocks))}
    assert {name for unit in found for name in unit.operators} == expected
    # The prefix rows of embed are constants that no unit computes.
    shapes = artifact.shapes() | {"embed": artifact.shapes()["patch_embed.proj"]}
    values = sum(int(np.prod(shapes[name])) for name in expected)
    assert sum(unit.compared for unit in found) == values
    golden = GoldenModel(artifact).run(pixels[None])
    assert sum(unit.saturated for unit in found) == sum(golden.saturated[n] for n in expected)
    print(f"{values} values in {sum(unit.cycles for unit in found)} cycles")


@pytest.mark.parametrize(
    ("bits", "array", "base", "blocks"),
    [
        ("W4A4", "4x4", "sqrt2", None),
        ("W6A6", "8x8", "2", [0, 3]),
        ("W8A8", "6x10", "sqrt2", [0, 3]),
        ("W4A8L5", "16x16", "sqrt2", [0, 3]),
    ],
)
def test_digits_equals_golden(bits, array, base, blocks):
    artifact = digits(bits, base)
    pixels = digits_images("test", artifact.preprocessing).pixels(7)
    check(artifact, pixels, array, blocks)


def test_deit_tiny_block_equals_golden(shared):
    data = shared / "data"
    labels = data / "imagenet_samples" / "labels.csv"
    artifact = quantize(
        MODEL,
        data / "deit_tiny" / f"{MODEL}.safetensors",
        lambda p: ImageSet.from_csv(labels, p, split="calibration"),
        Bits.parse("W4A4"),
        limit=8,
    )
    image = ImageSet.from_csv(labels, artifact.preprocessing, split="evaluation").pixels(3)
    check(artifact, image, "16x16", [0])


def test_differences_are_found_and_named(monkeypatch):
    """One other value, and in another unit one saturated value more."""
    artifact = digits("W4A4")
    pixels = digits_images("test", artifact.preprocessing).pixels(7)
    run = GoldenModel.run

    def altered(self: GoldenModel, *arguments: Any) -> Inference:
        result = run(self, *arguments)
        result.tensors["blocks.0.mlp.residual"][0, 5, 11] += 1
        result.saturated["blocks.0.attn.mix"] += 1
        return result

    monkeypatch.setattr(GoldenModel, "run", altered)
    found = replay(artifact, pixels, AcceleratorConfig.for_artifact(artifact, "4x4"))
    assert {unit.unit: unit.mismatches for unit in found if unit.mismatches} == {
        "shift_attention": 1,
        "residual_add": 1,
    }
    first = {unit.unit: unit.first for unit in found}
    assert first["residual_add"].startswith("blocks.0.mlp.residual[5, 11]: must be ")
    assert first["shift_attention"].startswith("blocks.0.attn.mix: saturated values must be ")


@pytest.mark.parametrize(
    ("blocks", "error", "message"),
    [([1], KeyError, "no block 1"), (None, ValueError, "pool: operator must have a unit")],
)
def test_what_no_unit_runs_is_refused(blocks, error, message):
    rng = generator(5)
    artifact = random_artifact(rng, Size(pool="avg"))
    pixels = random_pixels(rng, artifact, 1)[0]
    with pytest.raises(error, match=message):
        replay(artifact, pixels, AcceleratorConfig.for_artifact(artifact, "4x4"), blocks=blocks)
