"""Kills at a chosen moment: a process at its n-th touch of the disk, a command after a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "rootshift.cli.main")
WITHOUT_YOSYS = """
import sys
import rootshift.hw.top, rootshift.hw.verilog
from rootshift.cli.main import main
rootshift.hw.top.Accelerator = lambda config: None
rootshift.hw.verilog.convert = lambda component, name: f"// {name}\\n" * 100_000
sys.exit(main())
"""
"""The command line, but for the half minute in which Yosys writes Verilog and no file."""
TOUCHES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.fsync")
"""Events of Python's audit at which the disk is about to change."""


def killed_at(touch: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that kills itself when it touches the disk so often.

    Returns: whether it came so far; otherwise the child did all of its work.
    """
    child = os.fork()
    if child == 0:
        left = touch

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in TOUCHES:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def command(words: Sequence[object]) -> list[str]:
    """What to start for the words of a command."""
    start = COMMAND if words[0] != "generate" else (sys.executable, "-c", WITHOUT_YOSYS)
    return [*start, *map(str, words)]


def run(words: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the real command line, to its end."""
    done = subprocess.run(command(words), cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done


def killed_after(
    words: Sequence[object], folder: Path, seconds: float, first: Path | None = None
) -> bool:
    """Kill the command, and all processes that it has started, after so many seconds.

    Parameters: `first`, count the seconds from when this folder is there, or has another content.
    Returns: whether it was still at work.
    """
    process = subprocess.Popen(
        command(words),
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    before = first and _seen(first)
    while first and process.poll() is None and _seen(first) == before:
        time.sleep(0.0005)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _seen(folder: Path) -> list[tuple[str, int]]:
    """What shows that something was written; no part of it may vanish while it is looked at."""
    try:
        with os.scandir(folder) as entries:
            return sorted((each.name, each.inode()) for each in entries)
    except FileNotFoundError:
        return []
