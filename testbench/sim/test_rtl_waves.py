"""Which cycles of a run are written as waves, and to which file."""

from pathlib import Path

import numpy as np
import pytest

from rootshift.errors import OutputError, ToolError
from rootshift.sim.rtl.inference import LOGITS, Difference, Outcome
from rootshift.sim.rtl.waves import AFTER, BEFORE, WHOLE, wave_cycles, waves_format
from rootshift.sim.timeline import Timeline, Traffic


def outcome(cycles: int, first: Difference | None = None) -> Outcome:
    """A run of no commands."""
    none = np.zeros(0, np.int64)
    timeline = Timeline(
        cycles=cycles,
        begun=none,
        done=none,
        units={},
        array=np.zeros((1, 5), np.int64),
        traffic=Traffic(0, 0, 0, 0, 0, 0),
        window=1024,
        reads=none,
        writes=none,
    )
    return Outcome(none, timeline, first, {})


def differs(cycle: int | None) -> Difference:
    return Difference("fc1" if cycle else LOGITS, (0, 1), 4, 3, cycle)


@pytest.mark.parametrize(
    ("cycles", "first", "asked", "expected"),
    [
        (WHOLE, None, None, (1, WHOLE + 1)),
        (WHOLE + 5, None, None, (1, WHOLE + 1)),
        (9, None, (0, 4), (1, 4)),
        (9, None, (9, 99), (9, 10)),
        (10**6, None, (70, 71), (70, 71)),
        (10**6, differs(5000), None, (5000 - BEFORE, 5000 + AFTER)),
        (10**6, differs(3), None, (1, 3 + AFTER)),
        (5010, differs(5000), None, (5000 - BEFORE, 5011)),
        (5010, differs(None), None, (5010 - BEFORE, 5011)),
        (10**6, differs(5000), (1, 2), (1, 2)),
    ],
)
def test_cycles_are_those_asked_for_or_those_that_matter(
    cycles: int, first: Difference, asked: tuple, expected: tuple
) -> None:
    assert wave_cycles(outcome(cycles, first), asked) == expected


def test_cycles_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(OutputError, match="must begin in the run's 9 cycles, not in cycle 10"):
        wave_cycles(outcome(9), (10, 12))


def test_the_ending_of_the_name_is_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waves_format(str(Path("some.fst") / "a.VCD")) == "vcd"
    for name in ("waves", "a.vcd.gz", ".fst", "fst"):
        with pytest.raises(OutputError, match=r"name of waves must end in \.fst or \.vcd"):
            waves_format(name)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match="'no-such-compiler' is not on PATH"):
        waves_format("a.fst")
