"""Each kind of proof fails where the unit is broken on purpose."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rootshift.hw import attention_drain, axi_bursts, credit_queue, requantizer
from rootshift.hw.saturation import clamp

from . import queues
from .proof import Proof, independent
from .streams import follow
from .table import PROOFS

BY_NAME = {proof.name: proof for proof in PROOFS}


class Register(wiring.Component):
    """A register of a stream, whose handshake may be wrong in one way."""

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        full = self.o.valid
        if self.wrong == "waits":
            full = Signal()
            m.d.comb += self.o.valid.eq(full & self.o.ready)
        m.d.comb += self.i.ready.eq(~full | self.o.ready)
        with m.If(self.i.ready | (self.wrong == "falls")):
            m.d.sync += full.eq(self.i.valid)
        with m.If(self.i.ready | (self.wrong == "moves")):
            m.d.sync += self.o.payload.eq(self.i.payload)
        return m


@pytest.mark.parametrize(
    ("wrong", "result"), [("", "proven"), ("falls", "refuted"), ("moves", "refuted")]
)
def test_offer_that_does_not_hold(wrong: str, result: str, tmp_path: Path) -> None:
    proof = Proof("register", partial(Register, wrong), "stream rules", follow, "prove", 4)
    assert proof.run(tmp_path) == result


@pytest.mark.parametrize(("wrong", "result"), [("", True), ("waits", False)])
def test_valid_that_waits_for_ready(wrong: str, result: bool, tmp_path: Path) -> None:
    assert independent(Register(wrong), tmp_path) is result


@pytest.mark.parametrize("name", ["credits", "credit_queue_3", "credit_queue_order"])
def test_queue_with_a_place_too_few(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    right = credit_queue.credits

    def generous(m: Module, taken: Value, leaves: Value, most: int, **names: str) -> Signal:
        return right(m, taken, leaves, most + 1, **names)

    for module in (credit_queue, queues):
        monkeypatch.setattr(module, "credits", generous)
    assert replace(BY_NAME[name], mode="bmc", depth=8).run(tmp_path) == "refuted"


def test_state_that_is_not_as_said(tmp_path: Path, monkeypatch: Any) -> None:
    """What induction may begin from is proven with it."""
    right = credit_queue.credits

    def late(m: Module, taken: Value, leaves: Value, most: int, **names: str) -> Signal:
        return right(m, taken & ~leaves, leaves & ~taken, most + 1, **names)

    monkeypatch.setattr(credit_queue, "credits", late)
    assert BY_NAME["streams_Requantizer"].run(tmp_path) != "proven"


def test_proof_that_reaches_too_little(tmp_path: Path) -> None:
    proof = BY_NAME["streams_ReciprocalRoot"]
    assert replace(proof, reach=proof.reach // 2).unreached(tmp_path) == [0]


def broken(base: type, change: Callable[[Module, Any], None]) -> type:
    """A unit to whose logic `change` adds statements, which go before those that are there."""

    class Broken(base):
        def elaborate(self, platform: Any) -> Module:
            m = super().elaborate(platform)
            change(m, self)
            return m

    return Broken


def no_answer(m: Module, unit: Any) -> None:
    with m.If(unit.s_axil.awvalid):
        m.d.sync += unit.s_axil.bvalid.eq(0)


def no_last_write(m: Module, unit: Any) -> None:
    m.d.sync += unit.m_axi.wlast.eq(0)


def no_last(m: Module, unit: Any) -> None:
    m.d.comb += unit.o.payload.last.eq(0)


def one_strobe(m: Module, unit: Any) -> None:
    with m.If(unit.m_axi.wready):
        m.d.sync += unit.m_axi.wstrb.eq(1)


def others_data(m: Module, unit: Any) -> None:
    m.d.comb += unit.client_0.rdata.eq(unit.client_1.rdata)


def first_part_twice(m: Module, unit: Any) -> None:
    m.d.comb += unit.o.payload.part.eq(0)


def bytes_swapped(m: Module, unit: Any) -> None:
    m.d.comb += unit.o.payload[0].eq(unit.o.payload[1])


CHANGES = {
    "csr": no_answer,
    "write_dma_protocol": no_last_write,
    "write_dma": one_strobe,
    "read_dma": no_last,
    "read_arbiter": others_data,
    "total_queue_3": first_part_twice,
    "gearbox_2_3": bytes_swapped,
}


@pytest.mark.parametrize("name", CHANGES)
def test_unit_that_is_broken(name: str, tmp_path: Path) -> None:
    right = BY_NAME[name]
    unit = broken(right.unit.func, CHANGES[name])
    wrong = partial(unit, *right.unit.args, **right.unit.keywords)
    proof = replace(right, unit=wrong, mode="bmc", depth=max(right.depth, 6))
    assert proof.run(tmp_path) == "refuted"


def test_bursts_that_cross_4_kib(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(axi_bursts, "PAGE", 2 * axi_bursts.PAGE)
    assert BY_NAME["read_dma_protocol"].run(tmp_path) == "refuted"


@pytest.mark.parametrize(
    ("name", "module"), [("requantizer", requantizer), ("shift_attention", attention_drain)]
)
def test_code_that_is_one_off(name: str, module: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "clamp", lambda value, low, high: clamp(value + 1, low, high))
    assert BY_NAME[name].run(tmp_path) == "refuted"


def test_count_that_is_behind(tmp_path: Path, monkeypatch: Any) -> None:
    proof = BY_NAME["sequencer"]
    monkeypatch.setattr(proof.unit.func, "FIRST_COUNT", -1)
    assert proof.run(tmp_path) == "refuted"
