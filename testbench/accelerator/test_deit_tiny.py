"""DeiT-T on real images: every tensor of whole inferences on RTL equals golden."""

from pathlib import Path

import pytest

from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.images import ImageSet
from rootshift.quant.quantize import quantize
from rootshift.sim.native.memory import MemoryTiming

from .inference import Proof

MODEL = "deit_tiny_patch16_224"
SEED = 31
MEMORIES = {
    "at once": MemoryTiming(),
    "random delays": MemoryTiming(read_latency=20, write_latency=10, extra_latency=60, seed=SEED),
    "back-pressure on every channel": MemoryTiming(hold=0.3, seed=SEED),
    "all of it": MemoryTiming(
        read_latency=9, write_latency=5, extra_latency=30, hold=0.4, bandwidth=0.5, seed=SEED
    ),
}
"""One for each image."""


@pytest.mark.slow
def test_real_images(shared: Path) -> None:
    """W4A4 on 16x16, an image a run, each with another memory."""
    labels = shared / "data" / "imagenet_samples" / "labels.csv"
    artifact = quantize(
        MODEL,
        shared / "data" / "deit_tiny" / f"{MODEL}.safetensors",
        lambda preprocessing: ImageSet.from_csv(labels, preprocessing, split="calibration"),
        Bits.parse("W4A4"),
        method="repq",
    )
    config = AcceleratorConfig.for_artifact(artifact, "16x16")
    images = ImageSet.from_csv(labels, artifact.preprocessing, split="evaluation")
    compared = 0
    for number, (name, memory) in enumerate(MEMORIES.items()):
        proof = Proof(artifact, config, images.pixels(number)[None])
        run = proof.run(limit=1 << 24, memory=memory)
        found = proof.check(run)
        assert proof.program.logits(run.memory).argmax() == proof.golden.logits.argmax()
        compared += found.compared
        print(f"image {number}, {name}: {found.compared} values equal, {run.cycles} cycles")
    assert compared > len(MEMORIES) * 11_000_000
