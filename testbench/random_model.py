"""Random integer models that are valid artifacts: every operator kind, without torch or training.

Scales follow the spread of the random numbers, so that codes use their range, some values saturate
and softmax rows are neither flat nor one-hot.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.bit_table import BitTable
from rootshift.bits import Bits
from rootshift.formats import (
    BASES,
    GELU_INDEX_WIDTH,
    LOGIT_WIDTH,
    PIXEL_WIDTH,
    RESIDUAL_WIDTH,
    attention_headroom,
    code_max,
    fixed_point,
    zero_code,
)
from rootshift.operator_base import Operator
from rootshift.operators import (
    PIXELS,
    Embed,
    Gather,
    GeluTable,
    Gemm,
    LayerNorm,
    Log2Softmax,
    Patchify,
    Pool,
    ResidualAdd,
    Scores,
    ShiftAttention,
)
from rootshift.preprocessing import Preprocessing

SPREAD = {PIXEL_WIDTH: 74.0}
RESIDUAL_SPREAD = 900.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a random model; `image` is height, width, channels.

    `pool` is that of the classifier, or "distilled": two tokens side by side.
    """

    image: tuple[int, int, int] = (8, 8, 1)
    patch: int = 4
    width: int = 12
    heads: int = 2
    hidden: int = 24
    depth: int = 1
    prefix: int = 1
    pool: str = "token"
    classes: int = 10

    @property
    def tokens(self) -> int:
        return self.prefix + (self.image[0] // self.patch) * (self.image[1] // self.patch)


def random_artifact(
    rng: np.random.Generator,
    size: Size | None = None,
    *,
    bits: str | BitTable = "W4A4",
    base: str = "sqrt2",
) -> Artifact:
    """An artifact of random integers, equal for equal generators.

    Parameters: `bits`, one text for all, or a table of the layers `block0.qkv`, `.scores`,
    `.softmax`, `.mix`, `.proj`, `.fc1`, `.fc2` and so on, and `head`.
    """
    size = size or Size()
    widths = Bits.parse(bits) if isinstance(bits, str) else bits
    height, width, channels = size.image
    return Artifact(
        source={"model": "random", "options": {"depth": size.depth}, "files": ["a.png", "b.png"]},
        bits=widths,
        preprocessing=Preprocessing(
            height=height, width=width, channels=channels, resize_height=height,
            resize_width=width, interpolation="bicubic", mean=(0.45,) * channels,
            std=(0.225,) * channels,
        ),
        operators=tuple(Builder(rng, size, widths, base).operators()),
        outputs=(Output("head"),),
    )  # fmt: skip


def random_pixels(rng: np.random.Generator, artifact: Artifact, images: int) -> np.ndarray:
    """uint8 [images, H, W, C]: noise, and one image each all black and all white."""
    pixels = rng.integers(0, 256, (images, *artifact.preprocessing.shape)).astype(np.uint8)
    for index, level in enumerate((0, 255)[: max(0, images - 1)]):
        pixels[index] = level
    return pixels


class Builder:
    """Random operators of the code widths that `bits` says; `size` is of their tensors."""

    def __init__(
        self, rng: np.random.Generator, size: Size, bits: Bits | BitTable, base: str
    ) -> None:
        self.rng, self.size, self.bits, self.base = rng, size, bits, base

    def code(self, layer: str) -> int:
        """Width of the codes that `layer` takes."""
        return self.bits.of(layer).activations

    def operators(self) -> Iterator[Operator]:
        size = self.size
        yield Patchify(
            name="patches", inputs=(PIXELS,), scale=1.0, patch_height=size.patch,
            patch_width=size.patch,
        )  # fmt: skip
        depth = size.image[2] * size.patch**2
        yield self.gemm("patch_embed", "patches", depth, size.width, RESIDUAL_WIDTH, codes=(8, 8))
        shape = (size.tokens, size.width)
        yield Embed(
            name="embed", inputs=("patch_embed",), scale=2.0**-9, prefix=size.prefix,
            position=self.rng.normal(0, RESIDUAL_SPREAD, shape).astype(np.int16),
        )  # fmt: skip
        stream = "embed"
        for block in range(size.depth):
            yield from self.block(f"block{block}", stream)
            stream = f"block{block}.add2"
        yield from self.classifier(stream)

    def classifier(self, stream: str) -> Iterator[Operator]:
        """Pool to logits."""
        size = self.size
        if size.pool == "distilled":
            rows, code = np.arange(2, dtype=np.int32), self.code("head")
            yield self.gather("pool", stream, rows[:, None], RESIDUAL_WIDTH)
            yield self.layernorm("norm", "pool", code)
            yield self.gather("head.tokens", "norm", rows[None], code)
            yield self.gemm("head", "head.tokens", 2 * size.width, size.classes, LOGIT_WIDTH)
            return
        count = size.tokens - size.prefix if size.pool == "avg" else 1
        multiplier, shift = fixed_point(1 / count)
        yield Pool(
            name="pool", inputs=(stream,), scale=2.0**-9, mode=size.pool, prefix=size.prefix,
            multiplier=int(multiplier), shift=shift,
        )  # fmt: skip
        yield self.layernorm("norm", "pool", self.code("head"))
        yield self.gemm("head", "norm", size.width, size.classes, LOGIT_WIDTH)

    def block(self, name: str, stream: str) -> Iterator[Operator]:
        size, rng = self.size, self.rng
        yield self.layernorm(f"{name}.norm1", stream, self.code(f"{name}.qkv"))
        code, value = self.code(f"{name}.scores"), self.code(f"{name}.mix")
        for part, width in (("q", code), ("k", code), ("v", value)):
            yield self.gemm(
                f"{name}.{part}", f"{name}.norm1", size.width, size.width, width,
                layer=f"{name}.qkv",
            )  # fmt: skip
        head_width = size.width // size.heads
        spread = self.spread(code)
        multiplier, shift = fixed_point(1500 / (spread**2 * sqrt(head_width)))
        yield Scores(
            name=f"{name}.scores", inputs=(f"{name}.q", f"{name}.k"), scale=2.0**-8,
            input_width=code, windows=1, heads=size.heads, head_width=head_width,
            query_zero=self.zero(code), multiplier=int(multiplier), shift=shift,
        )  # fmt: skip
        log = self.bits.of(f"{name}.softmax").log
        yield Log2Softmax(
            name=f"{name}.softmax", inputs=(f"{name}.scores",), scale=0.8,
            log_width=log, base=self.base, offset=round(256 * np.log2(0.8)),
        )  # fmt: skip
        headroom = attention_headroom(zero_code(log, self.base), self.base)
        output, even = self.code(f"{name}.proj"), 1.2 * 2.0**-headroom
        (multiplier_even, multiplier_odd), shift = fixed_point(np.array([even, even / sqrt(2)]))
        yield ShiftAttention(
            name=f"{name}.attention", inputs=(f"{name}.softmax", f"{name}.v"), scale=0.1,
            input_width=value, windows=1, log_width=log, base=self.base,
            value_zero=self.zero(value), multiplier_even=int(multiplier_even),
            multiplier_odd=int(multiplier_odd) if BASES[self.base] == 2 else 0, shift=shift,
            zero=self.zero(output), width=output,
        )  # fmt: skip
        yield self.gemm(f"{name}.proj", f"{name}.attention", size.width, size.width, RESIDUAL_WIDTH)
        yield self.add(f"{name}.add1", stream, f"{name}.proj", 1)
        yield self.layernorm(f"{name}.norm2", f"{name}.add1", self.code(f"{name}.fc1"))
        yield self.gemm(f"{name}.fc1", f"{name}.norm2", size.width, size.hidden, GELU_INDEX_WIDTH)
        hidden = self.code(f"{name}.fc2")
        step, top = 1 / 32, code_max(hidden)
        real = [x * (1 + erf(x / sqrt(2))) / 2 for x in (step * (i - 128) for i in range(256))]
        table = np.clip(np.rint(np.array(real) / 4 * top) + rng.integers(0, 2), 0, top)
        yield GeluTable(
            name=f"{name}.gelu", inputs=(f"{name}.fc1",), scale=4 / top,
            table=table.astype(np.uint8), width=hidden,
        )  # fmt: skip
        yield self.gemm(f"{name}.fc2", f"{name}.gelu", size.hidden, size.width, RESIDUAL_WIDTH)
        yield self.add(f"{name}.add2", f"{name}.add1", f"{name}.fc2", 0)

    def spread(self, width: int) -> float:
        """Standard deviation of the codes that the quantizers of this file aim at."""
        return SPREAD.get(width, code_max(width) / 4)

    def zero(self, width: int) -> int:
        """A zero point near the middle of the codes."""
        middle = 1 << (width - 1)
        return int(middle + self.rng.integers(-middle // 4, middle // 4 + 1))

    def gemm(
        self, name: str, source: str, depth: int, channels: int, width: int,
        codes: tuple[int, int] | None = None, layer: str | None = None,
    ) -> Gemm:  # fmt: skip
        """`codes` are the widths of input and weights; those of `layer`, by default its own."""
        bits = self.bits.of(layer or name)
        input_width, weight_width = codes or (bits.activations, bits.weights)
        weight = self.rng.integers(0, 1 << weight_width, (channels, depth))
        middle = 1 << (weight_width - 1)
        zeros = middle + self.rng.integers(-2, 3, channels)
        mean = 1 << (input_width - 1)
        bias = -mean * (weight - zeros[:, None]).sum(1) + self.rng.integers(-20, 21, channels)
        spread = self.spread(input_width) * code_max(weight_width) / 3.4 * sqrt(depth)
        target = {RESIDUAL_WIDTH: RESIDUAL_SPREAD, LOGIT_WIDTH: 2.0**24}.get(width)
        factor = (target or self.spread(width)) / spread
        multiplier, shift = fixed_point(min(factor, 1000.0) * self.rng.uniform(0.5, 1, channels))
        return Gemm(
            name=name, inputs=(source,), scale=0.1, input_width=input_width,
            weight_width=weight_width, weight=weight.astype(np.uint8),
            weight_zero=zeros.astype(np.int16), bias=bias.astype(np.int32),
            multiplier=multiplier, shift=shift,
            zero=self.zero(width) if width <= GELU_INDEX_WIDTH else 0, width=width,
        )  # fmt: skip

    def layernorm(self, name: str, source: str, width: int) -> LayerNorm:
        channels, shift = self.size.width, 19
        gamma = self.rng.uniform(0.5, 1, channels) * self.rng.choice([-1, 1], channels)
        beta = self.rng.normal(0, 0.2, channels)
        spread = self.spread(width)
        gain = np.rint(gamma * spread * 2.0 ** (shift - 12))
        offset = np.rint((beta * spread + self.zero(width) + 0.5) * 2.0**shift)
        return LayerNorm(
            name=name, inputs=(source,), scale=1 / spread, gain=gain.astype(np.int16),
            offset=offset.astype(np.int32), shift=shift, epsilon=channels**2, width=width,
        )  # fmt: skip

    def gather(self, name: str, source: str, index: np.ndarray, width: int) -> Gather:
        """Rows of codes or of the stream, none of them fill."""
        return Gather(
            name=name, inputs=(source,), scale=0.1, index=index,
            fill=np.zeros(self.size.width, np.int16), width=width,
        )  # fmt: skip

    def add(self, name: str, residual: str, branch: str, shift: int) -> ResidualAdd:
        return ResidualAdd(name=name, inputs=(residual, branch), scale=2.0**-8, shift=shift)
