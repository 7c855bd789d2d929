"""The comparison itself: what is wrong with a run is seen, and told where."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.isa import ADDRESS_WIDTH
from rootshift.sim.rtl.inference import LOGITS, Difference
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
    with pytest.raises(AssertionError, match=f"Difference.tensor='{tensor}'"):
        proof.check(with_bit(run, probe, 0, 0))


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
