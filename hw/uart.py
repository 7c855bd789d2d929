"""A serial line, 8N1: bytes to bits and back, at any baud rate that the clock can tell apart."""

from fractions import Fraction
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .checks import check_integer

HERTZ_MAX = 1 << 30
CYCLES_MIN = 6
"""Fewest cycles of a bit: a sample is up to two cycles late, and half a bit is all there is."""
DATA_BITS = 8


def check_rates(clock: Any, baud: Any) -> Fraction:
    """Cycles of a bit.

    Parameters: `clock` and `baud`, Hz and bits per second.
    Raises: TypeError, ValueError where one is no integer in 1 to 2^30, or a bit is too short.
    """
    check_integer("clock", clock, 1, HERTZ_MAX)
    check_integer("baud", baud, 1, HERTZ_MAX)
    cycles = Fraction(clock, baud)
    if cycles < CYCLES_MIN:
        raise ValueError(f"baud must be at most {clock // CYCLES_MIN} at {clock} Hz, not {baud}")
    return cycles


class _BitClock:
    """Marks the end of each bit: exact on average, each bit off by less than a cycle."""

    def __init__(self, m: Module, cycles: Fraction) -> None:
        self._period, self._step = cycles.as_integer_ratio()
        self.half = self._period // 2
        self.phase = Signal(range(self._period))
        self.tick = Signal()
        self._next = Signal(range(self._period + self._step))
        m.d.comb += [
            self._next.eq(self.phase + self._step),
            self.tick.eq(self._next >= self._period),
        ]

    def run(self, m: Module) -> None:
        """Count in this cycle."""
        with m.If(self.tick):
            # The phase was less than a period, so this is less than a step.
            rest = (self._step - 1).bit_length()
            m.d.sync += self.phase.eq((self._next - self._period)[:rest])
        with m.Else():
            m.d.sync += self.phase.eq(self._next)


class UartReceiver(wiring.Component):
    """Bits to bytes.

    Parameters
    ----------
    clock, baud : int
        Hz and bits per second; `clock` at least 6 * `baud`. The sender's rate may be off by
        (0.5 - 2 * baud / clock) / 10 of it.

    Members
    -------
    rx : In(1)
        The line, asynchronous; 1 when idle.
    o : Out(stream of 8 bits, always ready)
        A byte, for the one cycle in which the middle of its stop bit was seen.
    fault_stb : Out(1)
        High for one cycle where a stop bit was 0: the byte is dropped, and the line must be 1
        before the next one begins.

    Latency: 3 cycles from the middle of the stop bit to the byte.
    Throughput: bytes without a pause.

    Raises
    ------
    TypeError, ValueError
        A rate is not an integer in its range.
    """

    def __init__(self, *, clock: int, baud: int) -> None:
        self.cycles = check_rates(clock, baud)
        self.clock, self.baud = clock, baud
        super().__init__(
            {
                "rx": In(1, init=1),
                "o": Out(stream.Signature(DATA_BITS, always_ready=True)),
                "fault_stb": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line = Signal(init=1)
        ticks = _BitClock(m, self.cycles)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        byte = Signal(DATA_BITS)
        count = Signal(range(DATA_BITS))
        m.d.comb += self.o.payload.eq(byte)
        m.d.sync += [self.o.valid.eq(0), self.fault_stb.eq(0)]
        ticks.run(m)
        with m.FSM():
            with m.State("IDLE"), m.If(~line):
                # The first sample is half a bit from here.
                m.d.sync += ticks.phase.eq(ticks.half)
                m.next = "START"
            with m.State("START"), m.If(ticks.tick):
                # A start that is over before its middle was a glitch.
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "DATA"
            with m.State("DATA"), m.If(ticks.tick):
                m.d.sync += [byte.eq(Cat(byte[1:], line)), count.eq(count + 1)]
                with m.If(count == DATA_BITS - 1):
                    m.next = "STOP"
            with m.State("STOP"), m.If(ticks.tick):
                m.d.sync += [self.o.valid.eq(line), self.fault_stb.eq(~line)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to bits.

    Parameters
    ----------
    clock, baud : int
        Hz and bits per second; `clock` at least 6 * `baud`.

    Members
    -------
    i : In(stream of 8 bits)
        Bytes; one is taken when the line is idle or the stop bit before it ends.
    tx : Out(1)
        The line, from a register; 1 when idle.

    Latency: 1 cycle from a byte to its start bit.
    Throughput: one byte in 10 bits, without a pause between them.

    Raises
    ------
    TypeError, ValueError
        A rate is not an integer in its range.
    """

    def __init__(self, *, clock: int, baud: int) -> None:
        self.cycles = check_rates(clock, baud)
        self.clock, self.baud = clock, baud
        super().__init__({"i": In(stream.Signature(DATA_BITS)), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        frame = DATA_BITS + 2
        bits = Signal(frame, init=(1 << frame) - 1)
        left = Signal(range(frame + 1))
        busy = Signal()
        ticks = _BitClock(m, self.cycles)
        m.d.comb += [
            self.tx.eq(bits[0]),
            busy.eq(left != 0),
            self.i.ready.eq(~busy | (ticks.tick & (left == 1))),
        ]
        with m.If(busy):
            ticks.run(m)
            with m.If(ticks.tick):
                m.d.sync += [bits.eq(Cat(bits[1:], Const(1))), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))), left.eq(frame)]
            with m.If(~busy):
                m.d.sync += ticks.phase.eq(0)
        return m
