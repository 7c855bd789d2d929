"""The requantizer, where every sum becomes a code: `docs/numerics.md`, section requantizer."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import ACCUMULATOR_WIDTH, MULTIPLIER_WIDTH, SHIFT_MAX, ZERO_WIDTH
from ..latency import credits_needed, product, requantizer
from .checks import check_integer, check_stages
from .credit_queue import CreditQueue
from .multiplication import multiply
from .pipeline import delay
from .saturation import COUNT_WIDTH, clamp, count_saturation, shift_right

CHANNEL = data.StructLayout(
    {
        "bias": signed(ACCUMULATOR_WIDTH),
        "weight_zero": signed(ZERO_WIDTH),
        "multiplier": MULTIPLIER_WIDTH,
    }
)
"""Parameters of one output channel, 64 bits."""


def channel_layout(*, lanes: int, groups: int) -> data.StructLayout:
    """Payload of `Requantizer.parameters`: those of a channel, and which one it is."""
    return data.StructLayout({**CHANNEL.members, "group": range(groups), "lane": range(lanes)})


class Requantizer(wiring.Component):
    """Scales the sums of a token to codes, each channel with its own parameters.

    `y = clamp(zero + ((t * multiplier + half(shift)) >> shift), low, high)`, where
    `t = acc - weight_zero * sum + bias`.

    The corrected sum must fit 32 bits signed; its terms may exceed them, since they wrap.
    A channel with multiplier 0 only fills up: its output is 0 and never counts as saturated.

    Parameters
    ----------
    lanes : int
        Channels per beat, 1 to 256.
    groups : int
        Groups of `lanes` channels whose parameters are kept, 1 to 4096.
    acc_width, sum_width : int
        Bits of the unsigned accumulator and of the unsigned sum of codes, 1 to 32 each.
    out_width : int
        Bits of the signed output, 4 to 32; a code of A bits takes A + 1.
    tag_width : int
        Bits that go along with each beat, untouched; 0 to 256.
    stages : int
        Registers of each product, 1 to 3.

    Members
    -------
    parameters : In(stream, always_ready)
        Struct of `bias` (signed, 32 bits), `weight_zero` (signed, 16 bits), `multiplier` (unsigned,
        16 bits), and `group` and `lane`, the channel that they are for. Used by beats of `i`
        accepted in a later cycle.
    i : In(stream)
        Struct of `acc` (array of `lanes`), `sum`, `group` (of channels) and `tag`.
    shift : In(6)
        0 to 47. This and the next three are of the beat accepted in the cycle before.
    zero : In(16)
        Signed zero point of the output.
    low : In(out_width)
        Signed smallest output.
    high : In(out_width)
        Signed largest output.
    clear_stb : In(1)
        Sets `saturated` to zero.
    o : Out(stream)
        Struct of `y` (array of `lanes` signed outputs) and `tag`.
    saturated : Out(32)
        Values clamped among the beats that wait on `o` or have left it.

    Latency: `2 * stages + 8` cycles: the last is the queue in which outputs wait.
    Throughput: one beat per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.

    Source: `docs/numerics.md`, requantizer.
    """

    def __init__(
        self,
        *,
        lanes: int,
        groups: int,
        acc_width: int = ACCUMULATOR_WIDTH,
        sum_width: int = ACCUMULATOR_WIDTH,
        out_width: int = ACCUMULATOR_WIDTH,
        tag_width: int = 0,
        stages: int = 1,
    ) -> None:
        self.lanes = check_integer("lanes", lanes, 1, 256)
        self.groups = check_integer("groups", groups, 1, 4096)
        self.acc_width = check_integer("acc_width", acc_width, 1, ACCUMULATOR_WIDTH)
        self.sum_width = check_integer("sum_width", sum_width, 1, ACCUMULATOR_WIDTH)
        self.out_width = check_integer("out_width", out_width, 4, ACCUMULATOR_WIDTH)
        self.tag_width = check_integer("tag_width", tag_width, 0, 256)
        self.stages = check_stages(stages)
        self.LATENCY = requantizer(stages)
        sums = data.StructLayout(
            {
                "acc": data.ArrayLayout(acc_width, lanes),
                "sum": sum_width,
                "group": range(groups),
                "tag": tag_width,
            }
        )
        codes = data.StructLayout(
            {"y": data.ArrayLayout(signed(out_width), lanes), "tag": tag_width}
        )
        channel = channel_layout(lanes=lanes, groups=groups)
        super().__init__(
            {
                "parameters": In(stream.Signature(channel, always_ready=True)),
                "i": In(stream.Signature(sums)),
                "shift": In(SHIFT_MAX.bit_length()),
                "zero": In(signed(ZERO_WIDTH)),
                "low": In(signed(out_width)),
                "high": In(signed(out_width)),
                "clear_stb": In(1),
                "o": Out(stream.Signature(codes)),
                "saturated": Out(COUNT_WIDTH),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.outputs = outputs = CreditQueue(
            self.o.payload.shape(), depth=credits_needed(self.LATENCY)
        )
        connect(m, outputs.o, flipped(self.o))
        way = self.LATENCY - CreditQueue.LATENCY
        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(outputs.room),
            outputs.taken_stb.eq(taken),
            outputs.i.valid.eq(delay(m, taken, way, name="valid", reset_less=False)),
            outputs.i.payload.tag.eq(delay(m, self.i.payload.tag, way, name="tag")),
        ]
        total = delay(m, self.i.payload.sum, 1, name="sum")
        # Behind the parameters: the corrected sum, then its product.
        corrected_at = 1 + product(self.stages, wide=True) + 1
        product_at = corrected_at + product(self.stages, wide=True)
        shift = delay(m, self.shift, product_at - 1, name="shift")
        zero = delay(m, self.zero, product_at, name="zero")
        low, high = (delay(m, x, product_at + 1, name=x.name) for x in (self.low, self.high))
        events = []
        # What does not fit in one bit less is outside the limits still when it is halved and the
        # zero point is added.
        shifted_width = max(self.out_width, ZERO_WIDTH + 1) + 3
        for lane in range(self.lanes):

            def register(width: int, what: str, lane: int = lane) -> Signal:
                return Signal(signed(width), name=f"{what}_{lane}", reset_less=True)

            channel = self._parameters(m, lane)
            biased = register(ACCUMULATOR_WIDTH, "biased")
            corrected = register(ACCUMULATOR_WIDTH, "corrected")
            doubled = register(shifted_width, "doubled")
            moved = register(shifted_width, "moved")
            result = register(self.out_width, "result")
            event = Signal(name=f"event_{lane}")
            acc = delay(m, self.i.payload.acc[lane], 1, name=f"acc_{lane}")
            multiplier = delay(m, channel.multiplier, corrected_at - 1, name=f"multiplier_{lane}")
            fill = delay(m, multiplier == 0, product_at + 2 - corrected_at, name=f"fill_{lane}")
            wide = {"stages": self.stages, "wide": True}
            correction = multiply(m, channel.weight_zero, total, name=f"correction_{lane}", **wide)
            scaled = multiply(m, corrected, multiplier, name=f"product_{lane}", **wide)
            clamped, outside = clamp(moved, low, high)
            m.d.sync += [
                biased.eq(acc + channel.bias),
                corrected.eq(
                    delay(m, biased, corrected_at - 3, name=f"biased_{lane}") - correction
                ),
                doubled.eq(shift_right(Cat(Const(0, 1), scaled), shift, shifted_width)),
                # (doubled + 1 >> 1) + zero, in one adder.
                moved.eq((doubled + Cat(Const(1, 1), zero).as_signed()) >> 1),
                result.eq(Mux(fill, 0, clamped)),
                event.eq(outside & ~fill),
            ]
            m.d.comb += outputs.i.payload.y[lane].eq(result)
            events.append(event)
        count_saturation(m, self, events, outputs.i.valid)
        return m

    def _parameters(self, m: Module, lane: int) -> Any:
        """Make the memory of one lane; return the channel's parameters a cycle after the beat."""
        m.submodules[f"memory_{lane}"] = memory = Memory(shape=CHANNEL, depth=self.groups, init=[])
        write = memory.write_port()
        read = memory.read_port()
        channel = self.parameters.payload
        m.d.comb += [
            read.addr.eq(self.i.payload.group),
            write.addr.eq(channel.group),
            write.en.eq(self.parameters.valid & (channel.lane == lane)),
            *(write.data[name].eq(channel[name]) for name in CHANNEL.members),
        ]
        return read.data
