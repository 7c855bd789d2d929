"""The unit of GEMM commands: vectors of the code buffer, in the order that the array wants them."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..formats import CODE_WIDTHS
from ..isa import WORD_ADDRESS_WIDTH
from ..latency import words_waiting
from .accumulator_buffer import DIGITS_MAX
from .checks import check_integer, check_stages
from .commands import COMMAND, operands
from .credit_queue import credits
from .vectors import vector_layout
from .word_buffer import ReadPort


class GemmUnit(wiring.Component):
    """Reads the vectors of a product from the code buffer and sends them to `Gemm`.

    Vectors go in the order group, weight digit, tile, activation digit, token. Their `group` is the
    bank of their parameters: 0 for the first set after a reset, the other one for each next set,
    which each group has for itself, or all groups of a command with `shared` together.

    Parameters
    ----------
    rows : int
        Codes of a word and of a vector, 1 to 256.
    code_width : int
        Bits of a code, 3 to 8.
    depth : int
        Tokens of a product, 1 to 4096.
    activation_digits, weight_digits : int
        Largest number of digits of a code, 1 to 3.
    stages : int
        Of the code buffer, 1 to 3.

    Members
    -------
    command : In(stream)
        GEMM commands; taken while nothing is at work.
    done_stb : Out(1)
        The array takes the last vector in this cycle.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        A command is at work and the array takes no vector.
    read : Out(ReadPort)
        Words of `rows` codes.
    vectors : Out(stream)
        As `Gemm.i` with two groups, which are the banks of parameters, and a tag of one bit,
        `retire`: the last vector that needs its set of parameters.
    weights_ready : In(1)
        A whole tile waits in the array's shadow bank.
    waits_activations : Out(1)
        A command is at work and there is no vector to offer.
    waits_weights : Out(1)
        The vector offered is the first of a tile that is not there.
    waits_output : Out(1)
        The vector offered is refused for another reason: sums wait for the requantizer.
    takes : Out(1)
        The array takes a vector.

    Latency: 1 cycle and the latency of a read (2 cycles, if it is less) from a command to its first
    vector. A command that waits is taken in the cycle after `done_stb`.
    Throughput: one vector per cycle within a command, over passes and groups.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer, or out of range.

    Source: `docs/accelerator.md`, gemm and the weight stream.
    """

    def __init__(
        self,
        *,
        rows: int,
        code_width: int,
        depth: int,
        activation_digits: int = 1,
        weight_digits: int = 1,
        stages: int = 1,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, 256)
        self.code_width = check_integer("code_width", code_width, CODE_WIDTHS[0], CODE_WIDTHS[-1])
        self.depth = check_integer("depth", depth, 1, 4096)
        self.activation_digits = check_integer(
            "activation_digits", activation_digits, 1, DIGITS_MAX
        )
        self.weight_digits = check_integer("weight_digits", weight_digits, 1, DIGITS_MAX)
        self.stages = check_stages(stages)
        vector = vector_layout(
            rows=rows,
            code_width=code_width,
            depth=depth,
            groups=2,
            activation_digits=activation_digits,
            weight_digits=weight_digits,
            tag_width=1,
        )
        rest = {name: field.shape for name, field in vector if name != "codes"}
        self._rest = data.StructLayout({**rest, "final": 1})
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "read": Out(ReadPort(rows * code_width)),
                "vectors": Out(stream.Signature(vector)),
                "weights_ready": In(1),
                "waits_activations": Out(1),
                "waits_weights": Out(1),
                "waits_output": Out(1),
                "takes": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # What goes with a word that is on its way.
        most = words_waiting(self.stages)
        m.submodules.queue = queue = SyncFIFOBuffered(width=self._rest.size, depth=most)
        held = Signal(COMMAND, reset_less=True)
        starts = Signal()
        asks = Signal()
        all_asked = Signal()
        # Words are asked for while this is set.
        asking = Signal()
        asked = data.View(self._rest, queue.w_data)
        m.d.comb += [
            self.command.ready.eq(~self.busy),
            starts.eq(self.command.valid & self.command.ready),
            self.read.address.valid.eq(asking & credits(m, asks, self.takes, most)),
            asks.eq(self.read.address.valid & self.read.address.ready),
            queue.w_en.eq(asks),
        ]
        with m.If(starts):
            m.d.sync += [held.eq(self.command.payload), asking.eq(1), self.busy.eq(1)]
        with m.If(asks & all_asked):
            m.d.sync += asking.eq(0)
        with m.If(self.done_stb):
            m.d.sync += self.busy.eq(0)
        self._walk(m, held, starts, asks, all_asked, asked)
        self._send(m, queue)
        return m

    def _walk(
        self,
        m: Module,
        held: data.View,
        starts: Signal,
        asks: Signal,
        all_asked: Signal,
        asked: data.View,
    ) -> None:
        """The loops: each asked word moves them on."""
        operand, begin = operands("GEMM", held), operands("GEMM", self.command.payload)
        tile_base = Signal(WORD_ADDRESS_WIDTH, reset_less=True)
        pass_base = Signal(WORD_ADDRESS_WIDTH, reset_less=True)
        next_tile = Signal(WORD_ADDRESS_WIDTH)
        bank = Signal()
        last = Signal()
        retire = Signal()
        # Innermost first; all are 0 again when the last word is asked for.
        loops = "tokens", "activation_digits", "tiles", "weight_digits", "groups"
        count, ends = {}, {}
        turns = asks
        for name in loops:
            count[name] = Signal(len(operand[name]), name=name)
            ends[name] = Signal(name=f"{name}_end")
            after = Signal(len(operand[name]) + 1, name=f"{name}_after")
            # Whether it is the last turn is known before it begins: the loops' ends are a chain.
            m.d.comb += after.eq(count[name] + 1)
            with m.If(turns):
                m.d.sync += [count[name].eq(after), ends[name].eq(after + 1 == operand[name])]
                with m.If(ends[name]):
                    m.d.sync += [count[name].eq(0), ends[name].eq(operand[name] == 1)]
            with m.If(starts):
                m.d.sync += ends[name].eq(begin[name] == 1)
            turns = turns & ends[name]
        m.d.comb += [
            all_asked.eq(turns),
            self.read.address.payload.eq(pass_base + count["tokens"]),
            next_tile.eq(tile_base + operand.stride),
        ]
        with m.If(asks & ends["tokens"]):
            with m.If(~ends["activation_digits"]):
                m.d.sync += pass_base.eq(pass_base + operand.digit_stride)
            with m.Elif(~ends["tiles"]):
                m.d.sync += [pass_base.eq(next_tile), tile_base.eq(next_tile)]
            with m.Else():
                m.d.sync += [pass_base.eq(operand.base), tile_base.eq(operand.base)]
        with m.If(starts):
            m.d.sync += [pass_base.eq(begin.base), tile_base.eq(begin.base)]
        digit = count["activation_digits"]
        m.d.comb += [
            asked.first.eq((digit == 0) & (count["tokens"] == 0)),
            asked.start.eq(
                (digit == 0) & (count["tiles"] == 0) & (count["weight_digits"] == 0),
            ),
            last.eq(ends["activation_digits"] & ends["tiles"] & ends["weight_digits"]),
            retire.eq(last & ends["tokens"] & (ends["groups"] | ~operand.shared)),
            asked.last.eq(last),
            asked.activation_digit.eq(digit),
            asked.weight_digit.eq(count["weight_digits"]),
            asked.address.eq(count["tokens"]),
            asked.group.eq(bank),
            asked.tag.eq(retire),
            asked.final.eq(all_asked),
        ]
        with m.If(asks & retire):
            m.d.sync += bank.eq(~bank)

    def _send(self, m: Module, queue: SyncFIFOBuffered) -> None:
        """Words as they come, with what was noted when they were asked for."""
        vector, word = self.vectors, self.read.word
        rest = data.View(self._rest, queue.r_data)
        waits = Signal()
        m.d.comb += [
            vector.valid.eq(word.valid & queue.r_rdy),
            vector.p.codes.eq(word.payload),
            *(vector.p[name].eq(rest[name]) for name, _ in self._rest if name != "final"),
            word.ready.eq(vector.ready & queue.r_rdy),
            queue.r_en.eq(self.takes),
            self.takes.eq(vector.valid & vector.ready),
            self.done_stb.eq(self.takes & rest.final),
            self.stall.eq(self.busy & ~self.takes),
            self.waits_activations.eq(self.busy & ~vector.valid),
            waits.eq(vector.valid & ~vector.ready),
            self.waits_weights.eq(waits & rest.first & ~self.weights_ready),
            self.waits_output.eq(waits & ~self.waits_weights),
        ]
