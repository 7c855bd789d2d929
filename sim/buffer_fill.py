"""How full the on-chip buffers are in the course of a run."""

from dataclasses import dataclass

import numpy as np

from ..footprint import Space, footprint
from ..program import Program
from .timeline import Timeline


@dataclass(frozen=True, eq=False)
class Fill:
    """Words of a buffer that hold something needed, as steps.

    Fields: `cycles` int64 [steps], ascending; `words` int64 [steps], how many from each on. The
    first step is that of cycle 0.
    """

    cycles: np.ndarray
    words: np.ndarray


def buffer_fill(program: Program, timeline: Timeline) -> dict[Space, Fill]:
    """Live words of each buffer.

    A word is live from the begin of a command that writes it to the end of the last one that reads
    what this has written, or of the writer itself where none does.
    """
    lives = {space: _Lives(space.depth(program.config)) for space in Space}
    commands = program.commands[: len(timeline.begun)]
    begun, done = timeline.begun.tolist(), timeline.done.tolist()
    for placed, begin, end in zip(commands, begun, done, strict=True):
        found = footprint(placed.command, program.config)
        for region in found.reads:
            lives[region.space].read(region.words(), end)
        for region in found.writes:
            lives[region.space].write(region.words(), begin, end)
    return {space: each.fill() for space, each in lives.items()}


class _Lives:
    """The present life of every word, and the steps of those before."""

    def __init__(self, depth: int) -> None:
        self.begin = np.full(depth, -1, np.int64)
        self.end = np.full(depth, -1, np.int64)
        self.begins: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []

    def read(self, words: np.ndarray, end: int) -> None:
        self.end[words] = np.maximum(self.end[words], end)

    def write(self, words: np.ndarray, begin: int, end: int) -> None:
        self._close(words)
        # A STORE takes its command before its first output comes, and an update reads what it
        # writes: the life before may last longer than to this begin.
        self.begin[words] = np.maximum(self.end[words], begin)
        self.end[words] = np.maximum(self.end[words], end)

    def fill(self) -> Fill:
        self._close(slice(None))
        begins, ends = np.concatenate(self.begins), np.concatenate(self.ends)
        cycles, places = np.unique(np.concatenate([[0], begins, ends]), return_inverse=True)
        change = np.zeros(len(cycles), np.int64)
        np.add.at(change, places[1:], np.repeat([1, -1], [begins.size, ends.size]))
        words = np.cumsum(change)
        kept = np.flatnonzero(np.diff(words, prepend=-1))
        return Fill(cycles[kept], words[kept])

    def _close(self, words: np.ndarray | slice) -> None:
        """Keep the steps of what these words hold, if they hold anything."""
        begin, end = self.begin[words], self.end[words]
        held = begin >= 0
        self.begins.append(begin[held])
        self.ends.append(end[held])
