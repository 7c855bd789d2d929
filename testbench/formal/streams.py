"""Proofs of the handshake, of every unit that has streams: by one rule, `StreamRules`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.lib import data

from rootshift.config import AcceleratorConfig
from rootshift.hw.attention_unit import AttentionUnit
from rootshift.hw.bus_access import MemoryAccess, RegisterAccess
from rootshift.hw.code_store import CodeStore
from rootshift.hw.column_reader import ColumnReader
from rootshift.hw.command_checks import illegal
from rootshift.hw.commands import is_opcode, operands
from rootshift.hw.csr import CsrBank
from rootshift.hw.fetch_unit import FetchUnit
from rootshift.hw.gearbox import Gearbox
from rootshift.hw.gelu_table import GeluTable
from rootshift.hw.gemm import Gemm
from rootshift.hw.gemm_unit import GemmUnit
from rootshift.hw.layernorm import LayerNorm
from rootshift.hw.layernorm_unit import LayerNormUnit
from rootshift.hw.log2_softmax import Log2Softmax
from rootshift.hw.log_code_buffer import LogCodeBuffer
from rootshift.hw.logit_writer import LogitWriter
from rootshift.hw.mean_pool import MeanPool
from rootshift.hw.patchify_unit import PatchifyUnit
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.hw.read_dma import ReadDma
from rootshift.hw.reciprocal_root import ReciprocalRoot
from rootshift.hw.requantizer import Requantizer
from rootshift.hw.residual_add import ResidualAdd
from rootshift.hw.residual_store import ResidualStore
from rootshift.hw.residual_update import ResidualUpdate
from rootshift.hw.score_gather import ScoreGather
from rootshift.hw.sequencer import Sequencer
from rootshift.hw.shift_attention import ShiftAttention
from rootshift.hw.store_unit import StoreUnit
from rootshift.hw.stream_fill import StreamFill
from rootshift.hw.weight_unit import WeightUnit
from rootshift.hw.word_buffer import WordBuffer
from rootshift.hw.write_dma import WriteDma
from rootshift.isa import OPCODE_WIDTH, OPERANDS_BIT

from . import invariants
from .bench import Bench, channels
from .proof import MINISAT, Proof

_BUS = {"addr_width": 32, "data_width": 32}
_SMALL = AcceleratorConfig(
    rows=2,
    cols=2,
    activation_width=3,
    weight_width=3,
    log_width=3,
    lanes=1,
    token_depth=2,
    channel_depth=4,
    embedding_depth=2,
    code_depth=4,
    residual_depth=4,
    bus_width=32,
)
_GEMM = {"rows": 1, "cols": 2, "activation_width": 3, "weight_width": 3}
_BUFFER = {"depth": 4, "word_width": 2, "parts": 1, "banks": 2}
_ATTENTION = {"rows": 1, "cols": 1, "value_width": 3, "depth": 2}


def no_clear(bench: Bench) -> None:
    """A clear may end an offer."""
    bench.assume(~bench.unit.clear_stb)


def one_way(bench: Bench) -> None:
    """Codes or indices, as long as a chunk is inside."""
    unit = bench.unit
    bench.assume(~unit.write.valid | (unit.by_table == bench.past(unit.by_table)))


def legal(bench: Bench, name: str) -> None:
    """Commands are such as the sequencer gives: of instruction `name`, their operands in range."""
    command = bench.unit.command
    opcode, operands = command.payload.opcode, command.payload.operands
    wrong = illegal(Cat(opcode, Const(0, OPERANDS_BIT - OPCODE_WIDTH), operands), _SMALL).any()
    bench.assume(~command.valid | (is_opcode(name, command.payload) & ~wrong))


def as_many_codes(bench: Bench) -> None:
    """Of each tile of log codes there are as many as the commands have keys."""
    legal(bench, "ATTENTION")
    unit = bench.unit
    command, codes = unit.command, unit.log_codes
    keys = bench.constant(range(unit.depth + 1), "keys")
    given = Signal.like(keys)
    last = given + 1 == keys
    bench.assume((keys != 0) & (keys <= unit.depth))
    bench.assume(operands("ATTENTION", command.payload).keys == keys)
    bench.assume(~codes.valid | (codes.payload.last == last))
    with bench.m.If(codes.valid & codes.ready):
        bench.m.d.sync += given.eq(Mux(last, 0, given + 1))


def answers_owed(bench: Bench) -> None:
    """The bus answers what was asked, once."""
    found = {channel.name.rpartition("__")[2]: channel for channel in channels(bench.unit)}
    for asks, answers in (("aw", "b"), ("w", "b"), ("ar", "r")):
        owed = Signal(2, name=f"owed_{asks}")
        bench.m.d.sync += owed.eq(owed + found[asks].moves - found[answers].moves)
        bench.assume(~found[answers].valid | (owed != 0))
        writes = data.View(bench.unit.request.payload.shape(), bench.inside("kept")).write
        wanted = bench.inside("fsm_state") & (~writes if asks == "ar" else writes)
        bench.check(found[asks].valid + owed == wanted)


def data_first(bench: Bench) -> None:
    """`done` comes behind the command and all of its beats."""
    unit = bench.unit
    request, written = unit.write_command, unit.write_data
    asks, moves = request.valid & request.ready, written.valid & written.ready
    asked, sent = Signal(), Signal.like(request.payload.beats)
    taken = unit.write_done.valid & unit.write_done.ready
    bench.m.d.sync += [asked.eq((asked | asks) & ~taken), sent.eq(Mux(taken, 0, sent + moves))]
    bench.assume(~unit.write_done.valid | (asked & (sent == request.payload.beats)))
    path = "" if isinstance(unit, LogitWriter) else "logits."
    is_asked, answered = (bench.inside(f"{path}{name}") for name in ("asked", "answered"))
    bench.check(asked == (is_asked & ~answered))


def scores_behind_start(bench: Bench) -> None:
    """No score is there when those of another command are announced."""
    bench.assume(~bench.unit.start_stb | ~bench.unit.i.valid)


def one_of_three(bench: Bench) -> None:
    """EMBED, POOL and branches are at work one at a time."""
    unit = bench.unit
    busy, other = Signal(), Signal()
    bench.m.d.comb += other.eq(is_opcode("EMBED", unit.command) | is_opcode("POOL", unit.command))
    with bench.m.If(unit.start_stb & other):
        bench.m.d.sync += busy.eq(1)
    with bench.m.Elif(unit.done_stb):
        bench.m.d.sync += busy.eq(0)
    bench.assume(~unit.start_stb | (~busy & unit.drained & ~unit.i.valid))
    bench.assume(~(busy & unit.i.valid))
    bench.check(busy | (~bench.inside("pool.busy") & (bench.inside("words.left") == 0)))


CONTRACTS: dict[type, Callable[[Bench], None]] = {
    AttentionUnit: as_many_codes,
    CodeStore: one_way,
    GemmUnit: partial(legal, name="GEMM"),
    LayerNormUnit: partial(legal, name="LAYERNORM"),
    Gearbox: no_clear,
    LogitWriter: data_first,
    MemoryAccess: answers_owed,
    RegisterAccess: answers_owed,
    ResidualStore: one_of_three,
    ScoreGather: scores_behind_start,
    StoreUnit: data_first,
    WeightUnit: partial(legal, name="WEIGHTS"),
}
"""What units demand of their neighbours beside the stream rules, in their documentation's words."""


def follow(bench: Bench) -> None:
    """Assert the rules of what the unit offers, and assume them of what it takes; ask for a beat
    that has waited behind another one, of each stream that it offers."""
    for channel in bench.streams().values():
        if channel.driven:
            before = bench.held(channel.moves)
            bench.cover(before & bench.past(channel.valid & ~channel.ready) & channel.moves)
    if type(bench.unit) in CONTRACTS:
        CONTRACTS[type(bench.unit)](bench)


def always(bench: Bench) -> None:
    """The same, from any state that `invariants` leave."""
    follow(bench)
    invariants.hold(bench)


UNITS = [
    partial(AttentionUnit, **_ATTENTION, log_width=3, base="sqrt2", lanes=1, drains=1),
    partial(CodeStore, lanes=1, places=2, code_width=3),
    partial(ColumnReader, word_width=2),
    partial(CsrBank, config=_SMALL),
    partial(FetchUnit, bus_width=32),
    partial(Gearbox, in_bytes=2, out_bytes=3),
    partial(GeluTable, lanes=1, code_width=3),
    partial(Gemm, **_GEMM, depth=2, k_max=2, groups=1, lanes=1),
    partial(GemmUnit, rows=2, code_width=3, depth=2),
    partial(LayerNorm, lanes=1, depth=2, code_width=3),
    partial(LayerNormUnit, rows=2, lanes=1, depth=2, code_width=3, bus_width=32),
    partial(Log2Softmax, lanes=1, depth=2, code_width=3),
    partial(LogCodeBuffer, cols=2, code_width=3, depth=2, tag_width=1),
    partial(LogitWriter, lanes=1, bus_width=32, addr_width=32),
    partial(MeanPool, lanes=1),
    partial(MemoryAccess, **_BUS),
    partial(PatchifyUnit, rows=2, activation_width=4, lanes=1, bus_width=32),
    partial(ReadArbiter, **_BUS, clients=2, depth=16, outstanding=2),
    partial(ReadDma, **_BUS, burst=2, outstanding=2, beats_width=3),
    partial(ReciprocalRoot, tag_width=1),
    partial(RegisterAccess, addr_width=12),
    partial(Requantizer, lanes=1, groups=1, acc_width=4, sum_width=3, out_width=4),
    partial(ResidualAdd, lanes=1),
    partial(ResidualStore, lanes=1, bus_width=32),
    partial(ResidualUpdate, lanes=1),
    partial(ScoreGather, lanes=1, parts=2),
    partial(Sequencer, config=replace(_SMALL, bus_width=128), depth=1),
    partial(ShiftAttention, **_ATTENTION, code_width=3),
    partial(StoreUnit, rows=2, cols=2, lanes=1, code_width=3, bus_width=32, depth=2),
    partial(StreamFill, bus_bytes=4, piece_bytes=6, count_width=4),
    partial(WeightUnit, rows=2, cols=2, lanes=1, weight_width=3, code_width=3, bus_width=32),
    partial(
        WordBuffer, depth=4, word_width=2, parts=1, banks=2, readers=("x", "y"), writers=("x",)
    ),
    partial(WriteDma, **_BUS, burst=2, outstanding=2, beats_width=3),
]
"""Units with streams or buses, as small as they may be; the queues have proofs of their own."""

BOUNDED = {
    AttentionUnit: 44,
    GemmUnit: 16,
    LayerNormUnit: 48,
    Sequencer: 28,
    StoreUnit: 12,
    WeightUnit: 20,
}
"""Whose states are not known well enough, and cycles from the reset on."""
REACH = {LayerNorm: 46, MeanPool: 44, ReciprocalRoot: 44, ShiftAttention: 40}
"""Cycles in which all others have offered two beats, where they are more than an induction's."""
SLOW = (AttentionUnit, LayerNormUnit, Sequencer, StoreUnit)


def _proof(unit: partial[Any]) -> Proof:
    name, claim, kind = f"streams_{unit.func.__name__}", "stream rules", unit.func
    if kind in BOUNDED:
        return Proof(name, unit, claim, follow, "bmc", BOUNDED[kind], kind in SLOW, solver=MINISAT)
    return Proof(name, unit, claim, always, "prove", 3, reach=REACH.get(kind, 0))


PROOFS = [_proof(unit) for unit in UNITS]
