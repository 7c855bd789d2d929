"""From points to records: stage by stage, the cheap figures first, nothing measured twice."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ...artifact import Artifact
from ...config import AcceleratorConfig
from ...errors import ConfigError, ProgramError
from ...targets import target
from ..area.model import area, fits
from ..cycles.model import library
from . import tasks
from .accuracies import Accuracies
from .engine import Call, Engine
from .metrics import METRICS, Stage
from .point import Hardware, Point, Quantization
from .quantizations import Quantizations
from .record import Record, Status
from .space import Space
from .store import Store, content_key

Look = Callable[[int, Stage, Mapping[str, float]], str | None]
"""Place of a point in its batch, stage that it has reached, its metrics -> why to give it up, or
None."""
Progress = Callable[[int, int, str], None]
ARTIFACTS = 4
"""Quantizations whose accuracy is counted at once where that of some may make others needless."""


@dataclass
class _Open:
    """A point on its way."""

    place: int
    point: Point
    artifact: Artifact | None = None
    hardware: Hardware | None = None
    config: AcceleratorConfig | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    status: Status | None = None
    reason: str = ""

    def end(self, status: Status, reason: str = "") -> None:
        self.status, self.reason = status, reason


class Evaluator:
    """Measures points of a space with an engine, and keeps what it finds in a store.

    Members: `counts`, how often something was computed, or found in the store ("... kept").
    Raises: errors of loading the model and its images.
    """

    def __init__(
        self, space: Space, store: Store, engine: Engine, progress: Progress | None = None
    ) -> None:
        self.space, self.store, self.engine = space, store, engine
        self.progress = progress or (lambda *_: None)
        self.counts: Counter[str] = Counter()
        self._shared: dict[str, object] = {}
        self._quantizations = Quantizations(space, store, engine, self.counts, self.progress)
        self._accuracies = Accuracies(space, store, engine, self._share, self.counts, self.progress)

    def evaluate(
        self, points: Sequence[Point], first: int = 0, look: Look | None = None
    ) -> list[Record]:
        """The record of each point, in order; numbered from `first` on.

        Parameters: `look` is asked after each stage whether to go on.
        """
        self.store.refresh()  # others may be at work on the same
        batch = [_Open(place, point) for place, point in enumerate(points)]
        for stage, work in (
            (Stage.QUANTIZED, self._quantize),
            (Stage.AREA, self._build),
            (Stage.CYCLES, self._run),
            (Stage.FEW_IMAGES, self._few_images),
        ):
            alive = [each for each in batch if each.status is None]
            work(alive)
            self._judge(alive, stage, look)
        self._all_images([each for each in batch if each.status is None], look)
        return [
            Record(
                first + each.place, each.point, each.status or Status.COMPLETE, each.reason,
                each.metrics, each.artifact.digest if each.artifact else "",
            )
            for each in batch
        ]  # fmt: skip

    def _judge(self, batch: Sequence[_Open], stage: Stage, look: Look | None) -> None:
        """End the points that break a constraint, or that `look` gives up."""
        for each in batch:
            if each.status is not None:
                continue
            # Accuracy on a few images is no measurement yet: what follows from it, `look` decides.
            known = {
                name: value
                for name, value in each.metrics.items()
                if stage != Stage.FEW_IMAGES or METRICS[name].stage != stage
            }
            broken = self.space.constraints.violations(known)
            if broken:
                each.end(Status.INFEASIBLE, "; ".join(broken))
            elif look and (reason := look(each.place, stage, each.metrics)):
                each.end(Status.PRUNED, reason)

    def _quantize(self, batch: list[_Open]) -> None:
        by: dict[Quantization, list[_Open]] = {}
        for each in batch:
            try:
                by.setdefault(each.point.quantization, []).append(each)
                each.hardware = each.point.hardware
            except (ConfigError, TypeError) as error:
                each.end(Status.FAILED, str(error))
        for quantization, found in self._quantizations.artifacts(list(by)).items():
            for each in by[quantization]:
                if each.status is not None:
                    continue
                if isinstance(found, str):
                    each.end(Status.FAILED, found)
                else:
                    each.artifact = found
                    each.metrics["weight_bytes"] = found.weight_bytes

    def _build(self, batch: list[_Open]) -> None:
        for each in batch:
            try:
                each.config = each.hardware.config(each.artifact)
            except (ConfigError, ProgramError) as error:
                each.end(Status.FAILED, str(error))
                continue
            clock = each.hardware.clock_mhz
            if each.hardware.target is not None:
                goal = target(each.hardware.target)
                found = area(each.config, goal.family)
                total = found.total
                each.metrics |= {
                    "fmax_mhz": found.fmax_mhz,
                    "lut": round(total.lut),
                    "ff": round(total.ff),
                    "dsp": total.dsp,
                    "block_ram": total.block_ram,
                }
                if self.space.constraints.fits and (excess := fits(total, goal)):
                    each.end(Status.INFEASIBLE, excess)
                elif self.space.constraints.fits and clock and clock > found.fmax_mhz:
                    each.end(
                        Status.INFEASIBLE,
                        f"clock_mhz must be at most {found.fmax_mhz:.1f}, the estimate for "
                        f"{found.slowest}, not {clock:g}",
                    )
                clock = clock or found.fmax_mhz
            if clock:
                each.metrics["clock_mhz"] = clock

    def _run(self, batch: list[_Open]) -> None:
        alike: dict[str, list[_Open]] = {}
        groups: dict[tuple[object, ...], dict[str, _Open]] = {}
        for each in batch:
            if each.status is not None:
                continue
            key = self._run_key(each)
            first = key not in alike
            alike.setdefault(key, []).append(each)
            if first and self.store.get(key) is None:
                group = each.artifact.digest, each.hardware.batch, tasks.program_of(each.config)
                groups.setdefault(group, {})[key] = each
        missing = sum(map(len, groups.values()))
        self.counts["runs"] += missing
        self.counts["runs kept"] += len(alike) - missing
        if missing:
            library()  # compiled once, before many would
        # The longest first: small arrays take the most cycles.
        waiting = sorted(groups.values(), key=lambda group: _places(next(iter(group.values()))))
        calls = (self._run_call(str(at), list(group.values())) for at, group in enumerate(waiting))
        at = 0
        for done in self.engine.run(calls):
            group = waiting[int(done.key)]
            figures = done.value if done.error is None else [done.error] * len(group)
            for key, found in zip(group, figures, strict=True):
                # An error of the engine says nothing of the point: it may not come again.
                if done.error is None:
                    self.store.put(key, found)
                else:
                    for each in alike[key]:
                        each.end(Status.FAILED, found)
            at += len(group)
            self.progress(at, missing, "runs")
        for key, points in alike.items():
            found = self.store.get(key)
            for each in points:
                if isinstance(found, str):
                    each.end(Status.FAILED, found)
                elif found is not None:
                    each.metrics |= found | _of_time(found, each)

    def _run_key(self, each: _Open) -> str:
        return content_key(
            "hardware",
            artifact=each.artifact.digest,
            batch=each.hardware.batch,
            config=vars(each.config),
            memory=asdict(each.hardware.memory),
        )

    def _share(self, artifact: Artifact) -> object:
        if artifact.digest not in self._shared:
            self._shared[artifact.digest] = self.engine.share(artifact)
        return self._shared[artifact.digest]

    def _run_call(self, key: str, group: list[_Open]) -> Call:
        first = group[0]
        machines = [(each.config, each.hardware.memory) for each in group]
        artifact = self._share(first.artifact)
        return Call(key, tasks.run, (artifact, first.hardware.batch, machines))

    def _few_images(self, batch: list[_Open]) -> None:
        artifacts = [each.artifact for each in batch]
        if artifacts:
            self._accuracy(batch, self._accuracies.few(artifacts[0]))

    def _all_images(self, batch: list[_Open], look: Look | None) -> None:
        """The most accurate quantizations first: where they are complete, others may be given up.

        A few at a time, always as many, so that what is given up does not depend on the engine.
        """
        digests = {each.artifact.digest: each.metrics["top1"] for each in batch}
        ranked = sorted(digests, key=lambda digest: (-digests[digest], digest))
        at_once = ARTIFACTS if look else len(ranked)
        for start in range(0, len(ranked), at_once or 1):
            chosen = set(ranked[start : start + at_once])
            group = [each for each in batch if each.artifact.digest in chosen]
            if start:
                self._judge(group, Stage.FEW_IMAGES, look)
            group = [each for each in group if each.status is None]
            self._accuracy(group, None)
            self._judge(group, Stage.ALL_IMAGES, look)

    def _accuracy(self, batch: list[_Open], limit: int | None) -> None:
        artifacts = {each.artifact.digest: each.artifact for each in batch}
        found = self._accuracies.measure(list(artifacts.values()), limit)
        for each in batch:
            measured = found[each.artifact.digest]
            if isinstance(measured, str):
                each.end(Status.FAILED, measured)
                continue
            images, accuracy = measured
            each.metrics |= {"images": images, **asdict(accuracy)}


def _places(each: _Open) -> int:
    return each.config.rows * each.config.cols


def _of_time(figures: Mapping[str, float], each: _Open) -> dict[str, float]:
    """Metrics that follow from cycles and a clock; none where there is no clock."""
    clock = each.metrics.get("clock_mhz")
    if clock is None:
        return {}
    seconds = figures["cycles"] / clock / 1e6
    moved = figures["read_bytes"] + figures["write_bytes"]
    return {
        "latency_ms": seconds * 1e3,
        "images_per_second": each.hardware.batch / seconds,
        "bandwidth_mb_s": moved / seconds / 1e6,
    }
