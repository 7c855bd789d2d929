"""DeiT-T on real images: every tensor of whole inferences on RTL equals golden."""

from pathlib import Path

import pytest

from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.images import ImageSet
from rootshift.quant.quantize import quantize

from .inference import Proof

MODEL = "deit_tiny_patch16_224"
IMAGES = 4


@pytest.mark.slow
def test_real_images(shared: Path) -> None:
    """W4A4 on 16x16, an image a run."""
    labels = shared / "data" / "imagenet_samples" / "labels.csv"
    artifact = quantize(
        MODEL,
        shared / "data" / "deit_tiny" / f"{MODEL}.safetensors",
        lambda preprocessing: ImageSet.from_csv(labels, preprocessing, split="calibration"),
        Bits.parse("W4A4"),
        rounding="nearest",
    )
    config = AcceleratorConfig.for_artifact(artifact, "16x16")
    images = ImageSet.from_csv(labels, artifact.preprocessing, split="evaluation")
    compared = 0
    for number in range(IMAGES):
        proof = Proof(artifact, config, images.pixels(number)[None])
        run = proof.run(limit=1 << 24)
        found = proof.check(run)
        assert proof.program.logits(run.memory).argmax() == proof.golden.logits.argmax()
        compared += found.compared
        print(f"image {number}: {found.compared} values equal, {run.cycles} cycles")
    assert compared > IMAGES * 11_000_000
