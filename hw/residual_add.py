"""The residual stream's saturating adder: `docs/numerics.md`, section residual_add."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..formats import RESIDUAL_WIDTH, signed_range
from ..latency import RESIDUAL_ADD
from .checks import check_integer
from .pipeline import Pipeline
from .saturation import COUNT_WIDTH, clamp, count_saturation

SHIFT_WIDTH = 4


class ResidualAdd(Pipeline):
    """Adds a branch to the residual stream: `clamp(((residual + half(shift)) >> shift) + branch)`.

    Parameters
    ----------
    lanes : int
        Values per beat.

    Members
    -------
    i : In(stream)
        Struct of `residual` and `branch`, each an array of `lanes` signed 16-bit values; the
        residual in its own scale, the branch in the output's.
    shift : In(4)
        Growth of the scale from residual to output, unsigned; goes with the beat accepted.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        Array of `lanes` signed 16-bit sums.
    saturated : Out(32)
        Values clamped among the beats that left `o`.

    Latency: 2 cycles.
    Throughput: one beat per cycle.

    Raises
    ------
    TypeError, ValueError
        `lanes` is not an integer from 1 to 256.

    Source: `docs/numerics.md`, residual_add.
    """

    LATENCY = RESIDUAL_ADD

    def __init__(self, *, lanes: int) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        values = data.ArrayLayout(signed(RESIDUAL_WIDTH), lanes)
        operands = data.StructLayout({"residual": values, "branch": values})
        super().__init__(
            {
                "i": In(stream.Signature(operands)),
                "shift": In(SHIFT_WIDTH),
                "clear_stb": In(1),
                "o": Out(stream.Signature(values)),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    def datapath(self, m: Module, payload: Any) -> Any:
        result = Signal(data.ArrayLayout(signed(RESIDUAL_WIDTH), self.lanes), reset_less=True)
        self._events = []
        for lane in range(self.lanes):
            # (2r >> shift) + 1 >> 1 is (r + half) >> shift without a shifter for the half; with the
            # branch doubled too, one adder does both sums.
            doubled = (payload.residual[lane] << 1) >> self.shift
            branch = Cat(Const(1, 1), payload.branch[lane]).as_signed()
            total = Signal(signed(RESIDUAL_WIDTH + 1), name=f"total_{lane}", reset_less=True)
            event = Signal(name=f"event_{lane}")
            clamped, outside = clamp(total, *signed_range(RESIDUAL_WIDTH))
            m.d.sync += [
                total.eq((doubled + branch) >> 1),
                result[lane].eq(clamped),
                event.eq(outside),
            ]
            self._events.append(event)
        return result

    def always(self, m: Module) -> None:
        count_saturation(m, self, self._events, self.o.valid & self.o.ready)
