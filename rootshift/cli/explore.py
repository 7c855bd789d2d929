"""`rootshift explore`: accuracy, cycles and area of every point of a space."""

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from . import pick
from .progress import Progress, progress_bar
from .sources import place

if TYPE_CHECKING:
    from ..sim.explore.record import Record
    from ..sim.explore.results import Exploration
    from ..sim.explore.space import Space

FILES = ("report.html", "points.parquet", "points.csv", "exploration.json", "space.toml")
"""What an exploration leaves in its folder."""
_ROWS = 15
_EXPLORES = ("space", "engine", "address", "workers", "dry_run")
_PICKS = ("image", "no_rtl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "space", nargs="?", type=place, metavar="SPACE.toml", help="the space; not with --pick"
    )
    parser.add_argument("--out", type=place, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--cache",
        type=place,
        metavar="DIR",
        help="what was computed before, shared by explorations; in $ROOTSHIFT_CACHE if left out",
    )
    parser.add_argument(
        "--engine", choices=["local", "ray"], help="local processes (default), or a Ray cluster"
    )
    parser.add_argument("--address", metavar="ADDRESS", help="of the Ray cluster; else a new one")
    parser.add_argument("--workers", type=int, metavar="N", help="local processes; one a core")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the space and count its points, no more"
    )
    group = parser.add_argument_group("picking", "from the results in --out")
    group.add_argument(
        "--pick", type=int, metavar="NUMBER", help="make the artifact and hardware of a point"
    )
    group.add_argument(
        "--image",
        type=place,
        action="append",
        default=[],
        metavar="FILE",
        help="image to check it with, up to one an image of the batch; else those of the space",
    )
    group.add_argument("--no-rtl", action="store_true", help="do not run the point on its RTL")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, points, complete, infeasible, pruned, failed (numbers of points), objectives
    (metric -> "maximize" or "minimize"), front (list of number, knobs and objectives), left_out
    (status -> number and reason of the first such point), computed and kept (quantizations, runs
    and images: now, and found in the cache), seconds, files.

    With `--dry-run`: space, points (of the grid), quantizations, trials (or null), sampler, knobs,
    constraints, objectives.
    With `--pick`: see `pick.run`.
    """
    check_options(options)
    if options.pick is not None:
        return pick.run(options)

    from ..sim.explore.api import explore
    from ..sim.explore.space import Space

    space = Space.load(options.space)
    if options.dry_run:
        return {"space": options.space, **_counted(space)}
    # Ray tells of what dies on standard output, which is for the result.
    with redirect_stdout(sys.stderr), progress_bar("explore") as bar:
        found = explore(
            space,
            options.out,
            engine=options.engine or "local",
            address=options.address,
            workers=options.workers,
            cache=options.cache,
            progress=phases(bar),
        )
    return _summary(options.out, found)


def check_options(options: argparse.Namespace) -> None:
    """Raises: ConfigError naming an option that is missing, or useless beside the others."""
    picks = options.pick is not None
    for name in _EXPLORES if picks else _PICKS:
        if getattr(options, name):
            what = "SPACE.toml" if name == "space" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{what} must be left out {'with' if picks else 'without'} --pick")
    if options.space is None and not picks:
        raise ConfigError("SPACE.toml must be given, or --pick")
    if options.out is None and not options.dry_run:
        raise ConfigError("--out must be given")


def phases(bar: Progress) -> Progress:
    """One bar for what goes on, which also tells how many points a search has behind it."""
    behind = ""

    def progress(done: int, total: int, name: str) -> None:
        nonlocal behind
        if name == "points":
            behind = f", {done} of {total} points"
        else:
            bar(done, total, name + behind)

    return progress


def _counted(space: "Space") -> dict[str, Any]:
    from ..sim.explore.knobs import SECTIONS

    quantizing = [
        len(values)
        for knob, values in space.knobs.items()
        if knob.partition("@")[0] in SECTIONS["quantization"]
    ]
    return {
        "points": space.size,
        "quantizations": math.prod(quantizing),
        "trials": space.search.trials,
        "sampler": space.search.sampler,
        "knobs": {knob: list(values) for knob, values in space.knobs.items()},
        "constraints": {"fits": space.constraints.fits, **space.constraints.table()},
        "objectives": _objectives(space),
    }


def _objectives(space: "Space") -> dict[str, str]:
    return {each.metric: "maximize" if each.maximize else "minimize" for each in space.objectives}


def _summary(out: str, found: "Exploration") -> dict[str, Any]:
    from ..sim.explore.record import Status

    by: dict[str, list[Record]] = {str(status): [] for status in Status}
    for record in found.records:
        by[str(record.status)].append(record)
    counts = found.made["counts"]
    measured = ("quantizations", "runs", "images")
    return {
        "out": out,
        "points": len(found.records),
        **{status: len(records) for status, records in by.items()},
        "objectives": _objectives(found.space),
        "front": [
            {
                "number": record.number,
                "knobs": dict(record.point.values),
                "objectives": {
                    each.metric: record.metrics[each.metric] for each in found.space.objectives
                },
            }
            for record in found.front()
        ],
        "left_out": {
            status: {"number": records[0].number, "reason": records[0].reason}
            for status, records in by.items()
            if records and status != Status.COMPLETE
        },
        "computed": {name: counts.get(name, 0) for name in measured},
        "kept": {name: counts.get(f"{name} kept", 0) for name in measured},
        "seconds": found.made["seconds"],
        "files": list(FILES),
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    if "number" in result:
        return pick.render(result)
    return _render_space(result) if "sampler" in result else _render_found(result)


def _render_space(result: dict[str, Any]) -> str:
    what = f"{result['points']} points, {result['quantizations']} quantizations"
    if result["trials"] is not None:
        what += f"; {result['sampler']} tries {result['trials']}"
    lines = [f"{result['space']}: {what}"]
    rows = [(knob, ", ".join(map(_shown, values))) for knob, values in result["knobs"].items()]
    limits = [
        f"{metric} {bound.replace('_', ' ')} {limit:g}"
        for metric, bounds in result["constraints"].items()
        if metric != "fits"
        for bound, limit in bounds.items()
    ]
    if result["constraints"]["fits"]:
        limits.insert(0, "fits the target")
    for way in ("maximize", "minimize"):
        metrics = [metric for metric, chosen in result["objectives"].items() if chosen == way]
        rows += [(way, ", ".join(metrics))] if metrics else []
    rows += [("constraints", ", ".join(limits))] if limits else []
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, "nothing was run"])


def _render_found(result: dict[str, Any]) -> str:
    kinds = ("complete", "infeasible", "pruned", "failed")
    counts = ", ".join(f"{result[kind]} {kind}" for kind in kinds if result[kind])
    lines = [f"{result['points']} points: {counts}; {result['seconds']:.1f} s"]
    lines += [
        f"  {result['computed'][name]} {name} computed, {result['kept'][name]} known before"
        for name in result["computed"]
    ]
    for status, first in result["left_out"].items():
        lines.append(f"  {status}, such as point {first['number']}: {first['reason']}")
    if result["front"]:
        lines += ["", *_front_lines(result["front"], result["objectives"]), ""]
        lines.append(f"all points: {result['out']}/report.html, points.csv, points.parquet")
        number = result["front"][0]["number"]
        lines.append(f"make one:   rootshift explore --out {result['out']} --pick {number}")
    else:
        lines += ["", f"no point is complete; all points: {result['out']}/report.html"]
    return "\n".join(lines)


def _front_lines(front: Sequence[dict[str, Any]], objectives: dict[str, str]) -> list[str]:
    """The front as a table, by target and first objective, the best first; of many points some,
    evenly spread."""
    metrics = list(objectives)
    sign = -1 if objectives[metrics[0]] == "maximize" else 1
    ranked = sorted(
        front,
        key=lambda each: (
            str(each["knobs"].get("target")),
            sign * each["objectives"][metrics[0]],
        ),
    )
    if len(ranked) > _ROWS:
        ranked = [ranked[at * (len(ranked) - 1) // (_ROWS - 1)] for at in range(_ROWS)]
    knobs = [
        knob for knob in ranked[0]["knobs"] if len({each["knobs"][knob] for each in front}) > 1
    ]
    rows = [["point", *knobs, *metrics]]
    for each in ranked:
        values = [each["knobs"][knob] for knob in knobs]
        rows.append([str(each["number"]), *map(_shown, [*values, *each["objectives"].values()])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = f", {_ROWS} of them" if len(front) > _ROWS else ""
    return [
        f"the front, {len(front)} points that no other beats{shown}:",
        *(
            "  " + "  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True))
            for row in rows
        ),
    ]


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
