"""A host beside the whole accelerator: memory and register master of cocotbext-axi, and a watch.

Neither model is ours. They are attached by the ports' names, so that they hold what the RTL calls
AXI against what others call it.
"""

from typing import Any

import cocotb
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
CHANNELS = {"m_axi": ("ar", "aw", "w"), "s_axil": ("b", "r")}
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


class Host:
    """Drives an accelerator as a driver would, over its ports alone.

    Parameters
    ----------
    bench : Bench
        Of the accelerator, just started.
    probes : mapping
        Probe -> the field (see `layout`) of its payload.

    Attributes
    ----------
    memory : Window
        What the RAM holds.
    beats : dict
        Probe -> payloads since `start`, as integers.
    traffic : dict
        Channel of the memory bus -> transfers since `start`.
    """

    def __init__(self, bench: Bench, probes: dict[str, layout.Field]) -> None:
        self.bench, self.dut, self.memory = bench, bench.dut, Window()
        self._fields = probes
        ram = AxiRam(AxiBus.from_prefix(self.dut, "m_axi_"), self.dut.clk, mem=self.memory)
        bus = AxiLiteBus.from_prefix(self.dut, "s_axil_")
        self._master = AxiLiteMaster(bus, self.dut.clk)
        self._interfaces = (
            (ram, ("aw", "w", "b"), ("ar", "r")),
            (self._master, ("aw", "w", "b"), ("ar", "r")),
        )
        self._forget()
        cocotb.start_soon(self._watch())

    @property
    def cycle(self) -> int:
        """Clock cycles since the start of the simulation."""
        return round(get_sim_time("ns")) // CYCLE_NS

    def pace(self, spec: str, seed: int) -> None:
        """Let each channel of both buses act as the pattern says, with a seed of its own."""
        number = 0
        for model, writes, reads in self._interfaces:
            for interface, names in ((model.write_if, writes), (model.read_if, reads)):
                for name in names:
                    acting = pattern(spec, 16 * seed + number)
                    # cocotbext-axi asks when to pause, not when to act.
                    channel = getattr(interface, f"{name}_channel")
                    channel.set_pause_generator(not act for act in acting)
                    number += 1

    async def read(self, register: str) -> dict[str, int]:
        """The fields of a register."""
        return csr.unpack(register, await self.words(register))

    async def words(self, register: str) -> tuple[int, ...]:
        """The words of a register, lowest first."""
        offsets = csr.find_register(register).offsets
        words = []
        for offset in offsets:
            answer = await self._master.read(offset, 4)
            assert answer.resp == AxiResp.OKAY, f"{register}: {answer.resp!r}"
            words.append(int.from_bytes(answer.data, "little"))
        return tuple(words)

    async def write(self, register: str, **fields: int) -> None:
        """Write a register; fields left out are 0."""
        offsets = csr.find_register(register).offsets
        for offset, word in zip(offsets, csr.pack(register, **fields), strict=True):
            answer = await self._master.write(offset, word.to_bytes(4, "little"))
            assert answer.resp == AxiResp.OKAY, f"{register}: {answer.resp!r}"

    async def run(self, entry: int, image: bytes, limit: int) -> range:
        """Put a program at `entry`, start it, and wait for the interrupt, then acknowledge it.

        Returns the cycles from start to interrupt that are possible: the start strobe lies
        somewhere in the write access.
        """
        self.memory.base, self.memory.bytes = entry, bytearray(image)
        self._forget()
        await self.write("ENTRY", address=entry)
        await self.write("INTERRUPT_ENABLE", done=1, error=1)
        assert not self.bench.get("irq")
        before = self.cycle
        await self.write("CONTROL", start=1, clear_counters=1)
        started = self.cycle
        if not self.bench.get("irq"):
            await with_timeout(RisingEdge(self.dut.irq), limit * CYCLE_NS, "ns")
        return range(self.cycle - started, self.cycle - before)

    async def acknowledge(self) -> dict[str, int]:
        """Clear the events; the interrupt falls. Returns the events."""
        events = await self.read("INTERRUPT")
        await self.write("INTERRUPT", **events)
        assert not self.bench.get("irq"), "the interrupt must fall when acknowledged"
        assert not any((await self.read("INTERRUPT")).values())
        return events

    def probed(self, name: str) -> Any:
        """The beats of a probe since the start, int64 [beats, values]."""
        found = layout.unpack({"": self._fields[name]}, self.beats[name])[""]
        return found.reshape(len(self.beats[name]), -1)

    def _forget(self) -> None:
        self.beats: dict[str, list[int]] = {name: [] for name in self._fields}
        self.traffic = dict.fromkeys(CHANNELS["m_axi"], 0)

    def _wire(self, port: str) -> Wire:
        return Wire(self.dut, port, self.bench.ports[port][1])

    async def _watch(self) -> None:
        """In every cycle take the probes' beats and hold what the accelerator sends to the rules."""
        probes = [
            (name, self._wire(f"probe__{name}__valid"), self._wire(f"probe__{name}__payload"))
            for name in self._fields
        ]
        channels = []
        for bus, names in CHANNELS.items():
            for name in names:
                prefix = f"{bus}__{name}"
                hands = (self._wire(f"{prefix}valid"), self._wire(f"{prefix}ready"))
                others = sorted(
                    port
                    for port in self.bench.ports
                    if port.startswith(prefix) and not port.endswith(("valid", "ready"))
                )
                payload = [self._wire(port) for port in others]
                channels.append((bus, name, *hands, payload, Checker(f"{bus} {name}", False)))
        fall = FallingEdge(self.dut.clk)
        while True:
            await fall
            for name, valid, payload in probes:
                if valid.bits() == "1":
                    self.beats[name].append(payload.get())
            for bus, name, valid, ready, payload, checker in channels:
                offered, taken = valid.bits() == "1", ready.bits() == "1"
                bits = ",".join([wire.bits() for wire in payload]) if offered else None
                checker.observe(self.cycle, offered, taken, bits)
                if offered and taken and bus == "m_axi":
                    self.traffic[name] += 1
