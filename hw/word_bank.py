"""One bank of a scratchpad: a memory of words in blocks, and the registers behind it."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import WORDS_MAX
from ..latency import block_words
from .checks import check_integer, check_stages
from .pipeline import delay

UNRELATED = {"no_rw_check": 1}
"""Attribute of a memory of which nobody asks what a read gives in the cycle of a write to the same
word. Block RAMs of two ports promise nothing there: synthesis would add what keeps the old word."""


class WordBank(wiring.Component):
    """A memory with a port that reads and one that writes, each a word per cycle.

    From two stages on it is made in blocks that need no multiplexer inside, so that a register
    stands right behind the slow output of each block RAM, and their join behind that. With one
    stage the join is left to synthesis, which finds cheaper ones. A word read in the cycle in which
    it is written is any.

    Parameters
    ----------
    depth : int
        Words, 1 to 2^20.
    word_width : int
        Bits of a word, 1 to 4096.
    parts : int
        Parts of a word that are written one without the other, 1 to 256; divides `word_width`.
    stages : int
        1 to 3: the memory's own register, that behind each block, that behind their join.

    Members
    -------
    read_address : In(range(depth))
        Word to read.
    read_en : In(1)
        It is wanted.
    word : Out(word_width)
        The word, in one cycle alone; of any value where none was wanted.
    write_address : In(range(depth))
        Word to write.
    write_mask : In(parts)
        Parts to write, the lowest first.
    write_data : In(word_width)
        What to write.

    Latency: `stages` cycles from `read_en` to `word`.
    Throughput: one word read and one written per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range.

    Source: `docs/accelerator.md`, Buffers.
    """

    def __init__(self, *, depth: int, word_width: int, parts: int = 1, stages: int = 1) -> None:
        self.depth = check_integer("depth", depth, 1, WORDS_MAX)
        self.word_width = check_integer("word_width", word_width, 1, 4096)
        self.parts = check_integer("parts", parts, 1, 256)
        if word_width % parts:
            raise ValueError(f"parts must divide the {word_width} bits of a word, not {parts!r}")
        self.stages = check_stages(stages)
        super().__init__(
            {
                "read_address": In(range(depth)),
                "read_en": In(1),
                "word": Out(word_width),
                "write_address": In(range(depth)),
                "write_mask": In(parts),
                "write_data": In(word_width),
            }
        )

    @property
    def LATENCY(self) -> int:  # noqa: N802
        """Cycles from `read_en` to `word`."""
        return self.stages

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = block_words(self.word_width // self.parts) if self.stages > 1 else self.depth
        place = (size - 1).bit_length()
        words = []
        for number, first in enumerate(range(0, self.depth, size)):
            rows = min(size, self.depth - first)
            block = Memory(shape=self.word_width, depth=rows, init=[], attrs=UNRELATED)
            m.submodules[f"block_{number}"] = block
            read = block.read_port()
            write = block.write_port(granularity=self.word_width // self.parts)
            m.d.comb += [
                read.addr.eq(self.read_address),
                read.en.eq(self.read_en),
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data),
                write.en.eq(Mux(self.write_address[place:] == number, self.write_mask, 0)),
            ]
            words.append(delay(m, read.data, self.stages > 1, name=f"word_{number}"))
        chosen = delay(m, self.read_address[place:], min(self.stages, 2), name="chosen")
        m.d.comb += self.word.eq(delay(m, pick(chosen, words), self.stages > 2, name="joined"))
        return m


def pick(index: Value, values: Sequence[Value]) -> Value:
    """The value of that number, by its bits: fewer gates than a chain of comparisons."""
    if len(values) == 1:
        return values[0]
    half = 1 << (len(values) - 1).bit_length() - 1
    low, high = values[:half], values[half:]
    return Mux(index[half.bit_length() - 1], pick(index, high), pick(index, low))
