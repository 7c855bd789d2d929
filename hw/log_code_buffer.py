"""Log codes of two tiles of queries: one fills while the other is read as often as needed."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..formats import CODE_WIDTHS, EMBEDDING_MAX
from ..isa import TOKENS_WIDTH
from ..latency import LOG_CODES
from .checks import check_integer

PASSES_WIDTH = 9


class LogCodeBuffer(wiring.Component):
    """Keeps tiles of log codes as they come, and gives each, key by key, in several passes.

    A tile fills one half of the memory, from its first key to the one with `last`; tiles are given
    in the order of their coming. A half is free again once its last word has been read.

    Parameters
    ----------
    cols : int
        Queries of a tile, 1 to 256.
    code_width : int
        L, width of a log code, 3 to 8.
    depth : int
        Largest number of keys of a tile, 1 to 4096.
    tag_width : int
        Bits that go along with a tile, untouched; 0 to 128.

    Members
    -------
    i : In(stream)
        One key per beat, as `Log2Softmax` gives it: `codes`, array of `cols` codes; `last`.
    tile : In(stream)
        What to do with the next tile: struct of `keys` (13 bits, as many as the tile has),
        `passes` (9 bits, 1 at least) and `tag`. It is taken when the last key of the last pass is
        read, and holds until then.
    o : Out(stream)
        One key per beat: `codes`; `last`, set on the last key of a pass; `final`, set throughout
        the last pass; `tag`.
    behind : Out(1)
        A key is on its way to `o` and not offered yet.

    Latency: 3 cycles from the last key of a tile to the offer of its first.
    Throughput: one key per cycle in and one out, without a pause between passes or tiles.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    LATENCY = 1 + LOG_CODES

    def __init__(self, *, cols: int, code_width: int, depth: int, tag_width: int = 0) -> None:
        self.cols = check_integer("cols", cols, 1, 256)
        self.code_width = check_integer("code_width", code_width, CODE_WIDTHS[0], CODE_WIDTHS[-1])
        self.depth = check_integer("depth", depth, 1, EMBEDDING_MAX)
        self.tag_width = check_integer("tag_width", tag_width, 0, 128)
        self._codes = data.ArrayLayout(unsigned(code_width), cols)
        tile = {"keys": TOKENS_WIDTH, "passes": PASSES_WIDTH, "tag": tag_width}
        key = {"codes": self._codes, "last": 1, "final": 1, "tag": tag_width}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"codes": self._codes, "last": 1}))),
                "tile": In(stream.Signature(data.StructLayout(tile))),
                "o": Out(stream.Signature(data.StructLayout(key))),
                "behind": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.storage = storage = Memory(shape=self._codes, depth=2 * self.depth, init=[])
        put = storage.write_port()
        get = storage.read_port()
        full = Signal(2)

        filling = Signal()
        taken = Signal()
        key_in = Signal(range(self.depth))
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(filling, 1)),
            taken.eq(self.i.valid & self.i.ready),
            put.addr.eq(key_in + Mux(filling, self.depth, 0)),
            put.data.eq(self.i.payload.codes),
            put.en.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += key_in.eq(key_in + 1)
            with m.If(self.i.payload.last):
                m.d.sync += [
                    key_in.eq(0),
                    filling.eq(~filling),
                    full.bit_select(filling, 1).eq(1),
                ]

        # Behind the memory's own output register comes that of `o`: a block RAM is slow.
        read = Signal(self.o.payload.shape())
        # Keys and passes are counted from 1 on: nothing has to be added to see the last one.
        giving = Signal()
        key = Signal(range(self.depth + 1), init=1)
        passes = Signal(PASSES_WIDTH, init=1)
        address = Signal(range(2 * self.depth))
        advance = Signal()
        given = Signal()
        last = Signal()
        final = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            given.eq(advance & self.tile.valid & full.bit_select(giving, 1)),
            last.eq(key == self.tile.payload.keys),
            final.eq(passes == self.tile.payload.passes),
            self.tile.ready.eq(given & last & final),
            get.addr.eq(address),
            get.en.eq(given),
        ]
        with m.If(advance):
            m.d.sync += [
                self.behind.eq(given),
                self.o.valid.eq(self.behind),
                self.o.payload.eq(read),
                self.o.payload.codes.eq(get.data),
            ]
        with m.If(given):
            m.d.sync += [
                key.eq(Mux(last, 1, key + 1)),
                address.eq(Mux(last, Mux(giving ^ final, self.depth, 0), address + 1)),
                read.last.eq(last),
                read.final.eq(final),
                read.tag.eq(self.tile.payload.tag),
            ]
            with m.If(last):
                m.d.sync += passes.eq(Mux(final, 1, passes + 1))
        with m.If(self.tile.ready):
            m.d.sync += [giving.eq(~giving), full.bit_select(giving, 1).eq(0)]
        return m
