"""The integer operators of a quantized model: fields, legal ranges, shapes and worst-case sums.

One class per section of `docs/numerics.md`. The exporter makes them, the artifact stores them, the
golden model executes them and the hardware is parametrized by them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

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
    SHIFT_MAX,
    ZERO_WIDTH,
    attention_headroom,
    code_max,
    signed_range,
    zero_code,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Integer:
    """An integer field and its legal range."""

    low: int
    high: int

    def check(self, value: Any) -> str | None:
        """Why `value` is not legal, or None."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"an integer, not {value!r}"
        if not self.low <= value <= self.high:
            return f"in {self.low}..{self.high}, not {value}"
        return None


@dataclass(frozen=True)
class Choice:
    """A field with a fixed set of values."""

    values: tuple[Any, ...]

    def check(self, value: Any) -> str | None:
        """Why `value` is not legal, or None."""
        # Equal is not enough: 4.0 and True equal integers and compute otherwise.
        if not any(type(value) is type(legal) and value == legal for legal in self.values):
            return f"one of {', '.join(map(repr, self.values))}, not {value!r}"
        return None


@dataclass(frozen=True)
class Tensor:
    """An integer array field: its NumPy type and the names of its axes."""

    dtype: str
    axes: tuple[str, ...]

    def check(self, value: Any) -> str | None:
        """Why `value` is not legal, or None."""
        if not isinstance(value, np.ndarray):
            return f"an array, not {type(value).__name__}"
        if value.dtype != np.dtype(self.dtype):
            return f"of type {self.dtype}, not {value.dtype}"
        if value.ndim != len(self.axes) or 0 in value.shape:
            return f"of shape [{', '.join(self.axes)}], not {list(value.shape)}"
        return None


def _rule(rule: Integer | Choice | Tensor) -> Any:
    return field(metadata={"rule": rule})


def _integer(low: int, high: int) -> Any:
    return _rule(Integer(low, high))


def _choice(*values: Any) -> Any:
    return _rule(Choice(values))


def _tensor(dtype: str, *axes: str) -> Any:
    return _rule(Tensor(dtype, axes))


def _shift() -> Any:
    return _integer(0, SHIFT_MAX)


def _multiplier() -> Any:
    return _integer(0, code_max(MULTIPLIER_WIDTH))


def _zero() -> Any:
    return _integer(*signed_range(ZERO_WIDTH))


def _count() -> Any:
    return _integer(1, 1 << 20)


@dataclass(frozen=True, eq=False, kw_only=True)
class Operator:
    """One step of the integer program.

    Fields: `name` of the output tensor, `inputs` the names of its operands, `scale` the real value
    of one output step (for people and for dequantizing logits; nothing computes with it).
    Raises: ArtifactError naming operator and field where a value is not legal, arrays disagree, or
    a sum could exceed its width.
    """

    kind: ClassVar[str]
    operands: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]
    scale: float

    def __post_init__(self) -> None:
        if len(self.inputs) != self.operands:
            raise ArtifactError(
                f"{self.name}: inputs must be {self.operands} names, not {list(self.inputs)}"
            )
        if not (isinstance(self.scale, float) and np.isfinite(self.scale) and self.scale > 0):
            raise ArtifactError(f"{self.name}: scale must be a positive number, not {self.scale!r}")
        sizes: dict[str, int] = {}
        for key, rule in self.rules().items():
            value = getattr(self, key)
            if why := rule.check(value):
                raise ArtifactError(f"{self.name}: {key} must be {why}")
            if isinstance(rule, Tensor):
                for axis, size in zip(rule.axes, value.shape, strict=True):
                    if sizes.setdefault(axis, size) != size:
                        raise ArtifactError(
                            f"{self.name}: {key} must have {sizes[axis]} {axis}, not {size}"
                        )
        self.check()

    @classmethod
    def rules(cls) -> dict[str, Integer | Choice | Tensor]:
        """Name -> rule of every field that the operator computes with."""
        return {f.name: f.metadata["rule"] for f in fields(cls) if "rule" in f.metadata}

    def tensors(self) -> dict[str, np.ndarray]:
        """Name -> array of every array field."""
        return {k: getattr(self, k) for k, r in self.rules().items() if isinstance(r, Tensor)}

    def parameters(self) -> dict[str, Any]:
        """Name -> value of every other field that the operator computes with."""
        return {k: getattr(self, k) for k, r in self.rules().items() if not isinstance(r, Tensor)}

    def check(self) -> None:
        """Check what spans several fields."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of the output for the shapes of the inputs; raises ArtifactError if they clash."""
        return shapes[0]

    @property
    def output_width(self) -> int:
        """Bits of an output value: unsigned codes up to 8, signed numbers above."""
        return self.width

    @property
    def operand_widths(self) -> tuple[int, ...]:
        """Bits that each operand must have: exactly so many, or, up to 8, a code of at most."""
        return (RESIDUAL_WIDTH,) * self.operands

    def check_operands(self, *makers: "Operator | None") -> None:
        """Refuse operands of another width; `makers` made them, None where it is the pixels."""
        for name, maker, want in zip(self.inputs, makers, self.operand_widths, strict=True):
            have = maker.output_width if maker else PIXEL_WIDTH
            if have > want or have < want > GELU_INDEX_WIDTH:
                most = "at most " if want <= GELU_INDEX_WIDTH else ""
                raise ArtifactError(
                    f"{self.name}: input {name} must have {most}{want} bits, not {have}"
                )

    def macs(self, *shapes: Shape) -> int:
        """Multiply-accumulates of the real-valued operator on one image."""
        return 0

    def fits(self, what: str, worst: int, width: int) -> None:
        """Refuse a signed sum of magnitude `worst` that could exceed `width` bits."""
        need = int(worst).bit_length() + 1
        if need > width:
            raise ArtifactError(f"{self.name}: worst-case {what} must fit {width} bits, not {need}")

    def match(self, what: str, have: Any, want: Any) -> None:
        """Refuse a shape that clashes with the operator's own."""
        if have != want:
            raise ArtifactError(f"{self.name}: {what} must be {want}, not {have}")


def _code_width() -> Any:
    return _choice(*CODE_WIDTHS)


def _rounded(product: int, shift: int) -> int:
    """Magnitude of a product of magnitude `product` after a rounding shift."""
    return (product + ((1 << shift) >> 1)) >> shift


@dataclass(frozen=True, eq=False, kw_only=True)
class Patchify(Operator):
    """[H, W, C] pixels -> [patches, C * patch_height * patch_width]."""

    kind: ClassVar[str] = "patchify"
    patch_height: int = _count()
    patch_width: int = _count()

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
    input_width: int = _code_width()
    weight_width: int = _code_width()
    weight: np.ndarray = _tensor("uint8", "channels", "depth")
    weight_zero: np.ndarray = _tensor("int16", "channels")
    bias: np.ndarray = _tensor("int32", "channels")
    multiplier: np.ndarray = _tensor("uint16", "channels")
    shift: int = _shift()
    zero: int = _zero()
    width: int = _choice(*CODE_WIDTHS, RESIDUAL_WIDTH, LOGIT_WIDTH)

    def check(self) -> None:
        if self.weight.max() > code_max(self.weight_width):
            raise ArtifactError(
                f"{self.name}: weight must be below 2^{self.weight_width}, not {self.weight.max()}"
            )
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
    input_width: int = _code_width()
    heads: int = _count()
    head_width: int = _count()
    query_zero: int = _zero()
    multiplier: int = _multiplier()
    shift: int = _shift()

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
    log_width: int = _code_width()
    base: str = _choice(*BASES)
    offset: int = _integer(*signed_range(16))

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
    input_width: int = _code_width()
    log_width: int = _code_width()
    base: str = _choice(*BASES)
    value_zero: int = _zero()
    multiplier_even: int = _multiplier()
    multiplier_odd: int = _multiplier()
    shift: int = _shift()
    zero: int = _zero()
    width: int = _code_width()

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
    gain: np.ndarray = _tensor("int16", "channels")
    offset: np.ndarray = _tensor("int32", "channels")
    shift: int = _shift()
    epsilon: int = _integer(1, (1 << 40) - 1)
    width: int = _code_width()

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
    table: np.ndarray = _tensor("uint8", "entries")
    width: int = _code_width()

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
    shift: int = _integer(0, RESIDUAL_WIDTH - 1)

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
    position: np.ndarray = _tensor("int16", "tokens", "channels")
    prefix: int = _integer(0, EMBEDDING_MAX)

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
    mode: str = _choice("token", "avg")
    prefix: int = _integer(0, EMBEDDING_MAX)
    multiplier: int = _multiplier()
    shift: int = _shift()

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
