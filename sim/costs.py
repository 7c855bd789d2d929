"""What a program makes the hardware do, layer by layer: counted from its commands, without a run.

A layer is a product of the model, or `PROGRAM`, the reading of the commands; `sim.layers.owners`
says which commands belong to it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ProgramError
from ..formats import (
    CHANNEL_BYTES,
    GELU_INDEX_WIDTH,
    NORM_CHANNEL_BYTES,
    RESIDUAL_WIDTH,
    zero_code,
)
from ..isa import COMMAND_BYTES, Command, Destination, Mode
from ..latency import PIECE_BYTES, drains
from ..program import Program
from .layers import PROGRAM, owners, product_macs

Operands = Mapping[str, np.ndarray]
Counts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LayerCosts:
    """Counts of one layer, over all images of a run. Padding is counted: it is executed.

    Fields:
        name: of the product, or `PROGRAM`.
        macs: multiplications of the model, those of the shift attention behind scores included.
        vectors: that the array takes; each reads and writes a place of the accumulators.
        multiplications: of the array, `vectors * rows * cols`.
        columns: of weights that are loaded into the array.
        totals: of a token and a group of `cols` channels, from the accumulators.
        outputs: of the requantizer, fill channels and dropped ones included.
        scores: that the softmax takes, of `cols` queries side by side.
        softmax_rows: rows of scores, `cols` per group.
        keys: that shift attention takes, each for `cols` queries and `rows` value channels.
        bucket_additions: `keys * cols * rows`; those of code zero are counted though they do
            nothing, since commands do not tell how many there are.
        drain_steps: codes that the drain passes, of `latency.drains` queries side by side.
        drain_additions: shift-adds of value channels, of all those queries.
        attention_words: words of `rows` codes that leave shift attention.
        norm_values, norm_rows: that LayerNorm normalizes.
        lookups: in the GELU table.
        residual_additions: of branches to the residual stream.
        pool_additions: of rows to their mean.
        patch_words: words that patchify writes.
        code_reads, code_writes: accesses to the code buffer, of a word or a part of it.
        residual_reads, residual_writes: words of the residual buffer.
        weight_bytes, parameter_bytes, table_bytes, position_bytes, image_bytes, program_bytes:
            read from memory, with what fills up bus beats; parameters are those of requantizer
            and LayerNorm.
        logit_bytes: written to memory.
    """

    name: str
    macs: int = 0
    vectors: int = 0
    multiplications: int = 0
    columns: int = 0
    totals: int = 0
    outputs: int = 0
    scores: int = 0
    softmax_rows: int = 0
    keys: int = 0
    bucket_additions: int = 0
    drain_steps: int = 0
    drain_additions: int = 0
    attention_words: int = 0
    norm_values: int = 0
    norm_rows: int = 0
    lookups: int = 0
    residual_additions: int = 0
    pool_additions: int = 0
    patch_words: int = 0
    code_reads: int = 0
    code_writes: int = 0
    residual_reads: int = 0
    residual_writes: int = 0
    weight_bytes: int = 0
    parameter_bytes: int = 0
    table_bytes: int = 0
    position_bytes: int = 0
    image_bytes: int = 0
    program_bytes: int = 0
    logit_bytes: int = 0

    @property
    def requantizations(self) -> int:
        """Multiplications of the requantizer: by the zero point and by the multiplier."""
        return 2 * self.outputs

    @property
    def accumulator_accesses(self) -> int:
        """Reads and writes of the accumulators, both of all sums of a token."""
        return 2 * self.vectors

    @property
    def read_bytes(self) -> int:
        """All that is read from memory."""
        return sum(getattr(self, name) for name in READ_BYTES)


COUNTS = tuple(field.name for field in fields(LayerCosts) if field.name != "name")
"""Names of the counts."""
READ_BYTES = tuple(name for name in COUNTS if name.endswith("_bytes") and name != "logit_bytes")


def costs(artifact: Artifact, program: Program) -> list[LayerCosts]:
    """The layers in the order of their first STORE, and last `PROGRAM`.

    Raises: ProgramError where products do not have a WEIGHTS, a GEMM and a STORE each, a command
    does not name the operator that it works for, or FETCHes do not bring what commands take.
    """
    who = owners(artifact, program)
    stores = (p.operators[0] for p in program.commands if p.command.name == "STORE")
    names = [*dict.fromkeys(stores), PROGRAM]
    number = {name: place for place, name in enumerate(names)}
    alike: dict[str, tuple[list[Command], list[int]]] = {}
    for placed, owner in zip(program.commands, who, strict=True):
        commands, places = alike.setdefault(placed.command.name, ([], []))
        commands.append(placed.command)
        places.append(number[owner])
    found = np.zeros((len(COUNTS), len(names)), np.int64)
    row = {count: place for place, count in enumerate(COUNTS)}
    fetched, taken = dict.fromkeys(Destination, 0), dict.fromkeys(Destination, 0)
    for name, (commands, places) in alike.items():
        operands = {
            operand: np.array([command.operands[operand] for command in commands], np.int64)
            for operand in commands[0].operands
        }
        if name == "FETCH":
            for destination in Destination:
                beats = operands["beats"][operands["destination"] == destination]
                fetched[destination] = int(beats.sum()) * program.config.bus_width // 8
        for count, values in _counted(name, operands, program.config).items():
            each = np.broadcast_to(values, len(places))
            np.add.at(found[row[count]], places, each)
            if name in _TAKES and count in READ_BYTES:
                taken[_TAKES[name]] += int(each.sum())
    for destination, size in taken.items():
        if fetched[destination] != size:
            raise ProgramError(
                f"FETCHes to {destination.name} must bring the {size} bytes that commands take, "
                f"not {fetched[destination]}"
            )
    found[row["program_bytes"], -1] = program_bytes(len(program.commands))
    found[row["macs"], :-1] = [
        product_macs(artifact, program, name) * program.images for name in names[:-1]
    ]
    return [
        LayerCosts(name=name, **dict(zip(COUNTS, column, strict=True)))
        for name, column in zip(names, found.T.tolist(), strict=True)
    ]


def total(layers: Iterable[LayerCosts]) -> LayerCosts:
    """The sums over layers, under the name "all"."""
    layers = list(layers)
    return LayerCosts(
        name="all", **{name: sum(getattr(layer, name) for layer in layers) for name in COUNTS}
    )


def program_bytes(commands: int) -> int:
    """Bytes that the sequencer reads for so many commands, END included.

    It reads whole pieces, one ahead of that of the command at hand.
    """
    return PIECE_BYTES * ((commands - 1) // (PIECE_BYTES // COMMAND_BYTES) + 2)


def _up(values: Any, multiple: int) -> Any:
    """How many of `multiple` hold so many."""
    return -(-values // multiple)


def _beats(size: Any, config: AcceleratorConfig) -> Any:
    """Bytes of whole bus beats."""
    return _up(size, config.bus_width // 8) * (config.bus_width // 8)


def _patchify(o: Operands, config: AcceleratorConfig) -> Counts:
    words = o["digits"] * o["down"] * o["height"] * o["across"] * _up(o["run"], config.rows)
    return {
        "patch_words": words,
        "code_writes": words,
        "image_bytes": o["beats"] * (config.bus_width // 8),
    }


def _weights(o: Operands, config: AcceleratorConfig) -> Counts:
    columns = o["groups"] * o["tiles"] * config.cols
    column = _up(config.rows * config.stationary_width, 8)
    streamed = o["groups"] * _beats(o["tiles"] * config.cols * column, config)
    # The others are zeros that are not read.
    stored = np.minimum(o["channels"], o["groups"] * config.cols) * o["tiles"]
    sets = np.where(o["shared"], 1, o["groups"])
    return {
        "columns": columns,
        "code_reads": np.where(o["buffer"], stored, 0),
        "weight_bytes": np.where(o["buffer"], 0, streamed),
        "parameter_bytes": sets * _beats(CHANNEL_BYTES * (config.cols + 1), config),
    }


def _gemm(o: Operands, config: AcceleratorConfig) -> Counts:
    passes = o["groups"] * o["weight_digits"] * o["tiles"] * o["activation_digits"]
    vectors = passes * o["tokens"]
    return {
        "vectors": vectors,
        "multiplications": vectors * (config.rows * config.cols),
        "code_reads": vectors,
    }


def _store(o: Operands, config: AcceleratorConfig) -> Counts:
    totals = o["groups"] * o["tokens"]
    chunks = o["tokens"] * np.minimum(o["chunks"], o["groups"] * (config.cols // config.lanes))
    mode = o["mode"]
    scores = np.where(mode == Mode.SCORES, totals * config.cols, 0)
    residual = np.where(mode == Mode.RESIDUAL, chunks, 0)
    return {
        "totals": totals,
        "outputs": totals * config.cols,
        "scores": scores,
        "softmax_rows": np.where(mode == Mode.SCORES, o["groups"] * config.cols, 0),
        "lookups": np.where(mode == Mode.GELU, chunks * config.lanes, 0),
        "code_writes": np.where((mode == Mode.CODES) | (mode == Mode.GELU), chunks, 0),
        "residual_additions": residual * config.lanes,
        "residual_reads": residual,
        "residual_writes": residual,
        "logit_bytes": np.where(mode == Mode.LOGITS, o["tokens"] * o["bytes"], 0),
    }


def _embed(o: Operands, config: AcceleratorConfig) -> Counts:
    size = config.lanes * RESIDUAL_WIDTH // 8
    return {"residual_writes": o["words"], "position_bytes": _beats(o["words"] * size, config)}


def _table(o: Operands, config: AcceleratorConfig) -> Counts:
    return {"table_bytes": 1 << GELU_INDEX_WIDTH}


def _pool(o: Operands, config: AcceleratorConfig) -> Counts:
    words = o["rows"] * o["chunks"]
    return {
        "pool_additions": words * config.lanes,
        "residual_reads": words,
        "residual_writes": o["chunks"],
    }


def _layernorm(o: Operands, config: AcceleratorConfig) -> Counts:
    chunks = _up(o["channels"], config.lanes)
    records = _beats(chunks * (NORM_CHANNEL_BYTES * config.lanes), config)
    return {
        "norm_rows": o["rows"],
        "norm_values": o["rows"] * chunks * config.lanes,
        "residual_reads": o["rows"] * chunks,
        "code_writes": o["rows"] * chunks,
        "parameter_bytes": np.where(o["keep"], 0, records),
    }


def _attention(o: Operands, config: AcceleratorConfig) -> Counts:
    full, rest = np.divmod(o["queries"], config.cols)
    keys = (full + (rest > 0)) * o["tiles"] * o["keys"]
    rows = drains(config.cols)
    groups = full * _up(config.cols, rows) + _up(rest, rows)
    steps = groups * o["tiles"] * zero_code(config.log_width, config.base)
    words = o["queries"] * o["tiles"]
    return {
        "keys": keys,
        "bucket_additions": keys * (config.cols * config.rows),
        "drain_steps": steps,
        "drain_additions": steps * (rows * config.rows),
        "attention_words": words,
        "code_reads": keys,
        "code_writes": words,
    }


def _counted(name: str, operands: Operands, config: AcceleratorConfig) -> Counts:
    """Counts of commands of one instruction, each a number for all or int64 [commands]."""
    return _COUNTERS[name](operands, config) if name in _COUNTERS else {}


_COUNTERS: dict[str, Callable[[Operands, AcceleratorConfig], Counts]] = {
    "PATCHIFY": _patchify,
    "WEIGHTS": _weights,
    "GEMM": _gemm,
    "STORE": _store,
    "EMBED": _embed,
    "TABLE": _table,
    "POOL": _pool,
    "LAYERNORM": _layernorm,
    "ATTENTION": _attention,
}
_TAKES = {
    "WEIGHTS": Destination.WEIGHTS,
    "LAYERNORM": Destination.LAYERNORM,
    "TABLE": Destination.GELU_TABLE,
    "EMBED": Destination.EMBED,
}
"""Who takes the stream of a FETCH."""
