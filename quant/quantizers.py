"""Values that say how a tensor is quantized: uniform codes and logarithmic codes.

Codes are unsigned. A uniform code stands for `scale * (code - zero)`; a logarithmic code stands
for `scale * base**-code`, so that a product with it is a shift.
Both follow RepQ-ViT (arXiv 2212.08254), sections 3.1 and 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..formats import BASES, zero_code


@dataclass(frozen=True)
class UniformQuantizer:
    """Evenly spaced levels `scale * (code - zero)`, `code` in `0 .. 2**bits - 1`.

    Parameters:
        scale: Tensor, float32. Distance of two levels, positive. Shape `()` for a whole tensor,
            `[C]` for channels on the last axis of the values, `[N, 1]` for rows (output
            channels of a weight).
        zero: Tensor, float32, shape of `scale`. Code that stands for 0; it may lie outside the
            code range. Integral except after the averaging of the reference mode.
        bits: int. Width of a code.
    """

    scale: Tensor
    zero: Tensor
    bits: int

    @property
    def top(self) -> int:
        """Greatest code."""
        return 2**self.bits - 1

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x` as float32, integral where `zero` is; ties round to even."""
        return torch.div(x, self.scale).round_().add_(self.zero).clamp_(0, self.top)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Values, float32, that `codes` of any dtype stand for."""
        return (codes.to(self.scale.dtype) - self.zero) * self.scale

    def fake(self, x: Tensor) -> Tensor:
        """`x` rounded to the levels: `dequantize(codes(x))` without the copies."""
        return self.codes(x).sub_(self.zero).mul_(self.scale)


@dataclass(frozen=True)
class LogQuantizer:
    """Levels `scale * base**-code` for values from 0 up; the code past the last one is zero.

    Parameters:
        scale: Tensor, float32, shape (). Value of code 0.
        bits: int. Width of a code.
        base: {"sqrt2", "2"}. Ratio of two levels.
        top_code_is_zero: bool. True: zero takes one of the `2**bits` codes, so what is stored has
            `bits` bits. False: zero is one level more, as in the published code.
    """

    scale: Tensor
    bits: int
    base: str = "sqrt2"
    top_code_is_zero: bool = True

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"base must be one of {', '.join(BASES)}, not {self.base!r}")

    @property
    def zero_code(self) -> int:
        """Code that stands for 0; every smaller code stands for a power of the base."""
        if not self.top_code_is_zero:
            return 2**self.bits
        return zero_code(self.bits, self.base)

    @property
    def steps_per_octave(self) -> int:
        """Codes per halving of the value."""
        return BASES[self.base]

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x` as float32; what exceeds `scale` takes code 0."""
        return (
            torch.div(x, self.scale)
            .log2_()
            .mul_(-self.steps_per_octave)
            .round_()
            .clamp_(0, self.zero_code)
        )

    def levels(self) -> Tensor:
        """Values, float32, of the codes `0 .. zero_code`; the last one is 0."""
        exponent = torch.arange(self.zero_code + 1, dtype=torch.float64) / -self.steps_per_octave
        levels = torch.exp2(exponent) * self.scale.double()
        levels[-1] = 0.0
        return levels.float()

    def dequantize(self, codes: Tensor) -> Tensor:
        """Values, float32, that `codes` of any dtype stand for."""
        return self.levels()[codes.long()]

    def fake(self, x: Tensor) -> Tensor:
        """`x` rounded to the levels: `dequantize(codes(x))` without the gather."""
        powers = self.codes(x).mul_(-1.0 / self.steps_per_octave).exp2_()
        between_the_last_two = 2.0 ** ((0.5 - self.zero_code) / self.steps_per_octave)
        return functional.threshold_(powers, between_the_last_two, 0.0).mul_(self.scale)


Quantizer = UniformQuantizer | LogQuantizer
