"""The datapath of a whole matrix product: array, accumulators, requantizer."""

from typing import Any

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import CHANNEL_GROUPS_MAX
from ..formats import ACCUMULATOR_WIDTH, CODE_WIDTHS, SHIFT_MAX, ZERO_WIDTH, psum_width
from ..latency import totals_waiting
from .accumulator_buffer import DIGITS_MAX, AccumulatorBuffer
from .checks import check_integer, check_stages
from .requantizer import Requantizer
from .saturation import COUNT_WIDTH
from .systolic_array import SystolicArray
from .total_queue import TotalQueue
from .vectors import digit_members, vector_layout


class Gemm(wiring.Component):
    """Multiplies codes by weight tiles, adds up the tiles of K and requantizes the totals.

    A product of T tokens, K inputs and N outputs is `ceil(N / cols)` groups of `ceil(K / rows)`
    tiles, each a tile of weights and T vectors. Codes wider than the array's come as digits, least
    significant first from 0: every pair of an activation digit and a weight digit is one more pass
    over K. Activation digits that follow each other share a tile of weights.

    Parameters
    ----------
    rows, cols, activation_width, weight_width : int
        Of the `SystolicArray`.
    depth : int
        Tokens that can be accumulated at once, 1 to 4096.
    k_max : int
        Largest K, which gives the widths of the totals; at most 32 bits are allowed.
    activation_digits, weight_digits : int
        Largest number of digits of a code, 1 to 3. Codes have at most 8 bits all the same.
    array_multiplier : str
        What the array multiplies with, "lut" or "dsp": `multiplier` of the `SystolicArray`.
    groups : int
        Groups of `cols` channels whose parameters are kept, 1 to `4096 * lanes / cols`.
    lanes : int
        Channels requantized per cycle; divides `cols`, which is what None stands for.
    out_width : int
        Bits of the signed output, 4 to 32.
    tag_width : int
        Bits that go along with each token of a group, untouched; 0 to 128.
    stages : int
        Registers of each long path, 1 to 3.

    Members
    -------
    weights : In(stream)
        Array of `rows` unsigned codes: one column of a tile, the last column first.
    weights_ready : Out(1)
        A whole tile waits in the array's shadow bank.
    parameters : In(stream, always_ready)
        As the `Requantizer`'s: `bias`, `weight_zero`, `multiplier`, `group` (of `lanes` channels),
        `lane`.
    i : In(stream)
        Struct of `codes` (array of `rows` unsigned codes), `first` (of a weight tile), `start` and
        `last` (first and last beat of the token's sums), `activation_digit` and `weight_digit`
        (that the codes and the tile hold), `address` (of the token), `group` (of `cols`
        channels) and `tag`.
    next_group : Out(range(groups))
        Group of `cols` channels of the totals that are offered to the requantizer.
    shift : In(6)
        0 to 47. This and the next three are taken in the cycle after the one in which the
        requantizer accepts totals, and never again, so they may follow `next_group` by a cycle.
    zero : In(16)
        Signed zero point of the output.
    low : In(out_width)
        Signed smallest output.
    high : In(out_width)
        Signed largest output.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        Struct of `y` (array of `lanes` signed outputs), `address`, `group` (of `lanes` channels)
        and `tag`. A token's groups follow each other.
    saturated : Out(32)
        Values clamped among the beats that wait on `o` or have left it.

    Latency: with one stage `rows + cols + 14` cycles from a vector with `last` to its first
    outputs, while no other totals wait.
    Throughput: one vector per cycle, as long as tiles have `rows + cols + 1` vectors or more and a
    token has `cols / lanes` beats or more in each group (tiles of K times pairs of digits): totals
    of one group are requantized while the next accumulates.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range, totals of more than 32 bits, or `lanes`
        that do not divide `cols`.

    Source: `docs/numerics.md`, gemm and its digits.
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
        activation_digits: int = 1,
        weight_digits: int = 1,
        array_multiplier: str = "lut",
        lanes: int | None = None,
        out_width: int = ACCUMULATOR_WIDTH,
        tag_width: int = 0,
        stages: int = 1,
    ) -> None:
        self.k_max = check_integer("k_max", k_max, 1, 1 << 20)
        self.tag_width = check_integer("tag_width", tag_width, 0, 128)
        self.stages = check_stages(stages)
        self.activation_digits = check_integer(
            "activation_digits", activation_digits, 1, DIGITS_MAX
        )
        self.weight_digits = check_integer("weight_digits", weight_digits, 1, DIGITS_MAX)
        self.lanes = cols if lanes is None else check_integer("lanes", lanes, 1, cols)
        if cols % self.lanes:
            raise ValueError(f"lanes must divide the {cols} cols, not {lanes!r}")
        self.parts = cols // self.lanes
        self.groups = check_integer("groups", groups, 1, CHANNEL_GROUPS_MAX // self.parts)
        widest = CODE_WIDTHS[-1]
        code_width = min(activation_width * activation_digits, widest)
        acc_width = psum_width(k_max, code_width, min(weight_width * weight_digits, widest))
        if acc_width > ACCUMULATOR_WIDTH:
            raise ValueError(
                f"k_max must give totals of {ACCUMULATOR_WIDTH} bits, not {acc_width}: {k_max!r}"
            )
        digits = digit_members(activation_digits, weight_digits)
        self._place = data.StructLayout({"group": range(groups), "tag": tag_width})
        self._step = data.StructLayout(
            {"start": 1, "last": 1, **digits, "address": range(depth), "place": self._place}
        )
        self._token = data.StructLayout({"address": range(depth), "place": self._place})
        sent = {"address": range(depth), "group": range(groups * self.parts), "tag": tag_width}
        self._sent = data.StructLayout(sent)
        self.array = SystolicArray(
            rows=rows,
            cols=cols,
            activation_width=activation_width,
            weight_width=weight_width,
            multiplier=array_multiplier,
            tag_width=self._step.size,
        )
        self.accumulators = AccumulatorBuffer(
            depth=depth,
            cols=cols,
            in_width=self.array.psum_width,
            acc_width=max(acc_width, self.array.psum_width),
            sum_in_width=self.array.sum_width,
            sum_acc_width=max(psum_width(k_max, code_width), self.array.sum_width),
            activation_width=activation_width,
            weight_width=weight_width,
            activation_digits=activation_digits,
            weight_digits=weight_digits,
            tag_width=self._place.size,
            stages=stages,
        )
        self.queue = TotalQueue(
            depth=totals_waiting(rows, cols, self.parts, depth, stages),
            cols=cols,
            lanes=self.lanes,
            acc_width=self.accumulators.acc_width,
            sum_width=self.accumulators.sum_acc_width,
            tag_width=self._token.size,
        )
        self.requantizer = Requantizer(
            lanes=self.lanes,
            groups=groups * self.parts,
            acc_width=self.accumulators.acc_width,
            sum_width=self.accumulators.sum_acc_width,
            out_width=out_width,
            tag_width=self._sent.size,
            stages=stages,
        )
        self.rows, self.cols, self.array_multiplier = rows, cols, array_multiplier
        self.activation_width, self.weight_width = activation_width, weight_width
        self.depth, self.out_width = depth, out_width
        vector = vector_layout(
            rows=rows,
            code_width=activation_width,
            depth=depth,
            groups=groups,
            activation_digits=activation_digits,
            weight_digits=weight_digits,
            tag_width=tag_width,
        )
        outputs = data.StructLayout({"y": data.ArrayLayout(signed(out_width), self.lanes), **sent})
        super().__init__(
            {
                "weights": In(self.array.weights.signature.flip()),
                "weights_ready": Out(1),
                "parameters": In(self.requantizer.parameters.signature.flip()),
                "i": In(stream.Signature(vector)),
                "next_group": Out(range(groups)),
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
        sums = self.array.LATENCY + self.accumulators.LATENCY
        return sums + self.queue.LATENCY + self.requantizer.LATENCY

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = self.array
        m.submodules.accumulators = accumulators = self.accumulators
        m.submodules.requantizer = requantizer = self.requantizer
        m.submodules.queue = queue = self.queue
        connect(m, flipped(self.weights), array.weights)
        connect(m, flipped(self.parameters), requantizer.parameters)
        step_in = data.View(self._step, array.i.p.tag)
        step = data.View(self._step, array.o.p.tag)
        sent = data.View(self._sent, requantizer.o.p.tag)
        # Nothing stands still up to the queue: what ends there has a place in it.
        enters = ~self.i.p.last | queue.room
        m.d.comb += [
            self.weights_ready.eq(array.weights_ready),
            array.i.valid.eq(self.i.valid & enters),
            self.i.ready.eq(array.i.ready & enters),
            queue.taken_stb.eq(self.i.valid & self.i.ready & self.i.p.last),
            array.i.p.codes.eq(self.i.p.codes),
            array.i.p.first.eq(self.i.p.first),
            step_in.start.eq(self.i.p.start),
            step_in.last.eq(self.i.p.last),
            step_in.activation_digit.eq(self.i.p.activation_digit),
            step_in.weight_digit.eq(self.i.p.weight_digit),
            step_in.address.eq(self.i.p.address),
            step_in.place.group.eq(self.i.p.group),
            step_in.place.tag.eq(self.i.p.tag),
            accumulators.i.valid.eq(array.o.valid),
            accumulators.i.p.psums.eq(array.o.p.psums),
            accumulators.i.p.sum.eq(array.o.p.sum),
            accumulators.i.p.address.eq(step.address),
            accumulators.i.p.first.eq(step.start),
            accumulators.i.p.last.eq(step.last),
            accumulators.i.p.activation_digit.eq(step.activation_digit),
            accumulators.i.p.weight_digit.eq(step.weight_digit),
            accumulators.i.p.tag.eq(step.place),
            requantizer.shift.eq(self.shift),
            requantizer.zero.eq(self.zero),
            requantizer.low.eq(self.low),
            requantizer.high.eq(self.high),
            requantizer.clear_stb.eq(self.clear_stb),
            self.saturated.eq(requantizer.saturated),
            self.o.valid.eq(requantizer.o.valid),
            requantizer.o.ready.eq(self.o.ready),
            self.o.p.y.eq(requantizer.o.p.y),
            self.o.p.address.eq(sent.address),
            self.o.p.group.eq(sent.group),
            self.o.p.tag.eq(sent.tag),
        ]
        self._requantize(m)
        return m

    def _requantize(self, m: Module) -> None:
        """Totals to the requantizer, in parts."""
        totals, queue, into = self.accumulators.o, self.queue, self.requantizer.i
        token = data.View(self._token, queue.o.p.tag)
        sent = data.View(self._sent, into.p.tag)
        m.d.comb += [
            queue.i.valid.eq(totals.valid),
            queue.i.p.acc.eq(totals.p.acc),
            queue.i.p.sum.eq(totals.p.sum),
            queue.i.p.tag.eq(Cat(totals.p.address, totals.p.tag)),
            into.valid.eq(queue.o.valid),
            queue.o.ready.eq(into.ready),
            into.p.acc.eq(queue.o.p.acc),
            into.p.sum.eq(queue.o.p.sum),
            self.next_group.eq(token.place.group),
            into.p.group.eq(token.place.group * self.parts + queue.o.p.part),
            sent.address.eq(token.address),
            sent.group.eq(into.p.group),
            sent.tag.eq(token.place.tag),
        ]
