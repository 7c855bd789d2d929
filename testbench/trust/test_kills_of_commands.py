"""Commands killed at random moments: what is there is whole, and the next run ends as ever."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.errors import ArtifactError
from rootshift.program import MAP, Program
from rootshift.sim.explore.results import Exploration

from ..cli.running import files
from ..seeds import generator
from . import tally
from .kills import killed_after, run

SPACE = """
[model]
name = "digits"
[images]
first = 16
few = 8
[quantization]
bits = ["W4A4", "W6A6"]
[hardware]
array = ["4x4", "8x4"]
[objectives]
maximize = ["top1"]
minimize = ["cycles"]
"""
QUANTIZE = ("quantize", "digits", "--limit", 4, "--bits", "W4A4", "--out", "out/model")
GENERATE = ("generate", "model", "--array", "2x2", "--out", "out")
EXPLORE = ("explore", "space.toml", "--out", "out", "--cache", "cache", "--workers", 2)
TIMED = {"exploration.json", "report.html"}
"""Files of an exploration that tell how long it took, and what was known before."""


@dataclass
class Undisturbed:
    """What a command leaves that nobody kills, and how long that takes."""

    words: tuple[object, ...]
    found: dict[str, bytes]
    seconds: float
    prepare: Callable[[Path], object]


def undisturbed(
    words: tuple[object, ...], folder: Path, prepare: Callable[[Path], object]
) -> Undisturbed:
    prepare(folder)
    began = time.monotonic()
    run(words, folder)
    return Undisturbed(words, files(folder / "out"), time.monotonic() - began, prepare)


def check_quantize(out: Path) -> None:
    """The artifact loads, or is not there."""
    if out.is_dir() and any(not each.name.startswith(".") for each in out.iterdir()):
        Artifact.load(out / "model")
    else:
        with pytest.raises(ArtifactError, match="No such file"):
            Artifact.load(out / "model")


def check_generate(out: Path) -> None:
    """Every file is whole; where all those of the program are there, they are of one piece."""
    if len(list(out.glob("program/[!.]*"))) == 3:
        Program.load(out / "program")
    for path in out.glob("driver/[!.]*.json"):
        json.loads(path.read_bytes())


def check_explore(out: Path) -> None:
    """Results that are there can be read."""
    if (out / "exploration.json").exists():
        assert len(Exploration.load(out).records) == 4


CHECKS = {"quantize": check_quantize, "generate": check_generate, "explore": check_explore}


def lasting(found: dict[str, bytes]) -> dict[str, bytes]:
    """Without what tells of time."""
    return {name: content for name, content in found.items() if name not in TIMED}


def killed_and_run_again(
    plan: Undisturbed, work: Path, kills: int, case: int, clean: bool = True
) -> None:
    """Kill so often, half of the times while it writes; then run it to its end.

    Parameters: `clean`, begin each time with nothing; otherwise each run finds what was left.
    """
    command, rng = str(plan.words[0]), generator(case)
    for number in range(kills):
        if clean or number == 0:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            plan.prepare(work)
        writing = bool(number % 2)
        seconds = rng.uniform(0, 0.03) if writing else rng.uniform(0.05, 1) * plan.seconds
        came = killed_after(plan.words, work, seconds, work / "out" if writing else None)
        CHECKS[command](work / "out")
        whole = {n: c for n, c in files(work / "out").items() if "/." not in f"/{n}"}
        for name, content in lasting(whole).items():
            assert plan.found[name] == content, name
        tally.count(f"command: {command}", *(["kills", "survived"] if came else ["ended before"]))
        if clean or number == kills - 1:
            run(plan.words, work)
            found = files(work / "out")
            assert found.keys() == plan.found.keys()
            assert lasting(found) == lasting(plan.found)


def test_generate_killed_while_it_writes(artifact: Artifact, tmp_path: Path) -> None:
    """One kill of the real command; the many are below."""

    def prepare(folder: Path) -> None:
        artifact.save(folder / "model")

    (tmp_path / "whole").mkdir()
    plan = undisturbed(GENERATE, tmp_path / "whole", prepare)
    assert MAP in {Path(name).name for name in plan.found}
    work = tmp_path / "killed"
    work.mkdir()
    prepare(work)
    killed = killed_after(GENERATE, work, 0.002, work / "out")
    check_generate(work / "out")
    run(GENERATE, work)
    assert files(work / "out") == plan.found
    tally.count("command: generate", *(["kills", "survived"] if killed else ["ended before"]))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kills"), [("generate", 10), ("quantize", 4)])
def test_killed_at_random_moments(
    command: str, kills: int, artifact: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    plan = undisturbed(
        {"quantize": QUANTIZE, "generate": GENERATE}[command],
        tmp_path / "whole",
        lambda folder: artifact.save(folder / "model"),
    )
    killed_and_run_again(plan, tmp_path / "killed", kills, case=1)


@pytest.mark.slow
@pytest.mark.parametrize("clean", [True, False], ids=["each anew", "one after the other"])
def test_explorations_killed_at_random_moments(clean: bool, tmp_path: Path) -> None:
    """With its workers; the cache serves the next run whatever state the kill left it in."""
    (tmp_path / "whole").mkdir()
    plan = undisturbed(
        EXPLORE, tmp_path / "whole", lambda folder: (folder / "space.toml").write_text(SPACE)
    )
    killed_and_run_again(plan, tmp_path / "killed", 2, case=2 + clean, clean=clean)
    rows = [Exploration.load(tmp_path / each / "out").rows() for each in ("whole", "killed")]
    assert rows[0] == rows[1]
