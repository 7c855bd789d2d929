"""The array of shift attention: sums of values per log code, without shifter or multiplier."""

from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..latency import BUCKETS
from .log_codes import LogCodes


def bucket_layout(cols: int, value_width: int, depth: int) -> data.StructLayout:
    """Sums of one row for one code, wide enough for `depth` keys: per column, and the keys."""
    return data.StructLayout(
        {
            "sums": data.ArrayLayout(
                unsigned((depth * ((1 << value_width) - 1)).bit_length()), cols
            ),
            "count": unsigned(depth.bit_length()),
        }
    )


def sizes_layout(rows: int, cols: int) -> data.StructLayout:
    """Rows and columns that are used of a tile."""
    return data.StructLayout({"rows_used": range(rows + 1), "cols_used": range(cols + 1)})


def drained_layout(
    bucket: data.StructLayout, drains: int, sizes: data.StructLayout
) -> data.StructLayout:
    """What the buckets give the drain in one beat."""
    words = data.ArrayLayout(bucket, drains)
    return data.StructLayout({"rows": words, "early": 1, "last": 1, **sizes.members})


class _Control(NamedTuple):
    """Signals of the array that each row needs."""

    accept: Signal
    filling: Signal
    full: Signal
    advance: Signal
    draining: Signal
    sweep: Signal
    code: Signal
    values: Signal
    adding_bank: Signal


class AttentionBuckets(wiring.Component):
    """Adds each key's values into the bucket of its log code, and gives the buckets row by row.

    Each row has two banks of buckets in memory with asynchronous read: one takes the keys of a
    tile while the other gives those of the tile before. One word holds a code's sums of all
    columns and its number of keys, since a row has one code per key.

    Nothing is cleared. A bit per row and code says whether the code has occurred in the tile; if
    not, the read goes to the word of the zero code, which is never written and stays zero. The
    same word makes rows that are not being drained read as zero, so that a column is an OR.

    Parameters
    ----------
    rows, cols : int
        Queries and value columns of the array.
    codes : LogCodes
        Width and base of the codes.
    value_width : int
        Width of a value code.
    depth : int
        Largest number of keys of a tile, which the sums are wide enough for.
    drains : int
        Rows given at a time.

    Members
    -------
    i : In(stream)
        One key per beat: `codes`, array of `rows` log codes; `values`, array of `cols` unsigned
        value codes; `last`, set on the last key of the tile; with it `rows_used`, the rows that are
        given, 1 to `rows`, and `cols_used`.
    o : Out(stream)
        One code of `drains` rows per beat, in the order of rows, then codes from 0 to below the
        zero code: `rows`, array of `drains` words (`bucket_layout`), row d + drains * k in word d;
        `early`, set for the first code of each parity; `last`, set for the last code; `rows_used`
        and `cols_used` of the tile.

    Latency: 3 cycles from the last key to the offer of the first code.
    Throughput: one key per cycle in and one code per cycle out.

    A reset needs as many cycles as there are codes before the first key is taken. The memories
    must hold zeros at power-on, as those of FPGAs do.
    """

    LATENCY = BUCKETS

    def __init__(
        self, *, rows: int, cols: int, codes: LogCodes, value_width: int, depth: int, drains: int
    ) -> None:
        self.rows, self.cols, self.codes, self.drains = rows, cols, codes, drains
        self.value_width, self.depth = value_width, depth
        self.bucket = bucket_layout(cols, value_width, depth)
        self._sizes = sizes_layout(rows, cols)
        key = data.StructLayout(
            {
                "codes": data.ArrayLayout(unsigned(codes.width), rows),
                "values": data.ArrayLayout(unsigned(value_width), cols),
                "last": 1,
                **self._sizes.members,
            }
        )
        drained = drained_layout(self.bucket, drains, self._sizes)
        super().__init__(
            {
                "i": In(stream.Signature(key)),
                "o": Out(stream.Signature(drained)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        zero, groups = self.codes.zero, -(-self.rows // self.drains)

        # A bank is full from its last key until its last word has been read.
        full = Signal(2)
        filling = Signal()
        sizes = [Signal(self._sizes, name=f"sizes_{bank}") for bank in range(2)]
        sweep = Signal(init=1)
        accept = Signal()
        complete = Signal()
        m.d.comb += [
            accept.eq(self.i.valid & self.i.ready),
            complete.eq(accept & self.i.payload.last),
        ]
        with m.If(complete):
            m.d.sync += [full.bit_select(filling, 1).eq(1), filling.eq(~filling)]
            for bank, kept in enumerate(sizes):
                with m.If(filling == bank):
                    m.d.sync += [
                        kept.rows_used.eq(self.i.payload.rows_used),
                        kept.cols_used.eq(self.i.payload.cols_used),
                    ]

        # Three steps: the code is looked up, the word is read, the OR of the rows is offered.
        code = Signal(range(zero))
        group = Signal(range(groups))
        draining = Signal()
        advance = Signal()
        issue = Signal()
        last_code = Signal()
        last_group = Signal()
        rows_used = Signal(range(self.rows + 1))
        reading = Signal()
        reading_bank = Signal()
        early = Signal()
        last = Signal()
        release = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            issue.eq(full.bit_select(draining, 1) & advance),
            last_code.eq(code == zero - 1),
            rows_used.eq(Mux(draining, sizes[1].rows_used, sizes[0].rows_used)),
            last_group.eq((group + 1) * self.drains >= rows_used),
        ]
        with m.If(sweep | issue):
            m.d.sync += code.eq(Mux(last_code, 0, code + 1))
        with m.If(sweep & last_code):
            m.d.sync += sweep.eq(0)
        with m.If(issue & last_code):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
            with m.If(last_group):
                m.d.sync += draining.eq(~draining)
        with m.If(advance):
            m.d.sync += [
                reading.eq(issue),
                reading_bank.eq(draining),
                early.eq(code < self.codes.steps),
                last.eq(last_code),
                release.eq(issue & last_code & last_group),
                self.o.valid.eq(reading),
                self.o.payload.early.eq(early),
                self.o.payload.last.eq(last),
            ]
            for name in self._sizes.members:
                kept = Mux(reading_bank, sizes[1][name], sizes[0][name])
                m.d.sync += self.o.payload[name].eq(kept)
            with m.If(release):
                m.d.sync += full.bit_select(reading_bank, 1).eq(0)
        # Whether the bank filled next has room is a register, since who sends depends on it.
        following = filling ^ complete
        released = advance & release & (reading_bank == following)
        swept = ~sweep | last_code
        m.d.sync += self.i.ready.eq(swept & (~full.bit_select(following, 1) | released))

        values = Signal.like(self.i.payload.values, reset_less=True)
        adding_bank = Signal()
        m.d.sync += [values.eq(self.i.payload.values), adding_bank.eq(filling)]
        control = _Control(
            accept, filling, full, advance, draining, sweep, code, values, adding_bank
        )
        words = []
        for row in range(self.rows):
            turn = Signal(name=f"turn_{row}")
            forget = Signal(name=f"forget_{row}")
            # Rows that are not used have no turn, but took codes: they forget with the last ones.
            m.d.comb += [
                turn.eq(issue & (group == row // self.drains)),
                forget.eq(turn | (issue & last_group & (group < row // self.drains))),
            ]
            banks = self._row(m, row, turn, forget, control)
            words.append(Mux(reading_bank, banks[1], banks[0]))
        drained = Signal.like(self.o.payload.rows, reset_less=True)
        m.d.comb += self.o.payload.rows.eq(drained)
        with m.If(advance):
            for drain in range(self.drains):
                m.d.sync += drained[drain].eq(reduce(or_, words[drain :: self.drains]))
        return m

    def _row(
        self, m: Module, row: int, turn: Value, forget: Value, control: _Control
    ) -> list[Value]:
        """Make one row; return the word that each of its banks reads."""
        accept, filling, full, advance, draining, sweep, code, values, adding_bank = control
        zero = self.codes.zero
        own = self.i.payload.codes[row]
        target = Signal(self.codes.width, reset_less=True)
        read = []
        m.d.sync += target.eq(own)
        total = Signal(self.bucket)
        for bank in range(2):
            storage = Memory(shape=self.bucket, depth=zero + 1, init=[])
            occurred = Memory(shape=1, depth=zero + 1, init=[])
            m.submodules[f"buckets_{row}_{bank}"] = storage
            m.submodules[f"occurred_{row}_{bank}"] = occurred
            word = storage.read_port(domain="comb")
            look = occurred.read_port(domain="comb")
            add = storage.write_port()
            mark = occurred.write_port()
            drained = Signal()
            add_en = Signal()
            address = Signal(range(zero + 1), reset_less=True)
            taken = accept & (filling == bank) & (own < zero)
            m.d.comb += [
                drained.eq(full[bank] | sweep),
                look.addr.eq(Mux(drained, code, own)),
                mark.addr.eq(look.addr),
                mark.data.eq(~drained),
                mark.en.eq(taken | sweep | (forget & (draining == bank))),
                word.addr.eq(address),
                add.addr.eq(target),
                add.data.eq(total),
                add.en.eq(add_en),
            ]
            m.d.sync += add_en.eq(taken)
            # A drain that waits keeps its address; keys never wait once they are in.
            with m.If(~drained | advance):
                found = look.data & (~drained | turn)
                m.d.sync += address.eq(Mux(found, look.addr, zero))
            read.append(word.data.as_value())
        old = data.View(self.bucket, Mux(adding_bank, read[1], read[0]))
        m.d.comb += total.count.eq(old.count + 1)
        for col in range(self.cols):
            m.d.comb += total.sums[col].eq(old.sums[col] + values[col])
        return read
