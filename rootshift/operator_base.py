"""What every integer operator has: fields with legal ranges, operands, shapes, worst-case sums."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from .errors import ArtifactError
from .formats import (
    CODE_WIDTHS,
    GELU_INDEX_WIDTH,
    MULTIPLIER_WIDTH,
    PIXEL_WIDTH,
    RESIDUAL_WIDTH,
    SHIFT_MAX,
    ZERO_WIDTH,
    code_max,
    signed_range,
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


def integer_field(low: int, high: int) -> Any:
    """An integer from `low` to `high`."""
    return _rule(Integer(low, high))


def choice_field(*values: Any) -> Any:
    """One of `values`, of the same type."""
    return _rule(Choice(values))


def tensor_field(dtype: str, *axes: str) -> Any:
    """An array of `dtype`; axes of the same name have the same size in one operator."""
    return _rule(Tensor(dtype, axes))


def shift_field() -> Any:
    """Bits of a rounding right shift."""
    return integer_field(0, SHIFT_MAX)


def multiplier_field() -> Any:
    """An unsigned multiplier."""
    return integer_field(0, code_max(MULTIPLIER_WIDTH))


def zero_field() -> Any:
    """A zero point."""
    return integer_field(*signed_range(ZERO_WIDTH))


def count_field() -> Any:
    """How many of something, at least one."""
    return integer_field(1, 1 << 20)


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


def rounded(product: int, shift: int) -> int:
    """Magnitude of a product of magnitude `product` after a rounding shift."""
    return (product + ((1 << shift) >> 1)) >> shift


def code_width_field() -> Any:
    """Bits of a code."""
    return choice_field(*CODE_WIDTHS)
