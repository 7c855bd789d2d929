"""Cycles and places of the parts: that they fit together, and the formulas at known points.

That the hardware takes so many cycles is for the tests of its units.
"""

import ast
import inspect
from itertools import pairwise

import pytest

from rootshift import latency
from rootshift.config import ARRAY_MAX, BUS_WIDTHS, PIPELINE_STAGES
from rootshift.formats import BASES, CODE_WIDTHS, zero_code
from rootshift.isa import COMMAND_BYTES

PAGE_BYTES, AXI_BEATS = 4096, 256


def test_every_number_says_what_it_counts() -> None:
    statements = ast.parse(inspect.getsource(latency)).body
    silent = [
        target.id
        for statement, after in pairwise([*statements, ast.Pass()])
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
        and not (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        )
    ]
    assert not silent


def test_bursts_are_legal_and_have_room() -> None:
    """A burst that is longer than AXI allows, or than what is kept, would never be asked for."""
    assert latency.BURST <= AXI_BEATS
    assert latency.BURST * max(BUS_WIDTHS) // 8 <= PAGE_BYTES
    assert latency.READER_BURSTS * latency.BURST <= latency.BUS_READ_ROOM  # or beats are lost
    assert latency.READER_BURSTS <= latency.BUS_READ_BURSTS


def test_a_piece_of_the_program_is_whole_commands_within_a_page() -> None:
    assert PAGE_BYTES % latency.PIECE_BYTES == 0
    assert latency.PIECE_BYTES % COMMAND_BYTES == 0
    assert latency.PIECE_BYTES % (max(BUS_WIDTHS) // 8) == 0


def test_queues_cover_what_is_on_its_way() -> None:
    """Fewer places would cost cycles in full flow."""
    for stages in PIPELINE_STAGES:
        # The place that a word leaves is free in the next cycle.
        assert latency.words_waiting(stages) > latency.word_buffer(stages)
    assert latency.SOFTMAX_SLACK >= latency.SOFTMAX


@pytest.mark.parametrize(
    ("count", "stages"),
    [(1, 0), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3), (64, 3), (65, 4), (256, 4)],
)
def test_stages_of_an_adder_tree(count: int, stages: int) -> None:
    assert latency.tree_stages(count) == stages


@pytest.mark.parametrize(("digits", "steps"), [(1, (16, 18)), (2, (8, 9))])
def test_steps_of_the_root(digits: int, steps: tuple[int, int]) -> None:
    assert latency.root_steps(digits) == steps
    assert latency.reciprocal_root(digits) == sum(steps) + 2


@pytest.mark.parametrize(("lanes", "cycles"), [(1, 41), (4, 42), (8, 43), (256, 45)])
def test_cycles_of_a_layernorm_row(lanes: int, cycles: int) -> None:
    for stages in PIPELINE_STAGES:
        row = latency.norm_row(lanes, stages)
        # Five products come after each other: squares, variance; channels, reciprocal, gain.
        assert row == cycles + 5 * (stages - 1)
        assert latency.norm_room(192, lanes, stages) == -(-192 // lanes) + row


def test_cycles_of_products() -> None:
    for stages in PIPELINE_STAGES:
        assert latency.product(stages) == stages
        assert latency.product(stages, wide=True) == stages + 1
        assert latency.requantizer(stages) == 2 * stages + 8
        assert latency.drain_stages(stages) == 2 * stages + 6


def test_default_array_drains_while_keys_of_deit_enter() -> None:
    queries = 16
    groups = -(-queries // latency.drains(queries))
    assert groups * zero_code(4, "sqrt2") < 197
    assert latency.drains(1) == 1


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("width", CODE_WIDTHS)
def test_drain_has_as_few_lanes_as_keep_up(width: int, base: str) -> None:
    codes = zero_code(width, base)
    for drains in (1, 2):
        for channels in range(1, ARRAY_MAX + 1):
            lanes = latency.drain_lanes(channels, drains, codes)
            assert 1 <= lanes <= channels
            assert -(-channels // lanes) * drains <= codes
            assert lanes == 1 or -(-channels // (lanes - 1)) * drains > codes
