"""GPTQ on top of RepQ-ViT's quantizers."""

from torch import Tensor

from ..moments import Moments
from ..quantizers import UniformQuantizer
from ..rounding import round_by_columns
from .fitted import FittedRepq


class RepqGptq(FittedRepq):
    """RepQ-ViT's quantizers, weights fitted and rounded column by column (GPTQ, arXiv
    2210.17323)."""

    def codes(self, weight: Tensor, grid: UniformQuantizer, moments: Moments) -> Tensor:
        return round_by_columns(weight, grid, moments.second)
