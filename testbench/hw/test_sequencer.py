"""The sequencer against a model of units: order, waits, every fault, and how far it reads."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import cocotb
import pytest

from rootshift.config import AcceleratorConfig
from rootshift.csr import ErrorCause
from rootshift.hw.axi_bursts import Cause
from rootshift.hw.sequencer import Sequencer
from rootshift.isa import (
    CHECK_BIT,
    COMMAND_BYTES,
    INSTRUCTIONS,
    OPCODE_WIDTH,
    OPERANDS_BIT,
    Command,
    Unit,
)
from rootshift.testbench.hw.axi_memory import AxiMemory, Wire
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.command_programs import (
    BEYOND,
    COUNTS,
    extreme,
    illegal_commands,
    image,
    random_program,
)
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import PAIRS, pattern

from ..seeds import SEED

CONFIG = AcceleratorConfig(
    rows=6,
    cols=4,
    lanes=2,
    activation_width=3,
    weight_width=5,
    token_depth=37,
    embedding_depth=100,
    code_depth=1000,
    residual_depth=300,
)
WIDE = AcceleratorConfig(
    rows=256,
    activation_width=8,
    weight_width=8,
    token_depth=4096,
    embedding_depth=4096,
    code_depth=1 << 20,
    residual_depth=1 << 20,
)


class NearWrap(Sequencer):
    """Its counts of finished commands are about to pass 2^16."""

    FIRST_COUNT = COUNTS - 9


class PromptMemory(AxiMemory):
    """None of its beats may wait."""

    def sample(self, cycle: int) -> bool:
        moved = super().sample(cycle)
        assert self._moved["r"] or not self._driven["r"], "the bus waited"
        return moved


class Units:
    """All units: each takes a command when idle and finishes it some cycles later.

    It has the face of a stream's driver, and holds every command it is given against `program`.
    """

    def __init__(self, bench: Bench, first_count: int, owed: Callable[[], int]) -> None:
        self.bench, self.first_count, self.owed = bench, first_count, owed
        self.sinks = {unit: bench.sinks.pop(unit.name.lower()) for unit in Unit}
        ports = ("done_stb", "unit_busy", "fault_stb", "finished")
        self.wires = {port: Wire(bench.dut, port, bench.ports[port][1]) for port in ports}
        bench.sources["units"] = self
        self.reset()

    def reset(self) -> None:
        """Forget all commands."""
        for sink in self.sinks.values():
            sink.reset()
        self.expect([], ends=False)

    def expect(
        self, program: Sequence[Command], *, ends: bool, longest: int = 1, pressure: str = "always"
    ) -> None:
        """What is to be dispatched; with `ends`, `finished` is to rise after it.

        Commands take 1 to `longest` cycles. `left` counts what has not happened yet.
        """
        self.queues = {
            unit: deque(c for c in program if c.instruction.unit is unit) for unit in Unit
        }
        self.left, self.ends, self.longest = len(program) + ends, ends, longest
        self.random = random.Random(SEED + longest)
        # A unit that is idle may still not be ready, whoever asks.
        pressure = "random:0.2" if pressure.startswith("lazy") else pressure
        self.willing = {unit: pattern(pressure, unit) for unit in Unit}
        self.done = dict.fromkeys(Unit, self.first_count)
        self.work = dict.fromkeys(Unit, 0)
        self.fresh: set[Unit] = set()
        self.finishing, self.finished = 0, False
        self.faults: list[tuple[int, int]] = []
        self.offered: list[tuple[Unit, int]] = []
        self.finishes: list[int] = []
        self.bench.set("run", 0)
        self.drive()

    def load(self, beats: list[int], idle: str, seed: int) -> None:
        """For the face only."""

    def sample(self, cycle: int) -> bool:
        """Look at the settled wires; return whether anything moves or is at work."""
        active = any(self.work.values())
        if self.finishing:
            self.finishes.append(cycle)
        for unit, sink in self.sinks.items():
            ended = self.finishing >> unit & 1
            self.done[unit] += ended
            self.left -= ended
            self.work[unit] = max(0, self.work[unit] - 1)
            if sink.wires.valid() and sink._valid_for == 0:
                self.offered.append((unit, cycle))
            if sink.sample(cycle):
                self._accept(unit, sink.beats.pop())
                active = True
        if self.wires["fault_stb"].get():
            self.faults.append((self.bench.get("cause"), self.bench.get("address")))
        if self.wires["finished"].get():
            assert self.ends, "finished without END"
            assert not any(self.queues.values()), "finished before all commands were dispatched"
            assert not any(self.work.values()), "finished while a unit worked"
            assert not self.owed(), "finished while a read was on its way"
            self.left -= not self.finished
            self.finished = True
        else:
            assert not self.finished, "finished fell"
        return active

    def drive(self) -> None:
        """Set the wires for the next cycle."""
        busy = self.finishing = 0
        for unit, work in self.work.items():
            self.sinks[unit].wires.take(work == 0 and next(self.willing[unit]))
            # Every second unit says so one cycle late.
            busy |= (work > 0 and not (unit % 2 and unit in self.fresh)) << unit
            self.finishing |= (work == 1) << unit
        self.fresh.clear()
        self.wires["unit_busy"].set(busy)
        self.wires["done_stb"].set(self.finishing)

    def _accept(self, unit: Unit, payload: int) -> None:
        assert self.queues[unit], f"{unit.name} was given a command too many"
        command = self.queues[unit].popleft()
        word = int.from_bytes(command.encode(), "little")
        must = word & (1 << OPCODE_WIDTH) - 1 | word >> OPERANDS_BIT << OPCODE_WIDTH
        assert payload == must, f"{unit.name} was given {payload:#x} for {command}"
        for other, count in command.after.items():
            assert (self.done[other] - count) % COUNTS < COUNTS // 2, f"too early: {command}"
        self.work[unit] = self.random.randint(1, self.longest)
        self.fresh.add(unit)


class Run:
    """One bench on which program after program is run."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.config = AcceleratorConfig(**bench.params["config"])
        self.first_count = bench.params["first_count"]
        self.draw = random.Random(SEED)
        # Offset of a beat -> its response.
        self.failing: dict[int, int] = {}
        self.memory = PromptMemory(
            bench,
            "m_axi",
            data_width=self.config.bus_width,
            base=0,
            contents=b"",
            burst=16,
            outstanding=4,
        )
        self.units = Units(bench, self.first_count, lambda: self.memory.left)

    async def __call__(
        self,
        contents: bytes,
        dispatched: Sequence[Command],
        *,
        ends: bool = True,
        longest: int = 1,
        patterns: tuple[str, str] = ("always", "always"),
        drain: int = 16,
        delay: int = 0,
    ) -> Units:
        """From reset; the program is to give these commands."""
        await self.bench.reset()
        self.memory.contents = bytearray(contents)
        # Programs may be anywhere.
        self.memory.base = self.draw.getrandbits(40 - 12) << 12
        errors = {self.memory.base + at: response for at, response in self.failing.items()}
        self.memory.errors = errors
        self.units.expect(dispatched, ends=ends, longest=longest, pressure=patterns[1])
        self.bench.set("base", self.memory.base)
        await self.bench.step(delay)
        self.bench.set("run", 1)
        await self.bench.run({}, {}, idle={"m_axi": patterns[0]}, drain=drain, seed=SEED)
        taken = {unit.name: not queue for unit, queue in self.units.queues.items()}
        assert all(taken.values()), taken
        return self.units


@cocotb.test()
async def programs_are_dispatched_in_order(dut: Any) -> None:
    """Random programs, with units and memory of many speeds; what is read, and how far."""
    bench = await Bench.start(dut)
    run, draw = Run(bench), random.Random(SEED)
    for latency, patterns in zip((1, 30, 1, 7, 1, 100, 3, 1), PAIRS, strict=True):
        for length in (0, draw.randint(1, 12), 60):
            program = random_program(draw, run.config, length, run.first_count)
            run.memory.latency = latency
            longest = draw.choice([1, 10, 60])
            units = await run(image(program), program, longest=longest, patterns=patterns)
            assert units.faults == []
            assert bench.get("dma_cause") == Cause.NONE
            spans = [(at, at + beats * run.memory.bytes) for _, at, beats in run.memory.bursts]
            assert [low for low, _ in spans] == [run.memory.base, *(high for _, high in spans[:-1])]
            end = COMMAND_BYTES * (length + 1)
            assert end <= spans[-1][1] - run.memory.base <= end + BEYOND
            bench.compare(
                "finished commands",
                [units.done[unit] for unit in Unit],
                [
                    run.first_count + sum(c.instruction.unit is unit for c in program)
                    for unit in Unit
                ],
            )


@cocotb.test()
async def what_is_illegal_stops_the_reading(dut: Any) -> None:
    """Every opcode and operand out of range, after commands that are at their limits."""
    bench = await Bench.start(dut)
    run, draw = Run(bench), random.Random(SEED)
    faults = [*illegal_commands(run.config)]
    for what, cause, command in faults:
        before = [
            extreme(run.config, draw.choice(INSTRUCTIONS[1:]), draw.random() < 0.5)
            for _ in range(draw.randint(0, 3))
        ]
        units = await run(image([*before, command]), before, ends=False, drain=60)
        address = run.memory.base + COMMAND_BYTES * len(before)
        assert units.faults == [(cause, address)], what
        assert not bench.get("finished")
    # The next run from reset is as the first.
    program = random_program(draw, run.config, 20, run.first_count)
    assert (await run(image(program), program)).faults == []


@cocotb.test()
async def checks_of_commands(dut: Any) -> None:
    """Whatever bit of the program has flipped, and a piece that is not its own: the first command
    whose check is wrong stops the reading. Without `program_crc` the check is not looked at."""
    bench = await Bench.start(dut)
    run, draw = Run(bench), random.Random(SEED)
    before = random_program(draw, run.config, 9, run.first_count)
    other = random_program(draw, run.config, 10, run.first_count)
    sound, wrong = image(before), []
    for bit in range(8 * COMMAND_BYTES):
        number = draw.choice([0, 1, len(before)])
        contents = bytearray(sound)
        contents[COMMAND_BYTES * number + bit // 8] ^= 1 << bit % 8
        if run.config.program_crc or bit >= CHECK_BIT:
            wrong.append((number, contents))
    if run.config.program_crc:
        second = slice(COMMAND_BYTES, 2 * COMMAND_BYTES)
        without, twice, stale = (bytearray(sound) for _ in range(3))
        del without[second]
        twice[second.start : second.start] = sound[second]
        stale[COMMAND_BYTES * 4 : COMMAND_BYTES * 8] = image(other)[COMMAND_BYTES * 4 :][:128]
        wrong += [(1, without), (2, twice), (4, stale)]
    for number, contents in wrong:
        if run.config.program_crc:
            units = await run(contents, before[:number], ends=False, drain=60)
            address = run.memory.base + COMMAND_BYTES * number
            assert units.faults == [(ErrorCause.BAD_CRC, address)]
        else:
            assert (await run(contents, before)).faults == []
    assert (await run(sound, before)).faults == []


@cocotb.test()
async def limits_are_legal(dut: Any) -> None:
    """Every instruction with all its operands at an end of their range, END with any waits."""
    bench = await Bench.start(dut)
    run = Run(bench)
    program = [
        extreme(run.config, instruction, most)
        for instruction in INSTRUCTIONS
        if instruction.unit is not None
        for most in (False, True)
    ]
    units = await run(image(program), program)
    assert units.faults == []
    end = Command("END", {}, {Unit.GEMM: 30000, Unit.STORE: 5})
    units = await run(image([*program, end]), program)
    assert units.faults == []


@cocotb.test()
async def failed_reads_stop_the_reading(dut: Any) -> None:
    """A failed beat is no command; those before it are carried out."""
    bench = await Bench.start(dut)
    run, draw = Run(bench), random.Random(SEED)
    for response, cause in ((2, Cause.SLVERR), (3, Cause.DECERR)):
        for length in (0, 5, 9, 30):
            program = random_program(draw, run.config, length, run.first_count)
            # In the last bytes of the command behind them.
            at = COMMAND_BYTES * (length + 1) - run.memory.bytes
            contents = image([*program, Command("TABLE"), Command("TABLE")])
            run.failing = {at: response}
            units = await run(contents, program, ends=False, longest=20, drain=120)
            assert units.faults == []
            assert bench.get("dma_cause") == cause
            assert bench.get("dma_address") == run.memory.base + at
            assert not bench.get("finished")
    run.failing = {}
    units = await run(image(program), program, longest=20)
    assert bench.get("dma_cause") == Cause.NONE


@cocotb.test()
async def nothing_happens_before_the_run(dut: Any) -> None:
    bench = await Bench.start(dut)
    run = Run(bench)
    run.memory.contents = bytearray(image([]))
    await bench.run({}, {}, drain=40)
    assert run.memory.bursts == []
    assert not run.units.finished


@cocotb.test()
async def latency_and_throughput(dut: Any) -> None:
    """As the documentation says, over all places of the turn in which queues are looked at."""
    bench = await Bench.start(dut)
    run = Run(bench)
    beats = 256 // run.config.bus_width
    waiting = Command("STORE", {}, {Unit.GEMM: (run.first_count + 1) % COUNTS})
    pair, read, waited = [Command("GEMM"), waiting], set(), set()
    for delay in range(21):
        units = await run(image(pair), pair, longest=60 + delay, delay=delay)
        (_, first), (_, second) = units.offered
        read.add(first - run.memory.moves["r"][beats - 1])
        # Else it was the reading that it waited for.
        if units.finishes[0] > first + 2 * beats + 8:
            waited.add(second - units.finishes[0])
    lowest = Sequencer.LATENCY
    assert read == {*range(lowest, lowest + 7)}, read
    assert waited <= {*range(2, 9)}, waited
    assert len(waited) > 3
    for names, each in (("FETCH PATCHIFY WEIGHTS GEMM STORE", beats + 2), ("GEMM", 7)):
        program = [Command(name) for name in names.split()] * 10
        units = await run(image(program), program)
        cycles = [cycle for _, cycle in units.offered]
        average = (cycles[-1] - cycles[0]) / (len(program) - 1)
        assert abs(average - max(each, beats + 2)) < 1, average


@pytest.mark.parametrize(
    ("unit", "config", "bus_width"),
    [
        (Sequencer, CONFIG, 32),
        (Sequencer, WIDE, 64),
        (NearWrap, CONFIG, 128),
        (Sequencer, replace(CONFIG, program_crc=True), 32),
        (Sequencer, replace(CONFIG, program_crc=True), 64),
        (NearWrap, replace(WIDE, program_crc=True), 128),
    ],
    ids=["32", "64", "128-wrap", "32-crc", "64-crc", "128-wrap-crc"],
)
def test_sequencer(unit, config, bus_width) -> None:
    config = replace(config, bus_width=bus_width)
    params = {"config": asdict(config), "first_count": unit.FIRST_COUNT}
    simulate(unit(config=config), __name__, params=params)
