"""The drain of shift attention: buckets to even and odd sums, and to codes."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import MULTIPLIER_WIDTH, SHIFT_MAX, ZERO_WIDTH
from ..latency import drain_lanes, drain_stages, product, rows_waiting
from .attention_buckets import bucket_layout, drained_layout, sizes_layout
from .credit_queue import CreditQueue
from .log_codes import LogCodes
from .multiplication import multiply
from .pipeline import delay
from .saturation import COUNT_WIDTH, clamp, count_saturation, shift_right


class AttentionDrain(wiring.Component):
    """Turns the buckets of each row into output codes.

    Codes arrive from the largest weight to the smallest: `E = 2E + S` over the even ones and
    `O = 2O + S` over the odd ones are one adder per column and two registers that take turns. The
    results of a row are requantized a few columns per cycle while the next row arrives.

    Parameters
    ----------
    rows, cols, codes, value_width, depth, drains
        As those of `AttentionBuckets`.
    stages : int
        Registers of each product, 1 to 3.

    Members
    -------
    i : In(stream)
        Buckets, as `AttentionBuckets` gives them.
    value_zero, zero : In(signed(16))
        Zero points of the values and of the output.
    multiplier_even, multiplier_odd : In(16)
        Unsigned factors of E and O.
    shift : In(range(48))
        Right shift of the weighted sum.
    high : In(value_width)
        Largest output code.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        One row per beat: `codes`, array of `cols` codes of `value_width` bits, 0 in columns that
        do not count; `last`, set on the last row that is used.
    saturated : Out(32)
        Values clamped among the rows that wait on `o` or have left it.

    Latency: `groups + 2 * stages + 9` cycles from the last code of a row to its offer, `groups`
    being the cycles in which all columns pass.
    Throughput: one row per as many cycles as there are codes, times `drains`.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        codes: LogCodes,
        value_width: int,
        depth: int,
        drains: int,
        stages: int,
    ) -> None:
        self.rows, self.cols, self.codes, self.drains = rows, cols, codes, drains
        self.stages = stages
        self.value_width, self.depth = value_width, depth
        self.lanes = drain_lanes(cols, drains, codes.zero)
        self.groups = -(-cols // self.lanes)
        bucket = bucket_layout(cols, value_width, depth)
        self.sum_width = bucket["sums"].shape.elem_shape.width + codes.headroom
        self.count_width = bucket["count"].shape.width + codes.headroom
        self._sizes = sizes_layout(rows, cols)
        drained = drained_layout(bucket, drains, self._sizes)
        row = data.StructLayout({"codes": data.ArrayLayout(unsigned(value_width), cols), "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(drained)),
                "value_zero": In(signed(ZERO_WIDTH)),
                "zero": In(signed(ZERO_WIDTH)),
                "multiplier_even": In(MULTIPLIER_WIDTH),
                "multiplier_odd": In(MULTIPLIER_WIDTH),
                "shift": In(range(SHIFT_MAX + 1)),
                "high": In(value_width),
                "clear_stb": In(1),
                "o": Out(stream.Signature(row)),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rows = rows = CreditQueue(
            self.o.payload.shape(), depth=rows_waiting(self.groups, self.stages)
        )
        accept = Signal()
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        results = [self._accumulate(m, accept, drain) for drain in range(self.drains)]

        # One place per column, padded to whole groups; the head group moves on in each cycle.
        span = self.groups * self.lanes
        pair = data.StructLayout({"even": self.sum_width, "odd": self.sum_width})
        counts = data.StructLayout({"even": self.count_width, "odd": self.count_width})
        places = [
            Signal(pair, name=f"place_{n}", reset_less=True) for n in range(span * self.drains)
        ]
        keys = [Signal(counts, name=f"keys_{n}", reset_less=True) for n in range(self.drains)]
        busy = Signal()
        step = Signal()
        complete = Signal()
        group = Signal(range(self.groups))
        row = Signal(range(self.rows))
        drain = Signal(range(self.drains))
        last_group = Signal()
        last_row = Signal()
        last_step = Signal()
        ends = Signal()
        # Of the tile whose rows are in the places.
        sizes = Signal(self._sizes)
        used = Signal(self.lanes)
        m.d.comb += [
            # A row has a place when it comes out.
            step.eq(busy & ((group != 0) | rows.room)),
            rows.taken_stb.eq(step & (group == 0)),
            last_group.eq(group == self.groups - 1),
            last_row.eq(row + 1 >= sizes.rows_used),
            ends.eq(step & (last_row | (drain == self.drains - 1))),
            self.i.ready.eq(~self.i.payload.last | ~busy | last_step),
        ]
        if self.groups > 1:
            # Behind its first group a row does not wait: its last step is known a cycle before.
            m.d.sync += last_step.eq(ends & (group == self.groups - 2))
        else:
            m.d.comb += last_step.eq(ends)
        m.d.sync += complete.eq(accept & self.i.payload.last)
        for lane in range(self.lanes):
            m.d.comb += used[lane].eq(group * self.lanes + lane < sizes.cols_used)
        with m.If(step):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
            for place, following in zip(places, places[self.lanes :], strict=False):
                m.d.sync += place.eq(following)
            with m.If(last_group):
                m.d.sync += [row.eq(Mux(last_row, 0, row + 1)), drain.eq(drain + 1)]
                for place, following in pairwise(keys):
                    m.d.sync += place.eq(following)
        with m.If(last_step):
            m.d.sync += busy.eq(0)
        with m.If(accept & self.i.payload.last):
            m.d.sync += [sizes[name].eq(self.i.payload[name]) for name in self._sizes.members]
        with m.If(complete):
            m.d.sync += [busy.eq(1), drain.eq(0)]
            for unit, (columns, count) in enumerate(results):
                m.d.sync += [keys[unit].even.eq(count[0]), keys[unit].odd.eq(count[1])]
                for col, (even, odd) in enumerate(columns):
                    place = places[unit * span + col]
                    m.d.sync += [place.even.eq(even), place.odd.eq(odd)]

        stages = drain_stages(self.stages)
        valid = Signal(stages)
        row_end = Signal(stages)
        tile_end = Signal(stages)
        m.d.sync += [
            valid.eq((valid << 1) | step),
            row_end.eq((row_end << 1) | last_group),
            tile_end.eq((tile_end << 1) | last_row),
            rows.i.valid.eq(valid[-1] & row_end[-1]),
            rows.i.payload.last.eq(tile_end[-1]),
        ]
        found = self._requantize(m, places[: self.lanes], keys[0])
        used = delay(m, used, stages, name="used")
        codes, events = self._gather(m, found, used, valid[-1])
        for col in range(self.cols):
            m.d.comb += rows.i.payload.codes[col].eq(codes[col])
        connect(m, rows.o, flipped(self.o))
        count_saturation(m, self, events, rows.i.valid)
        return m

    def _accumulate(self, m: Module, accept: Signal, drain: int) -> tuple[list, tuple]:
        """Return, a cycle after the last code, E and O of each column and of the key counts."""
        word = self.i.payload.rows[drain]
        columns = [
            self._horner(m, accept, word.sums[col], self.sum_width, f"{drain}_{col}")
            for col in range(self.cols)
        ]
        return columns, self._horner(m, accept, word.count, self.count_width, f"{drain}_count")

    def _horner(self, m: Module, accept: Signal, term: Any, width: int, name: str) -> tuple:
        newer, older = (
            Signal(width, name=f"{age}_{name}", reset_less=True) for age in ("newer", "older")
        )
        following = Signal(width, name=f"following_{name}")
        alternate = self.codes.steps == 2
        previous = older if alternate else newer
        m.d.comb += following.eq(Mux(self.i.payload.early, 0, previous << 1) + term)
        with m.If(accept):
            m.d.sync += [newer.eq(following), older.eq(newer)]
        if not alternate:
            return newer, 0
        # An odd number of codes ends on an even one, and the odd sum lacks one doubling.
        return (newer, older << 1) if self.codes.zero % 2 else (older, newer)

    def _requantize(self, m: Module, places: list, keys: Any) -> list[tuple]:
        """Return per lane the output code and whether it was clamped, `drain_stages` stages on."""
        wide = {"stages": self.stages, "wide": True}
        corrections = []
        for parity in ("even", "odd"):
            name = f"correction_{parity}"
            corrections.append(multiply(m, keys[parity], self.value_zero, name=name, **wide))
        multipliers = (self.multiplier_even, self.multiplier_odd)
        found = []
        for lane, place in enumerate(places):
            products = []
            for parity, correction, multiplier in zip(
                ("even", "odd"), corrections, multipliers, strict=True
            ):
                what = f"{parity}_{lane}"
                delayed = delay(m, place[parity], product(**wide), name=what)
                difference = Signal(
                    (delayed - correction).shape(), name=f"less_{what}", reset_less=True
                )
                m.d.sync += difference.eq(delayed - correction)
                products.append(multiply(m, difference, multiplier, name=f"times_{what}", **wide))
            weighted = products[0] + products[1]
            total = Signal(weighted.shape(), name=f"total_{lane}", reset_less=True)
            # (2x >> shift) + 1 >> 1 is (x + half) >> shift without a shifter for the half. What
            # does not fit in one bit less is no code, whatever the zero point.
            doubled = Signal(signed(ZERO_WIDTH + 3), name=f"doubled_{lane}", reset_less=True)
            shifted = shift_right(Cat(Const(0, 1), total), self.shift, len(doubled))
            rounded = doubled + Cat(Const(1, 1), self.zero).as_signed()
            moved = Signal(signed(len(rounded) - 1), name=f"moved_{lane}", reset_less=True)
            m.d.sync += [total.eq(weighted), doubled.eq(shifted), moved.eq(rounded >> 1)]
            found.append(clamp(moved, 0, self.high))
        return found

    def _gather(
        self, m: Module, found: list[tuple], used: Value, valid: Value
    ) -> tuple[list[Value], list[Value]]:
        """Return codes and saturation events of a row, complete one stage after its last group."""
        count = self.groups * self.lanes
        codes = [Signal(self.value_width, name=f"code_{n}", reset_less=True) for n in range(count)]
        events = [Signal(name=f"event_{n}", reset_less=True) for n in range(count)]
        with m.If(valid):
            for places in (codes, events):
                for place, following in zip(places, places[self.lanes :], strict=False):
                    m.d.sync += place.eq(following)
            for lane, (code, outside) in enumerate(found):
                m.d.sync += [
                    codes[lane - self.lanes].eq(Mux(used[lane], code, 0)),
                    events[lane - self.lanes].eq(used[lane] & outside),
                ]
        return codes[: self.cols], events[: self.cols]
