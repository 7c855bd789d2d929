"""The unit of WEIGHTS commands: parameters to the requantizer, stationary columns to the array."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import BUS_WIDTHS
from ..formats import ACCUMULATOR_WIDTH, CHANNEL_BYTES, CODE_WIDTHS, SHIFT_MAX, ZERO_WIDTH
from ..isa import WORD_ADDRESS_WIDTH
from .checks import check_integer, check_stages
from .column_reader import ColumnReader
from .commands import COMMAND, operands
from .gearbox import Gearbox
from .parameter_banks import ParameterBanks
from .requantizer import channel_layout
from .word_buffer import ReadPort

SETTINGS_OUT = "shift", "zero", "low", "high"


class WeightUnit(wiring.Component):
    """Takes the weight stream apart and brings columns from there or from the code buffer.

    Sets of parameters go to two banks in turn, bank 0 first after a reset. A set is loaded when
    fewer than two are loaded and not retired; the columns of a group follow its parameters.

    Parameters
    ----------
    rows, cols : int
        Size of the array, 1 to 256 each.
    lanes : int
        Channels that the requantizer takes per cycle; divides `cols`.
    weight_width : int
        Bits of a stationary code, 3 to 8.
    code_width : int
        Bits of a code in the code buffer, 3 to `weight_width`.
    bus_width : int
        Bits of a beat of the stream, 32, 64 or 128.
    stages : int
        Of the code buffer, 1 to 3.

    Members
    -------
    command : In(stream)
        WEIGHTS commands; taken while nothing is at work.
    done_stb : Out(1)
        The command has ended: the array takes its last column in this cycle, or has done so.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        A command is at work, and in this cycle no byte, record, address or column moves.
    stream : In(stream)
        Array of `bus_width / 8` bytes of the weight stream.
    read : Out(ReadPort)
        Words of `rows` codes of `code_width` bits.
    weights : Out(stream)
        As `Gemm.weights`: `rows` codes of `weight_width` bits, a column.
    parameters : Out(stream, always_ready)
        As `Gemm.parameters` with two groups, which are the banks.
    group : In(1)
        Bank of the totals that are offered to the requantizer: `Gemm.next_group`.
    shift : Out(6)
        Of that bank, in the next cycle, like the next three.
    zero : Out(16)
        Signed zero point of the output.
    low : Out(32)
        Signed smallest output.
    high : Out(32)
        Signed largest output.
    retired_stb : In(1)
        The last output that needs the older of the sets loaded has left the requantizer.

    Latency: 2 cycles from a beat of the stream to what it completes; a cycle and the latency of a
    read from a column's address to the column. A command's first beat or address moves in the cycle
    after the command.
    Throughput: one parameter or column per cycle, as the stream gives the bytes; one column per
    cycle from the code buffer.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range, or `lanes` that do not divide `cols`.

    Source: `docs/accelerator.md`, the weight stream.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        lanes: int,
        weight_width: int,
        code_width: int,
        bus_width: int,
        stages: int = 1,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, 256)
        self.cols = check_integer("cols", cols, 1, 256)
        self.lanes = check_integer("lanes", lanes, 1, cols)
        if cols % lanes:
            raise ValueError(f"lanes must divide the {cols} cols, not {lanes!r}")
        least, most = CODE_WIDTHS[0], CODE_WIDTHS[-1]
        self.weight_width = check_integer("weight_width", weight_width, least, most)
        self.code_width = check_integer("code_width", code_width, least, weight_width)
        self.bus_width = check_integer("bus_width", bus_width, BUS_WIDTHS[0], BUS_WIDTHS[-1])
        if bus_width not in BUS_WIDTHS:
            raise ValueError(f"bus_width must be one of {BUS_WIDTHS}, not {bus_width!r}")
        self.stages = check_stages(stages)
        self._beat_bytes = bus_width // 8
        self._bits = rows * weight_width
        self._column_bytes = -(-self._bits // 8)
        # Beats of a set of parameters.
        self._section = -(-CHANNEL_BYTES * (cols + 1) // self._beat_bytes)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "stream": In(stream.Signature(data.ArrayLayout(8, self._beat_bytes))),
                "read": Out(ReadPort(rows * code_width)),
                "weights": Out(stream.Signature(data.ArrayLayout(weight_width, rows))),
                "parameters": Out(
                    stream.Signature(
                        channel_layout(lanes=lanes, groups=2 * (cols // lanes)), always_ready=True
                    )
                ),
                "group": In(1),
                "shift": Out(SHIFT_MAX.bit_length()),
                "zero": Out(signed(ZERO_WIDTH)),
                "low": Out(signed(ACCUMULATOR_WIDTH)),
                "high": Out(signed(ACCUMULATOR_WIDTH)),
                "retired_stb": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = self._beat_bytes
        m.submodules.records = self.records = Gearbox(in_bytes=size, out_bytes=CHANNEL_BYTES)
        m.submodules.columns = self.columns = Gearbox(in_bytes=size, out_bytes=self._column_bytes)
        m.submodules.reader = self.reader = ColumnReader(
            word_width=self.rows * self.code_width, stages=self.stages
        )
        m.submodules.banks = self.banks = ParameterBanks(
            cols=self.cols, lanes=self.lanes, records=self._section * size // CHANNEL_BYTES
        )
        held = Signal(COMMAND, reset_less=True)
        self.operand = operands("WEIGHTS", held)
        self.loading = Signal()
        self.bringing = Signal()
        # The next cycle is the first of a set of parameters, or of the columns of a group.
        self.load_stb = Signal()
        self.bring_stb = Signal()
        self.last_column = Signal()
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += held.eq(self.command.payload)
        self._phases(m)
        moves = [self._feed(m), self._parameters(m), self._columns(m)]
        m.d.comb += self.stall.eq(self.busy & ~Cat(moves).any())
        return m

    def _phases(self, m: Module) -> None:
        """For each group its parameters, then its columns."""
        operand, begin = self.operand, operands("WEIGHTS", self.command.payload)
        groups_left = Signal(len(operand.groups), reset_less=True)
        again = groups_left != 1
        draining = Signal()
        # The last column of a group has moved, and what follows.
        load_next = Signal()
        bring_next = Signal()
        drain_next = Signal()
        ends = Signal()
        m.d.comb += [
            self.busy.eq(self.loading | self.bringing | draining),
            self.command.ready.eq(~self.busy),
            bring_next.eq(self.last_column & again & operand.shared),
            load_next.eq(self.last_column & again & ~operand.shared),
            drain_next.eq(self.last_column & ~again & operand.buffer),
            ends.eq(self.last_column & ~again & ~operand.buffer),
            self.load_stb.eq((self.command.valid & self.command.ready) | load_next),
            self.bring_stb.eq(self.banks.loaded_stb | bring_next),
            self.done_stb.eq(ends | (draining & self.reader.idle)),
        ]
        m.d.sync += [
            self.loading.eq(self.load_stb | (self.loading & ~self.banks.loaded_stb)),
            self.bringing.eq(self.bring_stb | (self.bringing & ~self.last_column)),
            draining.eq(drain_next | (draining & ~self.reader.idle)),
        ]
        with m.If(self.command.ready):
            m.d.sync += groups_left.eq(begin.groups)
        with m.If(self.last_column):
            m.d.sync += groups_left.eq(groups_left - 1)

    def _feed(self, m: Module) -> Value:
        """Beats of the stream to the parameters or to the columns, so many as these have.

        Tiles follow each other without gaps. Beats are counted tile by tile, since a product of
        numbers of tiles and bytes would take a multiplier; the bytes of the last beat that one tile
        leaves to the next are `spare`.
        """
        whole, part = divmod(self.cols * self._column_bytes, self._beat_bytes)
        beats_left = Signal(range(max(whole + 1, self._section) + 1))
        tiles_left = Signal(len(self.operand.tiles))
        spare = Signal(range(self._beat_bytes), reset_less=True)
        # Whether any is left is a register, since who takes a beat depends on it.
        takes = Signal()
        some = Signal()
        next_tile = Signal()
        records, columns = self.records.i, self.columns.i
        m.d.comb += [
            records.valid.eq(self.stream.valid & some & self.loading),
            columns.valid.eq(self.stream.valid & some & ~self.loading),
            records.payload.eq(self.stream.payload),
            columns.payload.eq(self.stream.payload),
            self.stream.ready.eq(some & Mux(self.loading, records.ready, columns.ready)),
            takes.eq(self.stream.valid & self.stream.ready),
            next_tile.eq((tiles_left != 0) & (~some | (takes & (beats_left == 1)))),
        ]
        with m.If(takes):
            m.d.sync += [beats_left.eq(beats_left - 1), some.eq(beats_left != 1)]
        with m.If(next_tile):
            short = spare < part
            m.d.sync += [
                tiles_left.eq(tiles_left - 1),
                beats_left.eq(whole + short),
                some.eq(whole + short != 0),
                spare.eq(spare - part + Mux(short, self._beat_bytes, 0)),
            ]
        with m.If(self.load_stb):
            m.d.sync += [beats_left.eq(self._section), some.eq(1)]
        with m.If(self.bring_stb):
            tiles = Mux(self.operand.buffer, 0, self.operand.tiles)
            m.d.sync += [tiles_left.eq(tiles), spare.eq(0)]
        return takes

    def _parameters(self, m: Module) -> Value:
        """Records to the banks, and what the requantizer wants of them."""
        banks = self.banks
        connect(m, self.records.o, banks.i)
        connect(m, banks.parameters, flipped(self.parameters))
        m.d.comb += [
            banks.group.eq(self.group),
            banks.retired_stb.eq(self.retired_stb),
            *(getattr(self, name).eq(getattr(banks, name)) for name in SETTINGS_OUT),
        ]
        return banks.i.valid & banks.i.ready

    def _columns(self, m: Module) -> Value:
        """Columns of the group from where the command says, the last one of a tile first."""
        operand, begin = self.operand, operands("WEIGHTS", self.command.payload)
        column = Signal(range(self.cols), init=self.cols - 1)
        tiles_left = Signal(len(operand.tiles), reset_less=True)
        group_base = Signal(WORD_ADDRESS_WIDTH, reset_less=True)
        tile_base = Signal(WORD_ADDRESS_WIDTH, reset_less=True)
        next_group = Signal(WORD_ADDRESS_WIDTH)
        # Columns of this group and all behind it that are not zero.
        channels_left = Signal(len(operand.channels), reset_less=True)
        # Whether the column is a zero one, known before who takes it is.
        skip = Signal(reset_less=True)
        moves = Signal()
        tile_ends = Signal()
        stored, word, asked = self.columns.o, self.reader.o, self.reader.i
        asks, given = asked.valid & asked.ready, stored.valid & stored.ready
        m.d.comb += [
            asked.valid.eq(self.bringing & operand.buffer),
            asked.p.address.eq(tile_base + column),
            asked.p.skip.eq(skip),
            moves.eq(Mux(operand.buffer, asks, given)),
            tile_ends.eq(moves & (column == 0)),
            self.last_column.eq(tile_ends & (tiles_left == 1)),
            next_group.eq(group_base + self.cols),
            self.columns.clear_stb.eq(self.last_column),
        ]
        with m.If(moves):
            m.d.sync += [column.eq(column - 1), skip.eq(column > channels_left)]
        with m.If(tile_ends):
            m.d.sync += [
                column.eq(self.cols - 1),
                skip.eq(channels_left < self.cols),
                tiles_left.eq(tiles_left - 1),
                tile_base.eq(tile_base + operand.stride),
            ]
        with m.If(self.last_column):
            m.d.sync += [
                tiles_left.eq(operand.tiles),
                tile_base.eq(next_group),
                group_base.eq(next_group),
                channels_left.eq(Mux(channels_left > self.cols, channels_left - self.cols, 0)),
                skip.eq(channels_left < 2 * self.cols),
            ]
        with m.If(self.command.ready):
            m.d.sync += [
                tiles_left.eq(begin.tiles),
                tile_base.eq(begin.base),
                group_base.eq(begin.base),
                channels_left.eq(begin.channels),
                skip.eq(begin.channels < self.cols),
            ]
        connect(m, self.reader.read, flipped(self.read))
        stored_bits = stored.payload.as_value()[: self._bits]
        stored_codes = data.View(self.weights.payload.shape(), stored_bits)
        codes = data.View(data.ArrayLayout(self.code_width, self.rows), word.payload)
        m.d.comb += [
            self.weights.valid.eq(Mux(operand.buffer, word.valid, stored.valid)),
            word.ready.eq(operand.buffer & self.weights.ready),
            stored.ready.eq(~operand.buffer & self.weights.ready),
            *(
                self.weights.payload[row].eq(Mux(operand.buffer, codes[row], stored_codes[row]))
                for row in range(self.rows)
            ),
        ]
        return moves | (self.weights.valid & self.weights.ready)
