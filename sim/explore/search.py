"""Which points are evaluated: all of the grid, or those that a sampler of Optuna asks for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .evaluator import Look, Progress
from .metrics import METRICS, Stage
from .point import Point
from .pruning import Pruning
from .record import Record, Status
from .space import Space
from .study import Study

Evaluate = Callable[[Sequence[Point], int, Look | None], list[Record]]
"""Points, number of the first, look -> their records, in order."""

TPE_BATCH = 16
"""Points at once: fixed, so that what is found does not depend on how many can run at once. NSGA-II
takes a population."""


def search(
    space: Space, evaluate: Evaluate, out: str | Path, progress: Progress | None = None
) -> list[Record]:
    """The records of the points that the space's sampler chooses, each point once; by number.

    Of one space and seed always the same ones, whatever evaluates them, and however often the
    search was stopped and begun again. What a sampler has learned is kept in `out`/study.journal.

    Parameters:
        evaluate: called with batches.
        out: folder of the exploration.
        progress: told after each batch how many of how many points are done.
    Raises: ConfigError where `out` has the study of another space, or of other code; OutputError
    where another search is at work there, or it cannot be written.
    """
    told = progress or (lambda *_: None)
    if space.search.sampler == "grid":
        return _grid(space, evaluate, told)
    with Study(space, Path(out)) as study:
        return _sampled(space, evaluate, study, told)


def _grid(space: Space, evaluate: Evaluate, progress: Progress) -> list[Record]:
    points = list(space.points())
    watch = Watch(space, points, 0, [])
    records = evaluate(points, 0, watch.look if space.search.prune else None)
    progress(len(records), len(points), "points")
    return records


def _sampled(space: Space, evaluate: Evaluate, study: Study, progress: Progress) -> list[Record]:
    size, total = space.search.population or TPE_BATCH, space.search.trials
    records = study.records
    # A small space can be known as a whole before the sampler has had all of its trials.
    while study.unfinished or (study.drawn < total and len(records) < space.size):
        batch = study.draw(min(size, total - study.drawn))
        fresh = [point for point in dict.fromkeys(batch) if point not in records]
        if fresh:
            watch = Watch(space, fresh, len(records), list(records.values()), study)
            look = watch.look if space.search.prune else None
            study.keep(evaluate(fresh, len(records), look), watch.few)
        study.tell()
        progress(study.drawn, total, "points")
    return sorted(records.values(), key=lambda record: record.number)


class Watch:
    """Looks at the points of a batch while they are evaluated.

    Knows what was complete before the batch, and what it has seen to become complete in it.

    Parameters: `points` of the batch, numbered from `first` on; `records` of earlier batches.
    Members: `few`, point -> what it had on few images, where the only objective is an accuracy.
    """

    def __init__(
        self,
        space: Space,
        points: Sequence[Point],
        first: int,
        records: Sequence[Record],
        study: Study | None = None,
    ) -> None:
        self.few: dict[Point, float] = {}
        self._space, self._points, self._first, self._study = space, points, first, study
        self._records = list(records)
        self._pruning: Pruning | None = None
        accuracies = [each.metric for each in space.objectives if METRICS[each.metric].unit == "%"]
        self._accuracy = accuracies[0] if len(space.objectives) == len(accuracies) == 1 else None

    def look(self, place: int, stage: Stage, metrics: Mapping[str, float]) -> str | None:
        """Why to give a point up, or None: by the rule, and by Optuna's for a single accuracy."""
        point = self._points[place]
        if stage == Stage.ALL_IMAGES:
            done = Record(self._first + place, point, Status.COMPLETE, metrics=dict(metrics))
            self._records.append(done)
            self._pruning = None
            return None
        if self._pruning is None:
            self._pruning = Pruning(self._space, self._records)
        reason = self._pruning.reason(point, stage, metrics)
        if stage == Stage.FEW_IMAGES and self._accuracy is not None:
            self.few[point] = metrics[self._accuracy]
            if reason is None and self._study is not None:
                reason = self._study.gives_up(self.few[point])
        return reason
