"""The waits of whole programs: what must come before something does, and none is for nothing."""

import pytest

from rootshift.config import AcceleratorConfig
from rootshift.footprint import Region, Space, footprint
from rootshift.program import Program

from ..accelerator.reordered import Node, nodes
from ..random_model import Size
from .compiled import built, model

CASES = {
    "heads fill no word": ("4x4", Size(width=18, heads=3, depth=2), {}),
    "bands": ("4x4", Size(image=(16, 8, 1), prefix=0, depth=2), {"norm_bands": 4}),
    "batch": ("8x4", Size(width=18, heads=3), {"images": 4, "batch": 2, "norm_bands": 2}),
    "mean": ("4x4", Size(image=(8, 12, 3), pool="avg"), {"images": 2}),
    "distilled": ("5x7", Size(width=10, prefix=2, pool="distilled"), {"images": 2}),
}


class Order:
    """What has ended when each command of a program touches its words, as sets in bits.

    Commands of a unit follow each other; one starts when those that it waits for have ended, and
    ends behind the ones that stream to it.
    """

    def __init__(self, program: Program) -> None:
        self.nodes = nodes(program.commands)
        self.place = {node: at for at, node in enumerate(self.nodes)}
        self.needs = self._needs(program.config)

    def unordered(self, without: tuple[Node, Node] | None = None) -> set[Node]:
        """Commands that may touch a word too early; `without` a command's wait for another."""
        start: dict[Node, int] = {}
        end: dict[Node, int] = {}
        last: dict[object, Node] = {}
        early = set()
        for node in self.nodes:
            before = [n for n in node.waits if (node, n) != without]
            if node.unit in last:
                before.append(last[node.unit])
            start[node] = union(end[n] for n in before)
            feeders = [n for n in node.beside if n in end]
            end[node] = start[node] | union(end[n] for n in feeders) | 1 << self.place[node]
            last[node.unit] = node
            if self.needs[node] & ~start[node]:
                early.add(node)
        return early

    def _needs(self, config: AcceleratorConfig) -> dict[Node, int]:
        """Commands of other units that touched a command's words before, one of both writing."""
        readers: dict[tuple[Space, int], int] = {}
        writers: dict[tuple[Space, int], int] = {}
        found = {}
        for node in self.nodes:
            touched = footprint(node.command, config)
            reads, writes = words(touched.reads), words(touched.writes)
            need = union(writers.get(word, 0) for word in reads + writes)
            need |= union(readers.get(word, 0) for word in writes)
            own = union(1 << self.place[n] for n in self.nodes if n.unit is node.unit)
            found[node] = need & ~own
            for kept, touching in ((readers, reads), (writers, writes)):
                for word in touching:
                    kept[word] = kept.get(word, 0) | 1 << self.place[node]
        return found


def union(sets) -> int:
    found = 0
    for each in sets:
        found |= each
    return found


def words(regions: tuple[Region, ...]) -> list[tuple[Space, int]]:
    return [(region.space, word) for region in regions for word in region.words().tolist()]


@pytest.mark.parametrize("case", CASES)
def test_waits_are_enough_and_none_is_too_many(case: str) -> None:
    array, size, options = CASES[case]
    order = Order(built(model(size), array, **options))
    assert not order.unordered()
    waits = [(node, other) for node in order.nodes for other in node.waits]
    assert len(waits) > 10
    for node, other in waits:
        assert node in order.unordered(without=(node, other)), (node.command, other.command)
