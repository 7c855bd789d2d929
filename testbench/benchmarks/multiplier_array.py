"""The peer of shift attention: an array of multiply-accumulate cells that does the same job."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

PRODUCTS = ("operator", "adders", "digits")
READOUTS = ("chain", "select")


class MultiplierArray(wiring.Component):
    """Output-stationary array of `rows` queries by `cols` value columns, fed one key per cycle.

    A cell adds probability times value to its accumulator. With `shadow`, the last key of a tile
    moves the sums to a second bank of registers, from which they leave row by row while the next
    tile enters; without, keys wait until all rows have left. Registers are the sums, one stage
    behind the input and the state of the hand-over, nothing else. What the zero point of the
    values needs, the sum of a row's probabilities, is one more accumulator per row.

    Parameters
    ----------
    rows, cols : int
        Queries and value columns of the array.
    code_width : int
        Width of a probability, uniform and unsigned.
    value_width : int
        Width of a value code.
    depth : int
        Largest number of keys of a tile. The accumulators have the fewest bits that hold every
        sum of so many products.
    shadow : bool
        Whether a tile can enter while the one before leaves.
    product : str
        How a cell multiplies: "operator" leaves it to synthesis; "adders" adds the partial
        products in carry chains; "digits" adds one multiple of the value per two bits of the
        probability, picked from 0, 1, 2 and 3 times the value, the last made once per column.
    readout : str
        How rows reach the output: "chain" shifts them down, "select" picks one.

    Members
    -------
    i : In(stream)
        One key per beat: `codes`, array of `rows` probabilities; `values`, array of `cols` value
        codes; `last`, set on the last key of the tile.
    o : Out(stream)
        One row per beat, with "chain" the last row first: `row`, struct of `sums`, array of `cols`
        sums of products, and `total`, the row's sum of probabilities; `last`, set on the last beat
        of a tile.

    Latency: 2 cycles from the last key to the offer of the first row.
    Throughput: one key per cycle in and one row per cycle out.

    Raises
    ------
    ValueError
        `product` or `readout` is none of those above.
    """

    LATENCY = 2

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        code_width: int,
        value_width: int,
        depth: int,
        shadow: bool,
        product: str,
        readout: str,
    ) -> None:
        if product not in PRODUCTS:
            raise ValueError(f"product must be one of {', '.join(PRODUCTS)}, not {product!r}")
        if readout not in READOUTS:
            raise ValueError(f"readout must be one of {', '.join(READOUTS)}, not {readout!r}")
        self.rows, self.cols, self.depth = rows, cols, depth
        self.code_width, self.value_width = code_width, value_width
        self.shadow, self.product, self.readout = shadow, product, readout
        most = depth * ((1 << code_width) - 1)
        self.total_width = most.bit_length()
        self.sum_width = (most * ((1 << value_width) - 1)).bit_length()
        key = data.StructLayout(
            {
                "codes": data.ArrayLayout(code_width, rows),
                "values": data.ArrayLayout(value_width, cols),
                "last": 1,
            }
        )
        self._row = data.StructLayout(
            {"sums": data.ArrayLayout(self.sum_width, cols), "total": self.total_width}
        )
        given = data.StructLayout({"row": self._row, "last": 1})
        super().__init__({"i": In(stream.Signature(key)), "o": Out(stream.Signature(given))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        key, valid = Signal(self.i.payload.shape(), reset_less=True), Signal()
        accept, step, take = Signal(), Signal(), Signal()
        left, last_row, leave, finished = Signal(range(self.rows)), Signal(), Signal(), Signal()
        # With a shadow, only a last key that finds the rows of the tile before there has to wait.
        room = finished | ~key.last if self.shadow else Const(0, 1)
        m.d.comb += [
            last_row.eq(left == self.rows - 1),
            leave.eq(self.o.valid & self.o.ready),
            finished.eq(leave & last_row),
            step.eq(valid & (room | ~self.o.valid)),
            take.eq(step & key.last),
            self.i.ready.eq(~valid | step),
            accept.eq(self.i.valid & self.i.ready),
            self.o.payload.last.eq(last_row),
        ]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(accept):
            m.d.sync += key.eq(self.i.payload)
        with m.If(leave):
            m.d.sync += left.eq(Mux(last_row, 0, left + 1))
        with m.If(take):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(finished):
            m.d.sync += self.o.valid.eq(0)

        banks = [Signal(self._row, name=f"sums_{row}") for row in range(self.rows)]
        triples = [
            _kept(m, value + (value << 1), f"triple_{col}") for col, value in enumerate(key.values)
        ]
        added = [self._added(m, key, triples, row, bank) for row, bank in enumerate(banks)]
        if self.shadow:
            given = [
                Signal(self._row, name=f"given_{row}", reset_less=True) for row in range(self.rows)
            ]
            clear = take
        else:
            # A key that follows the last one waits in the stage of the input.
            given, clear = banks, finished
        for bank, total in zip(banks, added, strict=True):
            with m.If(step):
                m.d.sync += bank.eq(total)
        if self.readout == "chain":
            self._chain(m, given, leave)
        else:
            chosen = _select([place.as_value() for place in given], left)
            m.d.comb += self.o.payload.row.eq(chosen)
        if self.shadow:
            with m.If(take):
                m.d.sync += [place.eq(total) for place, total in zip(given, added, strict=True)]
        # The flip-flops' own synchronous reset: it costs no gates.
        if self.shadow or self.readout == "select":
            with m.If(clear):
                m.d.sync += [bank.eq(0) for bank in banks]
        return m

    def _added(
        self, m: Module, key: Any, triples: list[Value], row: int, bank: data.View
    ) -> data.View:
        """Return the sums of a row with the products of a key added."""
        total = Signal(self._row, name=f"added_{row}")
        m.d.comb += total.total.eq(bank.total + key.codes[row])
        for col in range(self.cols):
            multiples = (0, key.values[col], key.values[col] << 1, triples[col])
            product = self._multiply(m, key.codes[row], multiples, f"{row}_{col}")
            m.d.comb += total.sums[col].eq(bank.sums[col] + product)
        return total

    def _chain(self, m: Module, given: list[data.View], leave: Value) -> None:
        with m.If(leave):
            m.d.sync += given[0].eq(0)
            for place, following in pairwise(given):
                m.d.sync += following.eq(place)
        m.d.comb += self.o.payload.row.eq(given[-1])

    def _multiply(self, m: Module, code: Value, multiples: tuple, name: str) -> Value:
        value = multiples[1]
        if self.product == "operator":
            return code * value
        if self.product == "adders":
            parts, digit = [Mux(bit, value, 0) for bit in code], 1
        else:
            digit = 2
            parts = [
                _select(list(multiples), code[low : low + digit])
                for low in range(0, self.code_width, digit)
            ]
        level = 0
        while len(parts) > 1:
            sums = []
            for pair in range(0, len(parts) - 1, 2):
                low, high = parts[pair : pair + 2]
                # Bits below the higher digit pass; the carry chain begins where both have bits.
                total = Cat(low[:digit], (low >> digit) + high)
                sums.append(_kept(m, total, f"product_{level}_{pair}_{name}"))
            parts = sums + parts[len(sums) * 2 :]
            digit, level = digit * 2, level + 1
        return parts[0]


def _kept(m: Module, value: Value, name: str) -> Signal:
    """Return `value` on a wire that synthesis keeps.

    Yosys makes one tree of full adders of a whole expression, which leaves carry chains unused; at
    such a wire an expression ends.
    """
    wire = Signal(len(value), name=name, attrs={"keep": 1})
    m.d.comb += wire.eq(value)
    return wire


def _select(places: list[Value], index: Value) -> Value:
    """Return `places[index]` as a tree of multiplexers."""
    for bit in index:
        pairs = [places[n : n + 2] for n in range(0, len(places), 2)]
        places = [Mux(bit, pair[-1], pair[0]) for pair in pairs]
    return places[0]
