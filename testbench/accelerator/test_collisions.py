"""A word read from a buffer in the cycle of a write to the same word: no program depends on it.

Block RAMs promise nothing there, and synthesis adds nothing that would keep the old word
(`hw/word_bank.py`). Here such a read gives wrong bits.
"""

from typing import Any

import pytest

from rootshift.hw.top import Accelerator
from rootshift.hw.word_bank import WordBank
from rootshift.sim.rtl.runner import RtlModel

from ..hw.collisions import convert, with_wrong_collisions
from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import NARROW, WIDE, timings
from .inference import Proof


def test_such_reads_are_made_wrong() -> None:
    bank = WordBank(depth=20, word_width=8)
    text = with_wrong_collisions(bank, "Bank")
    assert "read_address == write_address" in text
    assert "8'h5a" in text
    assert "write_address ==" not in convert(bank, "Bank")


@pytest.mark.parametrize(
    "config",
    [pytest.param(WIDE, id="wide", marks=pytest.mark.slow), pytest.param(NARROW, id="narrow")],
)
def test_inference_equals_golden_whatever_they_give(config: Any) -> None:
    rng = generator(29)
    artifact = random_artifact(rng, Size(width=10, depth=2), base=config.base)
    proof = Proof(artifact, config, random_pixels(rng, artifact, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootshift.hw.verilog.convert", with_wrong_collisions)
        model = RtlModel(Accelerator(config=config, probes=True))
        patch.setattr("rootshift.testbench.accelerator.inference.design", lambda config: model)
        for memory in timings(rng).values():
            proof.check(proof.run(memory=memory))
