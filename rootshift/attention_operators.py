"""The integer operators of attention, of a whole image or of windows of it.

Windows lie side by side along the tokens: window w has the rows w*T to w*T + T - 1. Scores and
probabilities have one matrix for each window and head, the heads of a window side by side.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .errors import ArtifactError
from .formats import (
    ACCUMULATOR_WIDTH,
    BASES,
    EMBEDDING_MAX,
    MASK_GAP,
    MULTIPLIER_WIDTH,
    SCORE_MIN,
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
    rounded,
    shift_field,
    tensor_field,
    zero_field,
)


def _each(operator: Operator, what: str, count: int, windows: int) -> int:
    """How many of `count` a window has; refuses windows of unequal size."""
    if count % windows:
        raise ArtifactError(
            f"{operator.name}: {what} must be a multiple of {windows} windows, not {count}"
        )
    return count // windows


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores(Operator):
    """Query and key codes [windows * T, D] -> scores [windows * heads, T, T], in 2^-8 octaves."""

    kind: ClassVar[str] = "scores"
    operands: ClassVar[int] = 2
    input_width: int = code_width_field()
    windows: int = count_field()
    heads: int = count_field()
    head_width: int = count_field()
    query_zero: int = zero_field()
    multiplier: int = integer_field(1, code_max(MULTIPLIER_WIDTH))
    shift: int = shift_field()

    def check(self) -> None:
        self.fits("accumulator", self._worst_sum, ACCUMULATOR_WIDTH)
        self.fits("score", self.worst, SCORE_WIDTH)

    @property
    def _worst_sum(self) -> int:
        largest = code_max(self.input_width)
        reach = max(abs(self.query_zero), abs(largest - self.query_zero))
        return self.head_width * largest * reach

    @property
    def worst(self) -> int:
        """Greatest magnitude of a score over all possible codes."""
        return rounded(self._worst_sum * self.multiplier, self.shift)

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return self.input_width, self.input_width

    @property
    def output_width(self) -> int:
        return SCORE_WIDTH

    def output_shape(self, *shapes: Shape) -> Shape:
        rows, width = shapes[0]
        self.match("query and key", shapes[1], shapes[0])
        self.match("width", width, self.heads * self.head_width)
        tokens = _each(self, "tokens", rows, self.windows)
        return self.windows * self.heads, tokens, tokens

    def macs(self, *shapes: Shape) -> int:
        rows, width = shapes[0]
        return rows * (rows // self.windows) * width


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreBias(Operator):
    """Scores [windows * heads, T, T] plus position bias, keys of another region masked.

    Fields: `bias` in units of 2^-8 octaves; `region` of each token of each window: a key is masked
    for a query of another region. A token is never masked for itself.
    """

    kind: ClassVar[str] = "score_bias"
    bias: np.ndarray = tensor_field("int16", "heads", "queries", "keys")
    region: np.ndarray = tensor_field("uint8", "windows", "queries")

    @property
    def heads(self) -> int:
        """Heads of a window."""
        return len(self.bias)

    @property
    def windows(self) -> int:
        """Windows of an image."""
        return len(self.region)

    def check(self) -> None:
        queries, keys = self.bias.shape[1:]
        self.match("keys", keys, queries)

    @property
    def operand_widths(self) -> tuple[int, ...]:
        return (SCORE_WIDTH,)

    @property
    def output_width(self) -> int:
        return SCORE_WIDTH

    def check_operands(self, *makers: Operator | None) -> None:
        super().check_operands(*makers)
        scores = makers[0]
        if not isinstance(scores, Scores):
            raise ArtifactError(f"{self.name}: input {self.inputs[0]} must be scores")
        self.match("windows", self.windows, scores.windows)
        self.match("heads", self.heads, scores.heads)
        worst = scores.worst + int(np.abs(self.bias.astype(np.int32)).max())
        most = -SCORE_MIN - MASK_GAP
        if worst > most:
            raise ArtifactError(
                f"{self.name}: worst-case biased score must be at most {most}, {MASK_GAP} above a "
                f"masked one, not {worst}"
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        tokens = self.bias.shape[1]
        self.match("scores", shapes[0], (self.windows * self.heads, tokens, tokens))
        return shapes[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Log2Softmax(Operator):
    """Scores [windows * heads, T, keys] -> log codes of the same shape."""

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
    """Log codes [windows * heads, T, keys], value codes [windows * keys, D] -> [windows * T, D]."""

    kind: ClassVar[str] = "shift_attention"
    operands: ClassVar[int] = 2
    input_width: int = code_width_field()
    windows: int = count_field()
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
        matrices, queries, keys = shapes[0]
        values, width = shapes[1]
        heads = _each(self, "probability matrices", matrices, self.windows)
        self.match("keys", values, self.windows * keys)
        if width % heads:
            raise ArtifactError(
                f"{self.name}: width must be a multiple of {heads} heads, not {width}"
            )
        largest = code_max(self.input_width)
        reach = max(abs(self.value_zero), abs(largest - self.value_zero))
        headroom = attention_headroom(zero_code(self.log_width, self.base), self.base)
        total = (keys * reach) << headroom
        self.fits("sum", total * max(self.multiplier_even, self.multiplier_odd), 63)
        return self.windows * queries, width

    def macs(self, *shapes: Shape) -> int:
        _, queries, keys = shapes[0]
        return self.windows * queries * keys * shapes[1][1]
