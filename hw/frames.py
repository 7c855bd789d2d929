"""Frames of the host link in hardware: from and to bytes. `rootshift/host_link.py` says what a
frame is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC16_IBM_3740
from amaranth.lib.wiring import In, Out

from ..host_link import LENGTH_MAX, START, LinkFault
from .checks import check_integer

CRC_WIDTH = CRC16_IBM_3740.crc_width
LENGTH_WIDTH = LENGTH_MAX.bit_length()


class FrameReceiver(wiring.Component):
    """Requests out of bytes, checked; whatever is none is reported once the line is silent.

    Parameters
    ----------
    lengths : mapping
        Kind of request -> bytes of its payload.
    timeout : int
        Cycles without a byte after which the line counts as silent, 2 to 2^32 - 1.

    Members
    -------
    i : In(stream of 8 bits, always ready)
        Bytes of the line.
    fault_stb : In(1)
        A byte was lost on the line.
    hold : In(1)
        Bytes are lost while it is 1.
    kind : Out(8)
        Of the frame at work, from its first byte of payload to the next frame.
    payload : Out(stream of 8 bits, always ready)
        The payload as it comes, before it is known whether the frame is a good one.
    request_stb : Out(1)
        High for one cycle after the last byte of a good frame.
    error_stb : Out(1)
        High for one cycle, `timeout` cycles after the last byte of what is no frame.
    error : Out(8)
        With `error_stb` and until the next one, the `LinkFault`.

    Latency: 2 cycles from the last byte to `request_stb`, 1 from a byte to `payload`.
    Throughput: a byte in two cycles.

    Raises
    ------
    TypeError, ValueError
        A parameter is not of its kind or in its range.
    """

    def __init__(self, *, lengths: Mapping[int, int], timeout: int) -> None:
        for kind, length in lengths.items():
            check_integer("kind", kind, 0, 255)
            check_integer(f"length of kind {kind}", length, 0, LENGTH_MAX)
        self.lengths = dict(lengths)
        self.timeout = check_integer("timeout", timeout, 2, (1 << 32) - 1)
        byte = stream.Signature(8, always_ready=True)
        super().__init__(
            {
                "i": In(byte),
                "fault_stb": In(1),
                "hold": In(1),
                "kind": Out(8),
                "payload": Out(byte),
                "request_stb": Out(1),
                "error_stb": Out(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC16_IBM_3740(data_width=8).create()
        byte, taken = self.i.payload, self.i.valid & ~self.hold
        left = Signal(range(max(self.lengths.values()) + 1))
        low = Signal(8)
        silence = Signal(range(self.timeout))
        silent = Signal()
        m.d.comb += [silent.eq(silence == self.timeout - 1), crc.data.eq(byte)]
        m.d.sync += [self.payload.valid.eq(0), self.payload.payload.eq(byte)]
        with m.If(self.i.valid | self.fault_stb | self.hold):
            m.d.sync += silence.eq(0)
        with m.Elif(~silent):
            m.d.sync += silence.eq(silence + 1)

        def refuse(why: LinkFault) -> None:
            m.d.sync += self.error.eq(why)
            m.next = "REFUSED"

        @contextmanager
        def on_byte(state: str) -> Iterator[None]:
            with m.State(state):
                with m.If(self.fault_stb & ~self.hold):
                    refuse(LinkFault.BAD_BYTE)
                if state != "START":
                    with m.Elif(silent):
                        refuse(LinkFault.SILENCE)
                with m.Elif(taken):
                    m.d.comb += crc.valid.eq(state != "START")
                    yield

        with m.FSM() as states:
            with on_byte("START"):
                m.next = "KIND"
                with m.If(byte != START):
                    refuse(LinkFault.NO_START)
            with on_byte("KIND"):
                m.d.sync += self.kind.eq(byte)
                with m.Switch(byte):
                    with m.Case(*self.lengths):
                        m.next = "LOW"
                    with m.Default():
                        refuse(LinkFault.BAD_KIND)
            with on_byte("LOW"):
                m.d.sync += low.eq(byte)
                m.next = "HIGH"
            with on_byte("HIGH"):
                length = Cat(low, byte)
                m.d.sync += left.eq(length)
                refuse(LinkFault.BAD_LENGTH)
                with m.Switch(self.kind):
                    for kind, right in self.lengths.items():
                        with m.Case(kind), m.If(length == right):
                            m.next = "PAYLOAD" if right else "CRC"
            with on_byte("PAYLOAD"):
                m.d.sync += [self.payload.valid.eq(1), left.eq(left - 1)]
                with m.If(left == 1):
                    m.next = "CRC"
            with on_byte("CRC"):
                m.next = "CRC LOW"
            with on_byte("CRC LOW"):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "START"
                # The CRC of a message with its own CRC behind it is 0.
                with m.If(crc.crc == 0):
                    m.d.comb += self.request_stb.eq(1)
                with m.Else():
                    refuse(LinkFault.BAD_CRC)
            with m.State("REFUSED"), m.If(silent):
                m.d.comb += self.error_stb.eq(1)
                m.next = "START"
        m.d.comb += crc.start.eq(states.ongoing("START"))
        return m


class FrameSender(wiring.Component):
    """Answers to bytes.

    Members
    -------
    header : In(stream)
        Struct of `kind` and `length`, bytes of payload: begins a frame.
    payload : In(stream of 8 bits)
        As many bytes as the header says.
    o : Out(stream of 8 bits)
        The bytes of the frame.
    idle : Out(1)
        No frame is at work: the last byte has been taken.

    Latency: 1 cycle from the header to the first byte, none from the payload.
    Throughput: a byte per cycle.
    """

    def __init__(self) -> None:
        header = data.StructLayout({"kind": 8, "length": LENGTH_WIDTH})
        byte = stream.Signature(8)
        super().__init__(
            {
                "header": In(stream.Signature(header)),
                "payload": In(byte),
                "o": Out(byte),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC16_IBM_3740(data_width=8).create()
        header = Signal.like(self.header.payload)
        length = header.length
        out = self.o
        sent = Signal()
        m.d.comb += [
            out.valid.eq(1),
            sent.eq(out.valid & out.ready),
            crc.data.eq(out.payload),
            crc.valid.eq(sent),
        ]
        # What is sent in a state, and the state after it.
        pieces = {
            "START": (START, "KIND"),
            "KIND": (header.kind, "LOW"),
            "LOW": (length[:8], "HIGH"),
            "HIGH": (length[8:], None),
            "PAYLOAD": (self.payload.payload, None),
            "CRC": (crc.crc[8:], "CRC LOW"),
            "CRC LOW": (low := Signal(8), "IDLE"),
        }
        with m.FSM() as states:
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.header.ready.eq(1), out.valid.eq(0)]
                with m.If(self.header.valid):
                    m.d.sync += header.eq(self.header.payload)
                    m.next = "START"
            for state, (byte, following) in pieces.items():
                with m.State(state):
                    m.d.comb += out.payload.eq(byte)
                    if state == "PAYLOAD":
                        m.d.comb += [
                            out.valid.eq(self.payload.valid),
                            self.payload.ready.eq(out.ready),
                        ]
                    if state == "CRC":
                        # The CRC goes on over its own first byte.
                        m.d.sync += low.eq(crc.crc[:8])
                    with m.If(sent):
                        if following:
                            m.next = following
                        elif state == "HIGH":
                            m.next = "PAYLOAD"
                            with m.If(length == 0):
                                m.next = "CRC"
                        else:
                            m.d.sync += length.eq(length - 1)
                            with m.If(length == 1):
                                m.next = "CRC"
        with m.If(states.ongoing("START")):
            m.d.comb += [crc.start.eq(1), crc.valid.eq(0)]
        return m
