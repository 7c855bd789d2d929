"""APQ-ViT: bottom-elimination blockwise calibration (arXiv 2303.14341)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..nodes import Linear, Mix, Node
from ..quantizers import Quantizer
from ..search import value_range
from ..walk import EXACT, Walk
from .branches import Branch, branches
from .candidates import Candidates, UnsignedCandidates, refine
from .hessian import drop_gradients, gradient, keep_gradients, multiplies
from .ptq4vit import Ptq4Vit

Pair = tuple[Candidates, Candidates]


class Apq(Ptq4Vit):
    """APQ-ViT (Ding et al., ACM MM 2022, arXiv 2303.14341), on top of PTQ4ViT's search.

    - Blockwise calibration: a quantizer is judged by the error, weighed with squared gradients, of
      the output of its block, all quantizers of the block being at work.
    - Bottom elimination: only the greatest of these weighed errors count.
    - Matthew-effect preserving quantization: softmax has one linear quantizer with all codes from
      0 up, so that great probabilities keep their ratios and small ones go to 0.

    This follows what the paper's abstract says of its parts, not its equations; the details here:
    - Blocks are attention and MLP with the LayerNorm in front, `branches`; each has the float
      network's input. Layers outside of them stay as PTQ4ViT's search finds them.
    - The share of the errors that counts is `KEPT`.
    - Scales start from PTQ4ViT's, found in one round with every fifth candidate, and move along
      its candidates in steps of `DISTANCE` and its halves, one quantizer after the other, in order
      of execution.
    - GELU keeps PTQ4ViT's twin quantizer.
    - The softmax scale is searched for like the others, from that of the greatest probability on.
    """

    ROUNDS: ClassVar[int] = 1
    STRIDE: ClassVar[int] = 5
    KEPT: ClassVar[float] = 0.5
    DISTANCE: ClassVar[int] = 8

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self.branches = branches(self.network)

    def prepare(self) -> None:
        outputs = [branch.output for branch in self.branches.values()]
        products = [node.name for node in self.network.nodes if multiplies(node)]
        keep_gradients(self.walk, dict.fromkeys([*products, *outputs]))

    def activation(self, node: Node, operand: int) -> Quantizer:
        if node.name not in self.found:
            self.calibrate(self.branches[node.name])
        return self.found[node.name][operand].quantizer()

    def softmax_candidates(self, mix: Mix, width: int) -> Candidates:
        _, high = value_range(self.operand(mix, 0, EXACT), None, mix.sites[0])
        return UnsignedCandidates(high, width)

    def calibrate(self, branch: Branch) -> None:
        """Choose all quantizers of a block."""
        for node in branch.products:
            self.found[node.name] = self.search(node)
        if len(branch.products) > 1:
            judge = Judge(self.walk, branch, self.found, self.KEPT)
            for node in branch.products:
                for side in (0, 1):
                    for group in range(len(self.found[node.name][side].index)):
                        self.move(judge, node, side, group)
        names = {branch.output, *(node.name for node in branch.products)}
        drop_gradients(self.walk, names)

    def move(self, judge: "Judge", node: Node, side: int, group: int) -> None:
        """Move one scale of a block towards less error of the block."""
        whole = self.found[node.name][side]
        one = Coordinate(whole, group)

        def errors(trials: Sequence[Tensor]) -> Tensor:
            return judge.errors(node, side, [one.whole_index(index) for index in trials])

        refine(one, errors, max(1, self.DISTANCE * whole.count // 100))
        whole.index = one.whole_index(one.index)


class Coordinate(Candidates):
    """One group of the candidates of a quantizer."""

    def __init__(self, whole: Candidates, group: int) -> None:
        super().__init__(whole.count, whole.index[group : group + 1])
        self._whole = whole
        self._group = group

    def whole_index(self, index: Tensor) -> Tensor:
        """Index of all groups, the other ones as they are."""
        result = self._whole.index.clone()
        result[self._group] = index[0]
        return result


class Judge:
    """The error of a block's output over the calibration images, by the quantizers in it."""

    def __init__(self, walk: Walk, branch: Branch, found: dict[str, Pair], kept: float) -> None:
        self._walk = walk
        self._branch = branch
        self._found = found
        self._kept = kept
        # Several chunks may not fit into memory together.
        self._only = self._images(0) if len(walk.sizes) == 1 else None
        self._reached: tuple[int, dict[str, Tensor]] | None = None

    def errors(self, node: Node, side: int, indices: Sequence[Tensor]) -> Tensor:
        """Errors, float64 `[indices, 1]`, with other quantizers of one operand of a node."""
        total = torch.zeros(len(indices), 1, dtype=torch.float64, device=self._walk.device)
        at = self._branch.nodes.index(node)
        for tensors, output, slope in self._chunks():
            reached = self._reach(at, tensors)
            for trial, index in enumerate(indices):
                quantizers = [each.quantizer() for each in self._found[node.name]]
                quantizers[side] = self._found[node.name][side].quantizer(index)
                result = self._execute(node, reached, quantizers)
                after = self._run(self._branch.nodes[at + 1 :], {**reached, node.name: result})
                error = after[self._branch.output].sub(output).mul_(slope).square_().flatten()
                total[trial] += greatest(error, self._kept)
        return total

    def _chunks(self) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
        if self._only is not None:
            yield self._only
            return
        for chunk in self._walk.chunks:
            yield self._images(chunk)

    def _images(self, chunk: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """What goes into the block, its output in the float network, and the gradient of that."""
        walk, branch = self._walk, self._branch
        inside = {node.name for node in branch.nodes}
        names = {name for node in branch.nodes for name in node.inputs} - inside
        tensors = {name: walk.value(name, chunk, EXACT) for name in names}
        output = walk.value(branch.output, chunk, EXACT)
        return tensors, output, gradient(walk, branch.output, chunk)

    def _reach(self, at: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors in front of a node: what is in front of it no trial of its own changes."""
        if self._only is None:
            return self._run(self._branch.nodes[:at], tensors)
        if self._reached is None or self._reached[0] != at:
            self._reached = at, self._run(self._branch.nodes[:at], tensors)
        return self._reached[1]

    def _run(self, nodes: Sequence[Node], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = dict(tensors)
        for node in nodes:
            pair = self._found.get(node.name)
            quantizers = None if pair is None else [each.quantizer() for each in pair]
            tensors[node.name] = self._execute(node, tensors, quantizers)
        return tensors

    def _execute(
        self, node: Node, tensors: dict[str, Tensor], quantizers: Sequence[Quantizer] | None
    ) -> Tensor:
        operands = [tensors[name] for name in node.inputs]
        if quantizers is None:
            return node.forward(*operands)
        if isinstance(node, Linear):
            return node.apply(quantizers[0].fake(operands[0]), quantizers[1].fake(node.weight))
        return node.forward(*(q.fake(x) for q, x in zip(quantizers, operands, strict=True)))


def greatest(errors: Tensor, share: float) -> Tensor:
    """Sum, float64, of the greatest `share` of the errors `[n]`, at least of one."""
    eliminated = min(len(errors) - 1, len(errors) - int(share * len(errors)))
    if eliminated <= 0:
        return errors.sum(dtype=torch.float64)
    bottom = errors.kthvalue(eliminated).values
    above = errors > bottom
    ties = (len(errors) - eliminated) - above.sum()
    return (errors * above).sum(dtype=torch.float64) + ties * bottom.double()
