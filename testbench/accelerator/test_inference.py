"""The comparison itself: what is wrong with a run is seen, and told where."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.formats import ACCUMULATOR_WIDTH
from rootshift.isa import ADDRESS_WIDTH, Unit
from rootshift.sim.native.layout import WINDOW
from rootshift.sim.native.memory import MemoryTiming
from rootshift.sim.rtl.inference import LOGITS, Difference, infer, run_program, timeline
from rootshift.sim.rtl.result import Beats, RunResult

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import WIDE
from .inference import Proof


@pytest.fixture(scope="module")
def proof() -> Proof:
    """Two images of a model whose heads fill no word."""
    rng = generator(4)
    artifact = random_artifact(rng, Size(width=10))
    return Proof(artifact, WIDE, random_pixels(rng, artifact, 2))


@pytest.fixture(scope="module")
def run(proof: Proof) -> RunResult:
    """A run that is sound."""
    return proof.run()


def with_bit(run: RunResult, probe: str, beat: int, bit: int) -> RunResult:
    """The run with one bit of one beat turned."""
    beats = run.beats[probe]
    words = beats.words.copy()
    words[beat, bit // 32] ^= np.uint32(1 << bit % 32)
    return replace(run, beats=run.beats | {probe: Beats(words, beats.width, beats.cycles)})


def test_the_timeline_has_every_command(proof: Proof, run: RunResult) -> None:
    found = timeline(proof.program, run)
    commands = [placed.command for placed in proof.program.commands[:-1]]
    assert len(found.begun) == len(found.done) == len(commands)
    assert (found.begun > 0).all()
    assert (found.done >= found.begun).all()
    assert found.done.max() < found.cycles == run.cycles
    finished: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    for command, begun, done in zip(commands, found.begun, found.done, strict=True):
        ended = finished[command.instruction.unit]
        assert not ended or done > ended[-1]
        ended.append(done)
        for unit, count in command.after.items():
            assert not count or begun > finished[unit][count - 1], command
    assert found.units["gemm"].busy == run.counters["BUSY"]["gemm"] > 0
    assert found.units["layernorm"].stall == run.counters["STALL"]["layernorm"]
    assert (found.traffic, found.window) == (run.traffic, WINDOW)
    assert (found.array == run.array).all()
    for beats, moved in ((found.reads, "read"), (found.writes, "write")):
        assert len(beats) == -(-found.cycles // WINDOW)
        assert beats.sum() == getattr(run.traffic, f"{moved}_beats")
        assert beats.max() <= WINDOW
    lost = replace(run, done=run.done[:-1])
    with pytest.raises(ValueError, match=r"STORE: commands done must be \d+, not \d+"):
        timeline(proof.program, lost)


def test_every_value_counts(proof: Proof, run: RunResult) -> None:
    found = proof.check(run)
    made = [proof.artifact.shapes()[op.name] for op in proof.artifact.operators]
    values = sum(int(np.prod(shape)) for shape in made) + proof.golden.logits[0].size
    assert (found.compared, found.mismatches) == (2 * values, 0)


@pytest.mark.parametrize(
    ("probe", "tensor"),
    [
        ("gemm", "patch_embed"),
        ("layernorm", "block0.norm1"),
        ("log2_softmax", "block0.softmax"),
        ("shift_attention", "block0.attention"),
        ("gelu_table", "block0.gelu"),
        ("residual", "embed"),
        ("patchify", "patches"),
    ],
)
def test_a_wrong_bit_is_found(proof: Proof, run: RunResult, probe: str, tensor: str) -> None:
    found = proof.compare(with_bit(run, probe, 0, 0))
    assert found.mismatches == 1
    assert found.first.tensor == tensor
    assert abs(found.first.got - found.first.expected) == 1
    assert proof.golden.tensors[tensor][found.first.index] == found.first.expected
    assert found.first.cycle == run.beats[probe].cycles[0]
    with pytest.raises(AssertionError, match=f"Difference.tensor='{tensor}'"):
        proof.check(with_bit(run, probe, 0, 0))


def test_a_wrong_weight_is_named_with_its_cycle(proof: Proof) -> None:
    """The design really computes something else, and the probe's beat of that cycle has it."""
    image = bytearray(proof.program.image)
    offset, size = proof.program.segments["block0.fc1.weight"]
    for place in range(offset + size // 3, offset + size // 3 + 16):
        image[place] ^= 0x55
    altered = replace(proof.program, image=bytes(image))
    run = run_program(altered, proof.pixels)
    first = proof.compare(run).first
    beats = run.beats["gemm"]
    (beat,) = np.flatnonzero(beats.cycles == first.cycle)
    assert first.got in beats.fields(ACCUMULATOR_WIDTH, signed=True)[beat]
    text = f"{first.tensor}{list(first.index)}: must be {first.expected}, not {first.got}"
    assert str(first) == f"{text} (cycle {first.cycle})"
    outcome = infer(proof.artifact, altered, proof.pixels, proof.golden, MemoryTiming(hold=0.5))
    figures = outcome.figures
    assert (outcome.first.tensor, outcome.first.index) == (first.tensor, first.index)
    assert figures["first"] == str(outcome.first)
    assert figures["first_cycle"] == outcome.first.cycle > first.cycle
    assert figures["mismatches"] > 0


def test_wrong_logits_in_memory_are_found(proof: Proof, run: RunResult) -> None:
    memory = bytearray(run.memory)
    area = proof.program.output
    memory[area.offset + area.stride + 4] ^= 2
    found = proof.compare(replace(run, memory=bytes(memory)))
    expected = int(proof.golden.logits[1, 1])
    assert found.first == Difference(LOGITS, (1, 1), expected ^ 2, expected)


@pytest.mark.parametrize("unit", ["gemm", "layernorm", "shift_attention", "residual_add"])
def test_a_wrong_count_is_found(proof: Proof, run: RunResult, unit: str) -> None:
    clamped = run.counters["SATURATED"]
    wrong = run.counters | {"SATURATED": clamped | {unit: clamped[unit] + 1}}
    with pytest.raises(AssertionError, match="saturated"):
        proof.check(replace(run, counters=wrong))


def test_a_byte_that_is_not_the_logits_is_found(proof: Proof, run: RunResult) -> None:
    memory = bytearray(run.memory)
    area = proof.program.output
    memory[area.offset + area.bytes] = 1
    with pytest.raises(AssertionError):
        proof.check(replace(run, memory=bytes(memory)))


@pytest.mark.parametrize("end", ["lowest", "highest"])
def test_where_it_lies_does_not_matter(proof: Proof, run: RunResult, end: str) -> None:
    """The same cycles and values at the ends of the address space as in its middle."""
    size = len(proof.memory)
    with proof.session(base=0 if end == "lowest" else (1 << ADDRESS_WIDTH) - size) as session:
        moved = session.run()
    proof.check(moved)
    assert moved.cycles == run.cycles
