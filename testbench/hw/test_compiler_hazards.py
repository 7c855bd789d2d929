"""Which waits commands get for the words that they read and write."""

import pytest

from rootshift.errors import ProgramError
from rootshift.footprint import Region, Space
from rootshift.hw.compiler.hazards import Tracker
from rootshift.isa import Unit


def make() -> Tracker:
    return Tracker({Space.CODES: 64, Space.RESIDUAL: 8})


def test_reader_waits_for_the_last_writer() -> None:
    tracker = make()
    for base in (0, 8, 16):
        tracker.add("w", Unit.STORE, writes=[Region(Space.CODES, base, 8)])
    _, waits = tracker.add("r", Unit.GEMM, [Region(Space.CODES, 6, 4)])
    assert waits == {Unit.STORE: 2}


def test_runs_with_gaps() -> None:
    tracker = make()
    tracker.add("w", Unit.STORE, writes=[Region(Space.CODES, 0, 2, 8, 4)])
    _, waits = tracker.add("r", Unit.GEMM, [Region(Space.CODES, 2, 6, 8, 4)])
    assert waits == {}
    _, waits = tracker.add("r", Unit.WEIGHTS, [Region(Space.CODES, 24, 1)])
    assert waits == {Unit.STORE: 1}


def test_writer_waits_for_readers_and_writers() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    tracker.add("w", Unit.PATCHIFY, writes=words)
    tracker.add("r", Unit.GEMM, words)
    # The reader has waited for the writer.
    assert tracker.add("x", Unit.LAYERNORM, writes=words)[1] == {Unit.GEMM: 1}


def test_what_a_unit_has_waited_for_is_known() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    tracker.add("w", Unit.STORE, writes=words)
    assert tracker.add("r", Unit.GEMM, words)[1] == {Unit.STORE: 1}
    assert tracker.add("r", Unit.GEMM, words)[1] == {}


def test_a_fed_command_ends_after_its_feed() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    event, _ = tracker.add("r", Unit.GEMM, words)
    tracker.add("s", Unit.STORE, writes=[Region(Space.CODES, 8, 4)], fed_by=event)
    tracker.add("n", Unit.LAYERNORM, [Region(Space.CODES, 8, 4)])
    assert tracker.add("w", Unit.LAYERNORM, writes=words)[1] == {}


def test_buffers_are_apart() -> None:
    tracker = make()
    tracker.add("w", Unit.STORE, writes=[Region(Space.CODES, 0, 4)])
    assert tracker.add("r", Unit.LAYERNORM, [Region(Space.RESIDUAL, 0, 4)])[1] == {}


def test_what_cannot_be_said_is_an_error() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    for unit in (Unit.GEMM, Unit.ATTENTION, Unit.WEIGHTS):
        tracker.add("r", unit, words)
    with pytest.raises(
        ProgramError, match="x: internal error: waits for WEIGHTS, GEMM, ATTENTION, more than 2"
    ):
        tracker.add("x", Unit.STORE, writes=words)
    with pytest.raises(ProgramError, match="code buffer must hold 65 words for y, not 64"):
        tracker.add("y", Unit.STORE, writes=[Region(Space.CODES, 61, 4)])


def test_a_command_cannot_wait_for_its_feed() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    event, _ = tracker.add("r", Unit.GEMM, words)
    with pytest.raises(ProgramError, match="z: internal error: waits for GEMM, its feed"):
        tracker.add("z", Unit.STORE, [], words, fed_by=event)


def test_a_command_cannot_wait_for_what_feeds_its_feed() -> None:
    tracker, words = make(), [Region(Space.CODES, 0, 4)]
    first, _ = tracker.add("r", Unit.WEIGHTS, words)
    second, _ = tracker.add("s", Unit.GEMM, fed_by=first)
    with pytest.raises(ProgramError, match="z: internal error: waits for WEIGHTS, its feed"):
        tracker.add("z", Unit.STORE, [], words, fed_by=second)


def test_commands_that_cannot_be_counted() -> None:
    tracker = make()
    tracker.add("f", Unit.FETCH)
    tracker.events[Unit.FETCH] *= 65535
    message = "g: commands of FETCH must be fewer than 65536"
    with pytest.raises(ProgramError, match=message):
        tracker.add("g", Unit.FETCH)
