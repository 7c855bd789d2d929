"""A board with a serial line in simulation: its port is opened like that of a real one."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...errors import ToolError
from ..closing import Closing
from ..native.toolchain import cached, compiler, digest, run_tool, tuning, verilate
from .build import COMPILE, DEFINES, OPTIMIZE, VERILATE, runtime, runtime_flags, tools

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "serial_board.cpp"
PROGRAM, TOP = "serial_board", "board"


class SimulatedBoard(Closing):
    """A design that runs, in a process of its own; a context manager.

    Parameters:
        component: an Amaranth component with the pins `rx` and `tx`, and the members `clock` and
            `baud`, such as `rootshift.hw.boards.standalone.Standalone`.
        patience: cycles without a change on the line after which time stands still, to spare the
            processor: more than the design's longest run.
        made_from: as of `build.build_model`.
    Members:
        port: path of the pseudo-terminal that is the design's serial line.
        exchanges: after the end, the first and last cycle of each request with its answer.
    Raises: ToolError where a tool is missing or fails; OutputError where the cache cannot be
    written.
    """

    def __init__(self, component: Any, patience: int, made_from: str | None = None) -> None:
        program = _build(component, made_from)
        period, step = Fraction(component.clock, component.baud).as_integer_ratio()
        self.exchanges: list[tuple[int, int]] = []
        self._process = subprocess.Popen(
            [program, str(period), str(step), str(patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the simulation. Raises: ToolError where the design's line broke the protocol."""
        said, complaint = self._process.communicate()
        # Of each request, the end of the answer's last byte.
        ends = dict(map(int, line.split()) for line in said.splitlines())
        self.exchanges = list(ends.items())
        if self._process.returncode:
            raise ToolError(f"the simulated board has failed: {complaint.strip()}")


def _build(component: Any, made_from: str | None) -> Path:
    """The program that simulates a design, from the cache if it is there."""
    from ...hw import verilog

    cxx = compiler()
    flags = [*VERILATE, *DEFINES, *COMPILE, OPTIMIZE, *tuning(cxx)]
    text = verilog.convert(component, TOP) if made_from is None else ""
    key = digest(made_from or text, SOURCE.read_text(encoding="utf-8"), *flags, tools(cxx))

    def make(folder: Path) -> None:
        (folder / "top.v").write_text(text or verilog.convert(component, TOP), encoding="utf-8")
        verilate([*VERILATE, "--top-module", TOP, "--Mdir", "obj", "top.v"], folder)
        units = [*sorted((folder / "obj").glob("*.cpp")), SOURCE]
        lines = "".join(f'#include "{unit}"\n' for unit in units)
        (folder / "all.cpp").write_text(lines, encoding="utf-8")
        command = [cxx, OPTIMIZE, *runtime_flags("", cxx), f"-I{folder / 'obj'}", "all.cpp"]
        run_tool([*command, *runtime("", cxx), "-pthread", "-o", PROGRAM], folder)

    return cached(f"board-{key}", make) / PROGRAM
