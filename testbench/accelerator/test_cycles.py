"""The cycle model: every cycle of any design, program and memory equals the RTL's."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given

from rootshift.errors import ConfigError, ProgramError, ToolError
from rootshift.isa import Unit
from rootshift.program import Program
from rootshift.sim import trace
from rootshift.sim.cycles import model
from rootshift.sim.cycles.design import design
from rootshift.sim.native.memory import CHANNELS, MemoryTiming
from rootshift.sim.native.toolchain import CACHE_VARIABLE
from rootshift.sim.rtl.inference import timeline
from rootshift.sim.rtl.result import RunResult
from rootshift.sim.timeline import ArrayState, Timeline, UnitCycles

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import explored, generator
from . import inference
from .designs import WIDE
from .drawn import Pair, memories, pairs
from .inference import Proof
from .timelines import apart
from .timm_models import integers

MEMORIES = [
    MemoryTiming(),
    MemoryTiming(
        read_latency=77, write_latency=55, extra_latency=60, hold=0.5, bandwidth=0.4, seed=9
    ),
    MemoryTiming(read_latency=130, write_latency=900, hold={"r": 0.7}, seed=5),
]
PLACES = ("beats_ahead", "constants", "rows_waiting")
"""Numbers of the design that are places for all that may come: they are never waited for, or only
while other units write for longer than they do here."""
LIMIT = 1 << 26


def model_cycles(program: Program, **options: object) -> Timeline:
    """Ends in seconds where the model does not."""
    return model.model_cycles(program, **{"limit": LIMIT, **options})


def on_the_rtl(pair: Pair, memory: MemoryTiming) -> None:
    """A design of its own for the one program; values and cycles."""
    print(f"{pair}\n{memory}")
    artifact = pair.artifact
    try:
        proof = Proof(artifact, pair.config(artifact), pair.pixels(artifact), **pair.options)
    except (ConfigError, ProgramError):
        proof = None
    assume(proof is not None)
    with proof.session() as session:
        for timing in (memory, MemoryTiming()):
            session.memory[:] = np.frombuffer(proof.memory, np.uint8)
            proof.check(session.run(memory=timing))


@explored(3, shrink=False)
@given(pair=pairs(most_side=6), memory=memories())
def test_a_few_designs_on_the_rtl(pair: Pair, memory: MemoryTiming) -> None:
    on_the_rtl(pair, memory)


@pytest.mark.slow
@explored(24, shrink=False)
@given(pair=pairs(), memory=memories())
def test_many_designs_on_the_rtl(pair: Pair, memory: MemoryTiming) -> None:
    on_the_rtl(pair, memory)


@pytest.fixture(scope="module")
def proof() -> Proof:
    """Two images of a model whose program has every instruction."""
    rng = generator(40)
    artifact = random_artifact(rng, Size(width=10, pool="avg", depth=2))
    return Proof(artifact, WIDE, random_pixels(rng, artifact, 2))


PAIRS = [
    # Many heads of few tokens, on an array that is small for them: attention holds softmax back.
    Pair(
        size=Size(image=(1, 7, 3), patch=1, width=9, heads=3, hidden=43, depth=2, classes=6),
        bits=(8, 7, 7), base="sqrt2", array=(3, 2), lanes=1, bus_width=64, stages=3, spare=(0, 0),
        room=(0, 0, 0, 0, 0), images=3, batch=3, norm_bands=None, seed=1,
    ),
    # Many logits from a narrow array, which fill the queue of writes.
    Pair(
        size=Size(image=(24, 18, 3), patch=3, width=6, hidden=47, depth=3, prefix=3, classes=169),
        bits=(3, 8, 3), base="2", array=(2, 6), lanes=1, bus_width=64, stages=2, spare=(0, 0),
        room=(0, 60, 0, 0, 60), images=2, batch=1, norm_bands=None, seed=2,
    ),
    # Rows that one lane normalizes: the room for them counts.
    Pair(
        size=Size(image=(20, 24, 3), width=12, heads=1, hidden=17, depth=2, prefix=2, pool="avg"),
        bits=(8, 4, 6), base="2", array=(5, 6), lanes=1, bus_width=32, stages=1, spare=(0, 0),
        room=(56, 36, 0, 0, 23), images=2, batch=1, norm_bands=None, seed=3,
    ),
]  # fmt: skip
"""Programs that between them meet every part of the design at its limits."""


@pytest.fixture(scope="module")
def run(proof: Proof) -> RunResult:
    """A run on the RTL."""
    return proof.run(memory=MEMORIES[1])


class TestTheCheck:
    """A model that is not equal is told, with the command that first is not."""

    @pytest.fixture(autouse=True)
    def own_tally(self, monkeypatch: pytest.MonkeyPatch) -> Counter:
        """What is wrong on purpose is not the suite's worst difference."""
        found = Counter(worst=0)
        monkeypatch.setattr(inference, "tally", found)
        return found

    def test_commands(
        self,
        proof: Proof,
        run: RunResult,
        monkeypatch: pytest.MonkeyPatch,
        own_tally: Counter,
    ) -> None:
        proof.check(run)
        assert own_tally["worst"] == 0 < own_tally["commands"] == len(proof.program.commands) - 1
        # As if the columns of one product had come seven cycles late, and all after it with them.
        names = [placed.command.name for placed in proof.program.commands]
        number = names.index("GEMM", names.index("GEMM") + 1)
        right = timeline(proof.program, run)
        late = replace(
            right, done=np.where(right.done >= right.done[number], right.done + 7, right.done)
        )
        monkeypatch.setattr(inference, "model_cycles", lambda *_, **__: late)
        begun, done = right.begun[number], right.done[number]
        with pytest.raises(AssertionError) as caught:
            proof.check(run)
        said = str(caught.value).splitlines()[0]
        assert said.startswith(f"the cycle model must equal the RTL: command {number} (GEMM base=")
        assert f"; {trace.names(proof.program)[number]}), first of " in said
        assert f": RTL {begun} to {done}, model {begun} to {done + 7}" in said
        assert own_tally["worst"] == 7

    def test_every_figure(self, proof: Proof, run: RunResult) -> None:
        right = timeline(proof.program, run)
        units = {**right.units, "gemm": UnitCycles(right.units["gemm"].busy, 3)}
        array = right.array.copy()
        array[1, ArrayState.WEIGHTS] += 2
        reads = right.reads.copy()
        reads[-1] += 5
        for changed, said in (
            ({"cycles": right.cycles - 4}, f"cycles: RTL {right.cycles}, model {right.cycles - 4}"),
            ({"units": units}, f"gemm stall: RTL {right.units['gemm'].stall}, model 3"),
            ({"array": array}, "array, weights[1]: RTL "),
            ({"reads": reads}, f"reads of window[{len(reads) - 1}]: RTL "),
            ({"traffic": replace(right.traffic, write_bursts=99)}, "write_bursts: RTL "),
        ):
            found = apart(proof.program, right, replace(right, **changed))
            assert found.first.startswith(said)
            assert found.worst
        with pytest.raises(ValueError, match="timelines must be of the program"):
            apart(proof.program, right, replace(right, begun=right.begun[1:]))
        with pytest.raises(ValueError, match="reads of window: shape must be"):
            apart(proof.program, right, replace(right, reads=reads[1:]))

    def test_a_wrong_latency(
        self, proof: Proof, run: RunResult, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        altered(monkeypatch, "requantizer", 1)
        with pytest.raises(AssertionError, match=r"equal the RTL: command \d+ \(STORE "):
            proof.check(run)


def altered(monkeypatch: pytest.MonkeyPatch, name: str, change: int) -> None:
    """Another number in what the model knows of the design."""
    layout = model.design_layout

    def changed(config: object) -> object:
        found = layout(config)
        setattr(found, name, getattr(found, name) + change)
        return found

    monkeypatch.setattr(model, "design_layout", changed)


def same(program: Program, one: Timeline, other: Timeline) -> None:
    """Equal in everything."""
    found = apart(program, one, other)
    assert found.first is None, found.first


@explored(50)
@given(pair=pairs(), memory=memories())
def test_cycles_that_are_passed_over_change_nothing(pair: Pair, memory: MemoryTiming) -> None:
    program = pair.program()
    same(
        program,
        model_cycles(program, memory=memory, every_cycle=True),
        model_cycles(program, memory=memory),
    )


@explored(50)
@given(pair=pairs(), memory=memories())
def test_a_timeline_is_sound(pair: Pair, memory: MemoryTiming) -> None:
    """Order, waits and sums, whatever is drawn."""
    program = pair.program()
    found = model_cycles(program, memory=memory)
    is_sound(program, found)
    # Bytes do not depend on when they move, nor does what the array has to multiply.
    ideal = model_cycles(program)
    assert found.traffic == ideal.traffic
    busy = ArrayState.BUSY
    assert (found.array[:, busy] == ideal.array[:, busy]).all()


def is_sound(program: Program, found: Timeline) -> None:
    """What holds for every run that ends well."""
    commands = [placed.command for placed in program.commands[:-1]]
    assert len(found.begun) == len(found.done) == len(commands)
    finished: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    for command, begun, done in zip(commands, found.begun, found.done, strict=True):
        ended = finished[command.instruction.unit]
        assert begun > (ended[-1] if ended else 0), "a unit has one command at a time"
        assert begun <= done < found.cycles
        for unit, count in command.after.items():
            assert not count or begun > finished[unit][count - 1], command
        ended.append(done)
    for unit, cycles in found.units.items():
        assert min(cycles.busy, cycles.stall) >= 0, unit
        assert cycles.busy + cycles.stall <= found.cycles, unit
    states = found.array.sum(0)
    gemm = found.units["gemm"]
    assert gemm.busy == states[ArrayState.BUSY]
    waits = ArrayState.WEIGHTS, ArrayState.ACTIVATIONS, ArrayState.OUTPUT
    assert gemm.stall == sum(states[state] for state in waits)
    assert states.sum() == found.cycles
    products = sum(command.name == "GEMM" for command in commands)
    assert found.array.shape == (products + 1, len(ArrayState))
    traffic, beat = found.traffic, program.config.bus_width // 8
    assert found.units["read_dma"].busy == traffic.read_beats == found.reads.sum()
    assert found.units["write_dma"].busy == traffic.write_beats == found.writes.sum()
    assert traffic.read_bytes == traffic.read_beats * beat
    assert traffic.write_bytes == program.images * program.output.bytes
    assert len(found.reads) == len(found.writes) == -(-found.cycles // found.window)
    assert max(found.reads.max(), found.writes.max()) <= found.window


@explored(10)
@given(pair=pairs(), seed=integers(0, (1 << 64) - 1))
def test_a_memory_that_never_delays_is_the_ideal_one(pair: Pair, seed: int) -> None:
    """Whatever it would draw."""
    program = pair.program()
    ideal = model_cycles(program)
    for hold in (0.0, {}, dict.fromkeys(CHANNELS, 0.0)):
        same(program, ideal, model_cycles(program, memory=MemoryTiming(hold=hold, seed=seed)))


@pytest.fixture(scope="module")
def drawn() -> list[Program]:
    """Of `PAIRS`."""
    return [pair.program() for pair in PAIRS]


@pytest.mark.parametrize("name", [name for name in design(WIDE) if name not in PLACES])
def test_every_number_of_the_design_counts(
    drawn: list[Program], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A model that takes any of them for another differs."""
    before = [totals(program) for program in drawn]
    altered(monkeypatch, name, 1)
    differs = [totals(program) for program in drawn] != before
    assert differs


def totals(program: Program) -> list[object]:
    """A run on each of the memories, or that it does not end."""
    found = []
    for memory in MEMORIES:
        try:
            run = model_cycles(program, memory=memory, limit=1 << 20)
            found.append((run.cycles, run.done.tolist(), run.units, run.traffic))
        except ToolError:
            found.append(None)
    return found


def test_no_interrupt_in_time(proof: Proof) -> None:
    cycles = model_cycles(proof.program).cycles
    assert model_cycles(proof.program, limit=cycles).cycles == cycles
    for limit in (0, 1, cycles // 2, cycles - 1):
        with pytest.raises(ToolError) as caught:
            model_cycles(proof.program, limit=limit)
        assert str(caught.value) == f"an interrupt must come within {limit} cycles: none came"


SCRIPT = """\
import sys
from rootshift.errors import RootshiftError
from rootshift.program import Program
from rootshift.sim.cycles.model import model_cycles
try:
    print(model_cycles(Program.load(sys.argv[1])).cycles)
except RootshiftError as error:
    print(f"{type(error).__name__}: {error}")
"""


def process(program: Path, cache: Path, **variables: str) -> subprocess.Popen:
    """Another process that models a program, with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(program)],
        env={**os.environ, CACHE_VARIABLE: str(cache), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_build_at_once(proof: Proof, tmp_path: Path) -> None:
    proof.program.save(tmp_path / "program")
    both = [process(tmp_path / "program", tmp_path / "cache") for _ in range(2)]
    cycles = model_cycles(proof.program).cycles
    said = [started.communicate() for started in both]
    assert said == [(f"{cycles}\n", "")] * 2
    assert len(list((tmp_path / "cache").glob("*/"))) == 1


def test_no_compiler(proof: Proof, tmp_path: Path) -> None:
    proof.program.save(tmp_path / "program")
    started = process(tmp_path / "program", tmp_path / "cache", CXX="nonexistent")
    said, errors = started.communicate()
    assert errors == ""
    assert said == (
        "ToolError: a C++ compiler is needed to simulate, and 'nonexistent' is not on PATH: "
        "install g++ or clang++, or name one in the environment variable CXX\n"
    )
    assert not (tmp_path / "cache").exists()
