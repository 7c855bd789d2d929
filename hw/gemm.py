"""The datapath of a whole matrix product: array, accumulators, requantizer."""

from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import ACCUMULATOR_WIDTH, SHIFT_MAX, ZERO_WIDTH
from .accumulator_buffer import AccumulatorBuffer
from .checks import check_integer
from .requantizer import Requantizer
from .saturation import COUNT_WIDTH
from .systolic_array import SystolicArray, psum_width, token_sum_width


class Gemm(wiring.Component):
    """Multiplies codes by weight tiles, adds up the tiles of K and requantizes the totals.

    A product of T tokens, K inputs and N outputs is `ceil(N / cols)` groups of `ceil(K / rows)`
    tiles, each a tile of weights and T vectors.

    Parameters
    ----------
    rows, cols, activation_width, weight_width : int
        Of the `SystolicArray`.
    depth : int
        Tokens that can be accumulated at once, 1 to 4096.
    k_max : int
        Largest K, which gives the widths of the totals; at most 32 bits are allowed.
    groups : int
        Groups of `cols` channels whose parameters are kept, 1 to 4096.
    out_width : int
        Bits of the signed output, 4 to 32.
    tag_width : int
        Bits that go along with each token of a group, untouched; 0 to 128.

    Members
    -------
    weights : In(stream)
        Array of `cols` unsigned codes: one row of a tile, the last row first.
    parameters : In(stream, always_ready)
        As the `Requantizer`'s: `bias`, `weight_zero`, `multiplier`, `group`, `lane`.
    i : In(stream)
        Struct of `codes` (array of `rows` unsigned codes), `first` (of a weight tile), `start` and
        `last` (first and last tile of K), `address` (of the token), `group` (of channels) and
        `tag`.
    shift : In(6)
        0 to 47. This and the next three hold while totals of one product are on their way.
    zero : In(16)
        Signed zero point of the output.
    low : In(out_width)
        Signed smallest output.
    high : In(out_width)
        Signed largest output.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        Struct of `y` (array of `cols` signed outputs), `address`, `group` and `tag`.
    saturated : Out(32)
        Values clamped among the beats that left `o`.

    Latency: `rows + cols + 9` cycles from a vector with `last` to its outputs.
    Throughput: one vector per cycle, as long as tiles have `rows + cols` vectors or more.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range, or totals of more than 32 bits.

    Source: `docs/numerics.md`, gemm.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        activation_width: int,
        weight_width: int,
        depth: int,
        k_max: int,
        groups: int,
        out_width: int = ACCUMULATOR_WIDTH,
        tag_width: int = 0,
    ) -> None:
        self.k_max = check_integer("k_max", k_max, 1, 1 << 20)
        self.tag_width = check_integer("tag_width", tag_width, 0, 128)
        acc_width = psum_width(k_max, activation_width, weight_width)
        if acc_width > ACCUMULATOR_WIDTH:
            raise ValueError(
                f"k_max must give totals of {ACCUMULATOR_WIDTH} bits, not {acc_width}: {k_max!r}"
            )
        at = {"address": range(depth), "group": range(groups), "tag": tag_width}
        self._place = data.StructLayout({"group": range(groups), "tag": tag_width})
        self._step = data.StructLayout(
            {"start": 1, "last": 1, "address": range(depth), "place": self._place}
        )
        self._token = data.StructLayout({"address": range(depth), "place": self._place})
        self.array = SystolicArray(
            rows=rows,
            cols=cols,
            activation_width=activation_width,
            weight_width=weight_width,
            tag_width=self._step.size,
        )
        self.accumulators = AccumulatorBuffer(
            depth=depth,
            cols=cols,
            in_width=self.array.psum_width,
            acc_width=max(acc_width, self.array.psum_width),
            sum_in_width=self.array.sum_width,
            sum_acc_width=max(token_sum_width(k_max, activation_width), self.array.sum_width),
            tag_width=self._place.size,
        )
        self.requantizer = Requantizer(
            lanes=cols,
            groups=groups,
            acc_width=self.accumulators.acc_width,
            sum_width=self.accumulators.sum_acc_width,
            out_width=out_width,
            tag_width=self._token.size,
        )
        self.rows, self.cols = rows, cols
        self.activation_width, self.weight_width = activation_width, weight_width
        self.depth, self.groups, self.out_width = depth, groups, out_width
        codes = data.ArrayLayout(activation_width, rows)
        vector = data.StructLayout({"codes": codes, "first": 1, "start": 1, "last": 1, **at})
        outputs = data.StructLayout({"y": data.ArrayLayout(signed(out_width), cols), **at})
        super().__init__(
            {
                "weights": In(self.array.weights.signature.flip()),
                "parameters": In(self.requantizer.parameters.signature.flip()),
                "i": In(stream.Signature(vector)),
                "shift": In(SHIFT_MAX.bit_length()),
                "zero": In(signed(ZERO_WIDTH)),
                "low": In(signed(out_width)),
                "high": In(signed(out_width)),
                "clear_stb": In(1),
                "o": Out(stream.Signature(outputs)),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    @property
    def LATENCY(self) -> int:  # noqa: N802
        """Cycles from the acceptance of a vector with `last` to its outputs."""
        return self.array.LATENCY + self.accumulators.LATENCY + self.requantizer.LATENCY

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = self.array
        m.submodules.accumulators = accumulators = self.accumulators
        m.submodules.requantizer = requantizer = self.requantizer
        connect(m, flipped(self.weights), array.weights)
        connect(m, flipped(self.parameters), requantizer.parameters)
        step_in = data.View(self._step, array.i.p.tag)
        step = data.View(self._step, array.o.p.tag)
        place = data.View(self._place, accumulators.o.p.tag)
        token_in = data.View(self._token, requantizer.i.p.tag)
        token = data.View(self._token, requantizer.o.p.tag)
        m.d.comb += [
            array.i.valid.eq(self.i.valid),
            self.i.ready.eq(array.i.ready),
            array.i.p.codes.eq(self.i.p.codes),
            array.i.p.first.eq(self.i.p.first),
            step_in.start.eq(self.i.p.start),
            step_in.last.eq(self.i.p.last),
            step_in.address.eq(self.i.p.address),
            step_in.place.group.eq(self.i.p.group),
            step_in.place.tag.eq(self.i.p.tag),
            accumulators.i.valid.eq(array.o.valid),
            array.o.ready.eq(accumulators.i.ready),
            accumulators.i.p.psums.eq(array.o.p.psums),
            accumulators.i.p.sum.eq(array.o.p.sum),
            accumulators.i.p.address.eq(step.address),
            accumulators.i.p.first.eq(step.start),
            accumulators.i.p.last.eq(step.last),
            accumulators.i.p.tag.eq(step.place),
            requantizer.i.valid.eq(accumulators.o.valid),
            accumulators.o.ready.eq(requantizer.i.ready),
            requantizer.i.p.acc.eq(accumulators.o.p.acc),
            requantizer.i.p.sum.eq(accumulators.o.p.sum),
            requantizer.i.p.group.eq(place.group),
            token_in.address.eq(accumulators.o.p.address),
            token_in.place.eq(place),
            requantizer.shift.eq(self.shift),
            requantizer.zero.eq(self.zero),
            requantizer.low.eq(self.low),
            requantizer.high.eq(self.high),
            requantizer.clear_stb.eq(self.clear_stb),
            self.saturated.eq(requantizer.saturated),
            self.o.valid.eq(requantizer.o.valid),
            requantizer.o.ready.eq(self.o.ready),
            self.o.p.y.eq(requantizer.o.p.y),
            self.o.p.address.eq(token.address),
            self.o.p.group.eq(token.place.group),
            self.o.p.tag.eq(token.place.tag),
        ]
        return m
