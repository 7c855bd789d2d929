"""Values that say how a tensor is quantized: uniform, logarithmic and twin uniform codes.

Codes are unsigned. A uniform code stands for `scale * (code - zero)`; a logarithmic code stands
for `scale * base**-code`, so that a product with it is a shift.
Both follow RepQ-ViT (arXiv 2212.08254), sections 3.1 and 3.3. Twin codes, which PTQ4ViT takes
instead of logarithmic ones, stay in floating point.
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
        """Codes of `x` in its precision, integral where `zero` is; ties round to even."""
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
        """Codes of `x` in its precision; what exceeds `scale` takes code 0."""
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


@dataclass(frozen=True)
class TwinUniformQuantizer:
    """Two ranges with `2**(bits - 1)` evenly spaced levels each, and a flag that tells them apart.

    Twin uniform quantization of PTQ4ViT (arXiv 2111.12293), section 3.2: the steps of the fine
    range R1 and of the coarse range R2 are a power of two apart, so that products of both align by
    a shift.
    Probabilities (`signed` false): R1 is `0 <= x < 2**(bits - 1) * fine`, R2 what lies above it.
    Outputs of GELU (`signed` true): R1 are the negative values, R2 the others.

    Parameters:
        scale: Tensor, float32, shape (). Step of R2, positive.
        shift: int, at least 0. Step of R1 is `fine = scale * 2**-shift`.
        bits: int, at least 2. Width of a code, whose top bit is the flag: set in R2.
        signed: bool. Whether R1 are the negative values.
    """

    scale: Tensor
    shift: int
    bits: int
    signed: bool = False

    @property
    def half(self) -> int:
        """Levels of a range."""
        return 2 ** (self.bits - 1)

    @property
    def fine(self) -> Tensor:
        """Step of R1."""
        return self.scale * 2.0**-self.shift

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x` as float32; ties round to even."""
        is_coarse = self._is_coarse(x)
        levels = torch.div(x, torch.where(is_coarse, self.scale, self.fine)).round_().abs_()
        return levels.clamp_(max=self.half - 1).add_(is_coarse, alpha=self.half)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Values, float32, that `codes` of any dtype stand for."""
        codes = codes.to(self.scale.dtype)
        is_coarse = codes >= self.half
        fine = -self.fine if self.signed else self.fine
        return torch.where(is_coarse, (codes - self.half) * self.scale, codes * fine)

    def fake(self, x: Tensor) -> Tensor:
        """`x` rounded to the levels: `dequantize(codes(x))` without the codes."""
        step = torch.where(self._is_coarse(x), self.scale, self.fine)
        top = self.half - 1
        return torch.div(x, step).round_().clamp_(-top if self.signed else 0, top).mul_(step)

    def _is_coarse(self, x: Tensor) -> Tensor:
        return x >= 0 if self.signed else x >= self.half * self.fine


Quantizer = UniformQuantizer | LogQuantizer | TwinUniformQuantizer
