"""The synthesis runs that the area model is fitted to, and those that are held out of the fit.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/area_runs.py [--units NAME ...] [--family ecp5 xc7 xcup] \\
        [--jobs N] [--runs N] [--clock N] [--whole] [--file FILE]

Makes the runs that `sim/area/runs.csv` lacks (or another `--file`), each of one unit by itself,
flat, with all its ports. An interrupted call goes on where it was; `area_errors.py` prints the
model's errors. `--runs` takes the first runs of each unit alone; `--clock` places and routes the
smallest N to fit on ECP5, and half as many of those held out (delays on the others come with each
run); `--whole` makes whole designs in place of units. What is counted how:
`hw/synthesis/families.py`; what is modelled how: `docs/area.md`.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock

from area_sample import UNITS, WHOLE_DESIGNS, sample
from open_synthesis import implement, version
from unit_sizes import units_of

from rootshift.config import AcceleratorConfig
from rootshift.errors import ToolError
from rootshift.hw.synthesis.families import FAMILIES
from rootshift.hw.top import Accelerator
from rootshift.sim.area.runs import RUNS, WHOLE, Run, read_runs, write_runs

FITTED = ("ecp5", "xc7")
"""Families with a fit of their own; runs of others are all held out."""
DSP_UNITS = ("requantizer", "layernorm", "attention")
"""Units with a multiplier of more than 8 bits, whose multipliers become DSP blocks."""
ARRAY = "*gemm.array*"

Job = tuple[str, str, AcceleratorConfig, str, bool]


def main() -> None:
    """Make what lacks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS), metavar="NAME")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FITTED))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=int, help="of each unit; all where it is left out")
    parser.add_argument("--clock", type=int, default=0, help="of each unit, placed on ECP5")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--file", type=Path, default=RUNS)
    options = parser.parse_args()
    done = {run.key: run for run in known(options.file)}
    jobs = [job for job in wanted(options) if lacks(done, job)]
    print(f"{len(jobs)} runs", file=sys.stderr, flush=True)
    yosys, lock = version(), Lock()

    def work(job: Job) -> None:
        try:
            run = measure(job, yosys)
        except ToolError as error:
            print(f"{job[0]} {job[1]} {job[2]}: {error}", file=sys.stderr, flush=True)
            return
        with lock:
            # Another call may have written meanwhile.
            now = {each.key: each for each in known(options.file)} | {run.key: run}
            write_runs(now.values(), options.file)
        print(run, file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, jobs))


def wanted(options: argparse.Namespace) -> Iterator[Job]:
    """Jobs of all units, the first runs of each before the later ones."""
    if options.whole:
        for number, config in enumerate(WHOLE_DESIGNS):
            for family in options.family:
                clock = family != "ecp5" or number < options.clock
                yield WHOLE, family, config, "held_out", clock
        return
    samples = {unit: list(islice(sample(unit), options.runs)) for unit in options.units}
    placed = {unit: set(smallest(found, options.clock)) for unit, found in samples.items()}
    for number in range(max(map(len, samples.values()))):
        for unit, found in samples.items():
            if number >= len(found):
                continue
            config, split = found[number]
            for family in options.family:
                clock = family != "ecp5" or config in placed[unit]
                yield unit, family, config, split if family in FITTED else "held_out", clock


def smallest(found: list[tuple[AcceleratorConfig, str]], count: int) -> Iterator[AcceleratorConfig]:
    """Of a unit's sample, the smallest to fit and half as many held out: what takes minutes to
    synthesize takes hours to place."""
    for split, most in (("fit", count), ("held_out", count // 2)):
        configs = [config for config, its in found if its == split]
        yield from sorted(configs, key=lambda one: (one.rows * one.cols, one.lanes))[:most]


def known(path: Path) -> list[Run]:
    """The runs that are there."""
    return read_runs(path) if path.exists() else []


def lacks(done: dict[tuple, Run], job: Job) -> bool:
    """Whether a run is not there, or its delay is wanted and not there."""
    unit, family, config, _, clock = job
    run = done.get((unit, family, config))
    return run is None or (clock and run.logic_ns is None)


def measure(job: Job, yosys: str) -> Run:
    """Make one run."""
    unit, family, config, split, clock = job
    start = time.monotonic()
    if unit == WHOLE:
        soft = "" if config.array_multiplier == "dsp" else ARRAY
        component, dsp = Accelerator(config=config), True
    else:
        dsp = unit in DSP_UNITS or (unit == "array" and config.array_multiplier == "dsp")
        component, soft = units_of(config)[unit], ""
    area, delay = implement(component, family, dsp=dsp, soft=soft, delay=clock)
    return Run(
        unit=unit,
        family=family,
        split=split,
        config=config,
        lut=area.lut,
        ff=area.ff,
        dsp=area.dsp,
        block_ram=area.block_ram,
        logic_ns=round(delay.logic, 3) if delay else None,
        route_ns=round(delay.route, 3) if delay and delay.route is not None else None,
        seconds=round(time.monotonic() - start, 1),
        yosys=yosys,
    )


if __name__ == "__main__":
    main()
