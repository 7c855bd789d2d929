"""The logits of an inference, from the outputs of the array to memory."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ARRAY_MAX
from ..formats import ACCUMULATOR_WIDTH
from .axi_bursts import command_fields, offset_width
from .checks import check_integer
from .credit_queue import CreditQueue
from .gearbox import Gearbox

BYTES_WIDTH = 24


class LogitWriter(wiring.Component):
    """Packs values of 32 bits, little endian, into the beats of one command of a `WriteDma`.

    Parameters
    ----------
    lanes : int
        Values of a beat of `i`, 1 to 256.
    bus_width : int
        Bits of a beat of the bus: 32, 64 or 128.
    addr_width : int
        Bits of a byte address, 32 to 64.

    Members
    -------
    command : In(stream)
        Struct of `address` (of the first byte, bus aligned) and `bytes` (1 or more), how many to
        write, no more than `i` brings. Taken while nothing is at work.
    i : In(stream)
        Array of `lanes` signed 32-bit values; those beyond `bytes` are dropped.
    ended : In(1)
        From the cycle behind the last beat of `i` until `done_stb`: what lacks of the last beat of
        the bus is filled with noise, and a beat of `i` is of the next command, and waits.
    write_command : Out(stream)
        As `WriteDma.command`.
    write_data : Out(stream)
        As `WriteDma.i`.
    write_done : In(stream)
        As `WriteDma.done`; an error ends the command like a success.
    done_stb : Out(1)
        The memory has answered, and `ended` is there.

    Latency: 1 cycle from a command to `write_command`, 1 from `i` to `write_data`, 1 from
    `write_done` to `done_stb`.
    Throughput: one beat per cycle on the side with the smaller beats.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range.

    Source: `docs/accelerator.md`, store.
    """

    def __init__(self, *, lanes: int, bus_width: int, addr_width: int) -> None:
        request = command_fields(addr_width, bus_width, BYTES_WIDTH)
        request |= {"last_bytes": offset_width(bus_width), "tag": 1}
        done = data.StructLayout({"tag": 1, "error": 1})
        self.lanes = check_integer("lanes", lanes, 1, ARRAY_MAX)
        self.bus_width, self.addr_width = bus_width, addr_width
        command = data.StructLayout({"address": addr_width, "bytes": BYTES_WIDTH})
        values = data.ArrayLayout(signed(ACCUMULATOR_WIDTH), lanes)
        super().__init__(
            {
                "command": In(stream.Signature(command)),
                "i": In(stream.Signature(values)),
                "ended": In(1),
                "write_command": Out(stream.Signature(data.StructLayout(request))),
                "write_data": Out(stream.Signature(data.ArrayLayout(8, bus_width // 8))),
                "write_done": In(stream.Signature(done)),
                "done_stb": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = self.bus_width // 8
        m.submodules.bytes = packer = Gearbox(
            in_bytes=self.lanes * ACCUMULATOR_WIDTH // 8, out_bytes=size
        )
        # Whether the bus takes a word is no matter here within the cycle.
        m.submodules.words = words = CreditQueue(self.write_data.payload.shape(), depth=2)
        active = Signal()
        asked = Signal()
        answered = Signal()
        # Whether no beat is owed is a register, since who takes an output depends on it.
        owed = Signal(BYTES_WIDTH)
        none = Signal(init=1)
        order, request = self.command.payload, self.write_command.payload
        beats = Signal(BYTES_WIDTH)
        m.d.comb += [
            self.command.ready.eq(~active),
            beats.eq((order.bytes + size - 1) >> offset_width(self.bus_width)),
            self.write_command.valid.eq(active & ~asked),
            self.write_done.ready.eq(active & ~answered),
            self.done_stb.eq(active & answered & self.ended),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [
                active.eq(1),
                asked.eq(0),
                answered.eq(0),
                owed.eq(beats),
                none.eq(beats == 0),
                request.address.eq(order.address),
                request.beats.eq(beats),
                request.last_bytes.eq(order.bytes),
            ]
        with m.If(self.write_command.valid & self.write_command.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.write_done.valid & self.write_done.ready):
            m.d.sync += answered.eq(1)
        with m.If(self.done_stb):
            m.d.sync += active.eq(0)

        m.d.comb += [
            packer.clear_stb.eq(self.done_stb),
            packer.i.valid.eq(active & (self.i.valid | self.ended)),
            self.i.ready.eq(active & ~self.ended & packer.i.ready),
            packer.i.payload.as_value().eq(self.i.payload.as_value()),
            # What is not owed is dropped.
            packer.o.ready.eq(words.room | none),
            words.taken_stb.eq(packer.o.valid & words.room & ~none),
            words.i.valid.eq(words.taken_stb),
            words.i.payload.eq(packer.o.payload),
        ]
        connect(m, words.o, flipped(self.write_data))
        with m.If(words.taken_stb):
            m.d.sync += [owed.eq(owed - 1), none.eq(owed == 1)]
        return m
