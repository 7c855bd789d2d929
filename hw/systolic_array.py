"""The weight-stationary systolic array."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import latency
from ..config import ARRAY_MULTIPLIERS
from ..formats import CODE_WIDTHS, psum_width
from .checks import check_integer
from .pipeline import delay


class SystolicArray(wiring.Component):
    """Multiplies activation vectors by a stationary tile of weights, both unsigned codes.

    K runs down the rows, output channels across the columns. `cols` beats of weights make a tile;
    they shift into a shadow bank while the array works with the active one. An activation vector
    with `first` waits for a whole tile in the shadow bank and makes it the active one for itself
    and its successors: the change runs through the array as a wave ahead of the vector. The next
    tile follows the wave, column by column. What K does not fill is padded with codes of zero.
    A column of weights looks like a vector of activations, so what was made as the one can serve
    as the other.

    Parameters
    ----------
    rows, cols : int
        Size of the array, 1 to 256 each.
    activation_width, weight_width : int
        Bits of the codes, 3 to 8 each.
    multiplier : str
        What multiplies and adds: "lut", or "dsp" for DSP blocks, each of which serves two columns
        next to each other where the widths allow (`latency.array_block`). Both do the same in the
        same cycles.
    tag_width : int
        Bits that go along with each vector, untouched; 0 to 256.

    Members
    -------
    weights : In(stream)
        Array of `rows` unsigned codes: one column of a tile, the last column first.
    weights_ready : Out(1)
        A whole tile waits in the shadow bank.
    i : In(stream)
        Struct of `codes` (array of `rows` unsigned codes), `first` (1 bit: use the next tile from
        here on) and `tag`.
    o : Out(stream, always_ready)
        Struct of `psums` (array of `cols` unsigned sums of products, `psum_width` bits each),
        `sum` (unsigned sum of the vector's codes, `sum_width` bits) and `tag`.

    Latency: `rows + cols` cycles from a vector to its sums.
    Throughput: one vector per cycle. The weights of a tile are accepted from `rows` cycles after
    the previous tile's `first` was, one column per cycle, and the last is in place two cycles
    later: tiles of `rows + cols + 1` vectors or more never wait. The array never stands still.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range; another `multiplier`.

    Source: `docs/numerics.md`, gemm: `acc[m, n]` and `sum[m]` over one tile of K; two products in
    a DSP block: AMD WP486, here exact, as no sum of unsigned products reaches the other's bits.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        activation_width: int,
        weight_width: int,
        multiplier: str = "lut",
        tag_width: int = 0,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, 256)
        self.cols = check_integer("cols", cols, 1, 256)
        limits = CODE_WIDTHS[0], CODE_WIDTHS[-1]
        self.activation_width = check_integer("activation_width", activation_width, *limits)
        self.weight_width = check_integer("weight_width", weight_width, *limits)
        if multiplier not in ARRAY_MULTIPLIERS:
            names = ", ".join(ARRAY_MULTIPLIERS)
            raise ValueError(f"multiplier must be one of {names}, not {multiplier!r}")
        self.multiplier = multiplier
        self.tag_width = check_integer("tag_width", tag_width, 0, 256)
        self.psum_width = psum_width(rows, activation_width, weight_width)
        self.sum_width = psum_width(rows, activation_width)
        vector = data.StructLayout(
            {
                "codes": data.ArrayLayout(activation_width, rows),
                "first": 1,
                "tag": tag_width,
            }
        )
        sums = data.StructLayout(
            {
                "psums": data.ArrayLayout(self.psum_width, cols),
                "sum": self.sum_width,
                "tag": tag_width,
            }
        )
        super().__init__(
            {
                "weights": In(stream.Signature(data.ArrayLayout(weight_width, rows))),
                "weights_ready": Out(1),
                "i": In(stream.Signature(vector)),
                "o": Out(stream.Signature(sums, always_ready=True)),
            }
        )

    @property
    def LATENCY(self) -> int:  # noqa: N802
        """Cycles from the acceptance of a vector to its sums."""
        return latency.array(self.rows, self.cols)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        accept = Signal()
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        # swap[j]: the wave of a new tile passes the anti-diagonal row + col = j, one cycle ahead of
        # the vector that brought it.
        swap = Signal(self.rows + self.cols - 1)
        swapped = Signal(self.rows + self.cols - 1)
        m.d.comb += swap.eq((swapped << 1) | (accept & self.i.p.first))
        m.d.sync += swapped.eq(swap)
        shadow = self._shadow_bank(m, swap)
        self._compute(m, shadow, swap)
        valid = delay(m, accept, self.LATENCY, name="valid", reset_less=False)
        tag = delay(m, self.i.p.tag, self.LATENCY, name="tag")
        m.d.comb += [self.o.valid.eq(valid), self.o.p.tag.eq(tag)]
        return m

    @staticmethod
    def _register(width: int, name: str) -> Signal:
        return Signal(width, name=name, reset_less=True)

    def _shadow_bank(self, m: Module, swap: Value) -> list[list[Signal]]:
        """Load tiles from the left, and hold back weights and vectors that must wait."""
        # Columns of the next tile that are in, and columns of the bank whose weights are in use.
        loaded = Signal(range(self.cols + 1))
        free = Signal(range(self.cols + 1), init=self.cols)
        loaded_then = Signal.like(loaded)
        free_then = Signal.like(free)
        load = self.weights.valid & self.weights.ready
        new_tile, leaves_column = swap[0], swap[self.rows - 1 :].any()
        m.d.comb += [
            self.i.ready.eq(~self.i.p.first | self.weights_ready),
            loaded_then.eq(Mux(new_tile, 0, loaded + load)),
            free_then.eq(Mux(new_tile, 0, free) + leaves_column),
        ]
        # What others wait for comes from registers, and so do a column and where it goes.
        column = Signal.like(self.weights.payload, reset_less=True)
        moves = Signal(self.cols)
        m.d.sync += [
            loaded.eq(loaded_then),
            free.eq(free_then),
            self.weights.ready.eq(loaded_then < free_then),
            self.weights_ready.eq((loaded == self.cols) & ~new_tile),
            column.eq(self.weights.payload),
            # Columns further right may still hold weights that the wave has not fetched.
            moves.eq(Cat(load & (loaded >= col) for col in range(self.cols))),
        ]
        shadow = [
            [self._register(self.weight_width, f"shadow_{row}_{col}") for col in range(self.cols)]
            for row in range(self.rows)
        ]
        for col in range(self.cols):
            with m.If(moves[col]):
                for row in range(self.rows):
                    before = shadow[row][col - 1] if col else column[row]
                    m.d.sync += shadow[row][col].eq(before)
        return shadow

    def _compute(self, m: Module, shadow: list[list[Signal]], swap: Value) -> None:
        """Skew, multiply and add, deskew."""
        # Row r works r + 1 cycles after a vector is accepted: one cycle behind the swap wave.
        moving = [
            delay(m, self.i.p.codes[row], row + 1, name=f"skew_{row}") for row in range(self.rows)
        ]
        step = latency.array_block(
            self.multiplier, self.rows, self.cols, self.activation_width, self.weight_width
        )
        firsts = range(0, self.cols, step)
        for block, first in enumerate(firsts):
            if block:
                moving = [
                    delay(m, code, 1, name=f"code_{row}_{first}") for row, code in enumerate(moving)
                ]
            cols = range(first, min(first + step, self.cols))
            # A block is a cycle behind the one to its left, whatever its columns: those that share
            # one are early, fetch their weights ahead of the time at which others come in, and
            # their sums wait for the last column's.
            psums = self._block(m, cols, moving, shadow, swap[block:])
            for place, col in enumerate(cols):
                psum = psums[place * self.psum_width :][: self.psum_width]
                late = delay(m, psum, self.cols - 1 - block, name=f"deskew_{col}")
                m.d.comb += self.o.p.psums[col].eq(late)
        # The token's own sum goes down beside the last block.
        total = Value.cast(0)
        for row, code in enumerate(moving):
            width = psum_width(row + 1, self.activation_width)
            below = self._register(width, f"sum_{row}")
            m.d.sync += below.eq(total + code)
            total = below
        late = delay(m, total, self.cols - len(firsts), name="deskew_sum")
        m.d.comb += self.o.p.sum.eq(late)

    def _block(
        self,
        m: Module,
        cols: range,
        codes: list[Value],
        shadow: list[list[Signal]],
        swap: Value,
    ) -> Value:
        """The sums of columns that share their multiplications, each `psum_width` bits apart."""
        # Neither keeps LUTs out of DSP blocks nor the reverse without being told, as all other
        # multiplications of a design are left to the tool.
        attrs: dict[str, int | str] = {"use_dsp": "yes" if self.multiplier == "dsp" else "no"}
        if self.multiplier == "lut":
            # A wire that synthesis keeps: as one expression, product and sum become a tree of full
            # adders, which takes an eighth more LUTs than two carry chains.
            attrs["keep"] = 1
        apart = (len(cols) - 1) * self.psum_width
        psum: Value = Value.cast(0)
        for row in range(self.rows):
            weights: list[Value] = []
            for col in cols:
                active = self._register(self.weight_width, f"active_{row}_{col}")
                with m.If(swap[row]):
                    m.d.sync += active.eq(shadow[row][col])
                weights += [active, Const(0, self.psum_width - self.weight_width)]
            # The highest weight needs no room above it.
            operand = Cat(weights[:-1])
            product = Signal(
                self.activation_width + len(operand), name=f"product_{row}_{cols[0]}", attrs=attrs
            )
            m.d.comb += product.eq(codes[row] * operand)
            width = apart + psum_width(row + 1, self.activation_width, self.weight_width)
            total = self._register(width, f"psum_{row}_{cols[0]}")
            m.d.sync += total.eq(psum + product)
            psum = total
        return psum
