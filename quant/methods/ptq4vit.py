"""PTQ4ViT: twin uniform quantization and a Hessian-guided search (arXiv 2111.12293)."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..nodes import Activation, Gather, Linear, Mix, Node, Part, PatchEmbedding
from ..quantizers import Quantizer
from ..search import value_range
from ..walk import EXACT, Walk
from .base import Method
from .candidates import (
    Candidates,
    SignedCandidates,
    TwinActivationCandidates,
    TwinSoftmaxCandidates,
    search,
)
from .hessian import drop_gradients, keep_gradients, multiplies
from .products import Products


class Ptq4Vit(Method):
    """PTQ4ViT (Yuan et al., ECCV 2022, arXiv 2111.12293).

    Each matrix multiplication is calibrated by itself on the operands that the float network gives
    it (algorithm 1): the scales of both of its operands are searched for in turn, `ROUNDS` times,
    for the least error of its output weighed with squared gradients (section 3.3). Outputs of
    softmax and GELU have twin uniform quantizers (section 3.2), everything else is symmetric.

    Left open by the paper, or different here:
    - Weights have one scale per layer, those of query, key and value one each, and the patch
      embedding one per output channel, as in the published code.
    - Activations have one scale per tensor. The published code has one per head for queries, keys
      and values, and does not quantize the image, which has 8 bits here.
    - Of the 100 candidates of a scale, every second one is tried and then both neighbours of the
      best (`STRIDE`; 1 tries all of them); rounds end when nothing changes any more. Errors have
      several minima, and wider strides miss the best by up to half of its error.
    - `hessian` says what the loss is.
    """

    PATHS: ClassVar[tuple[str, ...]] = (EXACT,)
    ROUNDS: ClassVar[int] = 3
    STRIDE: ClassVar[int] = 2

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self.found: dict[str, tuple[Candidates, Candidates]] = {}

    def prepare(self) -> None:
        keep_gradients(self.walk, [node.name for node in self.network.nodes if multiplies(node)])

    def activation(self, node: Node, operand: int) -> Quantizer:
        if node.name not in self.found:
            self.found[node.name] = self.search(node)
            drop_gradients(self.walk, [node.name])
        return self.found[node.name][operand].quantizer()

    def weight(self, linear: Linear) -> None:
        grid = self.found[linear.name][1].quantizer()
        self.store(linear, grid.codes(linear.weight), grid)

    def search(self, node: Node) -> tuple[Candidates, Candidates]:
        """Choose the quantizers of both operands of a matrix multiplication."""
        pair = self.candidates(node)
        products = Products(self.walk, node)
        sides = [1, 0] * self.ROUNDS
        for turn, side in enumerate(sides):
            stride = max(1, self.STRIDE * pair[side].count // 100)
            changed = search(pair[side], _errors(products, pair, side), stride)
            if turn and not changed:
                break
        return pair

    def candidates(self, node: Node) -> tuple[Candidates, Candidates]:
        """Candidates of both operands, a weight being the second one."""
        if isinstance(node, Linear):
            group = self.weight_groups(node)
            channels = value_range(node.weight, "first", f"{node.name}.weight")
            magnitude = torch.maximum(-channels[0], channels[1])
            absmax = magnitude.new_zeros(int(group.max()) + 1)
            absmax = absmax.scatter_reduce(0, group, magnitude, "amax")
            weight = SignedCandidates(absmax, self.weight_width(node), group)
            return self.operand_candidates(node, 0), weight
        return self.operand_candidates(node, 0), self.operand_candidates(node, 1)

    def operand_candidates(self, node: Node, operand: int) -> Candidates:
        """Candidates of an activation."""
        width = self.site_width(node, operand)
        if isinstance(node, Mix) and operand == 0:
            return self.softmax_candidates(node, width)
        low, high = value_range(self.operand(node, operand, EXACT), None, node.sites[operand])
        if isinstance(self._maker(node.inputs[operand]), Activation):
            return TwinActivationCandidates(low, high, width)
        return SignedCandidates(torch.maximum(-low, high), width)

    def softmax_candidates(self, mix: Mix, width: int) -> Candidates:
        """Candidates of the probabilities."""
        return TwinSoftmaxCandidates(width, self.walk.device)

    def weight_groups(self, linear: Linear) -> Tensor:
        """Group of each output channel, int64 `[N]`, that has a scale of its own."""
        group = torch.zeros(len(linear.weight), dtype=torch.long, device=linear.weight.device)
        if isinstance(linear, PatchEmbedding):
            return torch.arange(len(group), device=group.device)
        parts = [node for node in self.network.readers[linear.name] if isinstance(node, Part)]
        for at, part in enumerate(parts):
            group[part.start : part.stop] = at
        return group

    def _maker(self, name: str) -> Node | None:
        """The node whose values a tensor holds, whatever their order."""
        node = self.network.by_name.get(name)
        while isinstance(node, (Gather, Part)):
            node = self.network.by_name.get(node.inputs[0])
        return node


def _errors(
    products: Products, pair: tuple[Candidates, Candidates], side: int
) -> Callable[[Sequence[Tensor]], Tensor]:
    """Errors `[trials, groups]` of the candidates of one operand, the other one's being fixed."""
    changing = pair[side]

    def errors(trials: Sequence[Tensor]) -> Tensor:
        quantizers = [[each.quantizer()] for each in pair]
        quantizers[side] = [changing.quantizer(index) for index in trials]
        found = products.errors(*quantizers)
        group = getattr(changing, "group", None)
        if group is None:
            return found.sum(1, keepdim=True)
        sums = found.new_zeros(len(found), len(changing.index))
        return sums.index_add_(1, group, found)

    return errors
