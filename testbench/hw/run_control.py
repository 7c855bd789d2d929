"""The controller of a run under test: its faults, and its ports held to what is always true."""

import random

from cocotb.triggers import FallingEdge

from rootshift.csr import ErrorCause
from rootshift.hw.axi_bursts import Cause
from rootshift.testbench.hw.harness import Bench

from ..seeds import SEED

ENTRY = 0x12_3456_7000
READS, WRITES, BUFFERS = 3, 1, 2
DONE, ERROR = 1, 2
FAULTS = ("fault", "read_faults", "write_faults", "buffer_faults", "parity_faults")
READ = {
    Cause.SLVERR: ErrorCause.READ_SLVERR,
    Cause.DECERR: ErrorCause.READ_DECERR,
    Cause.UNALIGNED: ErrorCause.BAD_ADDRESS,
    Cause.EMPTY: ErrorCause.BAD_OPERAND,
}
WRITE = READ | {Cause.SLVERR: ErrorCause.WRITE_SLVERR, Cause.DECERR: ErrorCause.WRITE_DECERR}

_draw = random.Random(SEED)


def sources() -> list[tuple[str, int, ErrorCause, int]]:
    """Port, its bits, and what is to be told, of every fault there is, first of them first.

    Addresses are others each time.
    """
    found = []
    for cause in (ErrorCause.BAD_OPCODE, ErrorCause.BAD_OPERAND):
        address = _draw.getrandbits(40)
        found.append(("fault", 1 | cause << 1 | address << 9, cause, address))
    for port, count, causes in (("read_faults", READS, READ), ("write_faults", WRITES, WRITE)):
        for place in range(count):
            for own, told in causes.items():
                address = _draw.getrandbits(40)
                found.append((port, (own | address << 3) << 43 * place, told, address))
    causes = {"buffer_faults": ErrorCause.BAD_ADDRESS, "parity_faults": ErrorCause.BAD_PARITY}
    for port, cause in causes.items():
        for place in range(BUFFERS):
            address = _draw.getrandbits(20)
            found.append((port, (1 | address << 1) << 21 * place, cause, address))
    return found


class Controller:
    """The unit, stepped cycle by cycle; `now` has its outputs in the last of them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.outputs = [port for port, (direction, _) in bench.ports.items() if direction == "o"]
        self.now: dict[str, int] = {}
        self.interrupts: list[int] = []
        self.counted = 0

    async def step(self, cycles: int = 1, **ports: int) -> None:
        """Set ports, then let cycles pass; hold every one to what must always be true."""
        for port, value in ports.items():
            self.bench.set(port, value)
        for _ in range(cycles):
            await FallingEdge(self.bench.dut.clk)
            self.now = {port: self.bench.get(port) for port in self.outputs}
            if self.now["interrupt_stb"]:
                self.interrupts.append(self.now["interrupt_stb"])
            self.counted += self.now["counting"]
            reset, run, halt = self.levels
            assert not (run and (reset or halt))
            assert self.busy or not (reset or run or halt or self.now["counting"])
            await self.bench.step()

    async def start(self, entry: int = ENTRY, **ports: int) -> None:
        """A start, as far as the first cycle of its reset."""
        quiet = {"finished": 0, "bus_idle": 1, "progress": 0} | dict.fromkeys(FAULTS, 0)
        await self.step(start_stb=1, entry=entry, **(quiet | ports))
        self.interrupts, self.counted = [], 0
        await self.step(start_stb=0, entry=0)
        assert self.state == (1, 0, 0)

    async def start_to_run(self, entry: int = ENTRY, **ports: int) -> None:
        """A start, as far as the first cycle of the run."""
        await self.start(entry, **ports)
        assert self.error == (ErrorCause.NONE, 0)
        for levels in ((1, 0, 0), (1, 0, 0), (0, 1, 0)):
            assert self.levels == levels
            await self.step(levels[0])
        assert self.now["base"] == entry

    async def finish(self) -> None:
        """The end of a run that goes well."""
        await self.step(finished=1, bus_idle=1)
        assert (self.levels, self.interrupts) == ((0, 1, 0), [])
        await self.step()
        assert (self.levels, self.interrupts) == ((0, 1, 0), [DONE])
        await self.step(finished=0)
        assert (self.state, self.levels) == ((0, 1, 0), (0, 0, 0))
        assert self.error == (ErrorCause.NONE, 0)

    async def drain(self, error: tuple[int, int], cycles: int) -> None:
        """From the first cycle of `halt` to the end of the run."""
        for _ in range(cycles):
            assert (self.state, self.levels, self.interrupts) == ((1, 0, 0), (0, 0, 1), [])
            await self.step()
        for reset in (0, 0, 1):
            await self.step(bus_idle=1)
            assert (self.levels, self.interrupts) == ((reset, 0, 1), [])
        await self.step()
        assert (self.levels, self.interrupts) == ((1, 0, 1), [ERROR])
        await self.step()
        assert (self.state, self.levels) == ((0, 0, 1), (0, 0, 0))
        assert self.error == error

    @property
    def busy(self) -> int:
        return self.now["status"] & 1

    @property
    def state(self) -> tuple[int, ...]:
        """Busy, done and error."""
        return tuple(self.now["status"] >> bit & 1 for bit in range(3))

    @property
    def error(self) -> tuple[int, int]:
        """Cause and address."""
        return self.now["error"] & 0xFF, self.now["error"] >> 8

    @property
    def levels(self) -> tuple[int, int, int]:
        return self.now["core_reset"], self.now["run"], self.now["halt"]
