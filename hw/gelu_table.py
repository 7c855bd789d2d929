"""The activation table: `docs/numerics.md`, section gelu_table."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..formats import CODE_WIDTHS, GELU_INDEX_WIDTH
from .checks import check_integer
from .pipeline import Pipeline

PORTS = 8
"""Look-ups of one memory: Yosys' mapping to UltraScale+ ends in an exception at 16."""


class GeluTable(Pipeline):
    """Looks up output codes of an element-wise activation: `o = TABLE[i]`.

    Parameters
    ----------
    lanes : int
        Look-ups per beat, 1 to 256, each a read port of the table.
    code_width : int
        Bits of an output code, 3 to 8.

    Members
    -------
    table : In(stream, always_ready)
        Unsigned codes, 256 beats for entries 0 to 255; the next beat is entry 0 again. An entry is
        used by beats of `i` accepted in a later cycle.
    i : In(stream)
        Array of `lanes` unsigned 8-bit indices.
    o : Out(stream)
        Array of `lanes` unsigned codes of `code_width` bits.

    Latency: 1 cycle.
    Throughput: one beat per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.

    Source: `docs/numerics.md`, gelu_table.
    """

    LATENCY = 1

    def __init__(self, *, lanes: int, code_width: int) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        self.code_width = check_integer("code_width", code_width, CODE_WIDTHS[0], CODE_WIDTHS[-1])
        super().__init__(
            {
                "table": In(stream.Signature(code_width, always_ready=True)),
                "i": In(stream.Signature(data.ArrayLayout(GELU_INDEX_WIDTH, lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(code_width, lanes))),
            }
        )

    def datapath(self, m: Module, payload: Any) -> Any:
        self._memories = [
            Memory(shape=self.code_width, depth=1 << GELU_INDEX_WIDTH, init=[])
            for _ in range(0, self.lanes, PORTS)
        ]
        codes = Signal(data.ArrayLayout(self.code_width, self.lanes))
        for lane in range(self.lanes):
            read = self._memories[lane // PORTS].read_port()
            m.d.comb += [
                read.addr.eq(payload[lane]),
                read.en.eq(self.advance),
                codes[lane].eq(read.data),
            ]
        return codes

    def always(self, m: Module) -> None:
        entry = Signal(GELU_INDEX_WIDTH)
        for number, memory in enumerate(self._memories):
            m.submodules[f"memory_{number}"] = memory
            write = memory.write_port()
            m.d.comb += [
                write.addr.eq(entry),
                write.data.eq(self.table.payload),
                write.en.eq(self.table.valid),
            ]
        with m.If(self.table.valid):
            m.d.sync += entry.eq(entry + 1)
