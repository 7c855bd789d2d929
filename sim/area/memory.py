"""How Yosys maps a memory: to block RAM, to LUTs that are RAM, or to flip-flops.

It gives every way a cost and takes the cheapest. The costs are those of its libraries
(`techlibs/lattice/brams_16kd.txt` and `lutrams_trellis.txt`, `techlibs/xilinx/brams_xc4v.txt` and
`lutrams_xc5v.txt`) and of its pass `memory_libmap`.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

MUX = 0.5
"""Cost of a bit of the multiplexers behind RAMs that share the words of a memory, and of a write
strobe for each."""
EMULATION = 2
"""Cost of a point of logic around a RAM."""
BYTE = 9
"""Bits that a block RAM writes by themselves, where its words are as wide."""


@dataclass(frozen=True)
class Memory:
    """A memory with one write port.

    Fields: words, bits of a word, read ports, whether these have a register (`sync`), whether they
    see what is written in the same cycle and read in every cycle (`transparent`), parts of a word
    that are written by themselves, and whether a read in the cycle of a write to the same word may
    give anything (`unrelated`).
    """

    depth: int
    width: int
    reads: int = 1
    sync: bool = True
    transparent: bool = False
    parts: int = 1
    unrelated: bool = False


@dataclass(frozen=True)
class Mapping:
    """What a memory is made of.

    Fields:
        kind: "block", "lut" or "logic".
        block_ram: of 18 kbit.
        lut: that are RAM, and that choose between RAMs.
        ff: of words, of the read ports' registers, and of what stands in for a RAM that reads old
            words while they are overwritten.
        around: bits of logic that chooses between a RAM's word and one just written.
    """

    kind: str
    block_ram: int = 0
    lut: int = 0
    ff: int = 0
    around: int = 0


@dataclass(frozen=True)
class _Ram:
    """A type of RAM: shapes as (address bits, width), cost, and how much of it the width scales,
    LUTs or block RAMs that one takes, and how many reads beside a write."""

    shapes: tuple[tuple[int, int], ...]
    cost: int
    scale: int
    takes: int
    reads: int = 1


def _shapes(bits: int, widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Shapes of a block RAM of 2^bits words of one bit; a ninth bit comes with every eight."""
    return tuple((bits - (width.bit_length() - 1), width) for width in widths)


LUT_RAM = {
    "ecp5": (_Ram(((4, 4),), cost=4, scale=0, takes=6),),
    "xc7": (
        _Ram(((5, 4),), cost=8, scale=8, takes=8),
        _Ram(((6, 2),), cost=8, scale=8, takes=4),
        _Ram(((7, 1),), cost=8, scale=8, takes=4),
        _Ram(((5, 2),), cost=7, scale=7, takes=4, reads=3),
        _Ram(((6, 1),), cost=7, scale=7, takes=4, reads=3),
        _Ram(((5, 6),), cost=8, scale=7, takes=4),
        _Ram(((6, 3),), cost=8, scale=7, takes=4),
    ),
    "xcup": (
        _Ram(((5, 8), (6, 4), (7, 2), (8, 1)), cost=16, scale=16, takes=8),
        _Ram(((5, 4), (6, 2)), cost=16, scale=16, takes=8, reads=3),
        _Ram(((5, 2), (6, 1)), cost=16, scale=16, takes=8, reads=7),
        _Ram(((5, 14), (6, 7)), cost=16, scale=16, takes=8),
    ),
}
BLOCK_RAM = {
    "ecp5": (
        _Ram(_shapes(14, (1, 2, 4, 9, 18)), cost=128, scale=0, takes=1),
        _Ram(_shapes(14, (9, 18, 36)), cost=128, scale=0, takes=1),
    ),
    "xc7": (
        _Ram(_shapes(14, (1, 2, 4, 9, 18)), cost=129, scale=0, takes=1),
        _Ram(_shapes(15, (1, 2, 4, 9, 18, 36)), cost=257, scale=0, takes=2),
        _Ram(_shapes(16, (1, 2, 4, 9)), cost=513, scale=0, takes=4),
        _Ram(_shapes(14, (1, 2, 4, 9, 18, 36)), cost=129, scale=0, takes=1),
        _Ram(_shapes(15, (1, 2, 4, 9, 18, 36, 72)), cost=257, scale=0, takes=2),
    ),
}
BLOCK_RAM["xcup"] = BLOCK_RAM["xc7"]
READS_OLD = {"ecp5": False, "xc7": True, "xcup": True}
"""Whether a block RAM's read port gives the old word while another port overwrites it."""


@lru_cache(maxsize=1 << 16)
def mapped(memory: Memory, family: str) -> Mapping:
    """The cheapest way to make `memory`."""
    old = not (memory.transparent or memory.unrelated or READS_OLD[family])
    ways = [(float(memory.depth * memory.width), "logic", 0, 1)]
    for kind, rams in (("lut", LUT_RAM[family]), ("block", BLOCK_RAM[family])):
        points = memory.reads * (1 + 3 * memory.transparent)
        if kind == "block":
            if not memory.sync:
                continue
            points += old * 3 * (1 + memory.reads)
        for ram in rams:
            for address, width in ram.shapes:
                ways.append(_way(memory, kind, ram, address, width, points))
    # The first of equals, as Yosys does.
    _, kind, takes, banks = min(ways, key=itemgetter(0))
    read_bits = memory.reads * memory.width
    address = (memory.depth - 1).bit_length()
    mux = chosen_by(banks, family) * read_bits
    if kind == "logic":
        words = memory.depth * memory.width
        return Mapping("logic", lut=words, ff=words + memory.sync * read_bits)
    if kind == "lut":
        # Of what is read in every cycle as it is by then, the address is kept in place of the word.
        kept = memory.reads * address if memory.transparent else memory.sync * read_bits
        return Mapping("lut", lut=takes + mux, ff=kept)
    late = memory.width + address + memory.parts if old else 0
    held = read_bits + memory.reads if old or memory.transparent else 0
    chosen = (banks - 1).bit_length() * memory.reads
    return Mapping("block", block_ram=takes, lut=mux, ff=late + held + chosen, around=held)


def chosen_by(words: int, family: str) -> int:
    """LUTs that choose a bit between so many words: on ECP5 one takes two of them with what selects
    each, one of six inputs makes three choices between two."""
    return 0 if words == 1 else -(-words // 2) if family == "ecp5" else -(-(words - 1) // 3)


def _way(
    memory: Memory, kind: str, ram: _Ram, address: int, width: int, points: int
) -> tuple[float, str, int, int]:
    """Cost, kind, LUTs or block RAMs that it takes, and banks, of one shape of RAM."""
    banks = -(-memory.depth // (1 << address))
    unit = width if kind == "lut" else min(BYTE, width)
    part = memory.width // memory.parts
    padded = memory.parts * -(-part // unit) * unit
    copies = -(-memory.reads // ram.reads)
    number = -(-banks * padded // width) * copies
    cost = (ram.cost - ram.scale) * number
    cost += ram.scale * banks * memory.width / width * copies
    cost += MUX * (banks - 1) * memory.reads * memory.width
    cost += MUX * banks * memory.parts if banks > 1 else 0
    return cost + EMULATION * points, kind, number * ram.takes, banks
