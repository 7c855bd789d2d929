"""The device's end of the host link: requests, and everything that is none, between models of the
registers and of the memory that are not ours."""

import logging
from itertools import cycle

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteRam, AxiRam

from rootshift.config import AcceleratorConfig
from rootshift.csr import ErrorCause, find_register, pack
from rootshift.host_link import ANSWER, START, Classified, Kind, LinkFault, frame, split_registers
from rootshift.hw.compiler import compile_program
from rootshift.hw.host_link import HostLink
from rootshift.program import Program
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.random_model import Size, random_artifact
from rootshift.testbench.seeds import generator

TIMEOUT = 400
"""Cycles of silence."""
GAP = 8
"""Cycles from one byte of the line to the next, fewer than any line has."""
IDENTITY = np.random.default_rng(3).bytes(52)


class Line:
    """Bytes to the link and from it; time passes only in its methods."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.answered = bench, []
        bench.set("o__ready", 1)

    async def wait(self, cycles: int) -> None:
        """Collect what comes."""
        for _ in range(cycles):
            await FallingEdge(self.bench.dut.clk)
            if self.bench.get("o__valid"):
                self.answered.append(self.bench.get("o__payload"))
            await self.bench.step()

    async def send(self, content: bytes, gap: int = GAP) -> None:
        for byte in content:
            self.bench.set("i__payload", byte)
            self.bench.set("i__valid", 1)
            await self.wait(1)
            self.bench.set("i__valid", 0)
            await self.wait(gap - 1)

    async def answer(self, patience: int = 1500) -> bytes:
        """All that comes until nothing has for a while."""
        quiet, seen = 0, 0
        while quiet < patience:
            await self.wait(1)
            quiet = quiet + 1 if len(self.answered) == seen else 0
            seen = len(self.answered)
            if seen and quiet > 200:
                break
        found, self.answered = bytes(self.answered), []
        return found

    async def ask(self, kind: int, payload: bytes = b"") -> bytes:
        await self.send(frame(kind, payload))
        return await self.answer()


@cocotb.test()
async def requests_and_garbage(dut):
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.params["seed"])
    registers = AxiLiteRam(AxiLiteBus.from_prefix(dut, "m_axil_"), dut.clk, size=4096)
    memory = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, size=1 << 16)
    line, places = Line(bench), bench.params
    ends = {registers.write_if: "aw w b", registers.read_if: "ar r", memory.read_if: "ar r"}
    for end, names in ends.items():
        for name in names.split():
            # Either side waits for the other now and then.
            pauses = iter(lambda: bool(rng.random() < 0.3), None)
            getattr(end, f"{name}_channel").set_pause_generator(pauses)
    for name in ("aw", "w", "b"):
        # Less than a byte of the line takes.
        memory_writes = getattr(memory.write_if, f"{name}_channel")
        memory_writes.set_pause_generator(cycle((True, False)))

    async def stay_inside():
        """The models would take an address beyond them for one within."""
        while True:
            await FallingEdge(dut.clk)
            for bus, size in (("m_axi", 1 << 16), ("m_axil", 4096)):
                for way in ("aw", "ar"):
                    if bench.get(f"{bus}__{way}valid"):
                        assert bench.get(f"{bus}__{way}addr") < size, bus

    cocotb.start_soon(stay_inside())

    def put(name, **fields):
        for offset, word in zip(find_register(name).offsets, pack(name, **fields), strict=True):
            registers.write_dword(offset, word)

    async def classify(logits):
        image = rng.integers(0, 256, places["input_bytes"], np.uint8)
        put("STATUS", done=1)
        cycles = int(rng.integers(1 << 63))
        put("CYCLES", count=cycles)
        registers.write_dword(find_register("CONTROL").offset, 0)
        memory.write(places["output"], np.array(logits, "<i4").tobytes())
        found = await line.ask(Kind.CLASSIFY, image.tobytes())
        assert memory.read(places["input"], len(image)) == image.tobytes()
        # Start and clear; and the program of a reset device begins where the memory does.
        assert registers.read_dword(find_register("CONTROL").offset) == 3
        assert found[:2] == bytes([START, Kind.CLASSIFY | ANSWER])
        assert found == frame(Kind.CLASSIFY | ANSWER, found[4:-2])
        answer = Classified.decode(found[4:-2], len(logits))
        assert (answer.logits.tolist(), answer.cycles) == (list(logits), cycles)
        assert answer.label == int(np.argmax(logits))
        assert bench.get("label") == answer.label
        assert (bench.get("done"), bench.get("failed"), bench.get("running")) == (1, 0, 0)

    async def refuses(content, why, gap=GAP):
        """An error comes after silence, not before it, and the next request is carried out."""
        await line.send(content, gap)
        await line.wait(TIMEOUT - GAP - 10)
        assert not line.answered, why
        assert await line.answer() == frame(Kind.ERROR, why.to_bytes(4, "little")), why
        assert await line.ask(Kind.IDENTIFY) == frame(Kind.IDENTIFY | ANSWER, IDENTITY)

    classes = places["classes"]
    assert await line.ask(Kind.IDENTIFY) == frame(Kind.IDENTIFY | ANSWER, IDENTITY)
    await classify([-(2**31)] * classes)
    await classify([-5, -9, -3, *[-4] * (classes - 3)])
    await classify([1, 7, 7, *[6] * (classes - 3)])
    for _ in range(3):
        await classify(rng.integers(-(2**31), 2**31, classes).tolist())

    cycles = int(rng.integers(1 << 63))
    put("CYCLES", count=cycles)
    status = await line.ask(Kind.STATUS)
    fields = split_registers(status[4:-2])
    assert fields["STATUS"] == {"busy": 0, "done": 1, "error": 0}
    assert fields["CYCLES"] == {"count": cycles}

    good = frame(Kind.CLASSIFY, bytes(places["input_bytes"]))
    await refuses(b"\x00", LinkFault.NO_START)
    await refuses(bytes([START]), LinkFault.SILENCE)
    await refuses(good[: len(good) // 2], LinkFault.SILENCE)
    await refuses(good[:-1], LinkFault.SILENCE)
    await refuses(frame(0x7F), LinkFault.BAD_KIND)
    await refuses(frame(Kind.IDENTIFY, b"x"), LinkFault.BAD_LENGTH)
    await refuses(frame(Kind.CLASSIFY, bytes(places["input_bytes"] + 1)), LinkFault.BAD_LENGTH)
    for place in (1, 4, len(good) - 3, len(good) - 2, len(good) - 1):
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(rng.integers(8))
        kinds = {1: LinkFault.BAD_KIND}
        if place == 1:
            damaged[place] = 0x43
        await refuses(bytes(damaged), kinds.get(place, LinkFault.BAD_CRC))
    for bit in range(16):
        damaged = bytearray(good)
        damaged[2 + bit // 8] ^= 1 << bit % 8
        await refuses(bytes(damaged), LinkFault.BAD_LENGTH)
    # Two requests at once: the second is lost while the first is carried out.
    await line.send(frame(Kind.IDENTIFY), 2)
    assert (await line.answer()) == frame(Kind.IDENTIFY | ANSWER, IDENTITY)
    for _ in range(12):
        garbage = rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8).tobytes()
        await line.send(garbage)
        found = await line.answer()
        assert found[:2] == bytes([START, Kind.ERROR]), garbage.hex()
        assert len(found) == len(frame(Kind.ERROR, bytes(4))), garbage.hex()
    # A byte that the line has lost.
    await line.send(good[:7])
    bench.set("fault_stb", 1)
    await line.wait(1)
    bench.set("fault_stb", 0)
    await refuses(good[8:], LinkFault.BAD_BYTE)

    put("STATUS", error=1)
    error = {"cause": ErrorCause.WATCHDOG, "address": int(rng.integers(1 << 63))}
    put("ERROR", **error)
    stopped = np.array([LinkFault.STOPPED, *pack("ERROR", **error)], "<u4").tobytes()
    assert await line.ask(Kind.CLASSIFY, bytes(places["input_bytes"])) == frame(Kind.ERROR, stopped)
    assert (bench.get("done"), bench.get("failed")) == (0, 1)
    # Busy until the test says that it is over.
    put("STATUS", busy=1)
    await line.send(good)
    await line.wait(3000)
    assert not line.answered
    assert bench.get("running") == 1
    put("STATUS", done=1)
    assert (await line.answer())[1] == Kind.CLASSIFY | ANSWER
    await classify(rng.integers(-(2**31), 2**31, classes).tolist())


@pytest.fixture(scope="module")
def program() -> Program:
    artifact = random_artifact(generator(5), Size(image=(8, 12, 1), width=10))
    return compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "2x2"), 1)


@pytest.mark.parametrize("data_width", [32, 64])
def test_requests_and_garbage(program: Program, data_width: int) -> None:
    print(f"seed {data_width}")
    link = HostLink(
        program=program, identity=IDENTITY, addr_width=40, data_width=data_width, timeout=TIMEOUT
    )
    params = {
        "seed": data_width,
        "classes": program.classes,
        "input": program.input.offset,
        "input_bytes": program.input.bytes,
        "output": program.output.offset,
    }
    simulate(link, __name__, params=params)


def test_what_does_not_fit_is_refused(program: Program) -> None:
    sizes = {"addr_width": 40, "data_width": 64, "timeout": TIMEOUT}
    with pytest.raises(ValueError, match="identity must be whole words, not 5 bytes"):
        HostLink(program=program, identity=b"12345", **sizes)
