"""Longest paths from unit to unit of an accelerator on ECP5, estimated before anything is placed.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/unit_paths.py [--array 8x8] [--stages 2] [--netlist FILE]
        [--most 40]

Synthesizes the accelerator for DeiT-T at W4/A4, or reads a netlist that was kept (`--netlist`;
written there where it is not), and adds up the delays of cells (Project Trellis, speed grade 6)
and, for each net, a route that grows with its loads. Placed designs take about 1.5 times as long;
which paths are the long ones shows here in seconds, where place and route takes a quarter of an
hour. A line has what a path takes, the largest fan-out on it, the units and registers that it
begins and ends in, and the units that it passes. Of paths between the same two units and from the
same register the longest is shown.
"""

import argparse
import json
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unit_sizes import deit_tiny

from rootshift.hw.synthesis.accelerator import NETLIST, synthesize_accelerator
from rootshift.hw.synthesis.routing import unit_of

ROUTE_NS, LOAD_NS = 0.45, 0.22
"""Route of a net with one load, and what twice as many add."""
OUTPUT_NS = {"TRELLIS_FF": 0.525, "DP16KD": 5.73, "TRELLIS_DPR16X4": 0.93}
"""From the clock to an output."""
CELL_NS = {"LUT4": 0.236, "PFUMX": 0.17, "L6MUX21": 0.24, "MULT18X18D": 3.93}
CARRY_NS, CARRY_IN_NS, CARRY_OUT_NS = 0.071, 0.447, 0.474
READ_NS = 0.236
"""From an address of distributed RAM to its word."""
CLOCKS = {"CLK", "CLKA", "CLKB", "WCK", "CLK0", "CLK1", "CLK2", "CLK3"}


@dataclass
class Arrival:
    """The latest arrival at a net, and how it came there."""

    ns: float
    begin: str
    before: int | None
    cell: str


def main() -> None:
    """Read or make the netlist, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--array", default="8x8")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--netlist", type=Path)
    parser.add_argument("--most", type=int, default=40)
    options = parser.parse_args()
    kept = options.netlist
    if kept is None or not kept.exists():
        kept = synthesized(options.array, options.stages, kept)
    design = json.loads(kept.read_text(encoding="utf-8"))
    paths, module = design["paths"], design["module"]
    print("\n".join(Network(module).longest(paths, options.most)))


def synthesized(array: str, stages: int, kept: Path | None) -> Path:
    """Synthesize; keep the netlist with the paths of its units."""
    rows, cols = map(int, array.split("x"))
    config = replace(deit_tiny(rows), cols=cols, pipeline_stages=stages)
    kept = kept or Path(tempfile.mkdtemp()) / "netlist.json"
    with tempfile.TemporaryDirectory() as folder:
        found = synthesize_accelerator(config, "ecp5", Path(folder))
        modules = json.loads((Path(folder) / NETLIST).read_text(encoding="utf-8"))["modules"]
    (module,) = (each for each in modules.values() if "top" in each["attributes"])
    kept.write_text(json.dumps({"paths": dict(found.paths), "module": module}), encoding="utf-8")
    print(f"netlist: {kept}", file=sys.stderr)
    return kept


class Network:
    """Cells and nets of a flat netlist, arrivals worked out."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells = module["cells"]
        self.loads: Counter[int] = Counter()
        self.driver: dict[int, tuple[str, str]] = {}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if not isinstance(bit, int):
                        continue
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = (name, port)
                    else:
                        self.loads[bit] += 1
        self.arrivals: dict[int, Arrival | None] = {}

    def route(self, bit: int, carry: bool = False) -> float:
        """Estimated time on a net."""
        return 0.0 if carry else ROUTE_NS + LOAD_NS * math.log2(max(1, self.loads[bit]))

    def inputs(self, name: str) -> list[tuple[str, int]]:
        """Nets at the inputs of a cell, but for its clock."""
        cell = self.cells[name]
        return [
            (port, bit)
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "input" and port not in CLOCKS
            for bit in bits
            if isinstance(bit, int)
        ]

    def arrival(self, bit: int) -> Arrival | None:
        """The latest at a net's driver; None where that is a port. Iterative: carries are long."""
        stack = [bit]
        while stack:
            top = stack[-1]
            if top in self.arrivals:
                stack.pop()
                continue
            found = self._from_clock(top)
            if found is None:
                missing = [b for _, b in self._ways(top) if b not in self.arrivals]
                if missing:
                    stack += missing
                    continue
                found = self._through(top)
            self.arrivals[top] = found
            stack.pop()
        return self.arrivals[bit]

    def _from_clock(self, bit: int) -> Arrival | None:
        if bit not in self.driver:
            return None
        name, _ = self.driver[bit]
        kind = self.cells[name]["type"]
        if kind == "TRELLIS_DPR16X4" and any(True for _ in self._ways(bit)):
            return None
        ns = OUTPUT_NS.get(kind)
        return None if ns is None else Arrival(ns, name, None, name)

    def _ways(self, bit: int) -> list[tuple[str, int]]:
        """Inputs that a net's value follows from within the cycle."""
        if bit not in self.driver:
            return []
        name, _ = self.driver[bit]
        kind = self.cells[name]["type"]
        if kind == "TRELLIS_DPR16X4":
            return [(port, each) for port, each in self.inputs(name) if port == "RAD"]
        return [] if kind in OUTPUT_NS else self.inputs(name)

    def _through(self, bit: int) -> Arrival | None:
        if bit not in self.driver:
            return None
        name, out = self.driver[bit]
        kind, latest = self.cells[name]["type"], None
        for port, each in self._ways(bit):
            before = self.arrivals[each]
            if before is None:
                continue
            if kind == "CCU2C":
                carried = port == "CIN"
                last = 0.0 if out == "COUT" else CARRY_OUT_NS
                ns = (CARRY_NS if carried else CARRY_IN_NS) + last
                ns += self.route(each, carry=carried)
            else:
                ns = CELL_NS.get(kind, READ_NS) + self.route(each)
            if latest is None or before.ns + ns > latest.ns:
                latest = Arrival(before.ns + ns, before.begin, each, name)
        return latest

    def longest(self, paths: Mapping[str, str], most: int) -> list[str]:
        """Lines of the longest paths."""
        best: dict[tuple[str, str, str], tuple[float, int, str]] = {}
        for name, cell in self.cells.items():
            if cell["type"] not in OUTPUT_NS and cell["type"] != "MULT18X18D":
                continue
            for port, bit in self.inputs(name):
                found = self.arrival(bit)
                if found is None or cell["type"] == "MULT18X18D":
                    continue
                if cell["type"] == "TRELLIS_DPR16X4" and port == "RAD":
                    continue
                ns = found.ns + self.route(bit)
                begin = plain(found.begin)
                key = unit_of(found.begin, paths), unit_of(name, paths)
                if ns > best.get((*key, begin), (0.0, 0, ""))[0]:
                    best[(*key, begin)] = (ns, bit, f"{plain(name)}.{port}")
        lines = ["  ns  fan-out  begin -> end"]
        ordered = sorted(best.items(), key=lambda item: -item[1][0])
        for (begin_unit, end_unit, register), (ns, bit, end) in ordered[:most]:
            fan, passed = self._walk(bit, paths)
            lines.append(
                f"{ns:5.2f} {fan:6d}  {begin_unit} {register} -> {end_unit} {end}"
                f"  by {', '.join(passed)}"
            )
        return lines

    def _walk(self, bit: int | None, paths: Mapping[str, str]) -> tuple[int, list[str]]:
        """The largest fan-out on the way to a net, and the units passed, the last first."""
        fan, passed = 0, []
        while bit is not None:
            fan = max(fan, self.loads[bit])
            found = self.arrivals[bit]
            unit = unit_of(found.cell, paths)
            if not passed or passed[-1] != unit:
                passed.append(unit)
            bit = found.before
        return fan, passed[::-1]


def plain(name: str) -> str:
    """A cell's name without what the tools added."""
    name = re.sub(r"_TRELLIS_FF_Q.*|_DP16KD.*|_LUT4.*", "", name)
    return name.replace("\\", "").replace("$flatten", "").removeprefix("inner.")


if __name__ == "__main__":
    main()
