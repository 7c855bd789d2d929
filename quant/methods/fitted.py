"""Weights fitted to the quantized inputs of their layer, layer by layer."""

from typing import ClassVar

from torch import Tensor

from ...errors import CalibrationError
from ..moments import Moments, compensate
from ..nodes import Linear, PatchEmbedding
from ..quantizers import UniformQuantizer
from ..walk import EXACT, QUANTIZED
from .repq import Repq


class FittedRepq(Repq):
    """RepQ-ViT's quantizers, with weights fitted in order of execution; subclasses round them.

    The weights first make up, by ridge regression, for what the quantizer in front of them took
    from their input (ERQ, arXiv 2407.06794, section 4.1); then they are rounded against the
    inputs' second moment, and the bias takes up the mean error of the output. Grids stay those of
    RepQ-ViT.
    """

    PATHS: ClassVar[tuple[str, ...]] = (EXACT, QUANTIZED)

    def codes(self, weight: Tensor, grid: UniformQuantizer, moments: Moments) -> Tensor:
        """Codes, uint8 `[N, K]`, of a compensated weight."""
        raise NotImplementedError

    def weight(self, linear: Linear) -> None:
        moments = self.moments(linear)
        weight = compensate(linear.weight, moments)
        grid = self.grid(linear, weight)
        self.store(linear, self.codes(weight, grid, moments), grid)

    def moments(self, linear: Linear) -> Moments:
        """Moments of the layer's quantized input rows, and of what quantizing took from them."""
        walk, name = self.walk, linear.inputs[0]
        found = Moments()
        for chunk in walk.chunks:
            before = walk.value(name, chunk)
            (after,) = self.quantized.operands(linear, [before])
            # Pixels are exact, so there is nothing to compensate.
            exact = isinstance(linear, PatchEmbedding)
            found.add(linear.rows(after), None if exact else linear.rows(before - after))
        if not found.second.isfinite().all():
            raise CalibrationError(f"{linear.name}: inputs must have a finite second moment")
        return found

    def finish(self, linear: Linear) -> None:
        walk = self.walk
        total, count = 0.0, 0
        for chunk in walk.chunks:
            target = walk.value(linear.name, chunk, EXACT)
            error = target - walk.value(linear.name, chunk)
            total = total + error.flatten(0, -2).double().sum(0)
            count += error.flatten(0, -2).shape[0]
        shift = total / count
        linear.bias = linear.bias + shift
        walk.shift(linear, shift)
