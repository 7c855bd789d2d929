"""ERQ on top of RepQ-ViT's quantizers (arXiv 2407.06794)."""

from torch import Tensor

from ..moments import Moments
from ..quantizers import UniformQuantizer
from ..rounding import round_by_halves
from .fitted import FittedRepq


class RepqErq(FittedRepq):
    """RepQ-ViT's quantizers, weights fitted and rounded half by half: ERQ (Zhong et al., ICML 2024,
    arXiv 2407.06794).

    Aqer (section 4.1) is the compensation of `FittedRepq`, Wqer (section 4.2) is
    `round_by_halves`. Otherwise than published:

    - Layers are fitted one after the other on inputs quantized up to there, as RepQ-ViT's
      quantizers are searched here, instead of all on the float model's inputs.
    - The bias is not a column of the regression but takes up the output's mean error afterwards.
      Moments are therefore about the mean, and in the proxy of the rounding refinement, `(E mu)^2 +
      E Sigma E'`, the first term is 0.
    - The ridges lambda1 and lambda2 are parts of the layer's mean second moment instead of one
      number for all layers, which would depend on scales and on the count of images.
    - The journal version's dual uniform quantization, two grids in one row of a weight, has no
      place in the integer contract.
    """

    def codes(self, weight: Tensor, grid: UniformQuantizer, moments: Moments) -> Tensor:
        return round_by_halves(weight, grid, moments.second)
