"""What a method of post-training quantization decides."""

from typing import ClassVar

from torch import Tensor

from ...errors import CalibrationError
from ..chunks import Chunks
from ..nodes import Linear, Node
from ..quantizers import Quantizer, UniformQuantizer
from ..search import search_uniform
from ..walk import QUANTIZED, Walk


class Method:
    """A method at work on one network: `calibrate` asks it for every quantizer, in order.

    Subclasses say in their docstring where they come from.
    Members: `PATHS`, what the walk keeps for it.
    """

    PATHS: ClassVar[tuple[str, ...]] = (QUANTIZED,)

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.quantized = walk.quantized
        self.network = walk.network

    def prepare(self) -> None:
        """Before the first node; the images are in the walk."""

    def activation(self, node: Node, operand: int) -> Quantizer:
        """Quantizer of an operand; it may change what makes the operand."""
        raise NotImplementedError

    def weight(self, linear: Linear) -> None:
        """Give a linear layer its codes (`store`), its operand's quantizer being there."""
        raise NotImplementedError

    def finish(self, linear: Linear) -> None:
        """After the layer's output is in the walk."""

    def complete(self) -> None:
        """After the last node."""

    def operand(self, node: Node, operand: int, path: str = QUANTIZED) -> Tensor | Chunks:
        """Values of an operand before its quantizer."""
        name = node.inputs[operand]
        return self.walk.values(lambda chunk: self.walk.value(name, chunk, path))

    def site_width(self, node: Node, operand: int) -> int:
        """Bits of the codes of an operand."""
        return self.network.site_width(node.sites[operand], self.quantized.bits)

    def weight_width(self, linear: Linear) -> int:
        """Bits of the codes of a weight."""
        return self.network.weight_width(linear, self.quantized.bits)

    def grid(self, linear: Linear, weight: Tensor) -> UniformQuantizer:
        """RepQ-ViT's quantizers of a weight, one per output channel."""
        width = self.weight_width(linear)
        return search_uniform(weight, width, "first", f"{linear.name}.weight")

    def store(self, linear: Linear, codes: Tensor, grid: UniformQuantizer) -> None:
        """Set the codes `[N, K]` of a layer.

        Raises: CalibrationError where its bias is not finite.
        """
        if not linear.bias.isfinite().all():
            raise CalibrationError(
                f"{linear.name}.bias: values must be finite, not NaN or infinite"
            )
        self.quantized.set_weight(linear.name, codes, grid)
