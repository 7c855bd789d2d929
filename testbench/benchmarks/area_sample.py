"""Which configurations the runs of the area model are made for."""

import hashlib
from collections.abc import Iterator
from dataclasses import fields, replace
from math import gcd

from scipy.stats import qmc

from rootshift.config import AcceleratorConfig

SIZES = (4, 8, 12, 16, 24, 32)
TOKENS = (64, 96, 128, 197, 256, 394, 512, 785, 1024)
LEVELS = {
    "rows": SIZES,
    "cols": SIZES,
    "activation_width": range(3, 9),
    "weight_width": range(3, 9),
    "log_width": range(3, 9),
    "base": ("sqrt2", "2"),
    "lanes": (2, 4, 8, 12, 16),
    "token_depth": TOKENS,
    "channel_depth": (192, 384, 768, 1000, 1536, 3072, 4096),
    "embedding_depth": (64, 96, 192, 256, 384, 512, 768),
    "code_depth": (1024, 2200, 4096, 6000, 8192, 11832, 16384, 23664, 32768, 65536),
    "residual_depth": (1024, 1600, 2048, 4728, 8192, 9456, 16384, 32768),
    "bus_width": (32, 64, 128),
}
"""Values that a field takes in the sample."""

WIDTHS = ("activation_width", "weight_width")
ARRAY = ("rows", "cols")
BUS = ("bus_width",)
CHANNELS = ("token_depth", "channel_depth")
UNITS = {
    "fetch": (3, BUS),
    "patchify": (12, ("rows", "activation_width", *BUS)),
    "weights": (14, (*ARRAY, "lanes", *WIDTHS, *BUS)),
    "gemm (vectors)": (10, ("rows", *WIDTHS, "token_depth")),
    "array": (18, (*ARRAY, *WIDTHS, "token_depth")),
    "accumulators": (16, (*ARRAY, *WIDTHS, *CHANNELS)),
    "total queue": (16, (*ARRAY, "lanes", *WIDTHS, *CHANNELS)),
    "requantizer": (16, (*ARRAY, "lanes", *WIDTHS, *CHANNELS)),
    "store": (16, (*ARRAY, "lanes", "activation_width", *BUS)),
    "layernorm": (16, ("rows", "lanes", "embedding_depth", "activation_width", *BUS)),
    "log2 softmax": (14, ("cols", "token_depth", "log_width", "base")),
    "attention": (20, (*ARRAY, "lanes", "log_width", "activation_width", "token_depth", "base")),
    "code buffer": (18, ("rows", "lanes", "activation_width", "code_depth")),
    "residual buffer": (14, ("lanes", "residual_depth")),
    "sequencer": (8, tuple(LEVELS)),
    "controller": (1, ()),
    "CSR": (8, tuple(LEVELS)),
    "read arbiter": (3, BUS),
    "write DMA": (3, BUS),
}
"""Unit -> number of runs, and the fields of the configuration that it depends on."""

CELLS_MAX = 256
"""Cells of an array that one run takes, so that it ends in a few minutes in WebAssembly."""
CODE_BITS_MAX = 1 << 22
REST = AcceleratorConfig(rows=8, cols=8, token_depth=197, channel_depth=1000, pipeline_stages=1)
"""Gives the fields that a unit does not depend on."""

BEYOND = {
    "array": [(32, 16, 4, 4), (24, 24, 4, 4), (32, 8, 8, 6)],
    "attention": [(32, 8, 4, 4), (24, 16, 4, 4)],
}
"""Larger arrays than any in the fit (rows, cols, activations, weights), always held out."""

DSP_ARRAYS = (
    (8, 8, 4, 4, "fit"),
    (12, 4, 8, 8, "fit"),
    (8, 12, 4, 6, "held_out"),
)
"""Arrays of DSP blocks, with two products in each and with one (rows, cols, activations, weights),
and the split of each."""

STAGED = ("accumulators", "code buffer", "residual buffer")
"""Units whose longest path the registers of `pipeline_stages` cut: each has a run with two."""

WHOLE_DESIGNS = (
    AcceleratorConfig(
        rows=4,
        cols=4,
        lanes=4,
        token_depth=65,
        channel_depth=192,
        embedding_depth=48,
        code_depth=2048,
        residual_depth=1024,
        pipeline_stages=1,
    ),
    AcceleratorConfig(
        rows=8,
        cols=8,
        token_depth=197,
        channel_depth=1000,
        embedding_depth=192,
        code_depth=23664,
        residual_depth=4728,
        pipeline_stages=1,
    ),
    AcceleratorConfig(
        rows=12,
        cols=8,
        lanes=4,
        activation_width=5,
        weight_width=6,
        log_width=5,
        base="2",
        token_depth=128,
        channel_depth=768,
        embedding_depth=256,
        code_depth=8192,
        residual_depth=8192,
        bus_width=32,
        pipeline_stages=1,
    ),
)
"""The whole designs that the model is compared to; the second is DeiT-T's at W4/A4."""


def sample(unit: str) -> Iterator[tuple[AcceleratorConfig, str]]:
    """Configurations for a unit's runs and the split of each.

    A Halton sequence over the levels of the fields that the unit depends on. Of each four in
    succession the one with the smallest hash is held out.
    """
    count, names = UNITS[unit]
    if names == BUS:
        # All there are; that between the two others is held out.
        for width in LEVELS["bus_width"]:
            yield replace(REST, bus_width=width), "held_out" if width == 64 else "fit"
        return
    chosen: list[AcceleratorConfig] = list(_draw(unit, count, names)) if names else [REST]
    if unit in STAGED:
        yield replace(REST, lanes=2, pipeline_stages=2), "fit"
    for at in range(0, len(chosen), 4):
        block = chosen[at : at + 4]
        least = min(block, key=lambda config: _hash(unit, config))
        for config in block:
            yield config, "held_out" if config is least and len(block) == 4 else "fit"
    for rows, cols, activations, weights in BEYOND.get(unit, []):
        widths = {"activation_width": activations, "weight_width": weights}
        yield replace(REST, rows=rows, cols=cols, lanes=8, **widths), "held_out"
    for rows, cols, activations, weights, split in DSP_ARRAYS if unit == "array" else ():
        widths = {"activation_width": activations, "weight_width": weights}
        array = replace(REST, rows=rows, cols=cols, lanes=4, array_multiplier="dsp")
        yield replace(array, **widths), split


def _draw(unit: str, count: int, names: tuple[str, ...]) -> Iterator[AcceleratorConfig]:
    seen: set[AcceleratorConfig] = set()
    points = qmc.Halton(len(names), seed=int(_hash(unit, None)[:8], 16))
    while len(seen) < count:
        given = dict(zip(names, points.random(1)[0], strict=True))
        values = {name: _level(LEVELS[name], u) for name, u in given.items()}
        rows, cols = values.get("rows", REST.rows), values.get("cols", REST.cols)
        size = gcd(rows, cols)
        if "lanes" in values:
            legal = [n for n in LEVELS["lanes"] if size % n == 0]
            values["lanes"] = _level(legal, given["lanes"])
        else:
            values["lanes"] = max(n for n in LEVELS["lanes"] if size % n == 0 and n <= 8)
        config = replace(REST, **values)
        words = config.code_depth * rows * config.activation_width
        if rows * cols > CELLS_MAX or words > CODE_BITS_MAX or config in seen:
            continue
        seen.add(config)
        yield config


def _level(levels: tuple | range | list, place: float) -> int | str:
    return levels[int(place * len(levels))]


def _hash(unit: str, config: AcceleratorConfig | None) -> str:
    values = [getattr(config, field.name) for field in fields(config)] if config else []
    return hashlib.sha256(repr((unit, values)).encode()).hexdigest()
