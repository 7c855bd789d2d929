"""Matrix multiplications over the calibration images, and how wrong quantizers make them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..nodes import Linear, Mix, Node, Scores, split_heads
from ..quantizers import Quantizer
from ..walk import EXACT, Walk
from .hessian import gradient

_BLOCK = {"cpu": 2**18}
"""Values of a block's largest tensor: what a cache holds; of other devices, what fits."""
_OTHER_BLOCK = 2**26


@dataclass(frozen=True)
class Product:
    """`left @ right.mT` of the float network, and the gradient of the loss by each value of it.

    Fields: `left [G, R, K]`, `right [G, N, K]`, `output` and `slope [G, R, N]`; a weight is the
    right one, with G = 1.
    """

    left: Tensor
    right: Tensor
    output: Tensor
    slope: Tensor

    def blocks(self) -> Iterator["Product"]:
        """Parts that fit into the cache, by rows where the right factor is common to them."""
        size = _BLOCK.get(self.left.device.type, _OTHER_BLOCK)
        groups, rows, _ = self.left.shape
        widest = max(self.left.shape[2], self.right.shape[1])
        if groups == 1:
            step = max(1, size // widest)
            for start in range(0, rows, step):
                part = slice(start, start + step)
                yield Product(
                    self.left[:, part], self.right, self.output[:, part], self.slope[:, part]
                )
            return
        step = max(1, size // (rows * widest))
        for start in range(0, groups, step):
            part = slice(start, start + step)
            yield Product(self.left[part], self.right[part], self.output[part], self.slope[part])


class Products:
    """The products that a matrix multiplication of the network makes of the calibration images.

    Parameters: `walk`, with the float path up to the node and the gradients of its output; `node`.
    """

    def __init__(self, walk: Walk, node: Node) -> None:
        self._walk = walk
        self._node = node
        # Several chunks may not fit into memory together.
        self._only = self._make(0) if len(walk.sizes) == 1 else None

    def errors(self, left: Sequence[Quantizer], right: Sequence[Quantizer]) -> Tensor:
        """Squared errors of the output, weighed with squared gradients, by quantizers.

        One of both sequences may be of a single quantizer, which then goes with each of the other.

        Returns:
            Tensor: float64 `[quantizers, N]`, sums over everything but the output's channels.
        """
        count = max(len(left), len(right))
        total = None
        for product in self._products():
            weights = None
            if isinstance(self._node, Linear):
                weights = [each.fake(product.right) for each in right]
            for block in product.blocks():
                lefts = [each.fake(block.left) for each in left] if len(left) == 1 else None
                rights = weights
                if rights is None and len(right) == 1:
                    rights = [each.fake(block.right) for each in right]
                if total is None:
                    shape = (count, block.output.shape[-1])
                    total = torch.zeros(shape, dtype=torch.float64, device=block.left.device)
                for at in range(count):
                    x = lefts[0] if lefts else left[at].fake(block.left)
                    y = rights[at % len(rights)] if rights else right[at].fake(block.right)
                    error = (x @ y.mT).sub_(block.output).mul_(block.slope).square_()
                    total[at] += error.sum((0, 1))
        return total

    def _products(self) -> Iterator[Product]:
        if self._only is not None:
            yield self._only
            return
        for chunk in self._walk.chunks:
            yield self._make(chunk)

    def _make(self, chunk: int) -> Product:
        walk, node = self._walk, self._node
        slope = gradient(walk, node.name, chunk)
        operands = walk.operands(node, chunk, EXACT)
        if isinstance(node, Linear):
            left, right = node.rows(operands[0])[None], node.weight.float()[None]
            slope = slope.reshape(1, -1, slope.shape[-1])
        elif isinstance(node, Scores):
            left, right = (split_heads(x, node.heads, node.windows) for x in operands)
            slope = slope * left.shape[-1] ** -0.5
        elif isinstance(node, Mix):
            left = operands[0]
            right = split_heads(operands[1], node.heads, node.windows).mT
            slope = split_heads(slope, node.heads, node.windows)
        else:
            raise TypeError(f"node must be a matrix multiplication, not {type(node).__name__}")
        left, right, slope = (x.flatten(0, -3) for x in (left, right, slope))
        return Product(left, right, left @ right.mT, slope)
