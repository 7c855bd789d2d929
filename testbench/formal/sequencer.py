"""Proof that the sequencer never stands still for good."""

from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from rootshift.config import AcceleratorConfig
from rootshift.hw.command_checks import WAITS_LAYOUT
from rootshift.hw.sequencer import Sequencer
from rootshift.isa import OPCODE_WIDTH, Unit

from .bench import Bench
from .proof import MINISAT, Proof

WORK = 1
"""Most cycles that a unit works on a command, and that memory lets a beat wait."""
PATIENCE = 7 + 4 + WORK
"""Cycles in which something happens: queues are looked at every 7 cycles."""


class Beats(NamedTuple):
    """Where beats of the program come from."""

    r_en: Signal
    r_rdy: Signal
    r_data: Signal


class Dispatcher(Sequencer):
    """The sequencer behind its bus: beats of the program come from free signals, and operands are
    taken for legal."""

    def __init__(self, *, depth: int) -> None:
        super().__init__(config=AcceleratorConfig(bus_width=128), depth=depth)
        self.beats = Beats(Signal(name="r_en"), Signal(name="r_rdy"), Signal(128, name="r_data"))

    def elaborate(self, platform: Any) -> Module:
        with patch("rootshift.hw.sequencer.illegal", lambda word, config: Const(0, 1)):
            return super().elaborate(platform)

    def _read(self, m: Module) -> tuple[Any, Value]:
        return self.beats, Const(0, 1)


def progress(bench: Bench) -> None:
    """Units and memory are fair, and each wait is for commands that come before its own."""
    unit, m = bench.unit, bench.m
    bench.inputs += [unit.beats.r_rdy, unit.beats.r_data]
    bench.assume(unit.beats.r_rdy | bench.past(unit.beats.r_rdy))
    bench.assume(~unit.fault_stb)
    commands = [getattr(unit, name.name.lower()) for name in Unit]
    leaves, passed = Signal(len(Unit)), [Signal(4, name=f"passed_{n}") for n in range(len(Unit))]
    for number, command in enumerate(commands):
        age = Signal(range(WORK + 1), name=f"age_{number}")
        busy, done = unit.unit_busy[number], unit.done_stb[number]
        at_work = Signal(name=f"at_work_{number}")
        bench.assume(busy == at_work)
        bench.assume(~done | at_work)
        bench.assume(done | (age != WORK))
        bench.assume(command.ready == ~at_work)
        m.d.comb += leaves[number].eq(command.valid & command.ready)
        m.d.sync += at_work.eq((at_work & ~done) | leaves[number])
        m.d.sync += age.eq(Mux(at_work & ~done, age + 1, 0))
        written = unit._passed & bench.inside("mine")[number]
        m.d.sync += passed[number].eq(passed[number] + written)
    # Of no unit, 0.
    counts = Array([*passed, Const(0, 4)])
    for wait in data.View(WAITS_LAYOUT, unit._word[OPCODE_WIDTH:][: WAITS_LAYOUT.size]):
        bench.assume(~unit._passed | (wait.count <= counts[wait.unit]))
    stands = Signal(range(PATIENCE + 1))
    taken = unit.beats.r_en & unit.beats.r_rdy
    moves = taken | unit._passed | leaves.any() | unit.done_stb.any()
    m.d.sync += stands.eq(Mux(moves, 0, stands + 1))
    bench.check(unit.finished | (stands != PATIENCE))
    bench.cover(unit.finished & (passed[Unit.GEMM] == 1))


PROOFS = [
    Proof(
        "sequencer",
        partial(Dispatcher, depth=1),
        f"no deadlock: in every {PATIENCE} cycles a beat, a command or a unit moves on, or the run "
        "is finished, for every legal program whose waits are for earlier commands",
        progress,
        "bmc",
        25,
        solver=MINISAT,
    ),
]
