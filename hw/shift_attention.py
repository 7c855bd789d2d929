"""Attention probabilities times values by shifting: `docs/numerics.md`, section shift_attention."""

from typing import Any

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import CODE_WIDTHS, EMBEDDING_MAX, MULTIPLIER_WIDTH, SHIFT_MAX, ZERO_WIDTH
from ..latency import DRAIN_RESULTS, drain_row
from .attention_buckets import AttentionBuckets
from .attention_drain import AttentionDrain
from .checks import check_integer, check_stages
from .log_codes import LogCodes
from .saturation import COUNT_WIDTH

SIZE_MAX = 256
DRAINS_MAX = 4


class ShiftAttention(wiring.Component):
    """Output-stationary array of `rows` queries by `cols` value columns, fed one key per cycle.

    A cell adds the value into the bucket of the key's log code. Once per tile the buckets of each
    row are drained in the order of codes, `E = 2E + S` over the even and `O = 2O + S` over the odd
    ones, once per column, and requantized. The drain runs while the next tile enters.

    Parameters
    ----------
    rows, cols : int
        Queries and value columns of a tile, 1 to 256 each.
    code_width : int
        L, width of a log code, 3 to 8.
    value_width : int
        A, width of the values and of the output codes, 3 to 8.
    depth : int
        Largest number of keys of a tile, 1 to 4096. Every sum is exact for that many keys of any
        codes; with more, sums wrap around.
    base : str
        "sqrt2" or "2".
    drains : int
        Rows drained side by side, 1 to 4 and at most `rows`.
    stages : int
        Registers of each product, 1 to 3.

    Members
    -------
    i : In(stream)
        One key per beat: `codes`, array of `rows` log codes; `values`, array of `cols` unsigned
        A-bit codes; `last`, set on the last key of the tile. The zero code adds nothing. With
        `last` go the sizes of the tile, which are ignored otherwise: `rows_used`, the rows that
        leave, 1 to `rows`; `cols_used`, the columns that count, 1 to `cols`, where the others
        give code 0 and no saturation.
    value_zero : In(signed(16))
        Zero point of the values.
    zero : In(signed(16))
        Zero point of the output.
    multiplier_even : In(16)
        Unsigned factor of the sum over even codes.
    multiplier_odd : In(16)
        Unsigned factor of the sum over odd codes, which is 0 for base 2.
    shift : In(range(48))
        Right shift of the weighted sum.
    high : In(value_width)
        Largest output code; a model whose codes are narrower than A has a smaller one.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        One row per beat, in order: `codes`, array of `cols` A-bit codes; `last`, set on the last
        row of the tile.
    saturated : Out(32)
        Values clamped among the rows that wait on `o` or have left it.

    Zero points, multipliers, `shift` and `high` hold from the last key of a tile to its last row.

    Latency: `latency()` cycles from the acceptance of the last key to the offer of the first row.
    Throughput: one key per cycle; tiles of N keys that follow each other, whatever their sizes,
    take `max(N, drain_cycles(rows_used))` cycles each, one more at most where the two are about
    equal, while the output is accepted. A tile enters once the one before the last has drained.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.

    Source: `docs/numerics.md`, shift_attention.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        code_width: int,
        value_width: int,
        depth: int,
        base: str = "sqrt2",
        drains: int = 1,
        stages: int = 1,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, SIZE_MAX)
        self.cols = check_integer("cols", cols, 1, SIZE_MAX)
        self.value_width = check_integer(
            "value_width", value_width, CODE_WIDTHS[0], CODE_WIDTHS[-1]
        )
        self.depth = check_integer("depth", depth, 1, EMBEDDING_MAX)
        self.drains = check_integer("drains", drains, 1, min(DRAINS_MAX, rows))
        self.stages = check_stages(stages)
        self.codes = LogCodes(code_width, base)
        self.code_width, self.base = code_width, base
        size = {"rows": rows, "cols": cols, "depth": depth, "drains": drains}
        size |= {"codes": self.codes, "value_width": value_width}
        self._buckets, self._drain = AttentionBuckets(**size), AttentionDrain(**size, stages=stages)
        row = data.StructLayout({"codes": data.ArrayLayout(unsigned(value_width), cols), "last": 1})
        super().__init__(
            {
                "i": In(self._buckets.i.signature.flip()),
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

    def drain_cycles(self, rows_used: int) -> int:
        """Cycles in which the buckets of a tile are read."""
        return -(-rows_used // self.drains) * self.codes.zero

    def latency(self, row: int = 0) -> int:
        """Cycles from the acceptance of a tile's last key to the offer of a row, the first or a
        later one, where the drain was idle and nothing waits."""
        group, place = divmod(row, self.drains)
        groups = self._drain.groups
        first = AttentionBuckets.LATENCY + self.codes.zero + DRAIN_RESULTS
        first += groups - 1 + drain_row(self.stages)
        return first + group * self.codes.zero + place * groups

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buckets, m.submodules.drain = buckets, drain = self._buckets, self._drain
        connect(m, flipped(self.i), buckets.i)
        connect(m, buckets.o, drain.i)
        connect(m, drain.o, flipped(self.o))
        for name in ("value_zero", "zero", "shift", "high", "clear_stb"):
            m.d.comb += getattr(drain, name).eq(getattr(self, name))
        m.d.comb += [
            drain.multiplier_even.eq(self.multiplier_even),
            drain.multiplier_odd.eq(self.multiplier_odd),
            self.saturated.eq(drain.saturated),
        ]
        return m
