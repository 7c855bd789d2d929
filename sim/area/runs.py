"""The synthesis runs that the area model is fitted to: `runs.csv`, one row per run."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...config import AcceleratorConfig
from ...output import write_if_changed

RUNS = Path(__file__).parent / "runs.csv"
SPLITS = ("fit", "held_out")
WHOLE = "whole"
"""Name that stands for the whole accelerator in the place of a unit's; always held out."""


@dataclass(frozen=True)
class Run:
    """One synthesis run.

    Fields:
        unit: name of the unit, or `WHOLE`.
        family: "ecp5" or "xc7".
        split: "fit", or "held_out" of the fit.
        config: that the unit was made with.
        lut, ff, dsp, block_ram: as `hw/synthesis/families.py` counts them.
        logic_ns, route_ns: of the longest path; None where it was not looked for, and on "xc7",
            which knows no routes, the second.
        seconds: that the run took.
        yosys: its name and version.
    """

    unit: str
    family: str
    split: str
    config: AcceleratorConfig
    lut: int
    ff: int
    dsp: int
    block_ram: int
    logic_ns: float | None
    route_ns: float | None
    seconds: float
    yosys: str

    @property
    def key(self) -> tuple[str, str, AcceleratorConfig]:
        """What tells a run from others."""
        return self.unit, self.family, self.config


CONFIG = tuple(field.name for field in fields(AcceleratorConfig))
_READ = {str: str, int: int, bool: {"False": False, "True": True}.__getitem__}
COUNTS = ("lut", "ff", "dsp", "block_ram")
COLUMNS = (
    *("unit", "family", "split", *CONFIG, *COUNTS),
    *("logic_ns", "route_ns", "seconds", "yosys"),
)


def read_runs(path: Path = RUNS) -> list[Run]:
    """All runs of a file, in its order."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_run(row) for row in csv.DictReader(file)]


def write_runs(runs: Iterable[Run], path: Path = RUNS) -> None:
    """Write runs, ordered by unit, family and configuration; raises OutputError."""
    rows = []
    for run in runs:
        row = {name: getattr(run, name) for name in COLUMNS if name not in CONFIG}
        rows.append({**row, **asdict(run.config)})
    order = ("unit", "family", *CONFIG)
    rows.sort(key=lambda row: [row[name] for name in order])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_if_changed(path, text.getvalue().encode())


def _run(row: dict[str, str]) -> Run:
    config = {
        field.name: _READ[type(field.default)](row[field.name])
        for field in fields(AcceleratorConfig)
    }

    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    return Run(
        unit=row["unit"],
        family=row["family"],
        split=row["split"],
        config=AcceleratorConfig(**config),
        **{name: int(row[name]) for name in COUNTS},
        logic_ns=number("logic_ns"),
        route_ns=number("route_ns"),
        seconds=float(row["seconds"]),
        yosys=row["yosys"],
    )
