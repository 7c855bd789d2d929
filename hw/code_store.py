"""Codes into words of the code buffer, straight or through the GELU table."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ARRAY_MAX
from ..formats import GELU_INDEX_WIDTH
from ..isa import WORD_ADDRESS_WIDTH
from .checks import check_integer
from .gelu_table import GeluTable
from .word_buffer import chunk_write, write_stream


class CodeStore(wiring.Component):
    """Writes chunks of codes, each with zeros above it.

    Parameters
    ----------
    lanes : int
        Codes of a chunk, 1 to 256.
    places : int
        Chunks of a word, 1 to 256.
    code_width : int
        Bits of a code, 3 to 8.

    Members
    -------
    i : In(stream)
        Struct of `address`, `place` and `values`, an array of `lanes` unsigned 8-bit numbers, which
        are codes or indices of the table.
    by_table : In(1)
        The values are indices; holds while a chunk is inside.
    table : In(stream, always_ready)
        As `GeluTable.table`.
    write : Out(stream)
        Writes of parts of words of `places * lanes` codes, as `write_stream` has them.
    gelu : Out(struct)
        `codes` that leave the GELU table in this cycle, if `valid`.
    drained : Out(1)
        Nothing is inside, or the last chunk is accepted in this cycle.

    Latency: 1 cycle.
    Throughput: one chunk per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range.

    Source: `docs/accelerator.md`, code buffer; `docs/numerics.md`, gelu_table.
    """

    LATENCY = 1

    def __init__(self, *, lanes: int, places: int, code_width: int) -> None:
        self._table = GeluTable(lanes=lanes, code_width=code_width)
        self.places = check_integer("places", places, 1, ARRAY_MAX)
        self.lanes, self.code_width = lanes, code_width
        self._codes = data.ArrayLayout(code_width, lanes)
        values = data.ArrayLayout(GELU_INDEX_WIDTH, lanes)
        chunk = {"address": WORD_ADDRESS_WIDTH, "place": range(places), "values": values}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(chunk))),
                "by_table": In(1),
                "table": In(self._table.table.signature.flip()),
                "write": Out(write_stream(places * lanes * code_width, places)),
                "gelu": Out(data.StructLayout({"valid": 1, "codes": self._codes})),
                "drained": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.table = table = self._table
        connect(m, flipped(self.table), table.table)
        chunk, write = self.i.payload, self.write
        valid = Signal()
        free = Signal()
        straight = Signal(self._codes)
        address = Signal(WORD_ADDRESS_WIDTH)
        place = Signal.like(chunk.place)
        codes = Signal(self._codes)
        # The table's register and those here move as one.
        m.d.comb += [
            free.eq(~valid | write.ready),
            self.i.ready.eq(free),
            table.i.valid.eq(self.i.valid & self.by_table),
            table.i.payload.eq(chunk.values),
            table.o.ready.eq(write.ready),
            codes.eq(Mux(self.by_table, table.o.payload.as_value(), straight.as_value())),
            write.valid.eq(valid),
            write.payload.address.eq(address),
            Cat(write.payload.data, write.payload.mask).eq(
                Cat(*chunk_write(place, codes.as_value(), self.places))
            ),
            self.gelu.valid.eq(table.o.valid & table.o.ready),
            self.gelu.codes.eq(table.o.payload),
            self.drained.eq(free),
        ]
        with m.If(free):
            m.d.sync += [valid.eq(self.i.valid), address.eq(chunk.address), place.eq(chunk.place)]
            m.d.sync += [code.eq(value) for code, value in zip(straight, chunk.values, strict=True)]
        return m
