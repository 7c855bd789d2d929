"""What a report shows, measured: the quantized network beside the float one, on the same images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..network import Network, QuantizedNetwork
from ..nodes import Activation, Gather, LayerNorm, Linear, Node, Part, Softmax
from ..quantizers import Quantizer
from ..walk import image_chunks
from .statistics import Channels, CodeUse, Histogram, Noise

_LEAST_OCTAVE = -32.0

Pair = tuple[Tensor, Tensor]
"""A tensor of the float network, and what it is in the quantized one."""


@dataclass
class NormOutput:
    """The output of a LayerNorm in the float network and in the quantized one.

    Fields: `site` of the quantizer that reads it, if it is one; channels and histograms, the float
    network's first; `reparameterized`, whether the norm was.
    """

    name: str
    site: str | None
    reparameterized: bool
    channels: tuple[Channels, Channels] = field(default_factory=lambda: (Channels(), Channels()))
    values: tuple[Histogram, Histogram] = field(default_factory=lambda: (Histogram(), Histogram()))


@dataclass
class Measurements:
    """Everything that is measured, by name and in order of execution.

    Fields: `images`, how many; `norms`; `probabilities`, log2 of those of the quantized network, at
    least -32; `activations`, outputs of the MLP's function in the float network, where no 8-bit
    index has combed them; `sites`, codes of activation quantizers of the kinds that have any;
    `weights`, codes of weights; `noise` of tensors that no fold changes, by node; `exact` and
    `fake`, the outputs of both.
    """

    images: int = 0
    norms: dict[str, NormOutput] = field(default_factory=dict)
    probabilities: dict[str, Histogram] = field(default_factory=dict)
    activations: dict[str, Histogram] = field(default_factory=dict)
    sites: dict[str, CodeUse] = field(default_factory=dict)
    weights: dict[str, CodeUse] = field(default_factory=dict)
    noise: dict[str, Noise] = field(default_factory=dict)
    exact: dict[str, Tensor] = field(default_factory=dict)
    fake: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def measure(
    quantized: QuantizedNetwork,
    exact: Network,
    pixels: Tensor | Iterable[Tensor],
    progress: Callable[[int], None] | None = None,
) -> Measurements:
    """Run both networks side by side.

    Parameters: `exact`, the float network of the model as it was, in the mode of `quantized`;
    `pixels`, uint8 `[N, H, W, C]`, or several such tensors; `progress` is told the images done.
    Raises: ValueError without any image.
    """
    found = _started(quantized)
    outputs: list[dict[str, Pair]] = []
    step = _Step(quantized, exact, found)
    for chunk in image_chunks(exact, pixels):
        outputs.append(quantized.network.run(chunk, step))
        found.images += len(chunk)
        if progress is not None:
            progress(found.images)
    if not outputs:
        raise ValueError("pixels must hold at least one image, not 0")
    for name in quantized.network.outputs:
        found.exact[name] = torch.cat([each[name][0] for each in outputs])
        found.fake[name] = torch.cat([each[name][1] for each in outputs])
    return found


def site_behind(network: Network, name: str) -> str | None:
    """The quantizer's site that reads a tensor, moved or not, if one does."""
    for reader in network.readers[name]:
        site = reader.sites[reader.inputs.index(name)]
        if site is None and isinstance(reader, Gather):
            site = site_behind(network, reader.name)
        if site is not None:
            return site
    return None


def _started(quantized: QuantizedNetwork) -> Measurements:
    network, found = quantized.network, Measurements()
    folded = set(network.norm_sites())
    for node in network.nodes:
        if isinstance(node, LayerNorm):
            site = site_behind(network, node.name)
            found.norms[node.name] = NormOutput(node.name, site, site in folded)
        if isinstance(node, Softmax):
            found.probabilities[node.name] = Histogram(160)
        if isinstance(node, Activation):
            found.activations[node.name] = Histogram()
        # A fold changes a LayerNorm's output, and a linear layer is there in its parts already.
        if not isinstance(node, LayerNorm | Gather | Part) or node.name in network.outputs:
            found.noise[node.name] = Noise()
        for site in filter(None, node.sites):
            quantizer = quantized.activation.get(site)
            if isinstance(quantizer, Quantizer):
                found.sites[site] = CodeUse(quantizer)
        if isinstance(node, Linear) and node.name in quantized.weight:
            codes, quantizer = quantized.weight[node.name]
            found.weights[node.name] = CodeUse.of_codes(codes, quantizer)
    return found


class _Step:
    """Executes a node in both networks: a run carries a pair where it else has a tensor."""

    def __init__(self, quantized: QuantizedNetwork, exact: Network, found: Measurements) -> None:
        self._quantized, self._exact, self._found = quantized, exact, found

    def __call__(self, node: Node, operands: Sequence[Pair | Tensor]) -> Pair:
        # The image is the same for both.
        pairs = [each if isinstance(each, tuple) else (each, each) for each in operands]
        changed_operands = [changed for _, changed in pairs]
        found = self._found
        for site, x in zip(node.sites, changed_operands, strict=True):
            if site in found.sites:
                found.sites[site].add(x)
        exact = self._exact.by_name[node.name].forward(*(exact for exact, _ in pairs))
        changed = self._quantized.execute(node, changed_operands)
        if node.name in found.noise:
            found.noise[node.name].add(exact, changed)
        if node.name in found.norms:
            norm = found.norms[node.name]
            for at, x in enumerate((exact, changed)):
                norm.channels[at].add(x)
                norm.values[at].add(x)
        if node.name in found.probabilities:
            logarithm = changed.log2().clamp_(_LEAST_OCTAVE, 0)
            found.probabilities[node.name].add(logarithm)
        if node.name in found.activations:
            found.activations[node.name].add(exact)
        return exact, changed
