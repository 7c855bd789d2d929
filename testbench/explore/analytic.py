"""A space whose figures are formulas, so that its fronts are known, and what stands for images."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rootshift.sim.explore.metrics import Stage
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.search import Look
from rootshift.sim.explore.space import Space

IMAGES = 2000
KNOBS = """
[model]
name = "digits"
[quantization]
bits = ["W3A3", "W4A4", "W6A6", "W8A8"]
method = ["repq+gptq", "repq"]
[hardware]
array = ["4x4", "8x8", "8x16", "16x16"]
bus_width = [128, 32, 64]
code_depth = ["least", 8192]
[memory]
read_latency = [1, 10, 30, 60]
[fpga]
clock_mhz = 100
"""
"""768 points; of these 1 in 12 cannot be made."""
THREE = '[objectives]\nmaximize = ["top1"]\nminimize = ["latency_ms", "energy_uj"]\n'
LIMIT = "[constraints]\ntop1 = { at_least = 60 }\n"


def space(search: str, objectives: str = THREE, constraints: str = LIMIT) -> Space:
    return Space.parse(f"{KNOBS}{constraints}{objectives}[search]\n{search}\n")


class Evaluator:
    """Evaluates by formulas, stage by stage as the real one does.

    Members: `points`, all that were evaluated, in order; `looks`, how often it has asked.
    Parameters: `die`, raise KeyboardInterrupt instead of evaluating that batch.
    """

    def __init__(self, space: Space, die: int | None = None) -> None:
        self.space, self.die = space, die
        self.points: list[Point] = []
        self.batches = self.looks = 0

    def __call__(
        self, points: Sequence[Point], first: int = 0, look: Look | None = None
    ) -> list[Record]:
        if self.batches == self.die:
            raise KeyboardInterrupt
        self.batches += 1
        self.points += points
        return [self._record(place, point, first, look) for place, point in enumerate(points)]

    def _record(self, place: int, point: Point, first: int, look: Look | None) -> Record:
        def record(status: Status, reason: str = "") -> Record:
            return Record(first + place, point, status, reason, dict(metrics), "")

        metrics: dict[str, float] = {}
        if point.get("array") == "4x4" and point.get("bus_width") == 128:
            return record(Status.FAILED, "bus_width must suit the array")
        exact, hits = figures(point)
        few = self.space.images.few
        for stage, known in (
            (Stage.CYCLES, exact),
            (Stage.FEW_IMAGES, counted(hits[:few])),
            (Stage.ALL_IMAGES, counted(hits)),
        ):
            metrics |= known
            broken = self.space.constraints.violations(metrics)
            if broken and stage != Stage.FEW_IMAGES:
                return record(Status.INFEASIBLE, broken[0])
            if look is not None:
                self.looks += 1
                if reason := look(place, stage, metrics):
                    return record(Status.PRUNED, reason)
        return record(Status.COMPLETE)


def counted(hits: np.ndarray) -> dict[str, float]:
    return {"top1": 100.0 * float(hits.mean()), "images": len(hits)}


def figures(point: Point) -> tuple[dict[str, float], np.ndarray]:
    """Exact metrics, and which of `IMAGES` images are hits."""
    values = dict(point.values)
    width = int(str(values["bits"])[1])
    rows, cols = map(int, str(values["array"]).split("x"))
    method = values["method"] == "repq+gptq"
    share = 0.9 - 1.5 / width**1.5 - (0.0 if method else 0.35)
    cycles = 4e6 / (rows * cols) + (values["read_latency"] + 20) * 2e5 / values["bus_width"]
    exact = {
        "cycles": round(cycles),
        "latency_ms": cycles / 1e5,
        "energy_uj": math.sqrt(rows * cols) * width + values["bus_width"] / 8,
    }
    order = np.random.default_rng(width * 2 + method).permutation(IMAGES)
    return exact, order < round(share * IMAGES)


def whole_grid(objectives: str = THREE) -> list[Record]:
    """Records of all points, none given up."""
    grid = space('sampler = "grid"', objectives)
    return Evaluator(grid)(list(grid.points()))


def journal(out: Path) -> Path:
    return out / "study.journal"
