"""A small design with the ports of the accelerator, to prove the RTL runner with: it copies."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rootshift.config import AcceleratorConfig
from rootshift.csr import ADDRESS_WIDTH, WORD
from rootshift.hw.axi import Axi4, Axi4Lite, forward
from rootshift.hw.csr import CsrBank
from rootshift.hw.read_dma import ReadDma
from rootshift.hw.write_dma import WriteDma
from rootshift.isa import Unit
from rootshift.sim.timeline import ArrayState

ADDR_WIDTH, BEATS_WIDTH = 40, 24
GROUP = 8
"""Beats of a group; a done strobe of the GEMM unit marks the end of each."""
EVERY = {"gemm": 1, "layernorm": 2, "gelu_table": 3, "patchify": 4, "residual": 5}
"""A probe sees the beats whose number in their group, from 1 on, is a multiple of this."""
WIDTHS = {"layernorm": 7, "gelu_table": 12, "patchify": 32, "residual": 31}
"""Lowest bits of a beat that a probe carries, the whole beat if not said; then the number, 4 bits.
So payloads are 11, 16, 36, 35 and more bits, and Verilator has a type of its own for each."""
FAULTS = ("wlast", "crossing", "size", "changes", "drops", "silent", "stuck")


class CopyEngine(wiring.Component):
    """Copies `ENTRY[40:]` beats from `ENTRY[:40]` to `WATCHDOG` bytes further on.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    fault : str
        A way in which it is broken, one of `FAULTS`, or nothing.
    """

    def __init__(self, *, data_width: int, fault: str = "") -> None:
        self.data_width, self.fault = data_width, fault
        members = {
            "s_axil": In(Axi4Lite(addr_width=ADDRESS_WIDTH, data_width=WORD)),
            "m_axi": Out(Axi4(addr_width=ADDR_WIDTH, data_width=data_width)),
            "irq": Out(1),
            "probe__start": Out(7),
            "probe__done": Out(7),
            "probe__array": Out(3),
        }
        for name in EVERY:
            members[f"probe__{name}__valid"] = Out(1)
            members[f"probe__{name}__payload"] = Out(WIDTHS.get(name, data_width) + 4)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        widths = {"addr_width": ADDR_WIDTH, "data_width": self.data_width}
        m.submodules.csr = csr = CsrBank(config=AcceleratorConfig(bus_width=self.data_width))
        m.submodules.read = read = ReadDma(**widths, beats_width=BEATS_WIDTH)
        m.submodules.write = write = WriteDma(**widths, beats_width=BEATS_WIDTH)
        connect(m, flipped(self.s_axil), csr.s_axil)
        forward(m, self.m_axi, read.m_axi)
        forward(m, self.m_axi, write.m_axi)
        asked, taken, running, ended = Signal(), Signal(), Signal(), Signal()
        moved, failed = Signal(), Signal()
        m.d.comb += [
            read.command.valid.eq(asked & ~taken),
            read.command.payload.address.eq(csr.entry),
            read.command.payload.beats.eq(csr.entry[ADDR_WIDTH:]),
            write.command.valid.eq(asked),
            write.command.payload.address.eq(csr.entry[:ADDR_WIDTH] + csr.watchdog),
            write.command.payload.beats.eq(csr.entry[ADDR_WIDTH:]),
            write.i.payload.eq(read.o.payload.data),
            write.i.valid.eq(read.o.valid),
            read.o.ready.eq(write.i.ready),
            moved.eq(read.o.valid & read.o.ready),
            write.done.ready.eq(1),
            ended.eq(write.done.valid if self.fault != "silent" else 0),
            failed.eq((read.cause != 0) | (write.cause != 0)),
            read.clear_stb.eq(csr.control_stb.start),
            write.clear_stb.eq(csr.control_stb.start),
            csr.interrupt_stb.done.eq(ended & ~failed),
            csr.interrupt_stb.error.eq(ended & failed),
            csr.cycles.eq(running),
            csr.busy.gemm.eq(moved),
            csr.status.busy.eq(running),
            csr.saturated.gemm.eq(0x1234),
            self.irq.eq(csr.irq),
        ]
        with m.If(read.command.ready):
            m.d.sync += taken.eq(asked)
        with m.If(write.command.ready):
            m.d.sync += asked.eq(0)
        with m.If(csr.control_stb.start):
            m.d.sync += [asked.eq(1), taken.eq(0), running.eq(1), csr.status.done.eq(0)]
            m.d.sync += [csr.status.error.eq(0), csr.error.eq(0)]
        with m.Elif(ended):
            # Causes of the movers are 2 and 3; those of the registers 1 and 2, and 3 and 4.
            m.d.sync += [
                running.eq(0),
                csr.status.done.eq(~failed),
                csr.status.error.eq(failed),
                csr.error.cause.eq(
                    Mux(read.cause != 0, read.cause - 1, Mux(failed, write.cause + 1, 0))
                ),
                csr.error.address.eq(Mux(read.cause != 0, read.address, write.address)),
            ]
        self._probes(m, read, write, moved)
        self._break(m, read, write)
        return m

    def _probes(self, m: Module, read: ReadDma, write: WriteDma, moved: Signal) -> None:
        number = Signal(range(1, GROUP + 1), init=1)
        with m.If(moved):
            m.d.sync += number.eq(Mux(number == GROUP, 1, number + 1))
        beat = read.o.payload.data.as_value()
        for name, every in EVERY.items():
            seen = [number == n for n in range(1, GROUP + 1) if n % every == 0]
            m.d.comb += [
                getattr(self, f"probe__{name}__valid").eq(moved & Cat(seen).any()),
                getattr(self, f"probe__{name}__payload").eq(
                    Cat(beat[: WIDTHS.get(name, self.data_width)], number)
                ),
            ]
        waits = Mux(read.o.valid, ArrayState.OUTPUT, ArrayState.ACTIVATIONS)
        m.d.comb += [
            self.probe__start[Unit.FETCH].eq(read.command.valid & read.command.ready),
            self.probe__start[Unit.STORE].eq(write.command.valid & write.command.ready),
            self.probe__done[Unit.GEMM].eq(moved & (number == GROUP)),
            self.probe__done[Unit.STORE].eq(write.done.valid),
            self.probe__array.eq(Mux(moved, ArrayState.BUSY, Mux(read.busy, waits, 0))),
        ]

    def _break(self, m: Module, read: ReadDma, write: WriteDma) -> None:
        """Statements after those of `forward`, which they override."""
        odd = Signal()
        m.d.sync += odd.eq(~odd)
        match self.fault:
            case "wlast":
                m.d.comb += self.m_axi.wlast.eq(0)
            case "crossing":
                m.d.comb += self.m_axi.araddr[4:12].eq(0xFF)
            case "size":
                m.d.comb += self.m_axi.awsize.eq(write.m_axi.awsize + 1)
            case "changes":
                m.d.comb += self.m_axi.araddr[12].eq(odd)
            case "drops":
                m.d.comb += self.m_axi.wvalid.eq(write.m_axi.wvalid & odd)
            case "stuck":
                m.d.comb += self.s_axil.bvalid.eq(0)
