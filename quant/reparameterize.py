"""Scale reparameterization of LayerNorm outputs (RepQ-ViT, arXiv 2212.08254, section 3.2).

The channels behind a LayerNorm are searched one by one, then brought to one common scale and zero
point; what that takes from each channel moves into gamma and beta before it and into the weight
and bias behind it, so that the network computes the same function.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .nodes import Gather, LayerNorm, Linear
from .quantizers import UniformQuantizer


@dataclass(frozen=True)
class Reparameterization:
    """Change of variables `x' = x / ratio - shift` of the channels behind a LayerNorm.

    Parameters:
        quantizer: UniformQuantizer. The common quantizer, scale and zero of shape `()`, for
            `x'`.
        ratio, shift: Tensor, `[D]`, in the precision of the parameters that they fold into.
            Channel scale over common scale, and the move of the channel's zero point.
    """

    quantizer: UniformQuantizer
    ratio: Tensor
    shift: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Values in the new variables, as the folded LayerNorm gives them."""
        return x / self.ratio.to(x.dtype) - self.shift.to(x.dtype)

    def fold(self, norm: LayerNorm, linear: Linear, moves: Iterable[Gather] = ()) -> None:
        """Change the parameters on both sides of the site, and the rows that `moves` between them
        fill in, in place."""
        norm.gamma = norm.gamma / self.ratio
        norm.beta = norm.beta / self.ratio - self.shift
        for gather in moves:
            gather.fill = gather.fill / self.ratio - self.shift
        linear.weight = linear.weight * self.ratio
        linear.bias = linear.bias + (linear.weight @ self.shift[:, None])[:, 0]


def reparameterize(
    channels: UniformQuantizer, integral_zero: bool, precision: torch.dtype = torch.float64
) -> Reparameterization:
    """Choose the common quantizer of channel-wise ones (scale and zero `[D]`): their mean.

    `integral_zero` rounds the mean zero point, as integer codes need; the published code leaves
    it fractional. Either way each channel keeps its clipping range up to that rounding.
    `precision` is that of the arithmetic and of the result's `ratio` and `shift`.
    """
    scale, zero = channels.scale.to(precision), channels.zero.to(precision)
    common_scale, common_zero = scale.mean(), zero.mean()
    if integral_zero:
        common_zero = common_zero.round()
    ratio = scale / common_scale
    # In the order of the published code, whose float32 result the reference mode repeats.
    shift = (-zero * scale) / ratio - (-common_zero * common_scale)
    quantizer = UniformQuantizer(common_scale.float(), common_zero.float(), channels.bits)
    return Reparameterization(quantizer, ratio, shift)
