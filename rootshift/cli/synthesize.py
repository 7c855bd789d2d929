"""`rootshift synthesize`: an artifact's accelerator on an FPGA, by open tools."""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ConfigError
from ..sim.area.model import Resources, area, fits
from ..targets import ROUTED, Target, target
from .generate import MODULE, write_all
from .pace import pace_of
from .progress import Progress, progress_bar
from .records import accelerator_name
from .sources import accelerator_config, add_config_arguments, place

if TYPE_CHECKING:
    from ..hw.synthesis.accelerator import Synthesis
    from ..hw.synthesis.families import Cells
    from ..hw.synthesis.routing import Routing

FIGURES = "synthesis.json"
ULX3S = "ulx3s-85f"
ULX3S_MHZ = 50.0
"""Clock of the board where none is asked for."""
_COUNTS = {"lut": "lut", "ff": "ff", "dsp": "dsp", "bram": "block_ram"}
"""Name of a resource in the results -> in counts and targets."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument(
        "--target", required=True, metavar="TARGET", help="a device or board of `rootshift targets`"
    )
    add_config_arguments(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR")
    parser.add_argument(
        "--clock",
        type=float,
        metavar="MHZ",
        help="clock to aim at; without it the fastest that is found",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of placement, 1")
    parser.add_argument("--no-route", action="store_true", help="end after synthesis")


@dataclass
class _Work:
    """One run: what is asked for, and what there is so far."""

    options: argparse.Namespace
    goal: Target
    artifact: Artifact
    config: AcceleratorConfig
    folder: Path
    files: dict[str, bytes] = field(default_factory=dict)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, target, part, family, array, lut, ff, dsp, bram (blocks of 18 kbit), units (name
    -> the four), utilization (the four in percent), fmax_mhz (null where nothing was routed),
    slowest (null, or unit, begin, end, logic_ns, route_ns), arrivals (unit -> ns at its latest
    flip-flop), cycles, clock_mhz and clock_of ("option", "route" or "model"), at which
    frames_per_second, latency_ms and memory_mb_per_s are, meets_clock (null where none is asked for
    or nothing was routed), tools (versions), seconds, files, written
    (files that changed).
    """
    from ..hw.synthesis.tools import NEXTPNR, YOSYS, require, versions

    start = time.monotonic()
    goal = target(options.target)
    check_options(options, goal)
    write_all(Path(options.out), {})  # so that a place that cannot be written is not found late
    routes = goal.family in ROUTED and not options.no_route
    require(YOSYS, *([NEXTPNR] if routes else []))
    artifact = Artifact.load(options.artifact)
    config = accelerator_config(options, artifact)
    estimate = area(config, goal.family)
    if excess := fits(estimate.total, goal):
        _warn(f"by the area model the design may not fit: {excess}")
    with progress_bar("synthesize") as progress, tempfile.TemporaryDirectory() as folder:
        work = _Work(options, goal, artifact, config, Path(folder))
        progress(0, 4, "cycles")
        pace = pace_of(artifact, config)
        synthesis = _synthesize(work, progress)
        routing = _route(work, synthesis, progress) if routes else None
        fmax = routing.fmax_mhz if routing else None
        clock, clock_of = chosen_clock(options.clock, fmax, estimate.fmax_mhz)
        progress(3, 4, "Verilog")
        _describe(work, clock)
    found = {
        "out": options.out,
        "target": goal.name,
        "part": goal.part,
        "family": goal.family,
        "array": accelerator_name(config),
        **_counted(synthesis.total),
        "units": {name: _counted(cells) for name, cells in synthesis.units.items()},
        "utilization": {
            name: round(100 * getattr(synthesis.total, count) / getattr(goal, count), 1)
            for name, count in _COUNTS.items()
        },
        **_timing(routing),
        "cycles": pace.cycles,
        "clock_mhz": round(clock, 3),
        "clock_of": clock_of,
        "meets_clock": None if None in (options.clock, fmax) else fmax >= options.clock,
        **pace.at(clock),
        "tools": versions(),
        "seconds": round(time.monotonic() - start, 1),
    }
    work.files[FIGURES] = (json.dumps(found, indent=1) + "\n").encode()
    written = write_all(Path(options.out), work.files)
    return {**found, "files": len(work.files), "written": written}


def check_options(options: argparse.Namespace, goal: Target) -> None:
    """Raises: ConfigError naming an option whose value is not legal for the target."""
    if options.clock is not None and not 1 <= options.clock <= 1000:
        raise ConfigError(f"--clock must be 1 to 1000 MHz, not {options.clock:g}")
    if not 0 <= options.seed < 1 << 31:
        raise ConfigError(f"--seed must be 0 to {(1 << 31) - 1}, not {options.seed}")
    if _by_vivado(goal) and options.clock is not None:
        from ..hw.vendor.boards import find_board
        from ..hw.vendor.vivado import check_clock

        check_clock(find_board(goal.name), options.clock)


def _by_vivado(goal: Target) -> bool:
    """Whether it is a board whose design Vivado builds."""
    return bool(goal.board) and goal.family not in ROUTED


def chosen_clock(wanted: float | None, routed: float | None, estimate: float) -> tuple[float, str]:
    """The clock in MHz that cycles become time at, and where it comes from."""
    if wanted is not None:
        return wanted, "option"
    return (routed, "route") if routed is not None else (estimate, "model")


def _synthesize(work: _Work, progress: Progress) -> "Synthesis":
    """Raises: ConfigError where the design does not fit the target, ToolError."""
    from ..hw.synthesis.accelerator import LOG, synthesize_accelerator

    progress(1, 4, "synthesis")
    synthesis = synthesize_accelerator(work.config, work.goal.family, work.folder)
    work.files["yosys.log"] = (work.folder / LOG).read_bytes()
    total = synthesis.total
    if excess := fits(Resources(total.lut, total.ff, total.dsp, total.block_ram), work.goal):
        raise ConfigError(f"the design does not fit: {excess}")
    return synthesis


def _route(work: _Work, synthesis: "Synthesis", progress: Progress) -> "Routing":
    """Place and route alone, or on its board with all that it needs there."""
    from ..hw.synthesis.routing import GOAL_MHZ, LOG, place_and_route, timing_text

    progress(2, 4, "place and route")
    if work.goal.name == ULX3S:
        routing = _ulx3s(work, synthesis)
    else:
        routing = place_and_route(
            work.goal.part,
            work.folder,
            synthesis.paths,
            clock_mhz=work.options.clock or GOAL_MHZ,
            seed=work.options.seed,
        )
        work.files["nextpnr.log"] = (work.folder / LOG).read_bytes()
    work.files["timing.txt"] = "".join(f"{line}\n" for line in timing_text(routing)).encode()
    return routing


def _ulx3s(work: _Work, synthesis: "Synthesis") -> "Routing":
    """The whole board's design, and its bitstream.

    Raises: ConfigError where the clock is not reached, since what is loaded would fail.
    """
    from ..hw.boards.bitstream import ulx3s_bitstream
    from ..hw.boards.standalone import Standalone, identity_of
    from ..hw.boards.ulx3s import BAUD, Ulx3s
    from ..hw.compiler import compile_program
    from ..hw.synthesis.routing import REPORT, read_report

    clock = round((work.options.clock or ULX3S_MHZ) * 1e6)
    program = compile_program(work.artifact, work.config)
    identity = identity_of(work.artifact, program, clock)
    board = Ulx3s(Standalone(program=program, identity=identity, clock=clock, baud=BAUD))
    folder = work.folder / "board"
    folder.mkdir()
    soft = {"soft": ""} if work.config.array_multiplier == "dsp" else {}
    found = ulx3s_bitstream(board, folder, seed=work.options.seed, **soft)
    paths = {name: f"design.accelerator.{path}" for name, path in synthesis.paths.items()}
    routing = read_report(json.loads(found.files[REPORT]), paths)
    if routing.fmax_mhz * 1e6 < clock:
        raise ConfigError(
            f"clock must be at most {routing.fmax_mhz:.2f} MHz for this design on "
            f"{work.goal.name}, not {clock / 1e6:g}: another --seed may reach it"
        )
    work.files["ulx3s/rootshift.bit"] = found.content
    work.files |= {f"ulx3s/{name}": content for name, content in found.files.items()}
    return routing


def _describe(work: _Work, clock: float) -> None:
    """The design's own files, and those for Vivado where it is a board's that Vivado builds."""
    from ..hw.top import Accelerator
    from ..hw.verilog import convert

    verilog = convert(Accelerator(config=work.config), MODULE)
    work.files |= {"config.toml": work.config.to_toml().encode(), "top.v": verilog.encode()}
    if _by_vivado(work.goal):
        from ..hw.vendor.boards import find_board
        from ..hw.vendor.vivado import write_vivado

        least, most = find_board(work.goal.name).system.clock_mhz
        clock = work.options.clock or max(least, min(most, float(int(clock))))
        made = write_vivado(work.config, work.goal.name, clock, verilog=verilog)
        work.files |= {f"vivado/{name}": content for name, content in made.items()}


def _counted(cells: "Cells") -> dict[str, int]:
    named = {name: getattr(cells, count) for name, count in _COUNTS.items()}
    return named | ({"uram": cells.uram} if cells.uram else {})


def _timing(routing: "Routing | None") -> dict[str, Any]:
    if routing is None or routing.slowest is None:
        return {"fmax_mhz": None, "slowest": None, "arrivals": {}}
    path = routing.slowest
    return {
        "fmax_mhz": round(routing.fmax_mhz, 2),
        "slowest": {
            "unit": path.unit,
            "begin": path.begin,
            "end": path.end,
            "logic_ns": round(path.logic_ns, 3),
            "route_ns": round(path.route_ns, 3),
        },
        "arrivals": {unit: round(ns, 3) for unit, ns in sorted(routing.arrivals.items())},
    }


def _warn(text: str) -> None:
    print(f"rootshift synthesize: warning: {text}", file=sys.stderr)


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    header = f"{'':<20}" + "".join(f"{name.upper():>9}" for name in _COUNTS)
    lines = [
        f"{result['array']} array on {result['target']} ({result['part']}), "
        f"{result['seconds']:.0f} s",
        header,
    ]
    rows = {**result["units"], "all": result}
    for name, row in rows.items():
        lines.append(f"{name:<20}" + "".join(f"{row[count]:>9}" for count in _COUNTS))
    used = "".join(f"{result['utilization'][count]:>8.1f}%" for count in _COUNTS)
    lines.append(f"{'of the device':<20}{used}")
    if (slowest := result["slowest"]) is not None:
        lines.append(
            f"{result['fmax_mhz']:.2f} MHz; the longest path lies in {slowest['unit']}, from "
            f"{slowest['begin']} to {slowest['end']}: {slowest['logic_ns']:.2f} ns in cells, "
            f"{slowest['route_ns']:.2f} ns on routes"
        )
    if result["meets_clock"] is False:
        lines.append(f"the clock asked for, {result['clock_mhz']:g} MHz, is not reached")
    clocks = {"option": "as asked for", "route": "as routed", "model": "by the area model"}
    lines += [
        f"{result['cycles']} cycles an image: {result['frames_per_second']:.2f} images/s, "
        f"{result['latency_ms']:.3f} ms at {result['clock_mhz']:.2f} MHz "
        f"({clocks[result['clock_of']]}), {result['memory_mb_per_s']:.1f} MB/s of memory",
        f"{result['files']} files, {result['written']} new or changed -> {result['out']}",
    ]
    return "\n".join(lines)
