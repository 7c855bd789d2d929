"""Sensitivity: the error that each quantizer alone adds to the output of the float network.

Every activation site and every weight is quantized in turn, at each width, everything else staying
float; the network is computed again from there on. Errors of quantizers add up well enough to
choose widths by them (HAWQ-V2, arXiv 1911.03852, section 3, does so with a second-order estimate;
here the error itself is measured).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..bits import Bits
from ..formats import CODE_WIDTHS
from .chunks import MEMORY, ChunkStore
from .network import Network, QuantizedNetwork
from .nodes import Activation, Linear, Mix, Node, PatchEmbedding
from .reparameterize import reparameterize
from .search import search_log, search_uniform
from .walk import EXACT, Walk


@dataclass(frozen=True)
class Sensitivity:
    """What one quantizer does on its own.

    Fields: `quantizer`, its site, or `<layer>.weight`; `layer`, the name under which a table of
    bits knows it, and `field`, which of the layer's widths it has: weights, activations or log;
    `width` of its codes; `divergence` from the float network, Kullback-Leibler, in nats, mean over
    images (for a feature extractor: power of the error over that of the features); `noise`, power
    of the error over that of the quantized tensor itself.
    """

    quantizer: str
    layer: str
    field: str
    width: int
    divergence: float
    noise: float

    def to_json(self) -> dict[str, Any]:
        """JSON values of the fields."""
        return asdict(self)


@torch.no_grad()
def sensitivities(
    network: Network,
    pixels: Iterable[Tensor],
    widths: Sequence[int] = tuple(CODE_WIDTHS),
    *,
    base: str = "sqrt2",
    images: int = 8,
    device: torch.device | str = "cpu",
    memory: int = MEMORY,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Sensitivity]:
    """Measure every quantizer whose width a table of bits may choose, at every width.

    Parameters:
        network: in integer mode; it moves to `device` and is otherwise left as it is.
        pixels: uint8 `[B, H, W, C]` each. Calibration images.
        widths: to measure, each 3 to 8.
        images: how many at a time go through the network.
    Raises: CalibrationError where a tensor holds NaN or infinity.
    """
    with ChunkStore(memory) as store:
        walk = Walk(QuantizedNetwork(network.to(device), Bits(8, 8), base), store, (EXACT,), device)
        walk.start(chunk for part in pixels for chunk in part.split(images))
        for node in network.nodes:
            walk.keep(node, EXACT)
        measure = _Measure(walk, base)
        candidates = list(_candidates(network))
        found = []
        for done, (node, operand) in enumerate(candidates):
            for width in widths:
                found.append(measure.one(node, operand, width))
            if progress is not None:
                progress(done + 1, len(candidates), found[-1].quantizer)
    return found


@torch.no_grad()
def divergence(exact: Network, quantized: QuantizedNetwork, pixels: Iterable[Tensor]) -> float:
    """How far a quantized network is from the float one, as `Sensitivity.divergence`.

    Parameters: `pixels`, uint8 `[B, H, W, C]` each.
    """
    total, images = 0.0, 0
    for part in pixels:
        found = quantized.outputs(part)
        for name, want in exact.run(part).items():
            total += _distance(want, found[name], bool(exact.features)) / len(found)
        images += len(part)
    return total / images


def _candidates(network: Network) -> Iterable[tuple[Node, int | None]]:
    """Nodes with the operand that is quantized, or None for the weight."""
    for node in network.nodes:
        if isinstance(node, PatchEmbedding | Activation):
            continue  # always 8 bits
        for operand, site in enumerate(node.sites):
            if site is not None:
                yield node, operand
        if isinstance(node, Linear):
            yield node, None


class _Measure:
    """Runs the rest of the network behind one quantizer."""

    def __init__(self, walk: Walk, base: str) -> None:
        self._walk = walk
        self._network = walk.network
        self._base = base
        self._norm_sites = self._network.norm_sites()
        outputs = self._network.outputs
        self._exact = {
            (name, chunk): walk.value(name, chunk, EXACT)
            for name in outputs
            for chunk in walk.chunks
        }

    def one(self, node: Node, operand: int | None, width: int) -> Sensitivity:
        """The quantizer of an operand, or of the weight, at a width."""
        if operand is None:
            name, layer, field = f"{node.name}.weight", node.name, "weights"
            grid = search_uniform(node.weight.float(), width, "first", name)
            weight = grid.fake(node.weight.float())
            noise = _power(weight - node.weight.float()) / max(_power(node.weight.float()), 1e-30)

            def execute(operands: list[Tensor]) -> Tensor:
                return node.apply(operands[0], weight)
        else:
            name = node.sites[operand]
            is_log = isinstance(node, Mix) and operand == 0
            layer = node.inputs[0] if is_log else node.name
            field = "log" if is_log else "activations"
            fake = self._fake(node, operand, width)
            errors, powers = [], []

            def execute(operands: list[Tensor]) -> Tensor:
                x = operands[operand]
                changed = fake(x)
                errors.append(_power(changed - x))
                powers.append(_power(x))
                return node.forward(*operands[:operand], changed, *operands[operand + 1 :])

        divergence = sum(self._divergence(node, execute, chunk) for chunk in self._walk.chunks)
        divergence /= sum(self._walk.sizes)
        if operand is not None:
            noise = sum(errors) / max(sum(powers), 1e-30)
        return Sensitivity(name, layer, field, width, divergence, noise)

    def _fake(self, node: Node, operand: int, width: int) -> Callable[[Tensor], Tensor]:
        """RepQ-ViT's quantizer of an operand on float data: what it leaves of a tensor."""
        site, walk = node.sites[operand], self._walk
        values = walk.values(lambda chunk: walk.value(node.inputs[operand], chunk, EXACT))
        if isinstance(node, Mix) and operand == 0:
            return search_log(values, width, self._base, True, site).fake
        if site not in self._norm_sites:
            return search_uniform(values, width, None, site).fake
        change = reparameterize(search_uniform(values, width, "last", site), True)
        ratio, shift = change.ratio.float(), change.shift.float()
        return lambda x: (change.quantizer.fake(change.apply(x)) + shift) * ratio

    def _divergence(
        self, start: Node, execute: Callable[[list[Tensor]], Tensor], chunk: int
    ) -> float:
        """Sum over the images of a chunk, of what changes where `start` is executed otherwise."""
        walk = self._walk
        changed = {start.name: execute(walk.operands(start, chunk, EXACT))}
        nodes = self._network.nodes
        for node in nodes[nodes.index(start) + 1 :]:
            if any(name in changed for name in node.inputs):
                operands = [
                    changed[name] if name in changed else walk.value(name, chunk, EXACT)
                    for name in node.inputs
                ]
                changed[node.name] = node.forward(*operands)
        total = 0.0
        for name in self._network.outputs:
            if name in changed:
                exact = self._exact[name, chunk]
                total += _distance(exact, changed[name], bool(self._network.features))
        return total / len(self._network.outputs)


def _distance(exact: Tensor, changed: Tensor, features: bool) -> float:
    if features:
        error = (changed - exact).flatten(1).square().sum(1)
        return float((error / exact.flatten(1).square().sum(1)).sum())
    return float(
        functional.kl_div(
            changed.flatten(1).double().log_softmax(1),
            exact.flatten(1).double().log_softmax(1),
            reduction="sum",
            log_target=True,
        )
    )


def _power(x: Tensor) -> float:
    return float(x.square().sum(dtype=torch.float64))
