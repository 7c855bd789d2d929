"""Line and toggle coverage of the RTL by the benches of its units.

python -m rootshift.testbench.coverage.benches [BENCH ...]
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from amaranth.lib import wiring

from rootshift.hw import verilog
from rootshift.hw.synthesis.tools import yosys
from rootshift.hw.verilog import HEADER

from ..hw import bench as bench_module
from ..hw.sources import with_sources
from ..hw.verilate import build
from ..mutation.records import ROOT
from ..mutation.rtl import TESTS, benches
from .points import Point, Sources, read
from .table import report

BUILD = ROOT / "build" / "coverage"
# Without `proc`'s multiplexers a branch in Python stays a branch in Verilog.
SCRIPT = """\
read_rtlil unit.il
proc -nomux -norom
memory_collect
write_verilog -norename unit.v
"""

_WAKE = r" *if \(\\\$auto\$verilog_backend\S+ \) begin end\n"
"""A branch that Yosys adds to each block, for simulators that would not look at it at first."""


class Recorder:
    """Stands in for `bench.command`: simulators that count, and what they have counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: list[tuple[Path, Path]] = []

    def command(self, component: wiring.Component, optimize: str, text: str = "") -> list[str]:
        name = type(component).__name__
        ports = list(verilog.ports(component))
        # Counters make the code of a large unit so long that compiling it is what takes time.
        simulator = build(annotated(component), name, ports, "-O0", coverage=True)
        data = self._folder / f"{len(self._runs)}.dat"
        self._runs.append((simulator / "top.v", data))
        return [str(simulator / name), f"+verilator+coverage+file+{data}"]

    def counts(self) -> Counter[Point]:
        total: Counter[Point] = Counter()
        for source, data in self._runs:
            total.update(read(data.read_text(), Sources(source.read_text(), ROOT)))
        return total


def annotated(component: wiring.Component) -> str:
    """Verilog of the unit with its hierarchy and branches, in which lines name their source."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "unit.il").write_text(with_sources(component))
        yosys(SCRIPT, folder)
        header = HEADER.format(name=type(component).__name__, version="coverage")
        return header + re.sub(_WAKE, "", (folder / "unit.v").read_text())


def run(bench: str) -> Counter[Point]:
    """Run a bench, and keep what it covers of `hw/`.

    Raises: RuntimeError where a test fails.
    """
    file = TESTS / f"test_{bench}.py"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(Path(folder))
        patch.setattr(bench_module, "command", recorder.command)
        options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "slow or not slow"]
        if pytest.main([str(file), *options]):
            raise RuntimeError(f"{file.name} must pass")
        counts = recorder.counts()
    own = {point: count for point, count in counts.items() if point.source.startswith("hw/")}
    BUILD.mkdir(parents=True, exist_ok=True)
    rows = [[point.kind, point.source, point.detail, count] for point, count in own.items()]
    (BUILD / f"{bench}.json").write_text(json.dumps(rows))
    return Counter(own)


def kept() -> Counter[Point]:
    """What all benches that were run have covered."""
    total: Counter[Point] = Counter()
    for path in sorted(BUILD.glob("*.json")):
        for kind, source, detail, count in json.loads(path.read_text()):
            total[Point(kind, source, detail)] += count
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.coverage.benches")
    parser.add_argument("bench", nargs="*", help="units' names; all where none is given")
    named = parser.parse_args().bench
    if not named:
        shutil.rmtree(BUILD, ignore_errors=True)
    for bench in named or benches():
        run(bench)
    report(kept(), BUILD / "missed.txt", sys.stdout)


if __name__ == "__main__":
    main()
