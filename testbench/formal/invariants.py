"""What holds inside units in every cycle: from states for which it does, induction begins.

It is checked beside the rules that need it, by the same proof.
"""

from collections.abc import Callable
from math import gcd
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered

from rootshift.hw.attention_drain import AttentionDrain
from rootshift.hw.code_store import CodeStore
from rootshift.hw.credit_queue import CreditQueue
from rootshift.hw.gearbox import Gearbox
from rootshift.hw.layernorm import LayerNorm
from rootshift.hw.layernorm_statistics import LayerNormStatistics
from rootshift.hw.log2_softmax import Log2Softmax
from rootshift.hw.logit_writer import LogitWriter
from rootshift.hw.mean_pool import MeanPool
from rootshift.hw.patchify_unit import PatchifyUnit
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.hw.read_dma import ReadDma
from rootshift.hw.requantizer import Requantizer
from rootshift.hw.residual_store import ResidualStore
from rootshift.hw.residual_update import ResidualUpdate
from rootshift.hw.stream_fill import StreamFill
from rootshift.hw.word_buffer import WordBuffer

from .bench import Bench


def ones(value: Value) -> Value:
    """How many bits are set."""
    return sum(value[bit] for bit in range(len(value)))


def shifted(bench: Bench, name: str) -> Value:
    """How many bits of a shift register of `delay` are set."""
    return sum(bench.registers(name))


def credit_queue(bench: Bench, path: str, part: CreditQueue) -> None:
    """Offers while beats are there, which lie between its addresses."""
    there = bench.inside(f"{path}there")
    bench.check(part.o.valid == (there != 0))
    if part.depth > 1:
        put, get = bench.inside(f"{path}put__addr"), bench.inside(f"{path}get__addr")
        size = len(put)
        bench.check((put - get)[:size] == there[:size])


def under_way(bench: Bench, path: str, flying: Value | int) -> None:
    """Of a queue's beats that are owed, so many are in the pipeline before it."""
    part = bench.parts[path]
    owed = bench.inside(f"{path}room_owed")
    bench.check(owed <= part.depth)
    bench.check(part.room == (owed != part.depth))
    bench.check(owed == bench.inside(f"{path}there") + flying)


def _ring(bench: Bench, path: str, level: Signal, depth: int) -> None:
    put, get = bench.inside(f"{path}produce"), bench.inside(f"{path}consume")
    bench.check((put < depth) & (get < depth) & (level <= depth))
    ahead = put - get
    bench.check((level == ahead) | (level == ahead + depth))


def fifo(bench: Bench, path: str, part: SyncFIFO) -> None:
    """Amaranth's: places and level agree."""
    _ring(bench, path, part.level, part.depth)


def buffered_fifo(bench: Bench, path: str, part: SyncFIFOBuffered) -> None:
    """Of the places before the register."""
    if part.depth > 1:
        _ring(bench, path, bench.inside(f"{path}inner_level"), part.depth - 1)


def attention_drain(bench: Bench, path: str, part: AttentionDrain) -> None:
    """Rows on their way: of groups, stages, and the register before the queue."""
    inside = bench.inside(f"{path}valid") & bench.inside(f"{path}row_end")
    begun = bench.inside(f"{path}group") != 0 if part.groups > 1 else 0
    arrives = bench.parts[f"{path}rows."].i.valid
    under_way(bench, f"{path}rows.", begun + ones(inside) + arrives)


def code_store(bench: Bench, path: str, part: CodeStore) -> None:
    """The table holds what came by it, and nothing else."""
    table = bench.parts[f"{path}table."]
    bench.check(table.o.valid == (part.by_table & bench.inside(f"{path}valid")))


def gearbox(bench: Bench, path: str, part: Gearbox) -> None:
    """Flags agree with the level."""
    level, taken, given = _level(bench, path, part)
    state = bench.inside(f"{path}state")
    bench.check(level < taken + given)
    bench.check(state[-2:] == Cat(level >= given, level >= 2 * given))


def _level(bench: Bench, path: str, part: Gearbox) -> tuple[Value, int, int]:
    """Units inside; and of a beat that comes, and one that goes."""
    unit = gcd(part.in_bytes, part.out_bytes)
    taken, given = part.in_bytes // unit, part.out_bytes // unit
    most = taken + given - 1
    return bench.inside(f"{path}state")[: most.bit_length()], taken, given


def layernorm(bench: Bench, path: str, part: LayerNorm) -> None:
    """Codes and numbers of rows have their places."""
    under_way(bench, f"{path}codes.", shifted(bench, f"{path}valid"))
    under_way(bench, f"{path}numbers.", 0)


def layernorm_statistics(bench: Bench, path: str, part: LayerNormStatistics) -> None:
    """So have radicands."""
    inside = bench.inside(f"{path}valid") & bench.inside(f"{path}ends")
    under_way(bench, f"{path}radicands.", ones(inside))


def log2_softmax(bench: Bench, path: str, part: Log2Softmax) -> None:
    """Constants of rows have their places."""
    inside = bench.inside(f"{path}valid") & bench.inside(f"{path}last")
    under_way(bench, f"{path}constants.", ones(inside))


def logit_writer(bench: Bench, path: str, part: LogitWriter) -> None:
    """A command is asked for before it is answered, and both before it ends."""
    under_way(bench, f"{path}words.", 0)
    active, asked, answered = (
        bench.inside(path + each) for each in ("active", "asked", "answered")
    )
    bench.check(asked | ~answered)
    bench.check(active | (asked == answered))


def mean_pool(bench: Bench, path: str, part: MeanPool) -> None:
    """One phase at a time, each of a command."""
    steps = ("begin", "start", "steps", "writes")
    phases = sum(bench.inside(path + name) for name in steps)
    to_ask, to_add = bench.inside(f"{path}to_ask"), bench.inside(f"{path}to_add")
    bench.check(phases + (to_add != 0) <= part.busy)
    bench.check(to_ask <= to_add)
    if not path:
        bench.check(bench.owed["read"] == _pool_owed(bench, path))


def _pool_owed(bench: Bench, path: str) -> Value:
    """Words that a mean has asked for and not got."""
    return bench.inside(f"{path}to_add") - bench.inside(f"{path}to_ask")


def patchify_unit(bench: Bench, path: str, part: PatchifyUnit) -> None:
    """Digits have their places."""
    under_way(bench, f"{path}digits.", 0)


def read_arbiter(bench: Bench, path: str, part: ReadArbiter) -> None:
    """Data and endings of a client move together."""
    for number in range(part.clients):
        twins = f"{path}beats_{number}.", f"{path}endings_{number}."
        for name in ("inner_level", "produce", "consume", "r_rdy"):
            one, other = (bench.inside(twin + name) for twin in twins)
            bench.check(one == other)


def read_dma(bench: Bench, path: str, part: ReadDma) -> None:
    """Beats have their places."""
    under_way(bench, f"{path}beats.", 0)


def requantizer(bench: Bench, path: str, part: Requantizer) -> None:
    """Outputs have their places."""
    under_way(bench, f"{path}outputs.", shifted(bench, f"{path}valid"))


def residual_update(bench: Bench, path: str, part: ResidualUpdate) -> None:
    """A sum has its address, and its branch until its word comes."""
    addresses, branches, adder = (
        bench.parts[f"{path}{name}."] for name in ("addresses", "branches", "adder")
    )
    bench.check(addresses.level == branches.level + ones(adder.stage_valid))
    if not path:
        bench.check(bench.owed["read"] == branches.level)


def residual_store(bench: Bench, path: str, part: ResidualStore) -> None:
    """Words are of the one who is at work."""
    branches, pool = bench.parts[f"{path}update.branches."], bench.parts[f"{path}pool."]
    addresses = bench.parts[f"{path}update.addresses."]
    pools, embeds = bench.inside(f"{path}pools"), bench.inside(f"{path}embeds")
    if not path:
        bench.check(bench.owed["read"] == _pool_owed(bench, "pool.") + branches.level)
    embedding = bench.inside(f"{path}words.left") != 0
    bench.check(~pool.busy | (pools & ~embeds & (addresses.level == 0) & ~embedding))
    bench.check(~embedding | (embeds & ~pools & (addresses.level == 0)))


def stream_fill(bench: Bench, path: str, part: StreamFill) -> None:
    """Bytes inside are those that were taken and have not left."""
    level, _, piece = _level(bench, f"{path}gearbox.", bench.parts[f"{path}gearbox."])
    left, lacking = bench.inside(f"{path}left"), bench.inside(f"{path}lacking")
    bench.check(level == Mux(left == 0, 0, left * piece - lacking - 1))
    bench.check((left != 0) | (lacking < 0))


def word_buffer(bench: Bench, path: str, part: WordBuffer) -> None:
    """Words have places from the acceptance of their address on."""
    for name in part.readers:
        waiting = bench.inside(f"{path}addresses_{name}.there")
        ways = (f"{path}{name}_asked", f"{path}{name}_arrives")
        under_way(bench, f"{path}queue_{name}.", waiting + sum(shifted(bench, way) for way in ways))
        bench.check(
            bench.owed[f"{path}read_{name}"] == bench.inside(f"{path}queue_{name}.room_owed")
        )


RULES: dict[type, Callable[[Bench, str, Any], None]] = {
    AttentionDrain: attention_drain,
    CodeStore: code_store,
    CreditQueue: credit_queue,
    Gearbox: gearbox,
    LayerNorm: layernorm,
    LayerNormStatistics: layernorm_statistics,
    Log2Softmax: log2_softmax,
    LogitWriter: logit_writer,
    MeanPool: mean_pool,
    PatchifyUnit: patchify_unit,
    ReadArbiter: read_arbiter,
    ReadDma: read_dma,
    Requantizer: requantizer,
    ResidualStore: residual_store,
    ResidualUpdate: residual_update,
    StreamFill: stream_fill,
    SyncFIFO: fifo,
    SyncFIFOBuffered: buffered_fifo,
    WordBuffer: word_buffer,
}


def hold(bench: Bench) -> None:
    """Check what is known of the unit and of every unit inside it."""
    for path, part in bench.parts.items():
        if type(part) in RULES:
            RULES[type(part)](bench, path, part)
