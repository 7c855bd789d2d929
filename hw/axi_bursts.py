"""Commands cut into AXI bursts, and why a data mover stopped."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import LEN_WIDTH, MAX_BURST, PAGE, Resp, check_addr_width, check_data_width
from .checks import check_integer

CAUSE_WIDTH = 3


class Cause(IntEnum):
    """Why a data mover failed; the bus errors have the codes of their responses."""

    NONE = 0
    HALTED = 1
    SLVERR = Resp.SLVERR
    DECERR = Resp.DECERR
    UNALIGNED = 4
    EMPTY = 5


def command_fields(addr_width: int, data_width: int, beats_width: int) -> dict[str, int]:
    """Fields that every command begins with, after a check of the three parameters."""
    check_addr_width(addr_width)
    check_data_width(data_width)
    check_integer("beats_width", beats_width, 1, 32)
    return {"address": addr_width, "beats": beats_width}


def fault(command: Any, data_width: int) -> Any:
    """Return the `Cause` that a command carries in itself: unaligned, empty or none."""
    unaligned = command.address[: offset_width(data_width)].any()
    aligned = Mux(unaligned, Cause.UNALIGNED, Cause.NONE)
    # First, as a command of no beats takes none, wherever it points.
    return Mux(command.beats == 0, Cause.EMPTY, aligned)


def final_beat(command: Any) -> Any:
    """Return the place of a command's last beat, from 0; also 0 for a command of no beats."""
    return Mux(command.beats == 0, 0, command.beats - 1)


def offset_width(data_width: int) -> int:
    """Bits of an address that select a byte of a beat."""
    return (data_width // 8).bit_length() - 1


class BurstSplitter(wiring.Component):
    """Cuts each command into bursts that are no longer than `burst` and cross no 4 KiB boundary.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    burst : int
        Most beats of a burst, 1 to 256.
    beats_width : int
        Bits of a command's number of beats, 1 to 32.
    carry : shape-like
        Of what goes with a command to each of its bursts.

    Members
    -------
    i : In(stream)
        Struct of `address` (bytes, aligned to a beat), `beats` and `carry`. A command of no beats
        gives one burst, whose `len` means nothing; an unaligned one gives as many as if aligned.
    drop : In(1)
        Forgets the command at work; while it is 1 none is taken over.
    o : Out(stream)
        Struct of `address`, `len` (8 bits, beats less one), `last` (of its command), `fault` (the
        command's) and `carry`.

    Latency: 1 cycle.
    Throughput: one burst per cycle, from one command to the next without a pause.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.

    Source: ARM IHI 0022, section A3.4.1, address structure.
    """

    def __init__(
        self, *, addr_width: int, data_width: int, burst: int, beats_width: int, carry: Any
    ) -> None:
        fields = command_fields(addr_width, data_width, beats_width)
        self.addr_width, self.data_width, self.beats_width = addr_width, data_width, beats_width
        self.burst = check_integer("burst", burst, 1, MAX_BURST)
        self.carry = carry
        pieces = {"address": addr_width, "len": LEN_WIDTH, "last": 1, "fault": CAUSE_WIDTH}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(fields | {"carry": carry}))),
                "drop": In(1),
                "o": Out(stream.Signature(data.StructLayout(pieces | {"carry": carry}))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        offset = offset_width(self.data_width)
        page_beats = PAGE >> offset
        # All numbers of beats are less one: so what a page has left is the place in it inverted.
        kept = {"address": self.addr_width, "final": self.beats_width, "fault": CAUSE_WIDTH}
        command = Signal(data.StructLayout(kept | {"carry": self.carry}), reset_less=True)
        valid = Signal()
        place = command.address[offset:]
        page_left = Signal(range(page_beats))
        # The longest burst that may start here.
        limit = Signal(range(self.burst))
        piece = self.o.payload
        m.d.comb += [
            page_left.eq(~place),
            limit.eq(Mux(_below(page_left, self.burst), page_left, self.burst - 1)),
            self.o.valid.eq(valid),
            piece.address.eq(command.address),
            # No burst is longer than a page, so the upper bits count in one comparison alone.
            piece.last.eq(
                _below(command.final, self.burst) & (command.final[: len(page_left)] <= page_left)
            ),
            piece.len.eq(Mux(piece.last, command.final, limit)),
            piece.fault.eq(command.fault),
            piece.carry.eq(command.carry),
            self.i.ready.eq(self.drop | ~valid | (self.o.ready & piece.last)),
        ]
        with m.If(self.o.ready):
            # A bit below both operands makes the carry, or the borrow, for the burst's last beat.
            m.d.sync += [
                place.eq((Cat(C(1, 1), place) + Cat(C(1, 1), limit))[1:]),
                command.final.eq((Cat(C(0, 1), command.final) - Cat(C(1, 1), limit))[1:]),
            ]
        with m.If(self.i.ready):
            given = self.i.payload
            m.d.sync += [
                valid.eq(self.i.valid & ~self.drop),
                command.address.eq(given.address),
                command.final.eq(final_beat(given)),
                # Neither the offset in a beat nor being empty changes on the way.
                command.fault.eq(fault(given, self.data_width)),
                command.carry.eq(given.carry),
            ]
        return m


def _below(value: Value, bound: int) -> Value:
    """Return whether it is less; where the bound is a power of two that is in the upper bits."""
    width = (bound - 1).bit_length()
    below = ~value[width:].any()
    return below if bound == 1 << width else below & (value[:width] < bound)
