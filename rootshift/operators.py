"""The integer operators of a quantized model.

One class per section of `docs/numerics.md`. The exporter makes them, the artifact stores them, the
golden model executes them and the hardware is parametrized by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .attention_operators import Log2Softmax, ScoreBias, Scores, ShiftAttention
from .errors import ArtifactError
from .formats import (
    ACCUMULATOR_WIDTH,
    CODE_WIDTHS,
    EMBEDDING_MAX,
    GELU_INDEX_WIDTH,
    LOGIT_WIDTH,
    MULTIPLIER_WIDTH,
    PIXEL_WIDTH,
    RESIDUAL_WIDTH,
    code_max,
    output_range,
    signed_range,
)
from .operator_base import (
    Operator,
    Shape,
    choice_field,
    code_width_field,
    count_field,
    integer_field,
    multiplier_field,
    rounded,
    shift_field,
    tensor_field,
    zero_field,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Patchify(Operator):
    """[H, W, C] pixels -> [patches, C * patch_height * patch_width]."""

    kind: ClassVar[str] = "patchify"
    patch_height: int = count_field()
    patch_width: int = count_field()

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (PIXEL_WIDTH,)

    @property
    def output_width(self) -> int:
        return PIXEL_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        if height % self.patch_height or width % self.patch_width:
            raise ArtifactError(
                f"{self.name}: image of {height}x{width} must be a multiple of the patch "
                f"{self.patch_height}x{self.patch_width}"
            )
        patches = (height // self.patch_height) * (width // self.patch_width)
        return patches, channels * self.patch_height * self.patch_width


@dataclass(frozen=True, eq=False, kw_only=True)
class Gemm(Operator):
    """[T, K] codes -> [T, N] codes, residual branch (width 16) or logits (width 32)."""

    kind: ClassVar[str] = "gemm"
    input_width: int = code_width_field()
    weight_width: int = code_width_field()
    weight: np.ndarray = tensor_field("uint8", "channels", "depth")
    weight_zero: np.ndarray = tensor_field("int16", "channels")
    bias: np.ndarray = tensor_field("int32", "channels")
    multiplier: np.ndarray = tensor_field("uint16", "channels")
    shift: int = shift_field()
    zero: int = zero_field()
    width: int = choice_field(*CODE_WIDTHS, RESIDUAL_WIDTH, LOGIT_WIDTH)

    def check(self) -> None:
        if self.weight.max() > code_max(self.weight_width):
            raise ArtifactError(
                f"{self.name}: weight must be below 2^{self.weight_width}, not {self.weight.max()}"
            )
        # 0 is how a requantizer knows channels that only fill a group of columns up.
        if not self.multiplier.all():
            raise ArtifactError(f"{self.name}: multiplier must be at least 1, not 0")
        centered = self.weight.astype(np.int64) - self.weight_zero[:, None]
        largest = code_max(self.input_width)
        bias = self.bias.astype(np.int64)
        high = np.maximum(centered, 0).sum(1) * largest + bias
        low = np.minimum(centered, 0).sum(1) * largest + bias
        self.fits("accumulator", max(high.max(), -low.min()), ACCUMULATOR_WIDTH)
        if self.width == LOGIT_WIDTH:
            extreme = np.maximum(np.abs(high), np.abs(low)) * self.multiplier.astype(np.int64)
            self.fits("logit", rounded(int(extreme.max()), self.shift), LOGIT_WIDTH)
        if self.width > GELU_INDEX_WIDTH and self.zero:
            raise ArtifactError(
                f"{self.name}: zero must be 0 at width {self.width}, not {self.zero}"
            )

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (self.input_width,)

    def output_shape(self, *shapes: Shape) -> Shape:
        channels, depth = self.weight.shape
        tokens, codes = shapes[0]
        self.match("depth", codes, depth)
        return tokens, channels

    def macs(self, *shapes: Shape) -> int:
        return shapes[0][0] * self.weight.size


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerNorm(Operator):
    """Residual rows [T, N] -> codes [T, N], or the residual stream (width 16)."""

    kind: ClassVar[str] = "layernorm"
    gain: np.ndarray = tensor_field("int16", "channels")
    offset: np.ndarray = tensor_field("int32", "channels")
    shift: int = shift_field()
    epsilon: int = integer_field(1, (1 << 40) - 1)
    width: int = choice_field(*CODE_WIDTHS, RESIDUAL_WIDTH)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.match("channels", shapes[0][-1], self.gain.size)
        if self.gain.size > EMBEDDING_MAX:
            raise ArtifactError(
                f"{self.name}: channels must be at most {EMBEDDING_MAX}, not {self.gain.size}"
            )
        return shapes[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class GeluTable(Operator):
    """8-bit pre-activations -> codes, through a table of 256 entries."""

    kind: ClassVar[str] = "gelu_table"
    table: np.ndarray = tensor_field("uint8", "entries")
    width: int = code_width_field()

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (GELU_INDEX_WIDTH,)

    def check(self) -> None:
        self.match("entries", self.table.size, 1 << GELU_INDEX_WIDTH)
        if self.table.max() > code_max(self.width):
            raise ArtifactError(
                f"{self.name}: table must be below 2^{self.width}, not {self.table.max()}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualAdd(Operator):
    """Residual stream and branch, both int16 [T, D] -> int16 [T, D]."""

    kind: ClassVar[str] = "residual_add"
    operands: ClassVar[int] = 2
    shift: int = integer_field(0, RESIDUAL_WIDTH - 1)

    @property
    def output_width(self) -> int:
        return RESIDUAL_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        self.match("branch", shapes[1], shapes[0])
        return shapes[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Embed(Operator):
    """Patches int16 [T - prefix, D] -> the residual stream int16 [T, D]."""

    kind: ClassVar[str] = "embed"
    position: np.ndarray = tensor_field("int16", "tokens", "channels")
    prefix: int = integer_field(0, EMBEDDING_MAX)

    @property
    def output_width(self) -> int:
        return RESIDUAL_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        tokens, channels = self.position.shape
        self.match("patches", shapes[0], (tokens - self.prefix, channels))
        return tokens, channels


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Operator):
    """Residual stream int16 [T, D] -> one row int16 [1, D]."""

    kind: ClassVar[str] = "pool"
    mode: str = choice_field("token", "avg")
    prefix: int = integer_field(0, EMBEDDING_MAX)
    multiplier: int = multiplier_field()
    shift: int = shift_field()

    @property
    def output_width(self) -> int:
        return RESIDUAL_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        tokens, channels = shapes[0]
        if self.mode == "avg":
            if tokens <= self.prefix:
                raise ArtifactError(
                    f"{self.name}: prefix must be below {tokens}, not {self.prefix}"
                )
            low, high = signed_range(RESIDUAL_WIDTH)
            gain = (tokens - self.prefix) * self.multiplier
            most = (high * gain + ((1 << self.shift) >> 1)) >> self.shift
            least = (low * gain + ((1 << self.shift) >> 1)) >> self.shift
            self.fits("mean", max(most, ~least), RESIDUAL_WIDTH)
        return 1, channels


@dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Operator):
    """Residual rows int16 [T, D] -> codes [T, D]."""

    kind: ClassVar[str] = "requantize"
    multiplier: int = integer_field(1, code_max(MULTIPLIER_WIDTH))
    shift: int = shift_field()
    zero: int = zero_field()
    width: int = code_width_field()


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Operator):
    """Codes or residual rows [T, C] -> [tokens, group * C], each row `group` rows side by side.

    Fields: `index` of the rows, -1 for a row that is `fill`, one value per channel.
    """

    kind: ClassVar[str] = "gather"
    index: np.ndarray = tensor_field("int32", "tokens", "group")
    fill: np.ndarray = tensor_field("int16", "channels")
    width: int = choice_field(*CODE_WIDTHS, RESIDUAL_WIDTH)

    def check(self) -> None:
        low, high = output_range(self.width)
        for value in (self.fill.min(), self.fill.max()):
            if not low <= value <= high:
                raise ArtifactError(f"{self.name}: fill must be in {low}..{high}, not {value}")

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (self.width,)

    def output_shape(self, *shapes: Shape) -> Shape:
        rows, channels = shapes[0]
        self.match("channels", channels, self.fill.size)
        for value in (self.index.min(), self.index.max()):
            if not -1 <= value < rows:
                raise ArtifactError(f"{self.name}: index must be in -1..{rows - 1}, not {value}")
        tokens, group = self.index.shape
        return tokens, group * channels


KINDS: dict[str, Callable[..., Operator]] = {
    cls.kind: cls
    for cls in (
        Patchify, Gemm, Scores, ScoreBias, Log2Softmax, ShiftAttention,
        LayerNorm, GeluTable, ResidualAdd, Embed, Pool, Requantize, Gather,
    )
}  # fmt: skip

PIXELS = "pixels"
"""Name of the model's input tensor, uint8 [H, W, C]."""


def tensor_shapes(operators: tuple[Operator, ...], image: Shape) -> dict[str, Shape]:
    """Shape of every tensor of one image's inference, in execution order.

    Raises: ArtifactError for an unknown or repeated name, or shapes or widths that clash.
    """
    shapes = {PIXELS: image}
    makers: dict[str, Operator | None] = {PIXELS: None}
    for operator in operators:
        missing = [name for name in operator.inputs if name not in shapes]
        if missing:
            raise ArtifactError(f"{operator.name}: input must be made before use, not {missing[0]}")
        if operator.name in shapes:
            raise ArtifactError(f"{operator.name}: name must be unique")
        inputs = [shapes[name] for name in operator.inputs]
        try:
            shapes[operator.name] = operator.output_shape(*inputs)
        except (ValueError, IndexError):
            raise ArtifactError(
                f"{operator.name}: inputs must have the axes of a {operator.kind}, "
                f"not shapes {inputs}"
            ) from None
        operator.check_operands(*(makers[name] for name in operator.inputs))
        makers[operator.name] = operator
    return shapes
