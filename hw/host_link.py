"""The device's end of the link to a host: takes an image, runs the program, sends what it found."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..csr import ADDRESS_WIDTH as CSR_ADDRESS_WIDTH
from ..csr import WORD, find_register, pack
from ..host_link import ANSWER, LENGTH_MAX, WORD_BYTES, Kind, LinkFault
from ..program import Program
from .axi import Axi4, Axi4Lite
from .bus_access import MemoryAccess, RegisterAccess
from .frames import FrameReceiver, FrameSender

LABEL_WIDTH = 16
CLASSES_MAX = LENGTH_MAX // WORD_BYTES - 3
"""Logits that fit into a frame beside cycles and label."""
STATUS, ERROR, CYCLES = (find_register(name).offsets for name in ("STATUS", "ERROR", "CYCLES"))


class HostLink(wiring.Component):
    """Carries out the requests of `rootshift/host_link.py`, one at a time.

    Parameters
    ----------
    program : Program
        Of one image and at most 16380 classes; its memory begins at address 0, where ENTRY points
        after reset.
    identity : bytes
        The answer to IDENTIFY, whole words.
    addr_width, data_width : int
        Of the memory's bus: bits of a byte address and of a beat.
    timeout : int
        Cycles after which the line counts as silent.

    Members
    -------
    i : In(stream of 8 bits, always ready)
        Bytes from the host. During a request's work they are lost.
    fault_stb : In(1)
        A byte was lost on the line.
    o : Out(stream of 8 bits)
        Bytes to the host.
    m_axil : Out(Axi4Lite)
        The accelerator's registers.
    m_axi : Out(Axi4)
        The memory with the program, for images and logits. Silent while `running`.
    running : Out(1)
        The memory is the accelerator's: from the start of a run until STATUS says that it is over.
    label : Out(16)
        Of the last run that ended well.
    done : Out(1)
        There was a run, and the last one ended well.
    failed : Out(1)
        There was a run, and the last one was stopped by an error.

    Latency: of a run, the program's and under 20 cycles; the rest goes at the pace of the line.
    Throughput: one request at a time.

    No access is refused: the addresses are those of the same program and the same registers. A run
    cannot hang: the accelerator's watchdog stops it.

    Raises
    ------
    TypeError, ValueError
        A parameter is not of its kind or in its range.
    """

    def __init__(
        self, *, program: Program, identity: bytes, addr_width: int, data_width: int, timeout: int
    ) -> None:
        if program.images != 1:
            raise ValueError(f"program must be for 1 image, not {program.images}")
        if program.classes > CLASSES_MAX:
            most = CLASSES_MAX
            raise ValueError(f"program must have at most {most} classes, not {program.classes}")
        if not 0 < len(identity) <= LENGTH_MAX or len(identity) % WORD_BYTES:
            raise ValueError(f"identity must be whole words, not {len(identity)} bytes")
        self.program, self.identity, self.timeout = program, identity, timeout
        self.addr_width, self.data_width = addr_width, data_width
        self._receiver = FrameReceiver(
            lengths={Kind.IDENTIFY: 0, Kind.STATUS: 0, Kind.CLASSIFY: program.input.bytes},
            timeout=timeout,
        )
        self._memory = MemoryAccess(addr_width=addr_width, data_width=data_width)
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "fault_stb": In(1),
                "o": Out(stream.Signature(8)),
                "m_axil": Out(Axi4Lite(addr_width=CSR_ADDRESS_WIDTH)),
                "m_axi": Out(Axi4(addr_width=addr_width, data_width=data_width)),
                "running": Out(1),
                "label": Out(LABEL_WIDTH),
                "done": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.sender = self._sender = FrameSender()
        m.submodules.registers = self._registers = RegisterAccess(addr_width=CSR_ADDRESS_WIDTH)
        m.submodules.memory = self._memory
        connect(m, self._registers.m_axil, flipped(self.m_axil))
        connect(m, self._memory.m_axi, flipped(self.m_axi))
        connect(m, self._sender.o, flipped(self.o))
        # What is being answered, and why a request was not carried out.
        self._answer = Signal(Kind, init=Kind.ERROR)
        self._error = Signal(LinkFault, init=LinkFault.NO_START)
        self._largest = Signal(range(self.program.classes))
        m.d.comb += [
            receiver.i.valid.eq(self.i.valid),
            receiver.i.payload.eq(self.i.payload),
            receiver.fault_stb.eq(self.fault_stb),
            receiver.hold.eq(1),
        ]
        self._counts = {
            Kind.IDENTIFY: len(self.identity) // WORD_BYTES,
            Kind.STATUS: len(STATUS) + len(ERROR) + len(CYCLES),
            Kind.CLASSIFY: len(CYCLES) + self.program.classes + 1,
        }
        self._words = Signal(range(max(self._counts.values()) + 1))
        self._headers(m)
        with m.FSM():
            self._listen(m)
            self._run(m)
            self._reply(m)
        return m

    def _listen(self, m: Module) -> None:
        """Write the image as it comes, then decide."""
        receiver, request = self._receiver, self._memory.request
        place = Signal(range(self.program.input.bytes))
        with m.State("LISTEN"):
            m.d.comb += [
                receiver.hold.eq(0),
                # Always taken: a byte of a line takes far longer than a write.
                request.valid.eq(receiver.payload.valid),
                request.payload.address.eq(self.program.input.offset + place),
                request.payload.write.eq(1),
                request.payload.data.eq(receiver.payload.payload),
            ]
            with m.If(receiver.payload.valid):
                m.d.sync += place.eq(place + 1)
            with m.If(receiver.error_stb):
                m.d.sync += [
                    place.eq(0),
                    self._answer.eq(Kind.ERROR),
                    self._error.eq(receiver.error),
                ]
                m.next = "REPLY"
            with m.Elif(receiver.request_stb):
                m.d.sync += [place.eq(0), self._answer.eq(receiver.kind)]
                m.next = "REPLY"
                with m.If(receiver.kind == Kind.CLASSIFY):
                    m.next = "START"

    def _run(self, m: Module) -> None:
        """Start, and ask until the run is over."""
        request, answer = self._registers.request, self._registers.answer
        (start,) = pack("CONTROL", start=1, clear_counters=1)
        status = find_register("STATUS")
        busy, error = (answer.payload.data[status[name].bit] for name in ("busy", "error"))
        with m.State("START"):
            m.d.comb += [
                request.valid.eq(1),
                request.payload.address.eq(find_register("CONTROL").offset),
                request.payload.write.eq(1),
                request.payload.data.eq(start),
            ]
            m.d.sync += [self.running.eq(1), self.done.eq(0), self.failed.eq(0)]
            m.next = "STARTED"
        with m.State("STARTED"), m.If(answer.valid):
            m.next = "POLL"
        with m.State("POLL"):
            m.d.comb += [request.valid.eq(1), request.payload.address.eq(status.offset)]
            m.next = "POLLED"
        with m.State("POLLED"), m.If(answer.valid):
            m.next = "POLL"
            with m.If(~busy):
                m.d.sync += [self.running.eq(0), self.failed.eq(error)]
                m.next = "REPLY"
                with m.If(error):
                    m.d.sync += [
                        self._answer.eq(Kind.ERROR),
                        self._error.eq(LinkFault.STOPPED),
                    ]

    def _headers(self, m: Module) -> None:
        """Kind and words of an answer."""
        header, words = self._sender.header.payload, self._words
        m.d.comb += header.length.eq(words * WORD_BYTES)
        with m.Switch(self._answer):
            for kind, count in self._counts.items():
                with m.Case(kind):
                    m.d.comb += [words.eq(count), header.kind.eq(kind | ANSWER)]
            with m.Default():
                stopped = self._error == LinkFault.STOPPED
                m.d.comb += [
                    words.eq(Mux(stopped, 1 + len(ERROR), 1)),
                    header.kind.eq(Kind.ERROR),
                ]

    def _reply(self, m: Module) -> None:
        """A header, and then word after word from where it is to the line."""
        header, payload, words = self._sender.header, self._sender.payload, self._words
        place = Signal.like(words)
        word = Signal(WORD)
        left = Signal(range(WORD_BYTES))
        depth = len(self.identity) // WORD_BYTES
        identity = Memory(shape=WORD, depth=depth, init=_split(self.identity))
        m.submodules.identity = identity
        text = identity.read_port()
        m.d.comb += [text.addr.eq(place), payload.payload.eq(word[:8])]
        with m.State("REPLY"):
            m.d.comb += header.valid.eq(1)
            m.d.sync += place.eq(0)
            m.next = "FIND"
        with m.State("FIND"):
            with m.If(place == words):
                m.next = "END"
            with m.Else():
                self._find(m, place, word)
        with m.State("REGISTER"), m.If(self._registers.answer.valid):
            m.d.sync += word.eq(self._registers.answer.payload.data)
            m.next = "SEND"
        with m.State("LOGIT"), m.If(self._memory.answer.valid):
            m.d.sync += word.eq(self._memory.answer.payload.data)
            m.next = "COMPARE"
        with m.State("TEXT"):
            m.d.sync += word.eq(text.data)
            m.next = "SEND"
        self._compare(m, place, word)
        with m.State("SEND"):
            m.d.comb += payload.valid.eq(1)
            with m.If(payload.ready):
                m.d.sync += [word.eq(word >> 8), left.eq(left - 1)]
                with m.If(left == 1):
                    m.d.sync += place.eq(place + 1)
                    m.next = "FIND"
        with m.State("END"), m.If(self._sender.idle):
            m.next = "LISTEN"

    def _find(self, m: Module, place: Signal, word: Signal) -> None:
        """Ask for the word at a place of the payload, or take what is at hand."""
        register, logit = self._registers.request, self._memory.request

        def ask(offsets: Any, first: int = 0) -> None:
            m.d.comb += [
                register.valid.eq(1),
                register.payload.address.eq(Array(offsets)[place - first]),
            ]
            m.next = "REGISTER"

        with m.Switch(self._answer):
            with m.Case(Kind.IDENTIFY):
                m.next = "TEXT"
            with m.Case(Kind.STATUS):
                ask([*STATUS, *ERROR, *CYCLES])
            with m.Case(Kind.CLASSIFY):
                with m.If(place < len(CYCLES)):
                    ask(CYCLES)
                with m.Elif(place < len(CYCLES) + self.program.classes):
                    start = self.program.output.offset - WORD_BYTES * len(CYCLES)
                    m.d.comb += [
                        logit.valid.eq(1),
                        logit.payload.address.eq(start + place * WORD_BYTES),
                    ]
                    m.next = "LOGIT"
                with m.Else():
                    m.d.sync += [word.eq(self._largest), self.label.eq(self._largest)]
                    m.d.sync += self.done.eq(1)
                    m.next = "SEND"
            with m.Default():
                with m.If(place == 0):
                    m.d.sync += word.eq(self._error)
                    m.next = "SEND"
                with m.Else():
                    ask(ERROR, 1)

    def _compare(self, m: Module, place: Signal, word: Signal) -> None:
        """Keep the first of the largest logits."""
        largest = Signal(WORD)
        with m.State("COMPARE"):
            number = place - len(CYCLES)
            with m.If((number == 0) | (word.as_signed() > largest.as_signed())):
                m.d.sync += [largest.eq(word), self._largest.eq(number)]
            m.next = "SEND"


def _split(content: bytes) -> list[int]:
    return [
        int.from_bytes(content[at : at + WORD_BYTES], "little")
        for at in range(0, len(content), WORD_BYTES)
    ]
