"""A host beside the whole accelerator: memory and register master of cocotbext-axi, and a watch.

Neither model is ours, and they are attached by the names of the ports: what the RTL does on its
buses is held against what others take AXI to be.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from rootshift import csr
from rootshift.isa import ADDRESS_WIDTH

from . import layout
from .axi_memory import Wire
from .harness import Bench
from .patterns import pattern
from .streams import Checker

CYCLE_NS = 10
CHANNELS = ("aw", "w", "b", "ar", "r")
SENT = {"m_axi": ("aw", "w", "ar"), "s_axil": ("b", "r")}
"""Per bus the channels on which the accelerator sends."""


class Window:
    """The memory: bytes from `base` on. Of an address outside the stock RAM makes SLVERR."""

    def __init__(self) -> None:
        self.base, self.bytes = 0, bytearray()

    def __len__(self) -> int:
        return 1 << ADDRESS_WIDTH

    def __getitem__(self, place: slice) -> bytes:
        return bytes(self.bytes[self._inside(place)])

    def __setitem__(self, place: slice, data: bytes) -> None:
        self.bytes[self._inside(place)] = data

    def _inside(self, place: slice) -> slice:
        if place.start < self.base or place.stop > self.base + len(self.bytes):
            raise IndexError(f"{place.start:#x} is outside the memory")
        return slice(place.start - self.base, place.stop - self.base)


class Channel:
    """One channel of a bus: whether it moves, and whether what waits on it stays as it is."""

    def __init__(self, bench: Bench, bus: str, name: str) -> None:
        def wire(port: str) -> Wire:
            return Wire(bench.dut, port, bench.ports[port][1])

        prefix = f"{bus}__{name}"
        hands = (f"{prefix}valid", f"{prefix}ready")
        payload = sorted(p for p in bench.ports if p.startswith(prefix) and p not in hands)
        self._valid, self._ready = (wire(port) for port in hands)
        self._payload = [wire(port) for port in payload]
        self._checker = Checker(prefix, False) if name in SENT[bus] else None

    def sample(self, cycle: int) -> bool:
        """Look at the settled wires; return whether something is transferred in this cycle."""
        valid, ready = self._valid.bits() == "1", self._ready.bits() == "1"
        if self._checker:
            payload = ",".join([wire.bits() for wire in self._payload]) if valid else None
            self._checker.observe(cycle, valid, ready, payload)
        return valid and ready


class Host:
    """Drives an accelerator as a driver would, over its ports alone, and watches it.

    Parameters
    ----------
    bench : Bench
        Of the accelerator, just started.
    probes : mapping
        Probe -> the field (see `layout`) of its payload.

    Attributes
    ----------
    memory : Window
        What the accelerator can reach.
    traffic : dict
        Channel of the memory bus -> transfers since the last start.
    """

    def __init__(self, bench: Bench, probes: Mapping[str, layout.Field]) -> None:
        self.bench, self.dut, self.memory = bench, bench.dut, Window()
        self._fields = probes
        ram = AxiRam(AxiBus.from_prefix(self.dut, "m_axi_"), self.dut.clk, mem=self.memory)
        bus = AxiLiteBus.from_prefix(self.dut, "s_axil_")
        self._master = AxiLiteMaster(bus, self.dut.clk)
        self._models = (ram, self._master)
        self._forget()
        cocotb.start_soon(self._watch())

    @property
    def cycle(self) -> int:
        """Clock cycles since the start of the simulation."""
        return round(get_sim_time("ns")) // CYCLE_NS

    def pace(self, spec: str, seed: int) -> None:
        """Let each channel of both buses act as the pattern says, with a seed of its own."""
        for number, channel in enumerate(self._channels()):
            acting = pattern(spec, 16 * seed + number)
            # cocotbext-axi asks when to pause, not when to act.
            channel.set_pause_generator(not act for act in acting)

    async def words(self, register: str) -> tuple[int, ...]:
        """The words of a register, lowest first."""
        found = []
        for offset in csr.find_register(register).offsets:
            answer = await self._master.read(offset, 4)
            assert answer.resp == AxiResp.OKAY, f"{register}: {answer.resp!r}"
            found.append(int.from_bytes(answer.data, "little"))
        return tuple(found)

    async def read(self, register: str) -> dict[str, int]:
        """The fields of a register."""
        return csr.unpack(register, await self.words(register))

    async def write(self, register: str, **fields: int) -> None:
        """Write a register; fields left out are 0."""
        offsets = csr.find_register(register).offsets
        for offset, word in zip(offsets, csr.pack(register, **fields), strict=True):
            answer = await self._master.write(offset, word.to_bytes(4, "little"))
            assert answer.resp == AxiResp.OKAY, f"{register}: {answer.resp!r}"

    async def run(self, entry: int, image: bytes, limit: int) -> range:
        """Make `image`, at `entry`, the memory, start it, and wait for the interrupt.

        Returns the counts of cycles from start to interrupt that can be true: the start lies
        somewhere within the access to CONTROL. Raises where no interrupt comes in `limit` cycles.
        """
        self.memory.base, self.memory.bytes = entry, bytearray(image)
        await self.write("ENTRY", address=entry)
        await self.write("INTERRUPT_ENABLE", done=1, error=1)
        assert not self.bench.get("irq"), "the interrupt must be low before the start"
        self._forget()
        before = self.cycle
        await self.write("CONTROL", start=1, clear_counters=1)
        after = self.cycle
        if not self.bench.get("irq"):
            await with_timeout(RisingEdge(self.dut.irq), limit * CYCLE_NS, "ns")
        return range(self.cycle - after, self.cycle - before)

    async def acknowledge(self) -> dict[str, int]:
        """Clear the events, whereupon the interrupt must fall; returns them."""
        events = await self.read("INTERRUPT")
        await self.write("INTERRUPT", **events)
        assert not self.bench.get("irq"), "the interrupt must fall when acknowledged"
        assert not any((await self.read("INTERRUPT")).values())
        return events

    def beats(self, probe: str) -> np.ndarray:
        """The beats of a probe since the last start, int64 [beats, values]."""
        found = layout.unpack({"": self._fields[probe]}, self._beats[probe])[""]
        return found.reshape(len(self._beats[probe]), -1)

    def _forget(self) -> None:
        self._beats: dict[str, list[int]] = {name: [] for name in self._fields}
        self.traffic = dict.fromkeys(CHANNELS, 0)

    def _channels(self) -> Iterator[Any]:
        for model in self._models:
            for name in CHANNELS:
                interface = model.read_if if name in ("ar", "r") else model.write_if
                yield getattr(interface, f"{name}_channel")

    async def _watch(self) -> None:
        """In every cycle, take the beats of the probes and look at the channels of both buses."""
        dut = self.dut
        probes = {
            name: [
                Wire(dut, port, self.bench.ports[port][1])
                for port in (f"probe__{name}__valid", f"probe__{name}__payload")
            ]
            for name in self._fields
        }
        memory = {name: Channel(self.bench, "m_axi", name) for name in CHANNELS}
        registers = [Channel(self.bench, "s_axil", name) for name in SENT["s_axil"]]
        fall = FallingEdge(dut.clk)
        while True:
            await fall
            cycle = self.cycle
            for name, (valid, payload) in probes.items():
                if valid.bits() == "1":
                    self._beats[name].append(payload.get())
            for name, channel in memory.items():
                self.traffic[name] += channel.sample(cycle)
            for channel in registers:
                channel.sample(cycle)
