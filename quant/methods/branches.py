"""Blocks of a network: the branches of its residual stream."""

from dataclasses import dataclass

from ..network import Network
from ..nodes import Add, Node
from .hessian import multiplies


@dataclass(frozen=True)
class Branch:
    """Nodes that make one tensor, in order of execution, and that nothing else needs.

    Fields: `nodes`, the last of which makes the tensor; at least one is a matrix multiplication.
    """

    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """Name of the tensor."""
        return self.nodes[-1].name

    @property
    def products(self) -> tuple[Node, ...]:
        """The matrix multiplications."""
        return tuple(node for node in self.nodes if multiplies(node))


def branches(network: Network) -> dict[str, Branch]:
    """Branch of each matrix multiplication by its name; one by itself where it lies in none.

    A branch is what an addition adds to the residual stream: attention or MLP, with the LayerNorm
    in front.
    """
    found: dict[str, Branch] = {}
    for node in network.nodes:
        if isinstance(node, Add):
            stream, added = node.inputs
            names = _ancestors(network, added) - _ancestors(network, stream)
            branch = Branch(tuple(each for each in network.nodes if each.name in names))
            found |= {each.name: branch for each in branch.products}
    for node in network.nodes:
        if multiplies(node):
            found.setdefault(node.name, Branch((node,)))
    return found


def _ancestors(network: Network, name: str) -> set[str]:
    """The tensor and all that it is made of."""
    found: set[str] = set()
    left = [name]
    while left:
        name = left.pop()
        if name not in found and name in network.by_name:
            found.add(name)
            left += network.by_name[name].inputs
    return found
