"""Counts from commands are what the RTL does: beats of its probes, the array, and its traffic."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.errors import ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.isa import Command, encode
from rootshift.program import Placed, Program
from rootshift.sim.costs import COUNTS, PROGRAM, LayerCosts, costs, total
from rootshift.sim.layers import layers
from rootshift.sim.rtl.inference import run_program, timeline
from rootshift.sim.rtl.result import RunResult
from rootshift.sim.timeline import ArrayState

from ..accelerator.designs import NARROW, WIDE
from ..accelerator.models import SIZES, digits, digits_pixels
from ..random_model import random_artifact, random_pixels
from ..seeds import generator


@dataclass(frozen=True, eq=False)
class Case:
    """A run, and the counts of its program."""

    artifact: Artifact
    program: Program
    run: RunResult
    costs: list[LayerCosts]


def _case(artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, batch: int) -> Case:
    program = compile_program(artifact, config, len(pixels), batch=batch)
    run = run_program(program, pixels)
    assert run.status["done"]
    return Case(artifact, program, run, costs(artifact, program))


def _square() -> Case:
    """The requantizer takes the totals of a token in two parts."""
    artifact = digits("W4A4")
    config = AcceleratorConfig.for_artifact(artifact, "8x8")
    config = replace(config, lanes=4, residual_depth=2 * config.residual_depth)
    return _case(artifact, config, digits_pixels(artifact, 1), 1)


def _narrow() -> Case:
    """Rows and columns differ, patches and their weights have two digits, and two images share
    weights."""
    artifact = digits("W4A4", "2")
    return _case(artifact, NARROW, digits_pixels(artifact, 4), 2)


def _mean() -> Case:
    """A mean of rows, and sizes that fill no word."""
    rng = generator(0)
    artifact = random_artifact(rng, SIZES["registers and mean"], bits="W4A4")
    return _case(artifact, WIDE, random_pixels(rng, artifact, 4), 2)


def _distilled() -> Case:
    """Two tokens side by side, of each image of a batch."""
    rng = generator(1)
    artifact = random_artifact(rng, SIZES["distilled"], bits="W4A4")
    return _case(artifact, WIDE, random_pixels(rng, artifact, 3), 3)


CASES: dict[str, Callable[[], Case]] = {
    "square": _square,
    "narrow": _narrow,
    "mean": _mean,
    "distilled": _distilled,
}


@lru_cache
def case(name: str) -> Case:
    return CASES[name]()


@pytest.mark.parametrize("name", CASES)
def test_beats_are_those_of_the_probes(name: str) -> None:
    found = case(name)
    config, all_layers = found.program.config, total(found.costs)
    beats = {
        "gemm": all_layers.outputs / config.lanes,
        "layernorm": all_layers.norm_values / config.lanes,
        "log2_softmax": all_layers.scores / config.cols,
        "shift_attention": all_layers.attention_words,
        "gelu_table": all_layers.lookups / config.lanes,
        "residual": all_layers.residual_writes,
        "patchify": all_layers.patch_words,
    }
    assert beats == {probe: len(found.run.beats[probe]) for probe in beats}


@pytest.mark.parametrize("name", CASES)
def test_vectors_are_the_busy_cycles_of_each_layer(name: str) -> None:
    found = case(name)
    busy: dict[str, int] = dict.fromkeys((layer.name for layer in found.costs), 0)
    stores = [p.operators[0] for p in found.program.commands if p.command.name == "STORE"]
    for layer, states in zip(stores, found.run.array, strict=False):
        busy[layer] += int(states[ArrayState.BUSY])
    config = found.program.config
    assert {layer.name: layer.vectors for layer in found.costs} == busy
    assert all(
        layer.multiplications == layer.vectors * config.rows * config.cols for layer in found.costs
    )


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_the_traffic(name: str) -> None:
    found = case(name)
    all_layers = total(found.costs)
    assert all_layers.read_bytes == found.run.traffic.read_bytes
    assert all_layers.logit_bytes == found.run.traffic.write_bytes


def _layer_of(artifact: Artifact, segment: str) -> str:
    """The product whose stream lies in a segment, by the segment's name."""
    name, kind = segment.rsplit(".", 1)
    operator = artifact[name]
    if kind in ("table", "position"):
        return operator.inputs[0]
    while operator.kind in ("layernorm", "gather"):
        operator = next(op for op in artifact.operators if operator.name in op.inputs)
    return operator.name


@pytest.mark.parametrize("name", CASES)
def test_each_layer_reads_its_own_segments(name: str) -> None:
    """Where FETCHes read says whose bytes they are, as the order of the commands does."""
    found = case(name)
    program, beat = found.program, found.program.config.bus_width // 8
    expected = dict.fromkeys((layer.name for layer in found.costs), 0)
    for placed in program.commands:
        if placed.command.name == "FETCH":
            offset = placed.command["offset"]
            (segment,) = (
                name
                for name, (start, size) in program.segments.items()
                if start <= offset < start + size
            )
            expected[_layer_of(found.artifact, segment)] += placed.command["beats"] * beat
    for layer in found.costs:
        fetched = layer.read_bytes - layer.image_bytes - layer.program_bytes
        assert fetched == expected[layer.name], layer.name
    assert found.costs[-1].name == PROGRAM
    assert found.costs[-1].program_bytes == found.costs[-1].read_bytes > 0


@pytest.mark.parametrize("name", CASES)
def test_macs_are_those_of_the_model(name: str) -> None:
    found = case(name)
    assert total(found.costs).macs == found.artifact.macs() * found.program.images


def test_what_prepares_and_what_follows_a_product_belongs_to_it() -> None:
    found = {layer.name: layer for layer in case("square").costs}
    products = [op for op in case("square").artifact.operators if op.kind in ("gemm", "scores")]
    assert [*found] == [*(op.name for op in products), PROGRAM]
    first, query, key, scores = products[0], products[1], products[2], products[4]
    assert found[first.name].patch_words
    assert found[first.name].position_bytes
    assert found[query.name].norm_rows
    assert not found[key.name].norm_rows
    assert found[scores.name].keys
    assert found[scores.name].scores
    assert found[products[-1].name].logit_bytes == 4 * 10
    for name, layer in found.items():
        gelu = name.endswith("fc1")
        assert bool(layer.lookups) == bool(layer.table_bytes) == gelu, name


def test_tokens_side_by_side_belong_to_the_head() -> None:
    found = case("distilled")
    head = next(layer for layer in found.costs if layer.name == "head")
    images, tiles = 3, -(-21 // WIDE.rows)
    assert head.norm_rows == images * 2
    assert head.vectors == images * 2 * tiles * -(-11 // WIDE.cols)
    line = timeline(found.program, found.run)
    waits = {layer.name: layer.waits_for for layer in layers(found.artifact, found.program, line)}
    assert waits["head"] == waits["block0.q"] == "layernorm"


def test_counts_of_a_layer_by_hand() -> None:
    """The scores of the digits model on 8 x 8, from the page of the accelerator."""
    found = case("square")
    operator = next(op for op in found.artifact.operators if op.kind == "scores")
    layer = next(layer for layer in found.costs if layer.name == operator.name)
    tokens = found.program.shapes[operator.inputs[0]][0]
    tiles, queries = -(-operator.head_width // 8), -(-tokens // 8)
    heads = operator.heads
    assert layer.vectors == heads * queries * tiles * tokens
    assert layer.columns == heads * queries * tiles * 8
    assert layer.totals == heads * queries * tokens
    assert layer.requantizations == 2 * layer.outputs == 2 * 8 * layer.totals
    assert layer.softmax_rows == heads * queries * 8
    assert layer.keys == heads * queries * tiles * tokens
    assert layer.bucket_additions == layer.keys * 64
    drained = (tokens // 8) * 4 + -(-(tokens % 8) // 2)
    assert layer.drain_steps == heads * tiles * drained * 15
    assert layer.drain_additions == layer.drain_steps * 2 * 8
    # Vectors, values, and as columns the queries that there are.
    assert layer.code_reads == layer.vectors + layer.keys + heads * tiles * tokens
    assert layer.code_writes == layer.attention_words == heads * tiles * tokens
    assert layer.accumulator_accesses == 2 * layer.vectors
    assert layer.weight_bytes == 0
    assert layer.parameter_bytes == heads * 8 * (1 + 8)


def test_a_batch_reads_weights_once() -> None:
    artifact = digits("W4A4")
    config = AcceleratorConfig.for_artifact(artifact, "8x8", 2)
    programs = [compile_program(artifact, config, 2, batch=batch) for batch in (1, 2)]
    one, two = (total(costs(artifact, program)) for program in programs)
    assert two.weight_bytes < one.weight_bytes
    assert (two.macs, two.scores, two.image_bytes) == (one.macs, one.scores, one.image_bytes)


def test_a_total_has_every_count() -> None:
    layers = [LayerCosts(name="a", **dict.fromkeys(COUNTS, 1)), LayerCosts(name="b", vectors=2)]
    expected = dict.fromkeys(COUNTS, 1) | {"vectors": 3}
    assert total(layers) == LayerCosts(name="all", **expected)


def _without(program: Program, name: str, **operands: int) -> Program:
    """The program without the first command of a name, or with other operands of it."""
    commands = list(program.commands)
    place = next(n for n, placed in enumerate(commands) if placed.command.name == name)
    old = commands.pop(place)
    if operands:
        command = Command(name, {**old.command.operands, **operands})
        commands.insert(place, replace(old, command=command))
    code = encode(placed.command for placed in commands)
    # As long as it was, so that areas still lie within.
    image = code.ljust(len(program.code), b"\0") + program.image[len(program.code) :]
    return replace(program, commands=tuple(commands), image=image)


@pytest.mark.parametrize(
    ("name", "operands", "message"),
    [
        ("GEMM", {}, "each STORE must have one GEMM"),
        ("WEIGHTS", {}, "each STORE must have one WEIGHTS"),
        (
            "TABLE",
            {},
            r"FETCHes to GELU_TABLE must bring the 768 bytes .*, not 1024$",
        ),
        (
            "FETCH",
            {"beats": 1},
            r"FETCHes to EMBED must bring the 1632 bytes .*, not 8$",
        ),
        ("LAYERNORM", {"keep": 1}, r"FETCHes to LAYERNORM must bring the 2304 bytes .*, not 2592$"),
    ],
)
def test_a_program_that_does_not_add_up_is_refused(
    name: str, operands: dict[str, int], message: str
) -> None:
    found = case("square")
    program = _without(found.program, name, **operands)
    with pytest.raises(ProgramError, match=message):
        costs(found.artifact, program)


def test_commands_must_name_their_operators() -> None:
    found = case("square")
    bare = tuple(Placed(placed.command) for placed in found.program.commands)
    with pytest.raises(ProgramError, match="must name the operator that it works for"):
        costs(found.artifact, replace(found.program, commands=bare))
