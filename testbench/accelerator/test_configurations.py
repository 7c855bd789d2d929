"""Every tensor of whole inferences on RTL equals golden: arrays, buses, widths and memories."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.sim.native.memory import MemoryTiming

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import NARROW, WIDE, covering, timings
from .inference import Comparison, Proof, prove
from .models import SIZES, digits, digits_pixels

AT_ONCE = MemoryTiming()


def drawn(key: int, size: Size, bits: str, base: str, images: int) -> tuple[Artifact, np.ndarray]:
    """A random model, and images for it."""
    rng = generator(10, key)
    artifact = random_artifact(rng, size, bits=bits, base=base)
    return artifact, random_pixels(rng, artifact, images)


class TestWideHardware:
    """4x4, built for 8 bits, runs models of fewer bits, each at its own width."""

    @pytest.mark.parametrize(
        ("bits", "size", "images"),
        [
            ("W4A4", "heads fill no word", 1),
            ("W8A8L4", "registers and mean", 3),
            ("W3A5L4", "no class token", 3),
            ("W7A3L4", "small", 1),
        ],
    )
    def test_random_models(self, bits: str, size: str, images: int) -> None:
        artifact, pixels = drawn(0, SIZES[size], bits, WIDE.base, images)
        found = prove(artifact, WIDE, pixels)
        assert any(count for count, _ in found.saturated.values()), "the model clamps something"

    def test_digits(self) -> None:
        artifact = digits("W4A4")
        found = prove(artifact, WIDE, digits_pixels(artifact, 2))
        assert found.compared > 100_000


class TestNarrowHardware:
    """8x4, built for 4 bits, takes pixels and 8-bit weights by digits, over a bus of 32 bits."""

    @pytest.mark.parametrize(
        ("bits", "size", "images"),
        [("W4A4", "registers and mean", 3), ("W3A3L4", "heads fill no word", 1)],
    )
    def test_random_models(self, bits: str, size: str, images: int) -> None:
        artifact, pixels = drawn(1, SIZES[size], bits, NARROW.base, images)
        prove(artifact, NARROW, pixels)

    def test_norms_beside_the_products_before(self) -> None:
        artifact, pixels = drawn(2, SIZES["heads fill no word"], "W4A4", NARROW.base, 2)
        proof = Proof(artifact, NARROW, pixels, norm_bands=3)
        proof.check(proof.run())


def test_the_most_stages_of_long_paths() -> None:
    """Three registers each; `WIDE` has one, and `NARROW` two."""
    artifact, pixels = drawn(4, SIZES["registers and mean"], "W4A4", NARROW.base, 2)
    prove(artifact, replace(NARROW, pipeline_stages=3), pixels)


def test_an_array_of_dsp_blocks() -> None:
    """Values, and every cycle of the model, with two products in each block."""
    artifact = digits("W4A4")
    config = replace(covering([artifact], "8x8"), array_multiplier="dsp")
    assert prove(artifact, config, digits_pixels(artifact, 2)).compared > 100_000


def every_memory(proof: Proof, key: int) -> list[Comparison]:
    """The same program, one run after the other, with memories of every kind."""
    with proof.session() as session:
        found = []
        for name, timing in timings(generator(11, key)).items():
            print(f"{name}: {timing}")
            session.memory[:] = np.frombuffer(proof.memory, np.uint8)
            found.append(proof.check(session.run(memory=timing)))
    return found


@pytest.mark.parametrize("config", [WIDE, NARROW], ids=["bus of 64 bits", "bus of 32 bits"])
def test_memories_of_every_kind(config: object) -> None:
    artifact, pixels = drawn(3, SIZES["heads fill no word"], "W4A4", config.base, 2)
    assert len(every_memory(Proof(artifact, config, pixels), config.bus_width)) == 11


@dataclass(frozen=True)
class Case:
    """A design of its own: the smallest that runs the models."""

    array: str
    bits: str
    base: str
    bus_width: int
    sizes: tuple[str, ...] = tuple(SIZES)


CASES = [
    Case("4x4", "W6A6", "2", 128),
    Case("4x8", "W4A8", "sqrt2", 32),
    Case("8x8", "W8A8", "sqrt2", 128),
    Case("12x8", "W3A5", "2", 64),
    Case("16x16", "W6A6", "2", 128, ("registers and mean", "no class token")),
    Case("32x32", "W4A4", "sqrt2", 64, ("registers and mean",)),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.array}-{case.bits}")
def test_a_design_for_its_models(case: Case) -> None:
    """Buffers have not a word to spare; memories answer in every way."""
    models = [
        drawn(20 + number, SIZES[size], case.bits, case.base, 1 + number % 3)
        for number, size in enumerate(case.sizes)
    ]
    embedded = digits(case.bits, case.base)
    models.append((embedded, digits_pixels(embedded, 3)))
    artifacts = [artifact for artifact, _ in models]
    config = covering(artifacts, case.array, bus_width=case.bus_width)
    compared = 0
    for number, (artifact, pixels) in enumerate(models):
        proof = Proof(artifact, config, pixels)
        if number == 0:
            compared += sum(found.compared for found in every_memory(proof, number))
            continue
        everything = timings(generator(12, number))["everything"]
        for memory in (AT_ONCE, everything):
            compared += proof.check(proof.run(memory=memory)).compared
    print(f"{case}: {compared} values")
