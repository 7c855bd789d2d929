"""The command unit of attention: values and log codes to mixed codes in the code buffer."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa import WORD_ADDRESS_WIDTH
from .checks import check_integer
from .commands import COMMAND, operands
from .log_code_buffer import LogCodeBuffer
from .saturation import COUNT_WIDTH
from .shift_attention import SIZE_MAX, ShiftAttention
from .word_buffer import ReadPort, write_stream

# More tiles than can be inside shift attention: in buckets, in the drain and on the way out.
INSIDE_MAX = 7


class AttentionUnit(wiring.Component):
    """Executes ATTENTION: keeps log codes, reads values, writes what shift attention gives.

    Log codes of two tiles of queries have room; they enter whether or not a command is at work,
    and a command takes its tiles in the order of their coming. For each tile of `cols` queries,
    for each tile of `rows` channels, the keys pass one per cycle, and the rows of the tile before
    are written meanwhile.

    Parameters
    ----------
    rows : int
        Value channels of a tile and codes of a word of the code buffer, 1 to 256.
    cols : int
        Queries of a tile, 1 to 256.
    log_width : int
        L, width of a log code, 3 to 8.
    value_width : int
        A, width of values and outputs, 3 to 8.
    depth : int
        Largest number of keys, 1 to 4096.
    base : str
        "sqrt2" or "2".
    lanes : int
        Codes of a part of a word; divides `rows`.
    drains : int
        Queries drained side by side, as `ShiftAttention`'s, 1 to 4 and at most `cols`.
    stages : int
        Registers of each product, 1 to 3.

    Members
    -------
    command : In(stream)
        ATTENTION commands (`COMMAND`); ready while idle.
    done_stb : Out(1)
        High in the cycle in which the last write of a command is accepted.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        Busy, but waiting for a neighbour: for log codes, for a value, or to write.
    log_codes : In(stream)
        One key per beat, as `Log2Softmax` gives it: `codes`, array of `cols` log codes; `last`, set
        on the last key of a tile.
    values : Out(ReadPort)
        Of the code buffer: words of `rows` values.
    write : Out(stream)
        To the code buffer: words of `rows` codes, all parts of each. 0 in channels beyond the last.
    clear_stb : In(1)
        Sets `saturated` to zero.
    saturated : Out(32)
        Values clamped among those written.
    mixed : Out(struct)
        For probes: `valid` in the cycle in which a write leaves, and its `codes`, array of `rows`.

    Latency: from a command whose log codes are there to its first key 3 cycles, where the port
    answers after two; from the last key to `done_stb`, `latency(queries)` cycles. The next command
    is accepted one cycle after.
    Throughput: that of `ShiftAttention`: tiles take `max(keys, drain_cycles(rows_used))` cycles.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, or `lanes` do not divide `rows`.

    Source: `docs/accelerator.md`, attention.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        log_width: int,
        value_width: int,
        depth: int,
        base: str,
        lanes: int,
        drains: int,
        stages: int = 1,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, SIZE_MAX)
        self.cols = check_integer("cols", cols, 1, SIZE_MAX)
        self.lanes = check_integer("lanes", lanes, 1, rows)
        if rows % lanes:
            raise ValueError(f"lanes must divide the {rows} rows, not {lanes!r}")
        # Queries are the rows of shift attention, as they are the columns of the array.
        self.attention = ShiftAttention(
            rows=cols,
            cols=rows,
            code_width=log_width,
            value_width=value_width,
            depth=depth,
            base=base,
            drains=drains,
            stages=stages,
        )
        self.log_codes_kept = LogCodeBuffer(
            cols=cols, code_width=log_width, depth=depth, tag_width=cols.bit_length()
        )
        self.log_width, self.value_width = log_width, value_width
        self.depth, self.base, self.drains = depth, base, drains
        self.stages = stages
        codes = data.ArrayLayout(unsigned(value_width), rows)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "log_codes": In(self.log_codes_kept.i.signature.flip()),
                "values": Out(ReadPort(rows * value_width)),
                "write": Out(write_stream(rows * value_width, rows // lanes)),
                "clear_stb": In(1),
                "saturated": Out(COUNT_WIDTH),
                "mixed": Out(data.StructLayout({"valid": 1, "codes": codes})),
            }
        )

    def latency(self, queries: int) -> int:
        """Cycles from the last key of a command to `done_stb`, where nothing waits.

        Parameters: `queries` of the last tile, 1 to `cols`.
        """
        return self.attention.latency(queries - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.kept = kept = self.log_codes_kept
        m.submodules.attention = attention = self.attention
        connect(m, flipped(self.log_codes), kept.i)
        offered = operands("ATTENTION", self.command.payload)
        # Out moves on with the tiles of queries; queries are those whose tile is still to be read.
        held = Signal.like(offered, reset_less=True)
        start = Signal()
        sent = Signal()
        m.d.comb += [
            self.command.ready.eq(~self.busy),
            start.eq(self.command.valid & self.command.ready),
            sent.eq(attention.i.valid & attention.i.ready),
            attention.clear_stb.eq(self.clear_stb),
            self.saturated.eq(attention.saturated),
        ]
        for name in ("value_zero", "zero", "multiplier_even", "multiplier_odd", "shift", "high"):
            m.d.comb += getattr(attention, name).eq(held[name])
        with m.If(start):
            m.d.sync += [held.eq(offered), self.busy.eq(1)]
        with m.If(self.done_stb):
            m.d.sync += self.busy.eq(0)

        self._ask_values(m, start, offered, held)
        self._ask_codes(m, held)
        key, word = kept.o, self.values.word
        m.d.comb += [
            attention.i.valid.eq(key.valid & word.valid),
            key.ready.eq(attention.i.ready & word.valid),
            word.ready.eq(attention.i.ready & key.valid),
            attention.i.payload.codes.eq(key.payload.codes),
            attention.i.payload.values.eq(word.payload),
            attention.i.payload.last.eq(key.payload.last),
            attention.i.payload.rows_used.eq(key.payload.tag),
            attention.i.payload.cols_used.eq(Mux(key.payload.final, held.last, self.rows)),
        ]
        self._write(m, start, offered, held, sent)
        keys_left = kept.tile.valid | kept.behind | key.valid
        blocked = self.write.valid & ~self.write.ready
        waits = blocked | (keys_left & attention.i.ready & ~attention.i.valid)
        moved = sent | (self.write.valid & self.write.ready)
        m.d.comb += self.stall.eq(waits & ~moved)
        return m

    def _ask_values(self, m: Module, start: Value, offered: Any, held: Any) -> None:
        """Ask for the values of all tiles of channels, again for each tile of queries."""
        address = self.values.address
        asking = Signal()
        last_key = Signal()
        last_tile = Signal()
        first = Signal(WORD_ADDRESS_WIDTH)
        at = Signal(WORD_ADDRESS_WIDTH)
        following = Signal(WORD_ADDRESS_WIDTH)
        key = Signal.like(offered.keys)
        tile = Signal.like(offered.tiles)
        queries = Signal.like(offered.queries)
        m.d.comb += [
            address.valid.eq(asking),
            address.payload.eq(at),
            last_key.eq(key == 1),
            last_tile.eq(tile == 1),
            following.eq(Mux(last_tile, held.base, first + held.stride)),
        ]
        with m.If(address.valid & address.ready):
            m.d.sync += [at.eq(at + 1), key.eq(key - 1)]
            with m.If(last_key):
                m.d.sync += [
                    key.eq(held.keys),
                    first.eq(following),
                    at.eq(following),
                    tile.eq(tile - 1),
                ]
                with m.If(last_tile):
                    m.d.sync += [
                        tile.eq(held.tiles),
                        queries.eq(queries - self.cols),
                        asking.eq(queries > self.cols),
                    ]
        with m.If(start):
            m.d.sync += [
                asking.eq(1),
                first.eq(offered.base),
                at.eq(offered.base),
                key.eq(offered.keys),
                tile.eq(offered.tiles),
                queries.eq(offered.queries),
            ]

    def _ask_codes(self, m: Module, held: Any) -> None:
        """Take the tiles of log codes that belong to the command."""
        tile = self.log_codes_kept.tile
        m.d.comb += [
            tile.valid.eq(self.busy & (held.queries != 0)),
            tile.payload.keys.eq(held.keys),
            tile.payload.passes.eq(held.tiles),
            tile.payload.tag.eq(Mux(held.queries > self.cols, self.cols, held.queries)),
        ]
        with m.If(tile.valid & tile.ready):
            m.d.sync += held.queries.eq(Mux(held.queries > self.cols, held.queries - self.cols, 0))

    def _write(self, m: Module, start: Value, offered: Any, held: Any, sent: Signal) -> None:
        """Write the rows that leave; the last one ends the command."""
        rows, write, kept = self.attention.o, self.write, self.log_codes_kept
        leaves = Signal()
        tile_in = Signal()
        tile_out = Signal()
        first = Signal(WORD_ADDRESS_WIDTH)
        at = Signal(WORD_ADDRESS_WIDTH)
        following = Signal(WORD_ADDRESS_WIDTH)
        tile = Signal.like(offered.tiles)
        inside = Signal(range(INSIDE_MAX + 1))
        all_in = (held.queries == 0) & ~(kept.behind | kept.o.valid)
        m.d.comb += [
            write.valid.eq(rows.valid),
            rows.ready.eq(write.ready),
            write.payload.address.eq(at),
            write.payload.data.eq(rows.payload.codes),
            write.payload.mask.eq(Const(-1, self.rows // self.lanes)),
            leaves.eq(write.valid & write.ready),
            self.mixed.valid.eq(leaves),
            self.mixed.codes.eq(rows.payload.codes),
            tile_in.eq(sent & self.attention.i.payload.last),
            tile_out.eq(leaves & rows.payload.last),
            self.done_stb.eq(tile_out & all_in & (inside == 1)),
            following.eq(Mux(tile == 1, held.out + self.cols, first + held.stride)),
        ]
        m.d.sync += inside.eq(inside + tile_in - tile_out)
        with m.If(leaves):
            m.d.sync += at.eq(at + 1)
        with m.If(tile_out):
            m.d.sync += [first.eq(following), at.eq(following), tile.eq(tile - 1)]
            with m.If(tile == 1):
                m.d.sync += [tile.eq(held.tiles), held.out.eq(following)]
        with m.If(start):
            m.d.sync += [
                first.eq(offered.out),
                at.eq(offered.out),
                tile.eq(offered.tiles),
            ]
