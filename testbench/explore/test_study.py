"""A study goes on where it was stopped, wherever that was, and comes to the same end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rootshift.errors import ConfigError, OutputError
from rootshift.sim.explore import study as module
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.search import search
from rootshift.sim.explore.study import Study

from ..seeds import generator
from .analytic import THREE, Evaluator, journal, space

SAMPLERS = {
    "nsga2": 'sampler = "nsga2"\npopulation = 8\ntrials = 32\nseed = 3',
    "tpe": 'sampler = "tpe"\ntrials = 32\nseed = 3',
}
ONE = '[objectives]\nmaximize = "top1"\n'


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process has written outlives it; only against loss of power must the disk have it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def kept(content: bytes) -> set[Point]:
    """Points whose records a journal has in whole lines."""
    points: set[Point] = set()
    for line in content.split(b"\n")[:-1]:
        for name, value in json.loads(line).get("user_attr", {}).items():
            if name.startswith("records "):
                points |= {Point.of(each["point"]) for each in value}
    return points


@pytest.mark.parametrize("objectives", [THREE, ONE], ids=["three", "one"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_goes_on_from_every_place_in_the_journal(
    sampler: str, objectives: str, tmp_path: Path
) -> None:
    """As after a kill: the file ends anywhere, most often in the middle of a line."""
    wanted = space(SAMPLERS[sampler], objectives)
    whole = search(wanted, Evaluator(wanted), tmp_path / "whole")
    content = journal(tmp_path / "whole").read_bytes()
    rng = generator(len(sampler), len(objectives))
    lines = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    cuts = [0, *rng.integers(1, len(content), 3), *rng.choice(lines, 1), len(content)]
    for cut in map(int, cuts):
        print("cut", cut)
        out = tmp_path / str(cut)
        out.mkdir(exist_ok=True)
        journal(out).write_bytes(content[:cut])
        evaluator = Evaluator(wanted)
        assert search(wanted, evaluator, out) == whole
        known = kept(content[:cut])
        assert known.isdisjoint(evaluator.points)
        assert len(evaluator.points) == len(whole) - len(known)


def test_stopped_in_every_batch(tmp_path: Path) -> None:
    wanted = space(SAMPLERS["nsga2"])
    whole = search(wanted, Evaluator(wanted), tmp_path / "whole")
    evaluated: list[Point] = []
    for _ in range(3):
        evaluator = Evaluator(wanted, die=1)
        with pytest.raises(KeyboardInterrupt):
            search(wanted, evaluator, tmp_path / "often")
        evaluated += evaluator.points
    evaluator = Evaluator(wanted)
    assert search(wanted, evaluator, tmp_path / "often") == whole
    assert len(evaluated + evaluator.points) == len(whole)


def test_killed_by_the_system(tmp_path: Path) -> None:
    """SIGKILL in the third batch, while it is evaluated; nothing of the first two is repeated."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from rootshift.sim.explore.search import search\n"
        "from rootshift.testbench.explore.analytic import Evaluator, space\n"
        f"wanted = space({SAMPLERS['nsga2']!r})\n"
        "evaluator = Evaluator(wanted, die=2)\n"
        "def evaluate(*each):\n"
        "    try:\n"
        "        return evaluator(*each)\n"
        "    except KeyboardInterrupt:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "search(wanted, evaluate, Path(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], check=False)
    assert killed.returncode == -signal.SIGKILL
    wanted = space(SAMPLERS["nsga2"])
    whole, again = Evaluator(wanted), Evaluator(wanted)
    expected = search(wanted, whole, tmp_path / "whole")
    assert search(wanted, again, tmp_path / "killed") == expected
    assert len(kept(journal(tmp_path / "killed").read_bytes())) == len(expected)
    # The first two batches were kept by the process that died.
    assert len(again.points) <= len(whole.points) - 8


def test_a_lock_that_a_killed_process_left_does_not_wait(tmp_path: Path) -> None:
    wanted = space(SAMPLERS["nsga2"])
    Path(f"{journal(tmp_path)}.lock").symlink_to(journal(tmp_path))
    with Study(wanted, tmp_path) as study:
        assert len(study.draw(8)) == 8


def test_more_trials_go_on(tmp_path: Path) -> None:
    short, long = (space(f'sampler = "tpe"\ntrials = {trials}') for trials in (16, 48))
    first = search(short, Evaluator(short), tmp_path)
    more = Evaluator(long)
    records = search(long, more, tmp_path)
    assert records[: len(first)] == first
    assert len(more.points) == len(records) - len(first) > 0
    # Fewer take nothing away.
    none = Evaluator(short)
    assert search(short, none, tmp_path) == records
    assert none.points == []


def test_a_folder_belongs_to_one_space(tmp_path: Path) -> None:
    wanted, other = space(SAMPLERS["nsga2"]), space(SAMPLERS["nsga2"], constraints="")
    search(wanted, Evaluator(wanted), tmp_path)
    before = journal(tmp_path).read_bytes()
    with pytest.raises(
        ConfigError,
        match=r"study\.journal: must be the study of this space, rootshift-\w{16}, not rootshift-"
        r"\w{16}: choose another folder$",
    ):
        search(other, Evaluator(other), tmp_path)
    assert journal(tmp_path).read_bytes() == before


def test_records_of_other_code_are_not_mixed_with_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = space(SAMPLERS["nsga2"])
    search(wanted, Evaluator(wanted), tmp_path)
    monkeypatch.setattr(module, "code_digest", lambda kind: f"new {kind}")
    with pytest.raises(ConfigError, match=r"study\.journal: must be of this version's code, not"):
        search(wanted, Evaluator(wanted), tmp_path)


def test_two_searches_do_not_share_a_folder(tmp_path: Path) -> None:
    wanted = space(SAMPLERS["nsga2"])
    with (
        Study(wanted, tmp_path),
        pytest.raises(OutputError, match=r"study\.journal: another exploration is at work on it$"),
    ):
        Study(wanted, tmp_path)
    with Study(wanted, tmp_path):
        pass


@pytest.mark.parametrize("content", [b"notes\n", b'{"a": 1}\n', b"[1]\n"])
def test_another_file_of_that_name(content: bytes, tmp_path: Path) -> None:
    journal(tmp_path).write_bytes(content)
    wanted = space(SAMPLERS["nsga2"])
    with pytest.raises(ConfigError, match=r"study\.journal: not a journal of Optuna: "):
        search(wanted, Evaluator(wanted), tmp_path)
    assert journal(tmp_path).read_bytes() == content


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = space(SAMPLERS["nsga2"])
    with pytest.raises(OutputError, match=r"study\.journal: cannot be written: "):
        search(wanted, Evaluator(wanted), tmp_path / "file" / "out")
