"""An accelerator that needs nothing but a clock and a serial line: model and memory included."""

import hashlib
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ...artifact import Artifact
from ...host_link import PROTOCOL, Identity
from ...isa import ADDRESS_WIDTH
from ...program import Program
from ..block_memory import BlockMemory
from ..bus_access import BusSwitch
from ..host_link import HostLink
from ..top import Accelerator
from ..uart import UartReceiver, UartTransmitter

TIMEOUTS_PER_SECOND = 50
"""A line that is silent for 20 ms has ended its frame: a USB adapter pauses for less."""
LEDS = 8


def identity_of(artifact: Artifact, program: Program, clock: int) -> Identity:
    """What a board with this program says of itself."""
    config = program.config
    return Identity(
        protocol=PROTOCOL,
        model=str(artifact.source["model"]),
        preprocessing=artifact.preprocessing,
        classes=program.classes,
        array=f"{config.rows}x{config.cols}",
        clock_hz=clock,
        program=hashlib.sha256(program.image).hexdigest()[:16],
    )


class Standalone(wiring.Component):
    """Accelerator, program, memory and host link on any FPGA that has the block RAM.

    Parameters
    ----------
    program : Program
        Of one image; its configuration is the accelerator's.
    identity : Identity
        What the board says of itself.
    clock : int
        Hz of the domain `sync`, in which everything works.
    baud : int
        Bits per second of the serial line, at most a sixth of `clock`.
    timeout : int
        Cycles after which the line counts as silent, or None for 20 ms.

    Members
    -------
    rx : In(1)
        The line from the host, asynchronous, 8N1.
    tx : Out(1)
        The line to the host.
    leds : Out(8)
        Bits 0 to 3: the label of the last run. 4: it ended well. 5: it was stopped by an error.
        6: a run is on its way. 7: blinks once in one to two seconds, so there is a clock.

    Latency: of a request, its bytes and those of the answer on the line, the program's cycles and
    under 1000 more.
    Throughput: one request at a time.

    Raises
    ------
    TypeError, ValueError
        A parameter is not of its kind or in its range.

    Source: `rootshift/host_link.py`.
    """

    def __init__(
        self,
        *,
        program: Program,
        identity: Identity,
        clock: int,
        baud: int,
        timeout: int | None = None,
    ) -> None:
        bus = {"addr_width": ADDRESS_WIDTH, "data_width": program.config.bus_width}
        self.program, self.identity, self.clock, self.baud = program, identity, clock, baud
        self.timeout = max(2, clock // TIMEOUTS_PER_SECOND) if timeout is None else timeout
        self._receiver = UartReceiver(clock=clock, baud=baud)
        self._transmitter = UartTransmitter(clock=clock, baud=baud)
        self._accelerator = Accelerator(config=program.config)
        self._memory = BlockMemory(init=program.image, **bus)
        self._switch = BusSwitch(**bus)
        self._link = HostLink(
            program=program,
            identity=identity.encode(),
            timeout=self.timeout,
            **bus,
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(LEDS)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.accelerator = accelerator = self._accelerator
        m.submodules.memory = memory = self._memory
        m.submodules.switch = switch = self._switch
        m.submodules.link = link = self._link
        connect(m, receiver.o, link.i)
        connect(m, link.o, transmitter.i)
        connect(m, link.m_axil, accelerator.s_axil)
        connect(m, link.m_axi, switch.first)
        connect(m, accelerator.m_axi, switch.second)
        connect(m, switch.m_axi, memory.s_axi)
        beat = Signal(range(self.clock))
        m.d.sync += beat.eq(beat + 1)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.fault_stb.eq(receiver.fault_stb),
            switch.second_active.eq(link.running),
            self.leds.eq(Cat(link.label[:4], link.done, link.failed, link.running, beat[-1])),
        ]
        return m
