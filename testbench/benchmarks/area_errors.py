"""Tables of the area model's errors, in markdown, from the runs of `sim/area/runs.csv`.

    python testbench/benchmarks/area_errors.py

`area_runs.py` makes the runs.
"""

from collections.abc import Callable, Iterator
from statistics import median

from rootshift.sim.area.fit import delay, route_share
from rootshift.sim.area.model import Area, area
from rootshift.sim.area.runs import WHOLE, Run, read_runs
from rootshift.sim.area.units import FAMILIES, UNITS


def main() -> None:
    """Print."""
    runs = read_runs()
    print(
        f"{len(runs)} runs, {runs[0].yosys}, {sum(run.seconds for run in runs) / 60:.0f} minutes."
    )
    for family in FAMILIES:
        if any(run.family == family for run in runs):
            print("\n".join(["", *unit_table(runs, family)]))
    print("\n".join(["", *whole_table(runs)]))


def unit_table(runs: list[Run], family: str) -> Iterator[str]:
    """Per unit the errors of the runs held out, median and worst, in percent."""
    share = route_share([run for run in runs if run.split == "fit"])
    yield f"| {family} | runs | held out | LUT | FF | DSP, block RAM | clock |"
    yield "|" + "---|" * 7
    everything: list[Run] = []
    for name in [*UNITS, "**all**"]:
        mine = [run for run in runs if run.family == family and run.unit == name]
        held = [run for run in mine if run.split == "held_out"]
        everything += mine
        if name not in UNITS:
            mine = everything
            held = [run for run in mine if run.split == "held_out"]
        exact = sum(
            (found.dsp, found.block_ram) == (run.dsp, run.block_ram)
            for run in mine
            for found in [area(run.config, family).units[run.unit]]
        )
        timed = [run for run in held if run.logic_ns is not None]
        cells = [
            name,
            f"{len(mine)}",
            f"{len(held)}",
            errors(held, lambda run: error(run, "lut")),
            errors(held, lambda run: error(run, "ff")),
            f"{exact} of {len(mine)}",
            errors(timed, lambda run: delay_error(run, share)),
        ]
        yield f"| {' | '.join(cells)} |"


def whole_table(runs: list[Run]) -> Iterator[str]:
    """Whole designs: what the model says, what synthesis gives, and the sum of the units' runs."""
    yield "| whole design | | LUT | FF | DSP | block RAM |"
    yield "|" + "---|" * 6
    for run in runs:
        if run.unit != WHOLE:
            continue
        config, found = run.config, area(run.config, run.family).total
        design = f"{run.family}, {config.rows} x {config.cols}, "
        design += f"W{config.weight_width}A{config.activation_width}, lanes {config.lanes}"
        yield f"| {design} | model | {found.lut:.0f} | {found.ff:.0f} | {found.dsp} " + (
            f"| {found.block_ram} |"
        )
        yield f"| | synthesis | {run.lut} | {run.ff} | {run.dsp} | {run.block_ram} |"
        yield f"| | error | {found.lut / run.lut - 1:+.1%} | {found.ff / run.ff - 1:+.1%} | | |"


def error(run: Run, count: str) -> float:
    """Relative error of the model for one run."""
    guess = getattr(area(run.config, run.family).units[run.unit], count)
    return guess / getattr(run, count) - 1


def delay_error(run: Run, share: float) -> float:
    """Relative error of the longest path."""
    found: Area = area(run.config, run.family)
    return found.delays[run.unit] / delay(run, share) - 1


def errors(runs: list[Run], of: Callable[[Run], float]) -> str:
    """Median and worst of the errors' sizes."""
    if not runs:
        return "-"
    found = [abs(of(run)) for run in runs]
    return f"{median(found):.1%}, {max(found):.1%}"


if __name__ == "__main__":
    main()
