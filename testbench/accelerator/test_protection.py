"""What the CRC of the program and the parity of the buffers find, and that nothing else changes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module

from rootshift.csr import ErrorCause
from rootshift.hw.top import Accelerator
from rootshift.isa import COMMAND_BYTES
from rootshift.sim.rtl.runner import RtlModel, RtlSession

from ..hw.damaged_buffer import DamagedBuffer
from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import WIDE
from .flips import STOPPED, Campaign
from .inference import BASE, PAGE, Proof

PROTECTED = replace(WIDE, program_crc=True, buffer_parity=True)
BUFFERS = {"code": 1 << 31, "residual": 1 << 30}
"""Bits of WATCHDOG by which words of a buffer are damaged."""


class DamagedAccelerator(Accelerator):
    """Its buffers keep words with one bit flipped while a bit of WATCHDOG says so."""

    def __init__(self) -> None:
        super().__init__(config=PROTECTED, probes=True)
        for name in BUFFERS:
            sound = getattr(self, f"{name}_buffer")
            fields = ("depth", "word_width", "parts", "banks", "readers", "writers")
            sizes = {field: getattr(sound, field) for field in (*fields, "stages", "parity")}
            setattr(self, f"{name}_buffer", DamagedBuffer(**sizes))

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        watchdog = m.submodules.csr.watchdog
        for name, bit in BUFFERS.items():
            flip = getattr(self, f"{name}_buffer").flip
            m.d.comb += flip[len(flip) // 2].eq((watchdog & bit).any())
        return m


def test_every_flip_of_a_command_is_found() -> None:
    """At its command; and with no flip values and cycles are those of a design without."""
    campaign = Campaign(generator(0), PROTECTED)
    assert campaign.run(None).cycles == Campaign(generator(0)).run(None).cycles
    for _ in range(60):
        flip = campaign.draw("commands")
        assert campaign.outcome(flip) == "stopped: bad crc"
        at = BASE + flip.offset // COMMAND_BYTES * COMMAND_BYTES
        assert campaign.run(flip).address == at


@pytest.fixture(scope="module")
def damaged() -> RtlModel:
    return RtlModel(DamagedAccelerator())


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_bit_that_changes_in_a_buffer_is_found(damaged: RtlModel, buffer: str) -> None:
    """The run stops with the address of the word, and the next one is exact."""
    rng = generator(1)
    artifact = random_artifact(rng, Size(pool="avg"))
    proof = Proof(artifact, PROTECTED, random_pixels(rng, artifact, 1))
    size = -(-len(proof.memory) // PAGE) * PAGE
    with RtlSession(damaged, proof.memory, BASE, size) as session:
        proof.check(session.run())
        run = session.run(watchdog=BUFFERS[buffer])
        assert (run.cause, run.status) == (ErrorCause.BAD_PARITY, STOPPED)
        depth = getattr(PROTECTED, f"{buffer}_depth")
        assert 0 <= run.address < depth
        area = proof.program.output
        kept = np.ones(len(proof.memory), bool)
        kept[area.offset : area.offset + area.bytes] = False
        memory, before = (np.frombuffer(each, np.uint8) for each in (run.memory, proof.memory))
        assert (memory[: len(before)] == before)[kept].all()
        proof.check(session.run(watchdog=1 << 20))
