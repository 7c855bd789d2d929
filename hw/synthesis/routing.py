"""Place and route by nextpnr, and in which units the longest paths are."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import ConfigError
from .accelerator import NETLIST
from .block_registers import absorb_registers
from .fan_out import split_fan_out
from .netlist import TOP
from .tools import NEXTPNR, ToolStuckError, run_tool

DEVICES = {"LFE5U-25F": "--25k", "LFE5U-45F": "--45k", "LFE5U-85F": "--85k"}
"""Part -> option of nextpnr."""
PACKAGE = "CABGA381"
"""One that all parts come in."""
SPEED = "6"
GOAL_MHZ = 100.0
"""Clock that is aimed at where none is asked for."""
PLACERS = ("static", "heap")
"""The second, which nextpnr takes by itself and whose wires are a quarter longer, where the first
does not come to an end, as can be where a design has few cells of a kind."""
STATIC_STEPS = 2000
"""Of the first, at most; 16 x 16 on an LFE5U-85F takes 800."""
LOG = "nextpnr.log"
PACKED = "packed.json"
"""The netlist as nextpnr reads it."""
REPORT = "report.json"


@dataclass(frozen=True)
class Step:
    """A stage of a path.

    Fields: `kind`, "clk-to-q", "logic", "routing" or "setup"; its `ns`; the `cell` that it leads to
    and the `unit` of that.
    """

    kind: str
    ns: float
    cell: str
    unit: str


@dataclass(frozen=True)
class TimingPath:
    """A path from register to register; `begin` and `end` are the units of the two."""

    begin: str
    steps: tuple[Step, ...]

    @property
    def end(self) -> str:
        """Unit of the register at the end."""
        return self.steps[-1].unit

    @property
    def unit(self) -> str:
        """The unit that most of its time is spent in."""
        share: Counter[str] = Counter()
        for step in self.steps:
            share[step.unit] += step.ns
        return share.most_common(1)[0][0]

    @property
    def logic_ns(self) -> float:
        """Time in cells."""
        return sum(step.ns for step in self.steps if step.kind != "routing")

    @property
    def route_ns(self) -> float:
        """Time between them."""
        return sum(step.ns for step in self.steps if step.kind == "routing")


@dataclass(frozen=True)
class Routing:
    """A routed design.

    Fields:
        fmax_mhz: the fastest clock, or None where no register feeds another.
        slowest: the longest path, or None.
        arrivals: unit -> latest arrival at the input of one of its flip-flops, ns after the clock.
        used, available: kind of cell -> how many.
    """

    fmax_mhz: float | None
    slowest: TimingPath | None
    arrivals: Mapping[str, float]
    used: Mapping[str, int]
    available: Mapping[str, int]


def place_and_route(
    part: str,
    folder: Path,
    paths: Mapping[str, str],
    *,
    clock_mhz: float = GOAL_MHZ,
    seed: int = 1,
) -> Routing:
    """Place and route `NETLIST` in `folder`, without places for its pins, so without a bitstream.
    Registers beside hard blocks move into them (`absorb_registers`), cells that drive much are
    copied (`split_fan_out`). The folder has the log `LOG` then.

    Parameters: `part`, one of `DEVICES`; `paths` of units as in `Synthesis`; `clock_mhz` to aim at;
    `seed` of placement.
    Raises: ConfigError for another part; ToolError where nextpnr is missing or fails.
    """
    if part not in DEVICES:
        raise ConfigError(f"part must be one of {', '.join(DEVICES)}, not {part}")
    netlist = json.loads((folder / NETLIST).read_text(encoding="utf-8"))
    absorb_registers(netlist, TOP)
    split_fan_out(netlist, TOP)
    (folder / PACKED).write_text(json.dumps(netlist), encoding="utf-8")
    options = {
        "json": PACKED,
        "package": PACKAGE,
        "speed": SPEED,
        "freq": f"{clock_mhz:g}",
        "seed": str(seed),
        "report": REPORT,
        # The other is quicker and leaves paths a fifth longer.
        "router": "router1",
        "log": LOG,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    flags = ["lpf-allow-unconstrained", "timing-allow-fail", "detailed-timing-report", "quiet"]
    arguments = [DEVICES[part], *words, *(f"--{flag}" for flag in flags)]
    # Steps of an earlier run are none of this one's.
    (folder / LOG).unlink(missing_ok=True)
    first, second = ([*arguments, "--placer", placer] for placer in PLACERS)
    try:
        run_tool(NEXTPNR, first, folder, lambda: _static_steps(folder / LOG) > STATIC_STEPS)
    except ToolStuckError:
        run_tool(NEXTPNR, second, folder)
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return read_report(report, paths)


def _static_steps(log: Path) -> int:
    """How many steps the static placer has made, as its log says."""
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    found = re.findall(r"iter=(\d+)", said[-1000:])
    return int(found[-1]) if found else 0


def read_report(report: Mapping[str, Any], paths: Mapping[str, str]) -> Routing:
    """What nextpnr's report says; `paths` as those of `Synthesis`."""
    clocked = [
        path
        for path in report["critical_paths"]
        if all("edge " in path[end] for end in ("from", "to"))
    ]
    found = [_path(path["path"], paths) for path in clocked]
    speeds = [clock["achieved"] for clock in report["fmax"].values()]
    arrivals: dict[str, float] = {}
    for net in report.get("detailed_net_timings", ()):
        for end in net["endpoints"]:
            unit = unit_of(end["cell"], paths)
            # Of the quickest way and of the slowest.
            arrivals[unit] = max(arrivals.get(unit, 0.0), end["delay"][1])
    kinds = {kind: both for kind, both in report["utilization"].items() if both["used"]}
    return Routing(
        fmax_mhz=min(speeds, default=None),
        slowest=max(found, key=lambda path: path.logic_ns + path.route_ns, default=None),
        arrivals=MappingProxyType(arrivals),
        used=MappingProxyType({kind: both["used"] for kind, both in kinds.items()}),
        available=MappingProxyType({kind: both["available"] for kind, both in kinds.items()}),
    )


def unit_of(cell: str, paths: Mapping[str, str]) -> str:
    """The unit that a cell is in, by its name; "top" of one that is in none."""
    plain = cell.removeprefix("$flatten").replace("\\", "")
    found = [name for name, path in paths.items() if plain.startswith(f"{path}.")]
    return max(found, key=lambda name: len(paths[name]), default=TOP)


def timing_text(routing: Routing) -> Iterator[str]:
    """Lines for people: the longest path step by step, and how late each unit is."""
    if routing.slowest is None:
        yield "No register feeds another."
        return
    path, at = routing.slowest, 0.0
    yield f"{routing.fmax_mhz:.2f} MHz: the longest path begins in {path.begin}, ends in {path.end}"
    yield f"{path.logic_ns:.2f} ns in cells, {path.route_ns:.2f} ns on routes"
    yield ""
    yield f"{'at ns':>8} {'ns':>7}  {'what':<9} {'unit':<20} to"
    for step in path.steps:
        at += step.ns
        yield f"{at:8.2f} {step.ns:7.2f}  {step.kind:<9} {step.unit:<20} {step.cell}"
    yield ""
    yield "Latest arrival at a flip-flop of each unit, ns after the clock:"
    for unit, ns in sorted(routing.arrivals.items(), key=lambda item: -item[1]):
        yield f"{ns:8.2f}  {unit}"


def _path(arcs: list[dict[str, Any]], paths: Mapping[str, str]) -> TimingPath:
    steps = (
        Step(arc["type"], arc["delay"], arc["to"]["cell"], unit_of(arc["to"]["cell"], paths))
        for arc in arcs
    )
    return TimingPath(unit_of(arcs[0]["from"]["cell"], paths), tuple(steps))
