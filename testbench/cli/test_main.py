"""What all commands share: help, exit codes, one line for an error, one object for `--json`."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift import __version__
from rootshift.cli import main as front
from rootshift.cli import simulate
from rootshift.errors import ImageError

from ..seeds import explored
from .running import Outcome, invoke, refused

HEAVY = (
    "torch", "timm", "sklearn", "amaranth", "cocotb", "optuna", "pyarrow", "ray",
    "rootshift.quant", "rootshift.hw",
)  # fmt: skip


def python(code: str, *arguments: object) -> Outcome:
    """Run code in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def imported_by(*runs: list[object]) -> set[str]:
    """Heavy modules that a fresh Python has after it ran these command lines."""
    lines = [[str(word) for word in run] for run in runs]
    outcome = python(
        "import contextlib, io, sys\n"
        "from rootshift.cli.main import main\n"
        f"for words in {lines!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        code = main(words)\n"
        "        assert code == 0, words\n"
        "print(*sys.modules)\n"
    )
    assert outcome.code == 0, outcome.err
    return set(outcome.out.split()) & set(HEAVY)


@pytest.fixture
def script() -> Path:
    """The installed console script."""
    path = Path(sysconfig.get_path("scripts")) / "rootshift"
    if not path.exists():
        pytest.skip("the console script rootshift is not installed beside this Python")
    return path


def test_help_loads_nothing_heavy() -> None:
    assert not imported_by(
        ["--help"], ["--version"], *([name, "--help"] for name in front.COMMANDS)
    )


def test_simulating_on_golden_loads_nothing_heavy(saved: Path, image: Path) -> None:
    assert not imported_by(["simulate", saved, "--image", image])


def test_help_names_every_command() -> None:
    outcome = invoke("--help")
    assert outcome.code == 0
    for name, purpose in front.COMMANDS.items():
        assert name in outcome.out
        assert purpose in outcome.out


@pytest.mark.parametrize("command", front.COMMANDS)
def test_help_of_a_command_explains_its_arguments(command: str) -> None:
    outcome = invoke(command, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out
    assert front.COMMANDS[command] in outcome.out


def test_the_installed_script_runs(script: Path, saved: Path, image: Path) -> None:
    done = subprocess.run(
        [script, "simulate", saved, "--image", image, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Outcome(0, done.stdout, "").json == invoke(
        "simulate", saved, "--image", image, "--json"
    ).json | {"seconds": Outcome(0, done.stdout, "").json["seconds"]}


def test_the_installed_script_refuses_bad_input(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [script, "quantize", "digits", "--calibration", tmp_path / "no", "--out", tmp_path / "a"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"rootshift quantize: images folder {tmp_path}/no: no such folder\n"
    assert not (tmp_path / "a").exists()


def test_version() -> None:
    assert invoke("--version") == Outcome(0, f"rootshift {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "rootshift: the following arguments are required: COMMAND"),
        (["explode"], "rootshift: argument COMMAND: invalid choice: 'explode'"),
        (["--json"], "rootshift: the following arguments are required: COMMAND"),
        (["simulate"], "rootshift simulate: the following arguments are required: ARTIFACT"),
        (["simulate", "a"], "rootshift simulate: the following arguments are required: --image"),
        (["simulate", "a", "--image", "b", "--warp"], "rootshift: unrecognized arguments: --warp"),
        (["simulate", "a", "--image"], "rootshift simulate: argument --image: expected one arg"),
        (["quantize", "digits", "--out", "a", "--limit", "x"], "rootshift quantize: argument --li"),
        (["generate", "", "--out", "a"], "rootshift generate: argument ARTIFACT: must name a file"),
        (["explode\nnow"], r"rootshift: argument COMMAND: invalid choice: 'explode\n"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], message: str) -> None:
    outcome = invoke(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(message), outcome.err
    assert outcome.err.count("\n") == 1
    assert "--help)" in outcome.err


def test_arguments_come_from_the_shell_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rootshift", "simulate", "nowhere", "--image", "x.png"])
    assert front.main() == 2


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replaces what `simulate` does: set `does` to a callable, or to the result."""
    plan = SimpleNamespace(does={})

    def run(options: object) -> object:
        return plan.does() if callable(plan.does) else plan.does

    monkeypatch.setattr(simulate, "run", run)
    monkeypatch.setattr(simulate, "render", lambda result: str(result.get("text", "")))
    return plan


SIMULATE = ("simulate", "a", "--image", "b")


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({}, 0),
        ({"mismatches": 0}, 0),
        ({"mismatches": 3}, 1),
        ({"mismatches": 0, "cycles_apart": 2}, 1),
        ({"mismatches": None, "cycles_apart": None}, 0),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_mismatches_make_the_exit_code(
    fake_run: SimpleNamespace, result: dict, code: int, flags: list[str]
) -> None:
    fake_run.does = result
    assert invoke(*SIMULATE, *flags).code == code


def raising(error: BaseException):
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImageError("image a\nb\x1b[31m: no"), r"image a\nb\x1b[31m: no"),
        (OSError(28, "No space left on device", "/disk/x"), "/disk/x: No space left on device"),
        (OSError("the cable is out"), "the cable is out"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_error_is_one_printable_line(
    fake_run: SimpleNamespace, error: Exception, message: str, flags: list[str]
) -> None:
    fake_run.does = raising(error)
    assert refused(*SIMULATE, *flags) == message


def test_an_interrupt_is_one_line(fake_run: SimpleNamespace) -> None:
    fake_run.does = raising(KeyboardInterrupt())
    assert invoke(*SIMULATE) == Outcome(130, "", "rootshift simulate: interrupted\n")


def test_a_fault_of_the_program_is_not_hidden(fake_run: SimpleNamespace) -> None:
    fake_run.does = raising(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        invoke(*SIMULATE)


def test_names_that_are_not_text_are_shown_as_escapes(fake_run: SimpleNamespace) -> None:
    name = os.fsdecode(b"r\xe9sultat")
    fake_run.does = {"text": name}
    assert invoke(*SIMULATE).out == "r\\udce9sultat\n"
    assert invoke(*SIMULATE, "--json").json == {"text": name}


LONG_RESULT = """
import sys
from rootshift.cli import main, simulate
simulate.run = lambda options: {"text": "x" * 1_000_000}
simulate.render = lambda result: result["text"]
sys.exit(main.main(["simulate", "a", "--image", "b"]))
"""


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_RESULT], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LONG_RESULT],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    expected = "rootshift simulate: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, expected)


WORD = st.one_of(
    st.sampled_from(
        [*front.COMMANDS, "--json", "--image", "--out", "--bits", "--limit", "--level"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)


@given(words=st.lists(WORD, max_size=6))
@explored(150)
def test_no_words_end_in_a_traceback(words: list[str]) -> None:
    """Commands are stopped before they start: whatever argparse lets through reaches `run`."""

    def stop(options: object) -> None:
        raise ImageError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        for name in front.COMMANDS:
            patch.setattr(f"rootshift.cli.{name}.run", stop)
        outcome = invoke(*words)
    assert outcome.code in (0, 2)
    if outcome.code == 2:
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith("rootshift")
