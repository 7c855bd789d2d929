"""Random integer Swin transformers: the operators that `random_model` lacks.

Two stages of two blocks, the second shifted; windows that the grid does not fill, and patch merging
of a grid of odd size. `Windows` cuts a grid as timm's `SwinTransformerBlock` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.bits import Bits
from rootshift.formats import LOGIT_WIDTH, RESIDUAL_WIDTH, code_max, fixed_point
from rootshift.operator_base import Operator
from rootshift.operators import (
    PIXELS,
    Gather,
    LayerNorm,
    Patchify,
    Pool,
    Requantize,
    ScoreBias,
    Scores,
    ShiftAttention,
)
from rootshift.preprocessing import Preprocessing

from .random_model import Builder, Size

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Windows of `size` over a `grid` of tokens that is first rolled by `shift` and then padded."""

    grid: Pair
    size: Pair
    shift: Pair = (0, 0)

    def _cut(self, plane: np.ndarray) -> np.ndarray:
        """[H, W], whole windows -> [windows, tokens of a window]."""
        (height, width), (down, across) = plane.shape, self.size
        cut = plane.reshape(height // down, down, width // across, across)
        return cut.transpose(0, 2, 1, 3).reshape(-1, down * across)

    @property
    def _padding(self) -> list[Pair]:
        return [(0, -g % s) for g, s in zip(self.grid, self.size, strict=True)]

    @cached_property
    def partition(self) -> np.ndarray:
        """Token of each row of the windows, -1 for padding; int32 [windows * tokens, 1]."""
        plane = np.arange(self.grid[0] * self.grid[1], dtype=np.int32).reshape(self.grid)
        rolled = np.roll(plane, (-self.shift[0], -self.shift[1]), (0, 1))
        return self._cut(np.pad(rolled, self._padding, constant_values=-1)).reshape(-1, 1)

    @cached_property
    def reverse(self) -> np.ndarray:
        """Row of the windows of each token; int32 [tokens, 1]."""
        rows = np.empty((self.grid[0] * self.grid[1], 1), np.int32)
        used = self.partition[:, 0] >= 0
        rows[self.partition[used, 0], 0] = np.flatnonzero(used)
        return rows

    @cached_property
    def region(self) -> np.ndarray:
        """Numbers of the regions that roll and padding brought together; uint8 [windows, tokens].

        All of one region where nothing was rolled.
        """
        sizes = [g + more for g, (_, more) in zip(self.grid, self._padding, strict=True)]
        if not any(self.shift):
            return self._cut(np.zeros(sizes, np.uint8))
        # Without a shift along an axis, timm's slice from -0 on covers the whole axis.
        lines = [
            np.searchsorted([n - w, n - s], np.arange(n), side="right") if s else np.full(n, 2)
            for n, w, s in zip(sizes, self.size, self.shift, strict=True)
        ]
        return self._cut((3 * lines[0][:, None] + lines[1]).astype(np.uint8))


def merging(grid: Pair) -> np.ndarray:
    """The four tokens of each place of the grid of half the size; -1 beyond an odd edge."""
    plane = np.arange(grid[0] * grid[1], dtype=np.int32).reshape(grid)
    plane = np.pad(plane, [(0, size % 2) for size in grid], constant_values=-1)
    height, width = plane.shape
    # Column by column, as timm's permutation.
    return plane.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 3, 1).reshape(-1, 4)


def random_swin(
    rng: np.random.Generator,
    image: tuple[int, int, int] = (10, 14, 3),
    window: Pair = (4, 4),
    *,
    width: int = 8,
    heads: int = 2,
    bits: str = "W4A4",
    base: str = "sqrt2",
    features: bool = False,
) -> Artifact:
    """An artifact of random integers, equal for equal generators; patches of 2 x 2.

    Parameters: `width` and `heads` of the first stage, twice as many in the second; `features`, of
    both stages, instead of logits.
    """
    height, across, channels = image
    size = Size(image=image, patch=2, width=width, heads=heads, hidden=2 * width, classes=10)
    builder = _Swin(rng, size, Bits.parse(bits), base)
    operators = tuple(builder.model(window))
    outputs = (Output("head"),)
    if features:
        grids = (builder.grid, tuple(-(-side // 2) for side in builder.grid))
        outputs = tuple(Output(f"stage{i}.block1.add2", grid) for i, grid in enumerate(grids))
        operators = tuple(op for op in operators if "stage" in op.name or op.name in _STEM)
    return Artifact(
        source={"model": "random swin"},
        bits=Bits.parse(bits),
        preprocessing=Preprocessing(
            height=height, width=across, channels=channels, resize_height=height,
            resize_width=across, interpolation="bicubic", mean=(0.45,) * channels,
            std=(0.225,) * channels,
        ),
        operators=operators,
        outputs=outputs,
    )  # fmt: skip


_STEM = ("patches", "patch_embed", "patch_norm")


class _Swin(Builder):
    @property
    def grid(self) -> Pair:
        """Tokens down and across of the first stage."""
        return self.size.image[0] // self.size.patch, self.size.image[1] // self.size.patch

    def model(self, window: Pair) -> Iterator[Operator]:
        size, first, width = self.size, self.grid, self.size.width
        second = -(-first[0] // 2), -(-first[1] // 2)
        yield Patchify(
            name="patches", inputs=(PIXELS,), scale=1.0, patch_height=2, patch_width=2
        )  # fmt: skip
        depth = size.image[2] * size.patch**2
        yield self.gemm("patch_embed", "patches", depth, width, RESIDUAL_WIDTH, codes=(8, 8))
        yield self.stream_norm("patch_norm", "patch_embed")
        yield from self.stage("stage0", "patch_norm", first, window)
        code = self.code("stage1.reduction")
        yield self.gather("stage1.merge", "stage0.block1.add2", merging(first), RESIDUAL_WIDTH)
        wide = self.sized(4 * width, size.heads)
        yield wide.layernorm("stage1.norm", "stage1.merge", code)
        yield self.gemm("stage1.reduction", "stage1.norm", 4 * width, 2 * width, RESIDUAL_WIDTH)
        late = self.sized(2 * width, 2 * size.heads)
        yield from late.stage("stage1", "stage1.reduction", second, window)
        yield late.stream_norm("norm", "stage1.block1.add2")
        multiplier, shift = fixed_point(1 / (second[0] * second[1]))
        yield Pool(
            name="pool", inputs=("norm",), scale=2.0**-9, mode="avg", prefix=0,
            multiplier=int(multiplier), shift=shift,
        )  # fmt: skip
        code = self.code("head")
        multiplier, shift = fixed_point(code_max(code) / 3000)
        yield Requantize(
            name="head_input", inputs=("pool",), scale=0.1, multiplier=int(multiplier),
            shift=shift, zero=self.zero(code), width=code,
        )  # fmt: skip
        yield late.gemm("head", "head_input", 2 * width, size.classes, LOGIT_WIDTH)

    def sized(self, width: int, heads: int) -> "_Swin":
        """A builder of other widths that goes on with the same random numbers."""
        size = replace(self.size, width=width, heads=heads, hidden=2 * width)
        return _Swin(self.rng, size, self.bits, self.base)

    def stage(self, name: str, stream: str, grid: Pair, window: Pair) -> Iterator[Operator]:
        size = tuple(min(g, w) for g, w in zip(grid, window, strict=True))
        shift = tuple(0 if g <= w else w // 2 for g, w in zip(grid, window, strict=True))
        for number, windows in enumerate((Windows(grid, size), Windows(grid, size, shift))):
            yield from self.windowed(f"{name}.block{number}", stream, windows)
            stream = f"{name}.block{number}.add2"

    def windowed(self, name: str, stream: str, windows: Windows) -> Iterator[Operator]:
        """The block of the base class, its attention in windows."""
        part, count = f"{name}.partition", len(windows.region)
        for op in self.block(name, stream):
            if isinstance(op, Scores):
                yield replace(op, windows=count)
                yield self.score_bias(f"{name}.bias", op.name, windows)
                continue
            if isinstance(op, ShiftAttention):
                op = replace(op, windows=count)
            if op.inputs == (f"{name}.scores",):
                op = replace(op, inputs=(f"{name}.bias",))
            if op.name in (f"{name}.q", f"{name}.k", f"{name}.v"):
                op = replace(op, inputs=(part,))
            if op.name == f"{name}.add1":
                yield self.gather(
                    f"{name}.reverse", f"{name}.proj", windows.reverse, RESIDUAL_WIDTH
                )
                op = replace(op, inputs=(stream, f"{name}.reverse"))
            yield op
            if op.name == f"{name}.norm1":
                yield self.gather(part, op.name, windows.partition, op.width)

    def score_bias(self, name: str, source: str, windows: Windows) -> ScoreBias:
        tokens = windows.region.shape[1]
        bias = self.rng.normal(0, 400, (self.size.heads, tokens, tokens))
        return ScoreBias(
            name=name, inputs=(source,), scale=2.0**-8, bias=bias.astype(np.int16),
            region=windows.region,
        )  # fmt: skip

    def gather(self, name: str, source: str, index: np.ndarray, width: int) -> Gather:
        fill = [0 if width > 8 else self.zero(width) for _ in range(self.size.width)]
        return Gather(
            name=name, inputs=(source,), scale=0.1, index=np.ascontiguousarray(index),
            fill=np.array(fill, np.int16), width=width,
        )  # fmt: skip

    def stream_norm(self, name: str, source: str) -> LayerNorm:
        """A LayerNorm from stream to stream."""
        norm, shift = self.layernorm(name, source, 8), 14
        # No zero point, but the half that turns floor into rounding.
        offset = self.rng.normal(0, 500, norm.gain.size) * 2**shift + 2 ** (shift - 1)
        return replace(
            norm, offset=offset.astype(np.int32), shift=shift, width=RESIDUAL_WIDTH,
            scale=norm.scale * 2.0 ** (shift - norm.shift),
        )  # fmt: skip
