"""The device's end of the host link: requests, and everything that is none, between models of the
registers and of the memory that are not ours."""

import logging
import random
from dataclasses import dataclass
from itertools import cycle

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteRam, AxiRam
from cocotbext.axi.sparse_memory import SparseMemory

from rootshift.csr import ErrorCause, find_register, pack
from rootshift.host_link import ANSWER, START, Classified, Kind, LinkFault, frame, split_registers
from rootshift.hw.host_link import HostLink
from rootshift.program import Area
from rootshift.testbench.hw.axi_memory import Wire
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_beats import alternate_bits
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.streams import Checker

TIMEOUT = 400
"""Cycles of silence."""
GAP = 8
"""Cycles from one byte of the line to the next, fewer than any line has."""
REFUSAL = TIMEOUT + 2
"""Cycles from the last byte of what is no request to the first one of the answer, one less than
where it is the silence that ends it."""
ADDR_WIDTH = 40
IDENTITY = np.random.default_rng(3).bytes(84)
BYTES, CLASSES = alternate_bits(100), 42
"""Of an image, and logits."""
FAR = (0xAA_AAAA_FFC0, 0x55_5554_FFE0)
"""Addresses of which each bit is both, shortly before a carry through many."""
PAGE = 4096


@dataclass(frozen=True)
class Places:
    """What the link reads of a program; one with areas that far would hold all before them."""

    input: Area
    output: Area
    images: int = 1
    classes: int = CLASSES


def fault_of(content: bytes) -> LinkFault:
    """Why bytes, behind which the line is silent, are no request."""
    lengths = {Kind.IDENTIFY: 0, Kind.STATUS: 0, Kind.CLASSIFY: BYTES}
    if content[0] != START:
        return LinkFault.NO_START
    if len(content) > 1 and content[1] not in lengths:
        return LinkFault.BAD_KIND
    if len(content) > 3 and int.from_bytes(content[2:4], "little") != lengths[content[1]]:
        return LinkFault.BAD_LENGTH
    whole = len(content) > 3 and len(content) >= len(frame(0)) + lengths[content[1]]
    return LinkFault.BAD_CRC if whole else LinkFault.SILENCE


def flipped(content: bytes, bit: int) -> bytes:
    """With one bit turned, counted from the lowest of the first byte."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


class Line:
    """Bytes to the link and from it; time passes only in its methods."""

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self.bench, self.rng, self.answered = bench, rng, bytearray()
        self.pause = 0
        """Cycles from the last byte to the link to the first one of the last answer."""
        self._last, self._began = 0, 0
        self.checker = Checker("o", False)
        self.buses = [
            (
                Wire(bench.dut, f"{bus}__{way}valid", 1),
                Wire(bench.dut, f"{bus}__{way}addr", 1),
                size,
            )
            for bus, size in (("m_axil", 4), ("m_axi", bench.params["data_width"] // 8))
            for way in ("aw", "ar")
        ]

    async def wait(self, cycles: int) -> None:
        """Collect what comes."""
        bench = self.bench
        for _ in range(cycles):
            ready = self.rng.random() < 0.7
            bench.set("o__ready", ready)
            await FallingEdge(bench.dut.clk)
            valid, payload = bench.get("o__valid"), bench.get("o__payload")
            for asks, address, size in self.buses:
                # The models would take one within a word for that of the word.
                assert asks.bits() == "0" or address.get() % size == 0
            self.checker.observe(bench.cycle, bool(valid), ready, f"{payload}")
            if valid and not self._began:
                self._began = bench.cycle
            if valid and ready:
                self.answered.append(payload)
            await bench.step()

    def reset(self) -> None:
        """Forget what came, and what was offered."""
        self.answered.clear()
        self.checker.reset()
        self._began = 0

    async def send(self, content: bytes, gap: int = GAP) -> None:
        for byte in content:
            self.bench.set("i__payload", byte)
            await self._strobe("i__valid", gap)

    async def lose(self) -> None:
        """A byte that the line could not read."""
        await self._strobe("fault_stb", GAP)

    async def _strobe(self, port: str, gap: int) -> None:
        self._last = self.bench.cycle
        self.bench.set(port, 1)
        await self.wait(1)
        self.bench.set(port, 0)
        self.bench.set("i__payload", self.rng.getrandbits(8))
        await self.wait(gap - 1)

    async def answer(self, patience: int = 1500) -> bytes:
        """All that comes until nothing has for a while."""
        quiet, seen = 0, 0
        while quiet < (100 if seen else patience):
            await self.wait(1)
            quiet = quiet + 1 if len(self.answered) == seen else 0
            seen = len(self.answered)
        self.pause, self._began = self._began - self._last, 0
        found = bytes(self.answered)
        self.answered.clear()
        return found


class Host:
    """The host's end, registers and memory.

    Attributes
    ----------
    state : tuple
        What `running`, `done`, `failed` and `label` have to be.
    """

    def __init__(self, bench: Bench) -> None:
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        dut, self.bench = bench.dut, bench
        self.rng = np.random.default_rng(bench.params["seed"])
        chance = random.Random(bench.params["seed"])
        self.line = Line(bench, chance)
        self.registers = AxiLiteRam(
            AxiLiteBus.from_prefix(dut, "m_axil_"), dut.clk, dut.rst, size=PAGE
        )
        space = SparseMemory(1 << ADDR_WIDTH)
        self.memory = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, mem=space)
        self.input, self.output = bench.params["input"], bench.params["output"]
        self.state = (0, 0, 0, 0)
        self.registers.write(0, self.rng.bytes(PAGE))
        ends = {
            self.registers.write_if: "aw w b",
            self.registers.read_if: "ar r",
            self.memory.read_if: "ar r",
        }
        for end, names in ends.items():
            for name in names.split():
                # Either side waits for the other now and then.
                pauses = iter(lambda: chance.random() < 0.3, None)
                getattr(end, f"{name}_channel").set_pause_generator(pauses)
        for name in ("aw", "w", "b"):
            # Less than a byte of the line takes.
            memory_writes = getattr(self.memory.write_if, f"{name}_channel")
            memory_writes.set_pause_generator(cycle((True, False)))

    def put(self, name: str, **fields: int) -> None:
        for offset, word in zip(find_register(name).offsets, pack(name, **fields), strict=True):
            self.registers.write_dword(offset, word)

    def check_state(self) -> None:
        ports = ("running", "done", "failed", "label")
        assert tuple(self.bench.get(port) for port in ports) == self.state

    async def ask(self, kind: int, payload: bytes = b"") -> bytes:
        """The payload of the answer to a request."""
        await self.line.send(frame(kind, payload))
        return await self.answer_to(kind)

    async def answer_to(self, kind: int) -> bytes:
        found = await self.line.answer()
        assert found[:2] == bytes([START, kind if kind == Kind.ERROR else kind | ANSWER])
        assert found == frame(found[1], found[4:-2])
        return found[4:-2]

    async def identify(self) -> None:
        assert await self.ask(Kind.IDENTIFY) == IDENTITY
        self.check_state()

    async def classify(self, logits: list[int]) -> None:
        content = np.array(logits, "<i4").tobytes()
        image, margins = self.rng.bytes(BYTES), (self.rng.bytes(PAGE), self.rng.bytes(PAGE))
        self.memory.mem.clear()
        self.memory.write(self.input - PAGE, margins[0] + bytes(BYTES) + margins[1])
        # Whatever lies beside them is larger than the logits.
        self.memory.write(self.output - PAGE, b"\x7f" * (2 * PAGE + len(content)))
        self.memory.write(self.output, content)
        pages = set(self.memory.mem.segs)
        self.put("STATUS", done=1)
        self.put("CYCLES", count=int(self.rng.integers(1 << 63)))
        (control,) = find_register("CONTROL").offsets
        before = bytearray(self.registers.read(0, PAGE))
        await self.line.send(frame(Kind.CLASSIFY, image))
        found = await self.answer_to(Kind.CLASSIFY)
        # Start and clear; and the program of a reset device begins where the memory does.
        before[control : control + 4] = (3).to_bytes(4, "little")
        assert self.registers.read(0, PAGE) == before
        held = self.memory.read(self.input - PAGE, BYTES + 2 * PAGE)
        assert held == margins[0] + image + margins[1]
        assert self.memory.read(self.output, len(content)) == content
        assert set(self.memory.mem.segs) == pages
        self.check_classified(found, logits)

    def check_classified(self, found: bytes, logits: list[int]) -> None:
        answer = Classified.decode(found, CLASSES)
        cycles = b"".join(self.registers.read(at, 4) for at in find_register("CYCLES").offsets)
        assert answer.logits.tolist() == list(logits)
        assert answer.cycles == int.from_bytes(cycles, "little")
        assert answer.label == int(np.argmax(logits))
        self.state = (0, 1, 0, answer.label)
        self.check_state()

    async def refuses(self, content: bytes, why: LinkFault | None = None, lose: bool = False):
        """An error comes once the line is silent."""
        await self.line.send(content)
        if lose:
            await self.line.lose()
        why = why or fault_of(content)
        assert await self.answer_to(Kind.ERROR) == why.to_bytes(4, "little"), content.hex()
        assert self.line.pause == REFUSAL + (why == LinkFault.SILENCE)
        self.check_state()


async def start(dut) -> Host:
    return Host(await Bench.start(dut))


@cocotb.test()
async def requests(dut):
    host = await start(dut)
    await host.identify()
    await host.classify([-(2**31)] * CLASSES)
    await host.classify([-5, -9, -3, *[-4] * (CLASSES - 3)])
    await host.classify([1, 7, 7, *[6] * (CLASSES - 3)])
    await host.classify([*range(CLASSES - 1), CLASSES])
    for bits in (2, 6, 12, 18, 24, 32):
        # So close together that low bits tell them apart.
        lowest = int(host.rng.integers(-(2**31), 2**31 - 2**bits + 1))
        logits = lowest + host.rng.integers(0, 2**bits, CLASSES)
        await host.classify(logits.tolist())
        registers = {
            "STATUS": {"busy": 0, "done": 1, "error": 0},
            "ERROR": {"cause": bits, "address": int(host.rng.integers(1 << 63))},
            "CYCLES": {"count": int(host.rng.integers(1 << 63))},
        }
        for name, fields in registers.items():
            host.put(name, **fields)
        assert split_registers(await host.ask(Kind.STATUS)) == registers
        host.check_state()
    # As slow as a line may be.
    await host.line.send(frame(Kind.IDENTIFY), TIMEOUT - 1)
    assert await host.answer_to(Kind.IDENTIFY) == IDENTITY
    # And faster than any line.
    await host.line.send(frame(Kind.IDENTIFY), 2)
    assert await host.answer_to(Kind.IDENTIFY) == IDENTITY


@cocotb.test()
async def what_is_no_request_is_refused(dut):
    host = await start(dut)
    good = frame(Kind.CLASSIFY, host.rng.bytes(BYTES))
    ends = (1, 2, 3, 4, len(good) // 2, len(good) - 2, len(good) - 1)
    for end in ends:
        await host.refuses(good[:end])
    for end in (0, *ends):
        await host.refuses(good[:end], LinkFault.BAD_BYTE, lose=True)
    for kind in (Kind.IDENTIFY, Kind.STATUS, Kind.CLASSIFY):
        for bit in range(8):
            begun = flipped(bytes([START, kind]), 8 + bit)
            await host.refuses(begun)
    for bit in range(8):
        await host.refuses(flipped(good[:4], bit))
    for bit in range(16):
        await host.refuses(flipped(good[:6], 16 + bit))
    short = frame(Kind.STATUS)
    for bit in range(16):
        await host.refuses(flipped(short, len(short) * 8 - 1 - bit))
    await host.refuses(frame(Kind.IDENTIFY, b"x"))
    for _ in range(4):
        await host.refuses(flipped(good, int(host.rng.integers(32, len(good) * 8))))
    for _ in range(12):
        await host.refuses(host.rng.bytes(int(host.rng.integers(1, 40))))
    await host.identify()
    await host.classify([*range(CLASSES)])


@cocotb.test()
async def what_comes_during_a_run_is_lost(dut):
    host = await start(dut)
    good = frame(Kind.CLASSIFY, host.rng.bytes(BYTES))
    for label in (5, 40):
        host.put("STATUS", busy=1)
        await host.line.send(good)
        host.state = (1, 0, 0, host.state[3])
        await host.line.wait(100)
        host.check_state()
        await host.line.send(good[:9])
        await host.line.lose()
        await host.line.send(frame(Kind.IDENTIFY))
        for _ in range(2 * TIMEOUT):
            await host.line.wait(1)
            assert not any(host.bench.get(f"m_axi__{name}valid") for name in ("ar", "aw", "w"))
        assert not host.line.answered
        host.check_state()
        logits = [int(place == label) for place in range(CLASSES)]
        host.memory.write(host.output, np.array(logits, "<i4").tobytes())
        host.put("STATUS", done=1)
        host.check_classified(await host.answer_to(Kind.CLASSIFY), logits)
        host.put("STATUS", error=1)
        error = {"cause": ErrorCause.WATCHDOG, "address": int(host.rng.integers(1 << 63))}
        host.put("ERROR", **error)
        await host.line.send(good)
        stopped = np.array([LinkFault.STOPPED, *pack("ERROR", **error)], "<u4").tobytes()
        assert await host.answer_to(Kind.ERROR) == stopped
        host.state = (0, 0, 1, label)
        host.check_state()
    await host.identify()


@cocotb.test()
async def reset_ends_whatever_is_at_work(dut):
    host = await start(dut)
    good = frame(Kind.CLASSIFY, host.rng.bytes(BYTES))
    for content in (good[:3], good[:50], good[:-1], frame(Kind.IDENTIFY), good, good, good, good):
        host.put("STATUS", done=1)
        await host.line.send(content)
        await host.line.wait(int(host.rng.integers(60)))
        await host.bench.reset()
        host.line.reset()
        host.state = (0, 0, 0, 0)
        host.check_state()
        await host.identify()
    await host.classify([*range(CLASSES)])


@pytest.mark.parametrize(("data_width", "input_", "output"), [(32, *FAR), (64, *FAR[::-1])])
def test_requests_and_garbage(data_width: int, input_: int, output: int) -> None:
    print(f"seed {data_width}")
    areas = Area(input_, BYTES, BYTES), Area(output, 4 * CLASSES, 4 * CLASSES)
    sizes = {"addr_width": ADDR_WIDTH, "data_width": data_width, "timeout": TIMEOUT}
    link = HostLink(program=Places(*areas), identity=IDENTITY, **sizes)
    params = {"seed": data_width, "data_width": data_width, "input": input_, "output": output}
    simulate(link, __name__, params=params)


def test_what_does_not_fit_is_refused() -> None:
    sizes = {"addr_width": 40, "data_width": 64, "timeout": TIMEOUT}
    places = Places(Area(0, BYTES, BYTES), Area(BYTES, 4 * CLASSES, 4 * CLASSES))
    with pytest.raises(ValueError, match="identity must be whole words, not 5 bytes"):
        HostLink(program=places, identity=b"12345", **sizes)
