"""Whole encoder blocks of real models on a real image: every operator's RTL equals golden."""

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.images import ImageSet
from rootshift.quant.digits import digits_images
from rootshift.quant.quantize import quantize
from rootshift.sim.vectors import block_tensors
from rootshift.testbench.hw.replay import UNIT_OF, replay

MODEL = "deit_tiny_patch16_224"


def digits(bits: str, base: str = "sqrt2") -> Artifact:
    """The embedded model, calibrated on its own images."""
    return quantize(
        "digits", "timm", lambda p: digits_images("calibration", p), Bits.parse(bits), base=base
    )


def check(artifact: Artifact, pixels: np.ndarray, array: str, blocks: list[int]) -> None:
    """Replay and require every value of every operator of the blocks, none of them different."""
    config = AcceleratorConfig.for_artifact(artifact, array)
    found = replay(artifact, pixels, config, blocks=blocks)
    assert [unit.first for unit in found if unit.mismatches] == []
    names = [op.name for op in artifact.operators if op.kind in UNIT_OF]
    expected = {n for n in names if n.startswith(tuple(f"blocks.{block}." for block in blocks))}
    assert {name for unit in found for name in unit.operators} == expected
    shapes = artifact.shapes()
    values = sum(int(np.prod(shapes[name])) for name in expected)
    assert sum(unit.compared for unit in found) == values
    print(f"{values} values in {sum(unit.cycles for unit in found)} cycles")


@pytest.mark.parametrize(
    ("bits", "array", "base"),
    [
        ("W4A4", "4x4", "sqrt2"),
        ("W6A6", "8x8", "2"),
        ("W8A8", "6x10", "sqrt2"),
        ("W4A8L5", "16x16", "sqrt2"),
    ],
)
def test_digits_blocks_equal_golden(bits, array, base):
    artifact = digits(bits, base)
    pixels = digits_images("test", artifact.preprocessing).pixels(7)
    check(artifact, pixels, array, [0, 3])


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


def test_a_difference_is_found_and_named(monkeypatch):
    artifact = digits("W4A4")
    pixels = digits_images("test", artifact.preprocessing).pixels(7)
    name = "blocks.0.mlp.residual"

    def altered(*arguments):
        tensors = block_tensors(*arguments)
        tensors[name] = tensors[name].copy()
        tensors[name][5, 11] += 1
        return tensors

    monkeypatch.setattr("rootshift.testbench.hw.replay.block_tensors", altered)
    found = replay(artifact, pixels, AcceleratorConfig.for_artifact(artifact, "4x4"))
    assert sum(unit.mismatches for unit in found) == 1
    assert next(unit.first for unit in found if unit.mismatches).startswith(f"{name}[5, 11]: must")
