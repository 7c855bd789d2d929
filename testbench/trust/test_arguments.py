"""Command lines of any words, for every command and every option that it has.

What would take seconds is stopped where it begins: torch, Yosys, Verilator and explorations. All
that comes before, and every light command, runs as it does for a user.
"""

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from rootshift.cli import main as front
from rootshift.config import AcceleratorConfig
from rootshift.errors import OutputError, ToolError
from rootshift.output import write_file

from ..cli.running import files, invoke
from ..seeds import explored
from . import tally
from .test_toml import BITS, SPACE

STOPPED = (
    "rootshift.quant.quantize.Calibration.load", "rootshift.quant.quantize.quantize",
    "rootshift.quant.fake.FakeModel.__init__", "rootshift.sim.explore.api.explore",
    "rootshift.sim.rtl.inference.design", "rootshift.hw.synthesis.tools.require",
)  # fmt: skip
PATHS = ["model", "1.png", "images", "labels.csv", "space.toml", "config.toml", "bits.toml"]
STRANGE = [
    "", "-1", "0", "1", "2", "7", "nan", "-inf", "1e400", "9" * 30, "9" * 5000, "0x10", "1_0",
    "٣", "²", "4x4", "0x0", "4x4x4", "999999999x1", "W4A4", "W9A9", "W٤A4", "1:2", "2:1",
    "golden", "cycles", "é", "\u202e", "a\nb", "\x1b[31m", "\udcff", "x" * 300, "x/" * 3000,
    "missing", "missing/x.csv", "missing.toml", ".", "/dev/null/x", "/proc/self/mem", "--", "-",
    "~", "*", "%s%n", "{}", "$(touch mark)", "`touch mark`", "; touch mark", "=", "--json",
]  # fmt: skip
"""Words that belong nowhere, or elsewhere. None has a NUL, which no shell can pass."""
GOOD = {
    "artifact": "model", "image": "1.png", "labels": "labels.csv", "space": "space.toml",
    "config": "config.toml", "calibration": "images", "images": "images", "model": "digits",
    "bits": "W4A4", "array": "4x4", "out": "out/x", "cache": "cache", "target": "ecp5-85k",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(saved: Path, work: Path) -> Path:
    """A folder of good inputs, for words that are names in it."""
    folder = work / "inputs"
    shutil.copytree(saved, folder / "model")
    (folder / "images").mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)
    for name in ("1.png", "images/1.png", "images/2.png"):
        Image.fromarray(noise).save(folder / name)
    (folder / "labels.csv").write_text("file,label,split\n1.png,3,\n")
    (folder / "space.toml").write_text(SPACE)
    (folder / "bits.toml").write_text(BITS)
    (folder / "config.toml").write_text(AcceleratorConfig().to_toml())
    return folder


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise ToolError("stopped")

    for name in STOPPED:
        monkeypatch.setattr(name, stop)
    monkeypatch.setattr("rootshift.hw.top.Accelerator", lambda config: None)
    monkeypatch.setattr("rootshift.hw.verilog.convert", lambda component, name: f"// {name}\n")


@pytest.fixture
def inside(inputs: Path) -> Iterator[Path]:
    """The test runs in the folder of inputs."""
    before = Path.cwd()
    os.chdir(inputs)
    yield inputs
    os.chdir(before)


def actions(command: str) -> list[argparse.Action]:
    """What argparse knows of a command."""
    (commands,) = front.build_parser(command)._subparsers._group_actions
    return [each for each in commands.choices[command]._actions if each.dest != "help"]


@st.composite
def words(draw: st.DrawFn, command: str) -> list[str]:
    """Most arguments good, a few strange, some left out or doubled."""
    found: list[str] = []
    for action in actions(command):
        if action.option_strings and not action.required and draw(st.integers(0, 3)):
            continue
        found += action.option_strings[:1]
        for _ in range(1 if action.nargs is None else draw(st.integers(0, 2))):
            if draw(st.integers(0, 2)):
                good = [*(action.choices or ()), GOOD.get(action.dest, "1")]
                found.append(str(draw(st.sampled_from(good))))
            else:
                found.append(draw(st.sampled_from([*STRANGE, *PATHS])))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        found.insert(draw(st.integers(0, len(found))), draw(st.sampled_from(STRANGE)))
    return found


@pytest.mark.parametrize("command", front.COMMANDS)
@explored(40)
@given(data=st.data())
@pytest.mark.usefixtures("stopped")
def test_any_words(data: st.DataObject, command: str, inside: Path) -> None:
    before = files(inside)
    line = [command, *data.draw(words(command))]
    outcome = invoke(*line)
    print(line, outcome)
    made = {name for name, content in files(inside).items() if before.get(name) != content}
    assert outcome.code in (0, 1, 2)
    if outcome.code == 2:
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith("rootshift")
    assert not any(part.startswith(".") for name in made for part in name.split("/")), made
    assert not (inside / "mark").exists()
    for name in made:
        (inside / name).unlink()
        if name in before:
            (inside / name).write_bytes(before[name])
    tally.count(f"arguments, {command}", "refused" if outcome.code == 2 else "accepted")


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Renaming a file over /dev/null would take it from everybody, and root may."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="pipe must be a file, not a device or pipe"):
        write_file(pipe, lambda file: file.write(b"x"))
    assert pipe.is_fifo()
    assert tally.attempt("arguments, a pipe", lambda: write_file(pipe, lambda file: None)) is None
