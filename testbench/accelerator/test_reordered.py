"""Any order of the commands that streams, waits and units allow gives the same values."""

import pytest

from rootshift.config import AcceleratorConfig

from ..random_model import random_artifact, random_pixels
from ..seeds import generator
from .designs import NARROW, WIDE, timings
from .models import SIZES
from .reordered import Reordered, nodes


@pytest.mark.parametrize(
    ("config", "size", "memory"),
    [
        pytest.param(WIDE, "registers and mean", "everything", id="wide"),
        pytest.param(NARROW, "heads fill no word", "at once", id="narrow"),
    ],
)
def test_values_and_cycles_of_another_order(
    config: AcceleratorConfig, size: str, memory: str
) -> None:
    rng = generator(31)
    artifact = random_artifact(rng, SIZES[size], base=config.base)
    proof = Reordered(artifact, config, random_pixels(rng, artifact, 2), rng)
    names = [placed.command.name for placed in proof.program.commands]
    assert names.count("TABLE") > sum(op.kind == "gelu_table" for op in artifact.operators)
    proof.check(proof.run(memory=timings(rng)[memory]))


def test_every_stream_has_two_ends() -> None:
    rng = generator(32)
    artifact = random_artifact(rng, SIZES["small"])
    proof = Reordered(artifact, WIDE, random_pixels(rng, artifact, 1), rng)
    commands = proof.program.commands
    fetches = [p for p in commands if p.command.name == "FETCH"]
    with pytest.raises(ValueError, match="zip"):
        nodes([placed for placed in commands if placed is not fetches[0]])
