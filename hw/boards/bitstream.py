"""From a board's design to its bitstream, with the open tools of the extra `synthesis`."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ToolError
from ..synthesis.routing import Routing, read_report
from ..synthesis.tools import NEXTPNR, YOSYS, require
from .ulx3s import Ulx3s

NAME = "rootshift"
TOOLS = {"YOSYS": YOSYS, "NEXTPNR_ECP5": NEXTPNR, "ECPPACK": "yowasp-ecppack"}
"""Environment variable by which the build's script finds a tool -> the tool."""
BOARDS = "amaranth-boards"
ARRAY = "*gemm.array*"
"""Pattern of the modules of the array."""
_REPORT = "report.json"


@dataclass(frozen=True)
class Bitstream:
    """A routed design.

    Fields:
        content: the bitstream.
        files: name -> content of what it was made from, and of the tools' logs.
        routing: clock and resources, by nextpnr.
    """

    content: bytes
    files: dict[str, bytes]
    routing: Routing


def ulx3s_bitstream(board: Ulx3s, folder: Path, *, soft: str = ARRAY, seed: int = 1) -> Bitstream:
    """Synthesize, place, route and pack in `folder`, which is left with all files of the tools.

    Parameters: `soft`, a pattern of modules whose multipliers become LUTs, or "" for none; `seed`
    of placement, which one design can need to reach its clock.
    Raises: ToolError where a tool or amaranth-boards is missing, or fails, as it does where the
    design does not fit.
    """
    require(YOSYS, NEXTPNR, BOARDS)
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    steps = ("proc", "opt_expr", "opt_clean", "wreduce", "alumacc", "maccmap")
    plan = ULX3S_85F_Platform().prepare(
        board,
        NAME,
        # The other mapper, abc9, ends without a word on some designs in WebAssembly.
        synth_opts="-noabc9",
        script_after_read="\n".join(f"{step} {soft}" for step in steps) if soft else "",
        nextpnr_opts=f"--report {_REPORT} --seed {seed} --timing-allow-fail",
    )
    _run(plan, folder)
    report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    names = [*plan.files, f"{NAME}.tim", f"{NAME}.rpt", _REPORT]
    return Bitstream(
        content=(folder / f"{NAME}.bit").read_bytes(),
        files={name: (folder / name).read_bytes() for name in names},
        routing=read_report(report, {}),
    )


def _run(plan: Any, folder: Path) -> None:
    """Write the plan's files and run its script."""
    tools = {variable: _path(tool) for variable, tool in TOOLS.items()}
    plan.extract(folder)
    done = subprocess.run(
        ["sh", f"{plan.script}.sh"],
        cwd=folder,
        env={**os.environ, **tools, "LC_ALL": "C"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-2000:]
        raise ToolError(f"the build of the bitstream failed: {said}")


def _path(tool: str) -> str:
    beside = str(Path(sys.executable).parent)
    found = shutil.which(tool, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        raise ToolError(f'{tool} must be installed: pip install "rootshift[synthesis]"')
    return found
