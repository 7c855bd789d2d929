"""How much an error of a matrix multiplication's output matters: gradients of the loss.

PTQ4ViT (arXiv 2111.12293), section 3.3, takes the squared gradient of the loss with respect to
each output for the diagonal of the Hessian:

    loss(Ô) - loss(O)  ~  sum over outputs of (dL/dO)**2 * (Ô - O)**2

The calibration images have no labels; the paper puts the float network's own prediction in their
place. Its class, that is: cross entropy against the float network's whole distribution, or their
KL divergence, has a minimum at the float network itself, where every gradient vanishes.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from ..network import Network
from ..nodes import Linear, Mix, Node, Scores
from ..walk import Walk

_GRAPH_BYTES = 1 << 28
"""Bytes of the tensors of images that are differentiated at once."""


def multiplies(node: Node) -> bool:
    """Whether the node is a matrix multiplication."""
    return isinstance(node, (Linear, Scores, Mix))


def gradients(network: Network, pixels: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Gradients of the loss of each image with respect to tensors of the float network.

    The loss is the cross entropy of the logits against the class that they predict. A feature
    extractor predicts nothing: there it is the features' product with fixed random signs, whose
    squared gradients are, on average over the signs, the diagonal of the Gauss-Newton matrix of
    the features' squared error.

    Parameters:
        pixels: uint8 `[B, H, W, C]`.
        names: nodes.

    Returns:
        dict[str, Tensor]: float32, of the shape of each tensor.
    """
    wanted = set(names)
    found: dict[str, Tensor] = {}

    def execute(node: Node, operands: list[Tensor]) -> Tensor:
        result = node.forward(*operands)
        if not result.requires_grad:
            result = result.detach().requires_grad_()
        if node.name in wanted:
            found[node.name] = result
        return result

    with torch.enable_grad():
        outputs = network.run(pixels, execute)
        tensors = tuple(found.values())
        slopes = torch.autograd.grad(_loss(network, outputs), tensors, materialize_grads=True)
    return dict(zip(found, slopes, strict=True))


def keep_gradients(walk: Walk, names: Iterable[str]) -> None:
    """Keep the gradients of all images in the walk's store, as bfloat16: they only weigh errors."""
    names = tuple(names)
    size = max(1, _GRAPH_BYTES // _bytes_per_image(walk))
    for chunk in walk.chunks:
        parts = [gradients(walk.network, part, names) for part in walk.pixels(chunk).split(size)]
        for name in names:
            slopes = torch.cat([part.pop(name) for part in parts])
            walk.store.put(("gradient", name, chunk), slopes.bfloat16())


def gradient(walk: Walk, name: str, chunk: int) -> Tensor:
    """What `keep_gradients` kept of a tensor, float32; ones where it is zero throughout.

    That is where every prediction is so sure that its loss is 0 in float32."""
    slopes = walk.store.get(("gradient", name, chunk)).to(walk.device).float()
    return slopes if slopes.any() else torch.ones_like(slopes)


def drop_gradients(walk: Walk, names: Iterable[str]) -> None:
    """Forget what `keep_gradients` kept of tensors."""
    for name in names:
        for chunk in walk.chunks:
            walk.store.drop(("gradient", name, chunk))


def _loss(network: Network, outputs: dict[str, Tensor]) -> Tensor:
    if not network.features:
        (logits,) = (output.flatten(1) for output in outputs.values())
        return functional.cross_entropy(logits, logits.argmax(1), reduction="sum")
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), device=network.mean.device)
    for output in outputs.values():
        signs = torch.randint(0, 2, output.shape[1:], generator=generator) * 2.0 - 1.0
        total = total + (output * signs.to(output.device)).sum()
    return total


def _bytes_per_image(walk: Walk) -> int:
    total = 0

    def execute(node: Node, operands: list[Tensor]) -> Tensor:
        nonlocal total
        result = node.forward(*operands)
        total += result.numel() * result.element_size()
        return result

    walk.network.run(walk.pixels(0)[:1], execute)
    return total
