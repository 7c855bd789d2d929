"""What all sections of a report share: the page, what is shown, and how tensors are called."""

import re
from dataclasses import dataclass
from functools import cached_property

from ...pages import Page
from ..network import Network, QuantizedNetwork
from ..nodes import Activation, Add, Gather, LayerNorm, Linear, Mix, Node, PatchEmbedding, Scores
from .measure import Measurements

_BLOCK = re.compile(r"(?:.*?(\d+)\.)?(?:.*\.)?blocks\.(\d+)\.(.+)", re.ASCII | re.DOTALL)

KINDS = {
    "LayerNorm output": "c0",
    "query": "c2",
    "key": "c6",
    "softmax": "c1",
    "value": "c3",
    "attention output": "c4",
    "MLP function's input": "c9",
    "MLP function's output": "c5",
    "image": "c8",
    "other": "neutral",
}
"""What an activation quantizer reads, and its colour."""


def block_of(name: str) -> str:
    """Block of a tensor: "blocks.3.attn.qkv" is of "3", "layers.1.blocks.0.mlp.fc1" of "1.0",
    "head" of none, ""."""
    found = _BLOCK.fullmatch(name)
    return ".".join(filter(None, found.groups()[:2])) if found else ""


OTHER = "other linear layers", "neutral"


@dataclass(frozen=True)
class View:
    """A page on its way, and what is shown on it."""

    page: Page
    quantized: QuantizedNetwork
    found: Measurements

    @property
    def network(self) -> Network:
        """The calibrated one."""
        return self.quantized.network

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Activation site -> the kind of its tensor, in order of execution."""
        return {site: _kind(self.network, *where) for site, where in self.network.sites.items()}


def role_of(node: Node) -> tuple[str, str] | None:
    """Line of a node in the error figure, and its colour; None for what the figure leaves out."""
    if isinstance(node, Add):
        return "residual stream", "c7"
    if isinstance(node, Scores):
        return "scores", "c1"
    if isinstance(node, Mix):
        return "attention", "c3"
    if isinstance(node, Linear) and block_of(node.name):
        last = node.name.rpartition(".")[2]
        colours = {"qkv": "c0", "proj": "c4", "fc1": "c2", "fc2": "c5"}
        if last in colours:
            return f"{last} output", colours[last]
    # Its 8 bits hardly err, which would take most of the axis.
    if isinstance(node, Linear) and not isinstance(node, PatchEmbedding):
        return OTHER
    return None


def many(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _kind(network: Network, node: Node, operand: int) -> str:
    if isinstance(node, Scores):
        return ("query", "key")[operand]
    if isinstance(node, Mix):
        return ("softmax", "value")[operand]
    if isinstance(node, Activation):
        return "MLP function's input"
    if isinstance(node, PatchEmbedding):
        return "image"
    source = network.by_name.get(node.inputs[operand])
    while isinstance(source, Gather):
        source = network.by_name.get(source.inputs[0])
    if isinstance(source, LayerNorm):
        return "LayerNorm output"
    if isinstance(source, Activation):
        return "MLP function's output"
    return "attention output" if isinstance(source, Mix) else "other"
