"""Quantizers from what is observed of a tensor's values alone: their range, or a percentile."""

from typing import ClassVar

import torch
from torch import Tensor

from ..chunks import Chunks
from ..nodes import Linear, Node
from ..quantizers import UniformQuantizer
from ..search import percentile_range, scale_and_zero, value_range
from ..walk import EXACT
from .base import Method


class MinMax(Method):
    """The range of the values, so that nothing is clipped.

    Activations per tensor as the float network has them, weights per output channel; both with a
    zero point (asymmetric), softmax included: the baseline of that name in the tables of FQ-ViT
    (arXiv 2111.13824).
    """

    PATHS: ClassVar[tuple[str, ...]] = (EXACT,)

    def activation(self, node: Node, operand: int) -> UniformQuantizer:
        site = node.sites[operand]
        low, high = self.range(self.operand(node, operand, EXACT), site)
        scale, zero = scale_and_zero(low, high, 2 ** self.site_width(node, operand) - 1)
        return UniformQuantizer(scale[0], zero[0], self.site_width(node, operand))

    def weight(self, linear: Linear) -> None:
        width = self.weight_width(linear)
        low, high = spread(*value_range(linear.weight, "first", f"{linear.name}.weight"))
        scale, zero = scale_and_zero(low, high, 2**width - 1)
        grid = UniformQuantizer(scale[:, None], zero[:, None], width)
        self.store(linear, grid.codes(linear.weight), grid)

    def range(self, values: Tensor | Chunks, name: str) -> tuple[Tensor, Tensor]:
        """Bounds of an activation, `[1]` each."""
        return spread(*value_range(values, None, name))


class Percentile(MinMax):
    """A fixed percentile of the activations, weights as in `MinMax`.

    Values beyond the percentiles 0.001 and 99.999 are clipped: the idea of Li et al. (Fully
    Quantized Network for Object Detection, CVPR 2019) with the percentile that FQ-ViT
    (arXiv 2111.13824) compares with. Here they are percentiles of all images together, where
    FQ-ViT averages those of batches. RepQ-ViT's search among three percentiles is part of `repq`.
    """

    def range(self, values: Tensor | Chunks, name: str) -> tuple[Tensor, Tensor]:
        low, high = percentile_range(values, name)
        return (low, high) if high > low else super().range(values, name)


def spread(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The range, with 0 where it would be empty, so that a constant is exact."""
    empty = high <= low
    return torch.where(empty, low.clamp(max=0), low), torch.where(empty, high.clamp(min=0), high)
