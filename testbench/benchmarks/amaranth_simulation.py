"""The whole accelerator in Amaranth's own simulator, beside a memory and a host in plain Python.

The memory answers as early as AXI allows, as that of the native runner does by default, so that
both must count the same cycles and the same traffic.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat
from amaranth.sim import Simulator

from rootshift import csr
from rootshift.hw.top import Accelerator

PERIOD = 1e-8


@dataclass(frozen=True)
class SlowRun:
    """A run in a simulator that is too slow for a whole model, from the start strobe (cycle 0) on.

    Fields:
        ready: seconds until the design could run: elaboration, or build.
        seconds: wall time of the cycles.
        cycles: to the first cycle with the interrupt high, or as many as were asked for.
        finished: whether the interrupt came.
        read_bytes, write_beats: what the accelerator asked the memory for, and wrote there.
        memory: bytes of the whole memory at the end.
    """

    ready: float
    seconds: float
    cycles: int
    finished: bool
    read_bytes: int
    write_beats: int
    memory: bytes


class Memory:
    """What is behind the memory bus; takes everything at once and answers a cycle later.

    Parameters: `bus` of the accelerator, `image` from the address `base` on.
    """

    def __init__(self, bus: Any, image: bytes, base: int) -> None:
        self.bus, self.bytes, self.base = bus, bytearray(image), base
        self.read_bytes = self.write_beats = 0
        self._beat = len(bus.wstrb)
        self._reads: deque[tuple[int, bool]] = deque()
        self._writes: deque[list[int]] = deque()
        self._data: deque[tuple[int, int]] = deque()
        self._answers = 0
        self._r, self._b = Cat(bus.rvalid, bus.rlast, bus.rdata), bus.bvalid
        self._driven = {"r": 0, "b": 0}
        hands = Cat(bus.arvalid, bus.rready, bus.awvalid, bus.wvalid, bus.bready)
        payload = (bus.araddr, bus.arlen, bus.awaddr, bus.awlen, bus.wdata, bus.wstrb)
        self.watched = (hands, *payload)
        """What `step` is to be given of each cycle."""

    def start(self, ctx: Any) -> None:
        """Raise what stays high."""
        ctx.set(Cat(self.bus.arready, self.bus.awready, self.bus.wready), 0b111)

    def step(self, ctx: Any, seen: tuple[int, ...]) -> None:
        """Take what was seen at a clock edge, and drive the cycle behind it."""
        hands, araddr, arlen, awaddr, awlen, wdata, wstrb = seen
        if self._driven["r"] and hands & 2:
            self._reads.popleft()
        if hands & 1:
            for number in range(arlen + 1):
                self._reads.append((araddr + number * self._beat, number == arlen))
            self.read_bytes += (arlen + 1) * self._beat
        if self._driven["b"] and hands & 16:
            self._answers -= 1
        if hands & 4:
            self._writes.append([awaddr, awlen + 1])
        if hands & 8:
            self._data.append((wdata, wstrb))
            self.write_beats += 1
        while self._writes and self._data:
            self._write(*self._data.popleft())
        self._drive(ctx, "r", self._r, self._offer() if self._reads else 0)
        self._drive(ctx, "b", self._b, int(self._answers > 0))

    def _offer(self) -> int:
        address, last = self._reads[0]
        at = address - self.base
        if not 0 <= at <= len(self.bytes) - self._beat:
            raise ValueError(f"a read must lie within the memory, not at {address:#x}")
        return 1 | last << 1 | int.from_bytes(self.bytes[at : at + self._beat], "little") << 2

    def _write(self, data: int, strobes: int) -> None:
        burst = self._writes[0]
        at = burst[0] - self.base
        if not 0 <= at <= len(self.bytes) - self._beat:
            raise ValueError(f"a write must lie within the memory, not at {burst[0]:#x}")
        for byte in range(self._beat):
            if strobes >> byte & 1:
                self.bytes[at + byte] = data >> 8 * byte & 0xFF
        burst[0] += self._beat
        burst[1] -= 1
        if not burst[1]:
            self._writes.popleft()
            self._answers += 1

    def _drive(self, ctx: Any, channel: str, wires: Any, value: int) -> None:
        # Each change of an input makes the simulator settle once more.
        if value != self._driven[channel]:
            ctx.set(wires, value)
            self._driven[channel] = value


def simulate(accelerator: Accelerator, image: bytes, base: int, cycles: int) -> SlowRun:
    """Start the program at `base` and simulate up to `cycles` cycles.

    Raises: ValueError where the accelerator accesses what is outside the memory.
    """
    began = time.perf_counter()
    simulator = Simulator(accelerator)
    simulator.add_clock(PERIOD)
    ready = time.perf_counter() - began
    memory = Memory(accelerator.m_axi, image, base)
    outcome: dict[str, Any] = {"finished": False}

    async def host(ctx: Any) -> None:
        memory.start(ctx)
        await _write(ctx, accelerator.s_axil, "ENTRY", address=base)
        await _write(ctx, accelerator.s_axil, "INTERRUPT_ENABLE", done=1, error=1)
        # Returns behind the cycle in which its answer is offered, that of the start strobe.
        await _write(ctx, accelerator.s_axil, "CONTROL", start=1, clear_counters=1)
        begin, cycle = time.perf_counter(), 0
        async for _, _, irq, *seen in ctx.tick().sample(accelerator.irq, *memory.watched):
            cycle += 1
            if irq or cycle == cycles:
                break
            memory.step(ctx, seen)
        outcome.update(cycles=cycle, finished=bool(irq), seconds=time.perf_counter() - begin)

    simulator.add_testbench(host)
    simulator.run()
    return SlowRun(
        ready=ready,
        read_bytes=memory.read_bytes,
        write_beats=memory.write_beats,
        memory=bytes(memory.bytes),
        **outcome,
    )


async def _write(ctx: Any, bus: Any, register: str, **fields: int) -> None:
    """Write a register over AXI4-Lite; returns behind the edge that took the answer."""
    offsets = csr.find_register(register).offsets
    for offset, word in zip(offsets, csr.pack(register, **fields), strict=True):
        ctx.set(Cat(bus.awaddr, bus.wdata, bus.wstrb), offset | word << 12 | 0xF << 44)
        ctx.set(Cat(bus.awvalid, bus.wvalid, bus.bready), 0b111)
        answered = False
        while not answered:
            watched = (bus.awready, bus.wready, bus.bvalid, bus.bresp)
            _, _, address, data, answered, response = await ctx.tick().sample(*watched)
            if address:
                ctx.set(bus.awvalid, 0)
            if data:
                ctx.set(bus.wvalid, 0)
        ctx.set(bus.bready, 0)
        if response:
            raise ValueError(f"{register} must answer OKAY to a write, not {response}")
