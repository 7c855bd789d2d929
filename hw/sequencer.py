"""The sequencer: reads the program, checks its commands, and gives each to its unit in time."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC16_XMODEM
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..config import AcceleratorConfig
from ..csr import ErrorCause
from ..isa import (
    ADDRESS_WIDTH,
    BY_NAME,
    CHECK_START,
    CHECK_WIDTH,
    COMMAND_BYTES,
    COUNT_WIDTH,
    INSTRUCTIONS,
    NO_UNIT,
    OPCODE_WIDTH,
    OPERANDS_BIT,
    Unit,
)
from ..latency import COMMAND_QUEUE, PIECE_BYTES, PIECES_AHEAD
from .axi import Axi4Read, check_addr_width
from .axi_bursts import CAUSE_WIDTH
from .checks import check_integer
from .command_checks import WAITS_LAYOUT, illegal
from .commands import COMMAND
from .read_dma import ReadDma

PIECE_COMMANDS = PIECE_BYTES // COMMAND_BYTES
"""Of a piece of the program; pieces begin at multiples of their size and so cross no 4 KiB
boundary."""
CAUSE_BITS = 8


class Sequencer(wiring.Component):
    """Reads commands from `base` on, refuses those that are not legal, and dispatches the others.

    Each command goes, in program order, into the queue of its unit, and from there to the unit
    once both its waits are over. What is refused ends the reading: nothing after it is dispatched,
    but what was before it is. So does a read that fails. From there, and from the end of the
    program, only a reset leads to another run.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes that operands are held to, `bus_width`, and `program_crc`.
    addr_width : int
        Bits of a byte address, 32 to 64.
    depth : int
        Commands that the queue of each unit holds, 1 to 64.

    Members
    -------
    run : In(1)
        Reading begins when it is high; afterwards it does not matter.
    base : In(addr_width)
        Byte address of the first command, a multiple of 4096; read when reading begins.
    m_axi : Out(Axi4Read)
        Read channels. Pieces of 256 bytes are read, so that at most 512 bytes beyond END are.
        `rready` is high whenever a beat is owed.
    fetch, patchify, weights, gemm, store, layernorm, attention : Out(stream)
        Commands of each `Unit`: a `COMMAND`. Operands that no instruction of the unit has are 0.
    done_stb : In(7)
        A bit per unit, by number: it has finished a command.
    unit_busy : In(7)
        A bit per unit: a command is at work.
    finished : Out(1)
        END has been reached, every command before it has finished, and no read is owed.
    fault_stb : Out(1)
        A command is not legal; high for one cycle, with `cause` and `address`.
    cause : Out(8)
        `BAD_OPCODE`, `BAD_OPERAND`, or, before these, `BAD_CRC`.
    address : Out(addr_width)
        Byte address of that command.
    dma_cause : Out(3)
        The `Cause` of a failed read, a level.
    dma_address : Out(addr_width)
        Byte address of the beat that failed.

    Latency: queues are looked at in turn, each every 7 cycles. A command without waits is offered
    8 to 14 cycles after its last beat was read, and one whose wait ends 2 to 8 cycles after the
    `done_stb`; a wait can end, and its command be granted, while the unit still works.
    Throughput: one command per 256 / bus_width + 2 cycles, and per unit one per 7 cycles.

    Raises
    ------
    TypeError, ValueError
        `config` is not an `AcceleratorConfig`, or another parameter is not an integer in its range.

    Source: `docs/isa.md`; `docs/accelerator.md`, Commands.
    """

    LATENCY = 8
    """Cycles from a command's last beat on R to its offer, at least; 6 more at most."""

    FIRST_COUNT = 0
    """What a unit's finished commands are counted from; a test begins shortly before the wrap."""

    def __init__(
        self,
        *,
        config: AcceleratorConfig,
        addr_width: int = ADDRESS_WIDTH,
        depth: int = COMMAND_QUEUE,
    ) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self.addr_width = check_addr_width(addr_width)
        self.depth = check_integer("depth", depth, 1, 64)
        bus = Axi4Read(addr_width=addr_width, data_width=config.bus_width)
        commands = {unit.name.lower(): Out(stream.Signature(COMMAND)) for unit in Unit}
        super().__init__(
            {
                "run": In(1),
                "base": In(addr_width),
                "m_axi": Out(bus),
                **commands,
                "done_stb": In(len(Unit)),
                "unit_busy": In(len(Unit)),
                "finished": Out(1),
                "fault_stb": Out(1),
                "cause": Out(CAUSE_BITS),
                "address": Out(addr_width),
                "dma_cause": Out(CAUSE_WIDTH),
                "dma_address": Out(addr_width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._running = Signal()
        self._passed = Signal()
        self._word = Signal(8 * COMMAND_BYTES, reset_less=True)
        queues = {unit: self._queue(m, unit) for unit in Unit}
        at_work = self._grant(m, queues)
        beats, reading = self._read(m)
        ended = self._dispatch(m, beats, queues)
        waiting = Cat(queue.r_rdy for queue in queues.values())
        m.d.sync += self.finished.eq(
            ended & ~reading & ~waiting.any() & ~at_work.any() & ~self.unit_busy.any()
        )
        return m

    def _read(self, m: Module) -> tuple[SyncFIFOBuffered, Value]:
        """Pieces of the program to a queue of beats, and whether a read is under way."""
        width = self.config.bus_width
        piece_beats = PIECE_BYTES // (width // 8)
        m.submodules.dma = dma = ReadDma(
            addr_width=self.addr_width,
            data_width=width,
            beats_width=piece_beats.bit_length(),
        )
        m.submodules.beats = beats = SyncFIFOBuffered(
            width=width, depth=PIECES_AHEAD * piece_beats + 1
        )
        wiring.connect(m, dma.m_axi, wiring.flipped(self.m_axi))
        offset = PIECE_BYTES.bit_length() - 1
        at = Signal(self.addr_width - offset)
        most = PIECES_AHEAD * PIECE_COMMANDS
        # Asked for and not yet passed on: what is asked for always has room, so that the bus never
        # waits for a unit.
        owed = Signal(range(most + 1))
        begun = Signal()
        asked = Signal()
        m.d.comb += [
            dma.command.valid.eq(self._running & (owed <= most - PIECE_COMMANDS)),
            dma.command.p.address.eq(Cat(Const(0, offset), at)),
            dma.command.p.beats.eq(piece_beats),
            asked.eq(dma.command.valid & dma.command.ready),
            dma.o.ready.eq(1),
            beats.w_data.eq(dma.o.p.data.as_value()),
            # A failed beat holds nothing.
            beats.w_en.eq(dma.o.valid & ~dma.o.p.error),
            self.dma_cause.eq(dma.cause),
            self.dma_address.eq(dma.address),
            # Of the first command that has not been passed on.
            self.address.eq(Cat(Const(0, offset), at) - owed * COMMAND_BYTES),
        ]
        m.d.sync += owed.eq(owed + Mux(asked, PIECE_COMMANDS, 0) - self._passed)
        with m.If(asked):
            m.d.sync += at.eq(at + 1)
        with m.If(self.run & ~begun):
            m.d.sync += [begun.eq(1), self._running.eq(1), at.eq(self.base[offset:])]
        return beats, dma.busy

    def _dispatch(self, m: Module, beats: SyncFIFOBuffered, queues: dict[Unit, SyncFIFO]) -> Signal:
        """Beats to commands, and these to the queues; return whether END has been reached."""
        width = self.config.bus_width
        word = self._word
        place = Signal(range(8 * COMMAND_BYTES // width))
        full = Signal()
        checked = Signal()
        known = Signal()
        sound = Signal()
        ends = Signal()
        room = Signal()
        ended = Signal()
        stopped = Signal()
        mine = Signal(len(Unit))
        opcode = word[:OPCODE_WIDTH]
        units = [[opcode == i.opcode for i in INSTRUCTIONS if i.unit is unit] for unit in Unit]
        last = place == 8 * COMMAND_BYTES // width - 1
        intact = self._intact(m, beats, place == 0, last)
        wrong = illegal(word, self.config)
        found = Signal(len(wrong))
        m.d.comb += [
            beats.r_en.eq(~full & ~stopped),
            sound.eq(checked & intact & known & ~found.any()),
            room.eq((mine & Cat(queue.w_rdy for queue in queues.values())).any()),
            self._passed.eq(sound & room),
            self.fault_stb.eq(checked & ~sound),
        ]
        m.d.comb += [queue.w_en.eq(self._passed & mine[unit]) for unit, queue in queues.items()]
        with m.If(beats.r_en & beats.r_rdy):
            m.d.sync += [
                word.eq(Cat(word[width:], beats.r_data)),
                place.eq(Mux(last, 0, place + 1)),
                full.eq(last),
            ]
        # Of a full word; what is found is put together in the cycle after, so that neither is long.
        m.d.sync += [
            known.eq(Cat(opcode == i.opcode for i in INSTRUCTIONS).any()),
            ends.eq(opcode == BY_NAME["END"].opcode),
            mine.eq(Cat(Cat(unit).any() for unit in units)),
            found.eq(wrong),
            checked.eq(full),
        ]
        with m.If(self._passed | self.fault_stb | (sound & ends)):
            m.d.sync += [full.eq(0), checked.eq(0)]
        with m.If(self.fault_stb | (sound & ends)):
            m.d.sync += [stopped.eq(1), self._running.eq(0), ended.eq(sound)]
        illegal_cause = Mux(known, ErrorCause.BAD_OPERAND, ErrorCause.BAD_OPCODE)
        m.d.comb += self.cause.eq(Mux(intact, illegal_cause, ErrorCause.BAD_CRC))
        return ended

    def _intact(self, m: Module, beats: SyncFIFOBuffered, first: Value, last: Value) -> Value:
        """Whether the check of a full word is right: a register, in the cycle after."""
        if not self.config.program_crc:
            return Const(1)
        width = self.config.bus_width
        m.submodules.crc = crc = CRC16_XMODEM(data_width=width).create()
        before = Signal(CHECK_WIDTH, init=CHECK_START)
        intact = Signal()
        m.d.comb += [
            crc.valid.eq(beats.r_en & beats.r_rdy),
            # With its check behind it a command leaves a CRC of 0, and that of the commands before
            # is as good as in its first bytes. The first byte is the highest.
            crc.data.eq(Cat(reversed(_bytes(beats.r_data ^ Mux(first, before, 0))))),
        ]
        with m.If(crc.valid & last):
            m.d.sync += before.eq(beats.r_data[-CHECK_WIDTH:])
        m.d.sync += intact.eq(crc.match_detected)
        return intact

    def _queue(self, m: Module, unit: Unit) -> SyncFIFO:
        """Waits, the opcode where it says something, and as many operand bits as the unit has."""
        instructions = [i for i in INSTRUCTIONS if i.unit is unit]
        ends = [bit + operand.width for i in instructions for bit, operand in i.places.values()]
        operands = self._word[OPERANDS_BIT : max(ends)]
        waits = self._word[OPCODE_WIDTH:][: WAITS_LAYOUT.size]
        opcode = self._word[:OPCODE_WIDTH] if len(instructions) > 1 else Cat()
        entry = Cat(waits, opcode, operands)
        queue = SyncFIFO(width=len(entry), depth=self.depth)
        m.submodules[f"{unit.name.lower()}_queue"] = queue
        payload = getattr(self, unit.name.lower()).payload
        head = queue.r_data[WAITS_LAYOUT.size :]
        m.d.comb += [
            queue.w_data.eq(entry),
            payload.opcode.eq(head[: len(opcode)] if len(opcode) else instructions[0].opcode),
            payload.operands.eq(head[len(opcode) :]),
        ]
        return queue

    def _grant(self, m: Module, queues: dict[Unit, SyncFIFO]) -> Signal:
        """Offer heads whose waits are over, each seen in its turn; return which units work."""
        # The number, from 1 on, of the command that each unit finishes next: one more than it has
        # finished, so that the comparison below has its carry free.
        counts = [
            Signal(COUNT_WIDTH, name=f"next_{unit.name.lower()}", init=self.FIRST_COUNT + 1)
            for unit in Unit
        ]
        granted = Signal(len(Unit))
        at_work = Signal(len(Unit))
        leaves = Signal(len(Unit))
        for unit, queue in queues.items():
            command = getattr(self, unit.name.lower())
            m.d.comb += [
                command.valid.eq(granted[unit]),
                leaves[unit].eq(command.valid & command.ready),
                queue.r_en.eq(leaves[unit]),
            ]
            m.d.sync += counts[unit].eq(counts[unit] + self.done_stb[unit])
        waiting = Cat(queue.r_rdy for queue in queues.values())
        turn = Signal(len(Unit), init=1)
        seen = Signal(len(Unit))
        heads = [queue.r_data[: WAITS_LAYOUT.size] for queue in queues.values()]
        waits = data.View(WAITS_LAYOUT, _pick(turn, heads))
        over = []
        for number, wait in enumerate(waits):
            count, least = (
                Signal(COUNT_WIDTH, name=f"{name}_{number}", reset_less=True)
                for name in ("next", "least")
            )
            done = Signal(name=f"done_{number}", reset_less=True)
            units = [wait.unit == unit for unit in (*Unit, NO_UNIT)]
            m.d.sync += [
                # Who waits for no unit has the count 0, which is over from the beginning.
                count.eq(_pick(units, [*counts, Const(1, COUNT_WIDTH)])),
                done.eq(_pick(units, [*self.done_stb, Const(0, 1)])),
                least.eq(wait.count),
            ]
            # Finished less waited for; what is done in the cycle of the look is the carry.
            ahead = (Cat(1, count) + Cat(done, ~least))[1 : 1 + COUNT_WIDTH]
            over.append(~ahead[-1])
        m.d.sync += [
            turn.eq(turn.rotate_left(1)),
            # A head that is not granted stays, so it is still there in the next cycle.
            seen.eq(turn & waiting & ~granted),
            granted.eq((granted & ~leaves) | Mux(Cat(over).all(), seen, 0)),
            at_work.eq((at_work & ~self.done_stb) | leaves),
        ]
        return at_work


def _bytes(value: Value) -> list[Value]:
    return [value[bit : bit + 8] for bit in range(0, len(value), 8)]


def _pick(chosen: Iterable[Value], values: Iterable[Value]) -> Value:
    """The value whose bit of `chosen` is 1; at most one is."""
    masked = (bit.replicate(len(value)) & value for bit, value in zip(chosen, values, strict=True))
    return reduce(or_, masked)
