"""The state of a run: from start bit to interrupt, and how a run that goes wrong is stopped."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..csr import ErrorCause
from ..isa import ADDRESS_WIDTH, WORD_ADDRESS_WIDTH
from ..latency import RESET_CYCLES, START_TO_RUN
from .axi import PAGE, check_addr_width
from .axi_bursts import CAUSE_WIDTH, Cause
from .checks import check_integer, check_switch

ENTRY_WIDTH, WATCHDOG_WIDTH, CAUSE_BITS = 64, 32, 8
_SHARED = {Cause.UNALIGNED: ErrorCause.BAD_ADDRESS, Cause.EMPTY: ErrorCause.BAD_OPERAND}
READ_CAUSES = _SHARED | {
    Cause.SLVERR: ErrorCause.READ_SLVERR,
    Cause.DECERR: ErrorCause.READ_DECERR,
}
WRITE_CAUSES = _SHARED | {
    Cause.SLVERR: ErrorCause.WRITE_SLVERR,
    Cause.DECERR: ErrorCause.WRITE_DECERR,
}
"""What a data mover's cause is for the user; HALTED follows from an error and is none."""


class RunController(wiring.Component):
    """Starts a run, watches it, and ends it: well, or at the first thing that goes wrong.

    A start resets the core and then lets the sequencer run. Once that has finished and the bus is
    idle, the run is done. At the first fault, or when nothing has moved for longer than the
    watchdog allows, `halt` rises; when the bus is idle the core is reset, and only then the run
    ends with its error, so that the next start finds nothing on its way. Should the bus be owed an
    answer that never comes, the error is told when the watchdog runs out once more; the run then
    stays busy, and halted, until the answer is there.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    reads, writes : int
        Reading and writing data movers, 1 to 8.
    buffers : int
        Buffers that fault, 1 to 8.
    parity : bool
        Whether they have parity.

    Members
    -------
    start_stb : In(1)
        Begins a run; ignored while one is on its way.
    entry : In(64)
        Byte address of the program, read at the start. One that is not a multiple of 4096, or has
        more than `addr_width` bits, is a BAD_ADDRESS, and nothing is run.
    watchdog : In(32)
        Cycles without progress that are allowed, 0 for any.
    finished : In(1)
        The program has ended well, a level.
    progress : In(1)
        Something has moved in this cycle.
    bus_idle : In(1)
        No read or write is on its way. Where it is 1 in a cycle of `halt`, it stays 1.
    fault : In(struct)
        Of the sequencer: `valid`, and with it `cause` (8 bits, an `ErrorCause`) and `address`.
    read_faults : In(array)
        `reads` structs of `cause` (3 bits, a `Cause`, a level) and `address`.
    write_faults : In(array)
        `writes` structs of the same.
    buffer_faults : In(array)
        `buffers` structs of `valid` and `address` (20 bits, of a word): BAD_ADDRESS.
    parity_faults : In(array)
        Only with `parity`: `buffers` structs of the same: BAD_PARITY.
    core_reset : Out(1)
        Resets all units, data movers included, from a register: two cycles before each run and
        after each that was stopped, and in the cycle after a reset.
    run : Out(1)
        The program is to be carried out: a level, from the cycle after `core_reset` until the run
        is done or stopped.
    halt : Out(1)
        No burst may be begun: a level, from the second cycle after the fault, in which `run` falls
        (from the cycle after the start where ENTRY is not legal), to the end of `core_reset`.
    base : Out(addr_width)
        Byte address of the program, constant during a run.
    status : Out(struct)
        `busy`, `done`, `error`: levels, as the register STATUS.
    error : Out(struct)
        `cause` (8 bits, an `ErrorCause`) and `address` (64 bits): levels, as the register ERROR.
        The watchdog's address is 0, a buffer's that of the word.
    interrupt_stb : Out(struct)
        `done`, `error`: one of them, for one cycle, at the end of each run.
    counting : Out(1)
        A run is on its way, from the cycle after the start to that of the interrupt.

    Of faults in one cycle the sequencer's is first, then reads, writes, addresses and parity of
    buffers, in order, and at last the watchdog. A fault in the cycle in which `finished` and
    `bus_idle` are both seen goes before the end. Those in cycles without `run`, or after the one
    that ends the run, are ignored.

    Latency: `run` rises 3 cycles after `start_stb`. The interrupt comes in the cycle after that in
    which `finished` and `bus_idle` are both seen, and after a fault, or an ENTRY that is not legal,
    3 cycles after `bus_idle` is seen with `halt`, or at once when the watchdog runs out before, or
    in the same cycle; `status` changes in the cycle after it.
    Throughput: one run at a time.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.

    Source: `docs/csr.md`; `docs/accelerator.md`.
    """

    LATENCY = START_TO_RUN

    def __init__(
        self,
        *,
        addr_width: int = ADDRESS_WIDTH,
        reads: int = 3,
        writes: int = 1,
        buffers: int = 2,
        parity: bool = False,
    ) -> None:
        self.addr_width = check_addr_width(addr_width)
        self.reads = check_integer("reads", reads, 1, 8)
        self.writes = check_integer("writes", writes, 1, 8)
        self.buffers = check_integer("buffers", buffers, 1, 8)
        self.parity = check_switch("parity", parity)
        command = {"valid": 1, "cause": CAUSE_BITS, "address": addr_width}
        mover = data.StructLayout({"cause": CAUSE_WIDTH, "address": addr_width})
        word = data.StructLayout({"valid": 1, "address": WORD_ADDRESS_WIDTH})
        status = {"busy": 1, "done": 1, "error": 1}
        super().__init__(
            {
                "start_stb": In(1),
                "entry": In(ENTRY_WIDTH),
                "watchdog": In(WATCHDOG_WIDTH),
                "finished": In(1),
                "progress": In(1),
                "bus_idle": In(1),
                "fault": In(data.StructLayout(command)),
                "read_faults": In(data.ArrayLayout(mover, reads)),
                "write_faults": In(data.ArrayLayout(mover, writes)),
                "buffer_faults": In(data.ArrayLayout(word, buffers)),
                **({"parity_faults": In(data.ArrayLayout(word, buffers))} if parity else {}),
                "core_reset": Out(1, init=1),
                "run": Out(1),
                "halt": Out(1),
                "base": Out(addr_width),
                "status": Out(data.StructLayout(status)),
                "error": Out(data.StructLayout({"cause": CAUSE_BITS, "address": ENTRY_WIDTH})),
                "interrupt_stb": Out(data.StructLayout({"done": 1, "error": 1})),
                "counting": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        status, error = self.status, self.error
        # A run on its way is in its reset (`clearing`), carried out (`run`) or stopped; what was
        # stopped is reset as well, still halted.
        clearing = Signal(RESET_CYCLES)
        stopped = Signal()
        told = Signal()
        begins = Signal()
        sound = Signal()
        over = Signal()
        faulty = Signal()
        ends = Signal()
        clears = Signal()
        # Paths from all units end in a register: what is told here was so in the cycle before.
        idle = Signal()
        expired = self._watch(m, self.run | stopped, faulty)
        m.d.comb += [
            begins.eq(self.start_stb & ~status.busy),
            sound.eq(
                ~self.entry[: PAGE.bit_length() - 1].any() & ~self.entry[self.addr_width :].any()
            ),
            clears.eq((begins & sound) | (stopped & idle & ~self.core_reset)),
            self.halt.eq(stopped),
            over.eq(self.run & idle & ~faulty),
            ends.eq(stopped & clearing[-1]),
            self.interrupt_stb.done.eq(over),
            self.interrupt_stb.error.eq(~told & (ends | (stopped & expired & ~idle))),
            self.counting.eq(status.busy & ~told),
        ]
        m.d.sync += [
            # Between a fault and the halt a burst may still be begun.
            idle.eq(self.bus_idle & Mux(self.run, self.finished & ~faulty, stopped)),
            clearing.eq(Cat(clears, clearing[:-1])),
            self.core_reset.eq(clears | clearing[:-1].any()),
        ]
        with m.If(begins):
            m.d.sync += [
                self.base.eq(self.entry),
                status.busy.eq(1),
                status.done.eq(0),
                status.error.eq(0),
                error.cause.eq(Mux(sound, ErrorCause.NONE, ErrorCause.BAD_ADDRESS)),
                error.address.eq(Mux(sound, 0, self.entry)),
                stopped.eq(~sound),
                told.eq(0),
            ]
        with m.If(clearing[-1] & ~stopped):
            m.d.sync += self.run.eq(1)
        with m.If(over):
            m.d.sync += [self.run.eq(0), status.busy.eq(0), status.done.eq(1)]
        cause, address = self._first_fault(m, expired)
        m.d.comb += faulty.eq(self.run & (cause != ErrorCause.NONE))
        with m.If(faulty):
            m.d.sync += [
                self.run.eq(0),
                stopped.eq(1),
                error.cause.eq(cause),
                error.address.eq(address),
            ]
        with m.If(self.interrupt_stb.error):
            m.d.sync += [status.error.eq(1), told.eq(1)]
        with m.If(ends):
            m.d.sync += [stopped.eq(0), status.busy.eq(0)]
        return m

    def _watch(self, m: Module, watching: Value, restart: Value) -> Signal:
        """Whether more cycles than allowed have passed without progress."""
        still = Signal(WATCHDOG_WIDTH)
        expired = Signal()
        m.d.comb += expired.eq(self.watchdog.any() & (still >= self.watchdog) & ~self.progress)
        with m.If(self.progress | ~watching | restart):
            m.d.sync += still.eq(0)
        with m.Else():
            m.d.sync += still.eq(still + 1)
        return expired

    def _first_fault(self, m: Module, expired: Value) -> tuple[Signal, Signal]:
        """Cause and address of what was wrong in the run's cycle before; NONE where nothing was."""
        cause = Signal(CAUSE_BITS)
        address = Signal(self.addr_width)
        found = [(self.fault.valid, self.fault.cause, self.fault.address)]
        for faults, causes in ((self.read_faults, READ_CAUSES), (self.write_faults, WRITE_CAUSES)):
            for fault in faults:
                what = reduce(
                    or_, (Mux(fault.cause == own, told, 0) for own, told in causes.items())
                )
                found.append((what.any(), what, fault.address))
        of_buffers = [(self.buffer_faults, ErrorCause.BAD_ADDRESS)]
        of_buffers += [(self.parity_faults, ErrorCause.BAD_PARITY)] if self.parity else []
        for faults, told in of_buffers:
            found += [(fault.valid, told, fault.address) for fault in faults]
        found.append((expired, ErrorCause.WATCHDOG, 0))
        m.d.sync += cause.eq(ErrorCause.NONE)
        for valid, what, where in reversed(found):
            with m.If(valid):
                m.d.sync += [cause.eq(what), address.eq(where)]
        # In the last cycle of the reset there may still be a fault of the run before.
        with m.If(~self.run):
            m.d.sync += cause.eq(ErrorCause.NONE)
        return cause, address
