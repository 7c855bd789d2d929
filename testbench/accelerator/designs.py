"""Designs that the tests share, as each has to be built, and the memories behind their bus."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.sim.native.memory import CHANNELS, MemoryTiming

WIDE = AcceleratorConfig(
    rows=4,
    cols=4,
    lanes=4,
    activation_width=8,
    weight_width=8,
    log_width=4,
    token_depth=260,
    channel_depth=1024,
    embedding_depth=256,
    code_depth=1 << 15,
    residual_depth=1 << 13,
    pipeline_stages=1,
)
"""Room for many small models, of up to 8 bits and 4-bit log codes of base sqrt2."""

NARROW = AcceleratorConfig(
    rows=8,
    cols=4,
    lanes=4,
    activation_width=4,
    weight_width=4,
    log_width=4,
    base="2",
    token_depth=64,
    channel_depth=256,
    embedding_depth=64,
    code_depth=1 << 12,
    residual_depth=1 << 11,
    bus_width=32,
    pipeline_stages=2,
)
"""Takes pixels and the patch embedding's weights as two digits each; its long paths have a register
more than those of `WIDE`."""


def covering(artifacts: Sequence[Artifact], array: str, **fields: int) -> AcceleratorConfig:
    """The smallest configuration that runs each of the artifacts; `fields` as they are given.

    Raises: ConfigError where they have other log codes or bases than the first.
    """
    configs = [AcceleratorConfig.for_artifact(artifact, array) for artifact in artifacts]
    most = {
        field.name: max(getattr(config, field.name) for config in configs)
        for field in dataclasses.fields(AcceleratorConfig)
        if field.name.endswith("_depth")
    }
    found = replace(configs[0], **most, **fields)
    for artifact in artifacts:
        found.check_fits(artifact)
    return found


def timings(rng: np.random.Generator) -> dict[str, MemoryTiming]:
    """Memories of every kind, with printed seeds; each channel is held alone once."""
    seed = int(rng.integers(1 << 32))
    print(f"seed of the memories: {seed}")
    found = {
        "at once": MemoryTiming(),
        "late": MemoryTiming(read_latency=60, write_latency=50),
        "any delay": MemoryTiming(extra_latency=90, seed=seed),
        "low bandwidth": MemoryTiming(bandwidth=0.3),
        "all channels held": MemoryTiming(hold=0.5, seed=seed + 1),
        "everything": MemoryTiming(
            read_latency=12, write_latency=7, extra_latency=40, hold=0.4, bandwidth=0.7,
            seed=seed + 2,
        ),
    }  # fmt: skip
    for number, channel in enumerate(CHANNELS):
        held = MemoryTiming(hold={channel: 0.9}, seed=seed + 3 + number)
        found[f"{channel} held"] = held
    return found
