"""The controller of a run: every way in which a run begins and ends."""

import random
from typing import Any

import cocotb
import pytest
from cocotb.triggers import RisingEdge, Timer

from rootshift.csr import ErrorCause
from rootshift.hw.axi_bursts import Cause
from rootshift.hw.run_controller import RunController
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.run_control import (
    BUFFERS,
    DONE,
    ENTRY,
    ERROR,
    FAULTS,
    READS,
    WRITES,
    Controller,
    sources,
)

from ..seeds import SEED

PERIOD = 10
"""Of the clock, in ns."""
LONG = 1 << 18


@cocotb.test()
async def runs_end_well(dut: Any) -> None:
    """Also after one another, when the bus is idle late, and with starts in between."""
    unit = Controller(await Bench.start(dut))
    await unit.step(5)
    assert (unit.state, unit.levels) == ((0, 0, 0), (0, 0, 0))
    for cycles, late in ((1, 0), (30, 5), (1, 1), (7, 0)):
        await unit.start_to_run(ENTRY + 4096 * cycles)
        await unit.step(cycles, bus_idle=0, start_stb=1, entry=1)
        await unit.step(start_stb=0)
        await unit.step(late, finished=1)
        assert (unit.state, unit.levels, unit.interrupts) == ((1, 0, 0), (0, 1, 0), [])
        await unit.finish()
        # From the cycle after the start to that of the interrupt.
        assert unit.counted == 2 + 1 + cycles + 1 + late + 2
        await unit.step(3, finished=0)
        assert (unit.state, unit.interrupts) == ((0, 1, 0), [DONE])


@cocotb.test()
async def entries_that_are_not_legal(dut: Any) -> None:
    unit = Controller(await Bench.start(dut))
    wrong = [1 << bit for bit in range(64) if not 12 <= bit < 40]
    for entry in (*wrong, 4095, 4096 + 2048, (1 << 64) - 4096):
        await unit.start(entry, bus_idle=0)
        await unit.drain((ErrorCause.BAD_ADDRESS, entry), 0)
    for entry in (0, (1 << 40) - 4096, *(1 << bit for bit in range(12, 40))):
        await unit.start_to_run(entry)
        await unit.finish()


@cocotb.test()
async def every_fault_stops_the_run(dut: Any) -> None:
    """A pulse and a level, at once and late, and the next run is as the first."""
    unit = Controller(await Bench.start(dut))
    draw = random.Random(SEED)
    for index, (port, bits, cause, address) in enumerate(sources()):
        await unit.start_to_run()
        await unit.step(index % 3, progress=1)
        # END may have been reached: what is read beyond it can still fail.
        await unit.step(**{port: bits, "bus_idle": 0, "finished": index % 2})
        assert unit.levels == (0, 1, 0)
        later, later_bits, *_ = draw.choice(sources())
        await unit.step(**{port: bits * (index % 2), "start_stb": 1})
        assert unit.levels == (0, 1, 0)
        await unit.step(**{later: later_bits, "start_stb": 0})
        await unit.drain((cause, address), draw.randint(0, 5))
        # What is wrong without a run is no matter.
        await unit.step(4)
        assert (unit.state, unit.levels) == ((0, 0, 1), (0, 0, 0))
        assert unit.error == (cause, address)
        if index % 4 == 0:
            await unit.start_to_run()
            await unit.finish()


@cocotb.test()
async def faults_in_one_cycle(dut: Any) -> None:
    """The first in the order of the documentation is told; a fault goes before the end."""
    unit = Controller(await Bench.start(dut))
    draw = random.Random(SEED)
    found = sources()
    for _ in range(60):
        chosen = sorted(draw.sample(range(len(found)), 2))
        (first, first_bits, *error), (second, second_bits, *_) = (found[i] for i in chosen)
        if first == second:
            continue
        await unit.start_to_run()
        await unit.step(**{first: first_bits, second: second_bits, "finished": 1})
        assert unit.interrupts == []
        await unit.step(**{first: 0, second: 0})
        assert unit.interrupts == []
        await unit.step(bus_idle=0)
        await unit.drain(tuple(error), 1)


@cocotb.test()
async def halted_movers_are_no_error(dut: Any) -> None:
    """HALTED follows from an error: alone it says nothing."""
    unit = Controller(await Bench.start(dut))
    await unit.start_to_run()
    await unit.step(5, read_faults=Cause.HALTED << 43, write_faults=Cause.HALTED)
    assert unit.levels == (0, 1, 0)
    await unit.finish()


@cocotb.test()
async def faults_before_and_after_a_run(dut: Any) -> None:
    """What is wrong from the interrupt to the last cycle of the next reset stops neither run."""
    unit = Controller(await Bench.start(dut))
    for port, bits, *_ in sources():
        await unit.start(**{port: bits})
        await unit.step()
        assert unit.levels == (1, 0, 0)
        await unit.step(**{port: 0})
        assert unit.levels == (0, 1, 0)
        await unit.step(3)
        await unit.step(finished=1)
        await unit.step(**{port: bits})
        assert (unit.levels, unit.interrupts) == ((0, 1, 0), [DONE])
        await unit.step(finished=0)
        assert (unit.state, unit.levels) == ((0, 1, 0), (0, 0, 0))
        assert unit.error == (ErrorCause.NONE, 0)


@cocotb.test()
async def a_bus_that_is_idle_before_the_halt(dut: Any) -> None:
    """A burst may be begun up to the halt, and the core is not reset before its answer."""
    unit = Controller(await Bench.start(dut))
    for port, bits, cause, address in sources():
        for finished in (0, 1):
            await unit.start_to_run()
            await unit.step(**{port: bits, "finished": finished})
            await unit.step(**{port: 0, "finished": 1})
            assert unit.levels == (0, 1, 0)
            await unit.step(bus_idle=0)
            await unit.drain((cause, address), 5)


@cocotb.test()
async def starts_right_after_the_end(dut: Any) -> None:
    """In the first cycle that is not busy, while all is as the run before has left it."""
    unit = Controller(await Bench.start(dut))
    bits = 1 | ErrorCause.BAD_OPCODE << 1
    for well in (True, False):
        for entry in (ENTRY, 1):
            await unit.start_to_run(watchdog=9)
            # Ignored up to the end.
            await unit.step(3, start_stb=1, entry=entry)
            await unit.step(finished=1, fault=0 if well else bits)
            await unit.step(1 if well else 5)
            assert unit.interrupts == ([DONE] if well else [ERROR])
            await unit.step()
            assert unit.state == (0, int(well), int(not well))
            unit.interrupts, unit.counted = [], 0
            await unit.step(start_stb=0, bus_idle=int(entry == ENTRY))
            assert (unit.state, unit.now["counting"]) == ((1, 0, 0), 1)
            if entry == ENTRY:
                await unit.step()
                assert unit.levels == (1, 0, 0)
                await unit.step(20, finished=0, fault=0, progress=1)
                assert (unit.levels, unit.interrupts) == ((0, 1, 0), [])
                await unit.finish()
            else:
                await unit.drain((ErrorCause.BAD_ADDRESS, entry), 3)


@cocotb.test()
async def watchdog_expires_as_the_run_ends(dut: Any) -> None:
    """With the end, it goes first; in the cycle after, that of the interrupt, it is too late."""
    unit = Controller(await Bench.start(dut))
    for limit in (1, 6):
        await unit.start_to_run(watchdog=limit)
        await unit.step(limit - 1)
        await unit.step(2, finished=1)
        await unit.step(bus_idle=0, progress=1)
        await unit.drain((ErrorCause.WATCHDOG, 0), 1)
        await unit.start_to_run(watchdog=limit + 1)
        await unit.step(limit - 1)
        await unit.finish()
        await unit.step(5)
        assert (unit.state, unit.levels, unit.interrupts) == ((0, 1, 0), (0, 0, 0), [DONE])


@cocotb.test()
async def watchdog_stops_a_run_that_hangs(dut: Any) -> None:
    unit = Controller(await Bench.start(dut))
    for limit in (1, 2, 7, 300):
        await unit.start_to_run(watchdog=limit)
        # Exactly so many cycles without progress are allowed; one has passed.
        await unit.step(limit - 1)
        for _ in range(3):
            await unit.step(progress=1)
            await unit.step(limit, progress=0)
            assert unit.levels == (0, 1, 0)
        await unit.step()
        assert unit.levels == (0, 1, 0)
        await unit.step(progress=1, bus_idle=0)
        assert unit.levels == (0, 1, 0)
        await unit.step()
        await unit.drain((ErrorCause.WATCHDOG, 0), 2)
    await unit.start_to_run(watchdog=0)
    await unit.step(1000)
    assert unit.levels == (0, 1, 0)
    await unit.finish()


@cocotb.test()
async def watchdogs_of_all_bits(dut: Any) -> None:
    """None runs out early; and a long one, which is not stepped through, in its cycle."""
    unit = Controller(await Bench.start(dut))
    for bit in range(5, 32):
        await unit.start_to_run(watchdog=1 << bit)
        await unit.step(20)
        assert unit.levels == (0, 1, 0)
        await unit.finish()
    for limit in (LONG - 1, LONG):
        await unit.start_to_run(watchdog=limit)
        await Timer(PERIOD * (limit - 10) - PERIOD // 2, unit="ns")
        await RisingEdge(dut.clk)
        await unit.step(10 + 1)
        assert unit.levels == (0, 1, 0)
        await unit.step(bus_idle=0)
        await unit.drain((ErrorCause.WATCHDOG, 0), 2)


@cocotb.test()
async def watchdog_waits_for_the_last_answer_too(dut: Any) -> None:
    """END has been reached, but the bus never becomes idle."""
    unit = Controller(await Bench.start(dut))
    await unit.start_to_run(watchdog=5)
    await unit.step(6, finished=1, bus_idle=0)
    assert unit.levels == (0, 1, 0)
    await unit.step()
    assert unit.levels == (0, 0, 1)
    await unit.drain((ErrorCause.WATCHDOG, 0), 1)


@cocotb.test()
async def a_bus_that_never_answers_is_told(dut: Any) -> None:
    """After as long again; the run stays busy until the answer is there, and ends silently."""
    unit = Controller(await Bench.start(dut))
    for port, bits, error in (
        ("fault", 0, (ErrorCause.WATCHDOG, 0)),
        ("fault", 1 | ErrorCause.BAD_OPCODE << 1 | 64 << 9, (ErrorCause.BAD_OPCODE, 64)),
    ):
        await unit.start_to_run(watchdog=4)
        await unit.step(**{port: bits, "bus_idle": 0})
        await unit.step(3 if not bits else 0, fault=0)
        assert unit.levels == (0, 1, 0)
        await unit.step(5)
        assert (unit.levels, unit.interrupts) == ((0, 0, 1), [])
        await unit.step()
        assert unit.interrupts == [ERROR]
        counted = unit.counted
        await unit.step(20, start_stb=1, entry=ENTRY)
        assert (unit.state, unit.levels) == ((1, 0, 1), (0, 0, 1))
        assert unit.error == error
        await unit.step(4, start_stb=0, bus_idle=1)
        assert unit.levels == (1, 0, 1)
        await unit.step()
        assert (unit.state, unit.levels) == ((0, 0, 1), (0, 0, 0))
        assert (unit.interrupts, unit.counted) == ([ERROR], counted)
        await unit.start_to_run(watchdog=0)
        await unit.finish()


@cocotb.test()
async def an_answer_as_the_watchdog_expires(dut: Any) -> None:
    """The error is told in the cycle of the answer at the latest, or in the last busy one."""
    unit = Controller(await Bench.start(dut))
    told = []
    for cycles in range(1, 10):
        await unit.start_to_run(watchdog=4)
        await unit.step(fault=1 | ErrorCause.BAD_OPCODE << 1, bus_idle=0)
        await unit.step(cycles, fault=0)
        await unit.step(bus_idle=1)
        told.append(unit.interrupts == [ERROR])
        await unit.step(2)
        assert unit.interrupts == [ERROR] * told[-1]
        await unit.step()
        assert (unit.interrupts, unit.levels) == ([ERROR], (1, 0, 1))
        await unit.step()
        assert unit.state == (0, 0, 1)
    assert told == [False] * 4 + [True] * 5


class Reference:
    """What the cycles of a run lead to: the first event in them ends it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.still = limit, 0
        self.error: tuple[int, int] | None = None

    def ends(self, error: tuple[int, int] | None, ports: dict[str, int]) -> bool:
        """Whether this cycle of the run ends it; `error` is then the fault's, or that of NONE."""
        expired = self.limit and self.still >= self.limit and not ports["progress"]
        self.still = 0 if ports["progress"] else self.still + 1
        if error or expired:
            self.error = error or (ErrorCause.WATCHDOG, 0)
        elif ports["finished"] and ports["bus_idle"]:
            self.error = (ErrorCause.NONE, 0)
        return self.error is not None


@cocotb.test()
async def random_runs_have_one_interrupt_each(dut: Any) -> None:
    """Any order of events: the first decides, after so many cycles as are documented."""
    unit = Controller(await Bench.start(dut))
    draw = random.Random(SEED)
    found = sources()
    kinds = {DONE: 0, ERROR: 0}
    for _ in range(300):
        entry = ENTRY if draw.random() < 0.8 else draw.getrandbits(64)
        limit = draw.choice([0, 3, 10])
        await unit.start(entry, watchdog=limit, bus_idle=0)
        reference = Reference(limit)
        if entry != ENTRY:
            reference.error = (ErrorCause.BAD_ADDRESS, entry)
        # Of the first cycle in which each is so.
        first: dict[str, int] = {}
        bus_idle = 0
        for cycle in range(400):
            if unit.interrupts and not unit.busy:
                break
            ports, error = dict.fromkeys(FAULTS, 0), None
            if draw.random() < 0.05:
                port, bits, *fault = draw.choice(found)
                ports[port], error = bits, tuple(fault)
            ports["finished"] = draw.random() < 0.1
            # What the bus has answered for stays so once no burst is begun.
            bus_idle = ports["bus_idle"] = (bus_idle and unit.levels[2]) or draw.random() < 0.5
            ports["progress"] = draw.random() < 0.6
            await unit.step(**ports)
            reset, run, halt = unit.levels
            if run and reference.error is None and reference.ends(error, ports):
                first["event"] = cycle
            for name, so in (
                ("halt", halt),
                ("idle", halt and bus_idle),
                ("reset", halt and reset),
                ("interrupt", bool(unit.interrupts)),
            ):
                if so:
                    first.setdefault(name, cycle)
        else:
            raise AssertionError("the run did not end")
        assert len(unit.interrupts) == 1
        kinds[unit.interrupts[0]] += 1
        done = reference.error == (ErrorCause.NONE, 0)
        assert unit.interrupts == [DONE if done else ERROR]
        assert unit.error == reference.error
        assert unit.state == (0, int(done), int(not done))
        if done:
            assert first["interrupt"] == first["event"] + 1
        else:
            assert first["halt"] == first.get("event", -2) + 2
            assert first["reset"] == first["idle"] + 2
    assert min(kinds.values()) > 40


def test_run_controller() -> None:
    simulate(RunController(reads=READS, writes=WRITES, buffers=BUFFERS, parity=True), __name__)


@pytest.mark.parametrize("name", ["reads", "writes", "buffers"])
def test_parameters_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be 1 to 8, not 9$"):
        RunController(**{name: 9})
    with pytest.raises(TypeError, match=f"^{name} must be an integer, not 1.0$"):
        RunController(**{name: 1.0})
