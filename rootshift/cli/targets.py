"""`rootshift targets`: FPGAs and boards, and the largest array of an artifact that fits each."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ConfigError, ProgramError
from ..targets import ROUTED, TARGETS, Target
from .pace import Pace, pace_of
from .sources import place

FULL = 0.9
"""Share of a device's LUTs that is filled at most: of what is left nothing can be placed, and the
area model may be some percent off."""

SIZES = (2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64)
"""Rows and columns of the square arrays that are tried."""
_COUNTS = {"lut": "lut", "ff": "ff", "dsp": "dsp", "bram": "block_ram"}
"""Name of a resource in the results -> in counts and targets."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "artifact", nargs="?", type=place, metavar="ARTIFACT", help="whose largest arrays to find"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: artifact (or null), sizes (of the square arrays that are tried), targets: list of
    target, board ("" for a device alone), part, family, lut, ff, dsp, bram, routed (whether open
    tools place and route it).

    With an artifact each has largest: null where none of the arrays fits, else array, utilization
    (lut, ff, dsp and bram in percent, by the area model), fmax_mhz (its estimate), and cycles,
    frames_per_second, latency_ms and memory_mb_per_s at that clock.
    """
    rows = [_described(goal) for goal in TARGETS.values()]
    if options.artifact is not None:
        artifact = Artifact.load(options.artifact)
        configs = designs(artifact)
        paces: dict[AcceleratorConfig, Pace] = {}
        for row, goal in zip(rows, TARGETS.values(), strict=True):
            row["largest"] = _largest(artifact, goal, configs, paces)
    return {"artifact": options.artifact, "sizes": list(SIZES), "targets": rows}


def designs(artifact: Artifact) -> list[AcceleratorConfig]:
    """Configurations of `SIZES` that can run the artifact, smallest first.

    Raises: ConfigError or ProgramError where none can.
    """
    found, refusal = [], None
    for size in SIZES:
        try:
            found.append(AcceleratorConfig.for_artifact(artifact, f"{size}x{size}"))
        except (ConfigError, ProgramError) as error:
            refusal = error
    if not found:
        raise refusal
    return found


def _described(goal: Target) -> dict[str, Any]:
    return {
        "target": goal.name,
        "board": goal.board,
        "part": goal.part,
        "family": goal.family,
        **{name: getattr(goal, count) for name, count in _COUNTS.items()},
        "routed": goal.family in ROUTED,
    }


def _largest(
    artifact: Artifact,
    goal: Target,
    configs: list[AcceleratorConfig],
    paces: dict[AcceleratorConfig, Pace],
) -> dict[str, Any] | None:
    """The largest of `configs` that `goal` has room for; `paces` keeps what was found of others."""
    from ..sim.area.model import area, fits

    room = replace(goal, lut=int(FULL * goal.lut))
    for config in reversed(configs):
        found = area(config, goal.family)
        if fits(found.total, room) is None:
            break
    else:
        return None
    if config not in paces:
        paces[config] = pace_of(artifact, config)
    return {
        "array": f"{config.rows}x{config.cols}",
        "utilization": {
            name: round(100 * getattr(found.total, count) / getattr(goal, count), 1)
            for name, count in _COUNTS.items()
        },
        "fmax_mhz": round(found.fmax_mhz, 1),
        "cycles": paces[config].cycles,
        **paces[config].at(found.fmax_mhz),
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    fitted = result["artifact"] is not None
    last = f"{'array':>7}  {'LUT, FF, DSP, BRAM':>23}  {'MHz':>6} {'images/s':>10}"
    lines = [_line("target", "part", "family", "tools", _COUNTS, last if fitted else "board")]
    for row in result["targets"]:
        tools = "open" if row["routed"] else "vendor's"
        counts = (row[name] for name in _COUNTS)
        last = _fitted(row["largest"]) if fitted else row["board"]
        lines.append(_line(row["target"], row["part"], row["family"], tools, counts, last))
    if fitted:
        lines.append("Area and clock are estimates of the area model; the memory never waits.")
    return "\n".join(lines)


def _line(name: str, part: str, family: str, tools: str, counts: Iterable[Any], last: str) -> str:
    shown = "".join(f"{str(count).upper():>8}" for count in counts)
    return f"{name:<10} {part:<10} {family:<6} {tools:<8}{shown}  {last}".rstrip()


def _fitted(largest: dict[str, Any] | None) -> str:
    if largest is None:
        return f"{'none':>7}"
    shares = "".join(f"{share:>5.0f}%" for share in largest["utilization"].values())
    return (
        f"{largest['array']:>7} {shares} {largest['fmax_mhz']:7.1f} "
        f"{largest['frames_per_second']:10.2f}"
    )
