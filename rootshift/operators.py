"""The integer operators of a quantized model.

One class per section of `docs/numerics.md`. The exporter makes them, the artifact stores them, the
golden model executes them and the hardware is parametrized by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .errors import ArtifactError
from .formats import (
    ACCUMULATOR_WIDTH,
    BASES,
    CODE_WIDTHS,
    EMBEDDING_MAX,
    GELU_INDEX_WIDTH,
    LOGIT_WIDTH,
    MULTIPLIER_WIDTH,
    PIXEL_WIDTH,
    RESIDUAL_WIDTH,
    SCORE_WIDTH,
    attention_headroom,
    code_max,
    signed_range,
    zero_code,
)
from .operator_base import (
    Operator,
    Shape,
    choice_field,
    code_width_field,
    count_field,
    integer_field,
    multiplier_field,
    shift_field,
    tensor_field,
    zero_field,
)


def _rounded(product: int, shift: int) -> int:
    """Magnitude of a product of magnitude `product` after a rounding shift."""
    return (product + ((1 << shift) >> 1)) >> shift


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
            self.fits("logit", _rounded(int(extreme.max()), self.shift), LOGIT_WIDTH)
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
class Scores(Operator):
    """Query and key codes [T, D] -> scores [heads, T, T] in units of 2^-8 octaves."""

    kind: ClassVar[str] = "scores"
    operands: ClassVar[int] = 2
    input_width: int = code_width_field()
    heads: int = count_field()
    head_width: int = count_field()
    query_zero: int = zero_field()
    multiplier: int = integer_field(1, code_max(MULTIPLIER_WIDTH))
    shift: int = shift_field()

    def check(self) -> None:
        largest = code_max(self.input_width)
        reach = max(abs(self.query_zero), abs(largest - self.query_zero))
        acc = self.head_width * largest * reach
        self.fits("accumulator", acc, ACCUMULATOR_WIDTH)
        self.fits("score", _rounded(acc * self.multiplier, self.shift), SCORE_WIDTH)

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return self.input_width, self.input_width

    @property
    def output_width(self) -> int:
        return SCORE_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        tokens, width = shapes[0]
        self.match("query and key", shapes[1], shapes[0])
        self.match("width", width, self.heads * self.head_width)
        return self.heads, tokens, tokens

    def macs(self, *shapes: Shape) -> int:
        return shapes[0][0] * shapes[0][0] * shapes[0][1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Log2Softmax(Operator):
    """Scores [heads, T, keys] -> log codes of the same shape."""

    kind: ClassVar[str] = "log2_softmax"
    log_width: int = code_width_field()
    base: str = choice_field(*BASES)
    offset: int = integer_field(*signed_range(16))

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (SCORE_WIDTH,)

    @property
    def output_width(self) -> int:
        return self.log_width

    def output_shape(self, *shapes: Shape) -> Shape:
        if shapes[0][-1] > EMBEDDING_MAX:
            raise ArtifactError(
                f"{self.name}: keys must be at most {EMBEDDING_MAX}, not {shapes[0][-1]}"
            )
        return shapes[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftAttention(Operator):
    """Log codes [heads, T, keys] and value codes [keys, D] -> codes [T, D]."""

    kind: ClassVar[str] = "shift_attention"
    operands: ClassVar[int] = 2
    input_width: int = code_width_field()
    log_width: int = code_width_field()
    base: str = choice_field(*BASES)
    value_zero: int = zero_field()
    multiplier_even: int = multiplier_field()
    multiplier_odd: int = multiplier_field()
    shift: int = shift_field()
    zero: int = zero_field()
    width: int = code_width_field()

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return self.log_width, self.input_width

    def check_operands(self, *makers: Operator | None) -> None:
        super().check_operands(*makers)
        softmax = makers[0]
        if not isinstance(softmax, Log2Softmax):
            raise ArtifactError(f"{self.name}: input {self.inputs[0]} must be log codes")
        self.match("log_width", self.log_width, softmax.log_width)
        self.match("base", self.base, softmax.base)

    def output_shape(self, *shapes: Shape) -> Shape:
        heads, queries, keys = shapes[0]
        values, width = shapes[1]
        self.match("keys", values, keys)
        if width % heads:
            raise ArtifactError(
                f"{self.name}: width must be a multiple of {heads} heads, not {width}"
            )
        largest = code_max(self.input_width)
        reach = max(abs(self.value_zero), abs(largest - self.value_zero))
        headroom = attention_headroom(zero_code(self.log_width, self.base), self.base)
        total = (keys * reach) << headroom
        self.fits("sum", total * max(self.multiplier_even, self.multiplier_odd), 63)
        return queries, width

    def macs(self, *shapes: Shape) -> int:
        _, queries, keys = shapes[0]
        return queries * keys * shapes[1][1]


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerNorm(Operator):
    """Residual rows [T, N] -> codes [T, N]."""

    kind: ClassVar[str] = "layernorm"
    gain: np.ndarray = tensor_field("int16", "channels")
    offset: np.ndarray = tensor_field("int32", "channels")
    shift: int = shift_field()
    epsilon: int = integer_field(1, (1 << 40) - 1)
    width: int = code_width_field()

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


KINDS: dict[str, Callable[..., Operator]] = {
    cls.kind: cls
    for cls in (
        Patchify, Gemm, Scores, Log2Softmax, ShiftAttention,
        LayerNorm, GeluTable, ResidualAdd, Embed, Pool,
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
