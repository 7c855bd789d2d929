"""A study of Optuna that can be stopped at any time and goes on as if it had not been."""

import fcntl
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ...errors import ConfigError, OutputError
from .metrics import Stage
from .point import Point, Value
from .record import Record, Status
from .results import entry, read_entry
from .space import Space
from .store import SOURCES, code_digest

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
_BEGIN = b'{"op_code":'
IMPOSSIBLE = 100.0
"""Stands for the excess over a limit, relative to it, where a point cannot be made at all."""


class Study:
    """The trials of a space, batch by batch: `draw`, evaluate what is new, `keep` it, `tell`.

    The journal gets the points of a batch as a whole, then its records as a whole, then its trials
    one by one, and each batch has a seed of its own. So a batch whose points are not there yet is
    drawn again, the same; one that has points is evaluated; one that has records is told.

    What the sampler is told of a record: a point that breaks a constraint, or cannot be made, is
    infeasible, so that it learns where not to look. One that was given up has the values that are
    known of it, only that TPE with one objective knows pruned trials.

    Parameters: `space`; `out`, folder of the journal.
    Members: `records`, point -> record of all that is evaluated; `drawn`, trials that are told;
    `unfinished`, whether a batch of an earlier run is left.
    Raises: ConfigError where the journal is none, or of another space or of other code;
    OutputError where it cannot be written, or another process uses it.
    """

    def __init__(self, space: Space, out: Path) -> None:
        self.records: dict[Point, Record] = {}
        self.drawn = 0
        self.unfinished = False
        self._space = space
        self._path = out / JOURNAL
        self._few: dict[Point, float] = {}
        self._batches: list[list[Point]] = []
        self._number = 0
        self._trials: list[tuple[optuna.trial.Trial, Point]] = []
        self._knobs = {knob: legal for knob, legal in space.knobs.items() if len(legal) > 1}
        self._lock = self._locked()
        try:
            with self._writing():
                try:
                    self._study = self._opened()
                    self._resume()
                except (OSError, ConfigError):
                    raise
                except Exception as error:  # a damaged journal makes Optuna raise almost anything
                    reason = str(error).partition("\n")[0] or type(error).__name__
                    raise ConfigError(f"{self._path}: not a journal of Optuna: {reason}") from None
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def draw(self, size: int) -> list[Point]:
        """The next batch: that of an earlier run, or `size` points that the sampler asks for."""
        with self._writing():
            self._study.sampler = self._sampler()
            if self.unfinished:
                batch = self._batches[-1]
                told = self.drawn - sum(map(len, self._batches[:-1]))
                self._trials = [(self._asked(point), point) for point in batch[told:]]
                self.unfinished = False
                return batch
            trials = [self._study.ask(self._distributions()) for _ in range(size)]
            batch = [self._point(trial.params) for trial in trials]
            self._trials = list(zip(trials, batch, strict=True))
            values = [dict(point.values) for point in batch]
            self._study.set_user_attr(f"points {self._number}", values)
            self._batches.append(batch)
            return batch

    def keep(self, records: Sequence[Record], few: Mapping[Point, float]) -> None:
        """Keep the records of the batch that was drawn, and the objective of some on few images."""
        body = [entry(each) | {"few": few.get(each.point)} for each in records]
        with self._writing():
            self._study.set_user_attr(f"records {self._number}", body)
        self._learn(body)

    def tell(self) -> None:
        """Tell the sampler what came of the batch."""
        with self._writing():
            for trial, point in self._trials:
                self._tell(trial, self.records[point], self._few.get(point))
                self.drawn += 1
        self._number += 1

    def gives_up(self, few: float) -> str | None:
        """Why Optuna's median pruner gives a point up with that objective on few images, or None.

        Knows the trials of earlier batches, and leaves the study as it is.
        """
        import optuna

        step = int(Stage.FEW_IMAGES)
        running = optuna.trial.TrialState.RUNNING
        trial = optuna.trial.create_trial(state=running, intermediate_values={step: few})
        if not optuna.pruners.MedianPruner().prune(self._study, trial):
            return None
        name = self._space.objectives[0].metric
        return f"{name} of {few:.1f} on the first images is worse than the median of earlier points"

    def _opened(self) -> "optuna.Study":
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            _mend(self._path)
            storage = JournalStorage(JournalFileBackend(str(self._path)))
            name = f"rootshift-{self._space.digest[:16]}"
            others = [each for each in optuna.get_all_study_names(storage) if each != name]
            if others:
                raise ConfigError(
                    f"{self._path}: must be the study of this space, {name}, not {others[0]}: "
                    f"choose another folder"
                )
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=[
                    "maximize" if each.maximize else "minimize" for each in self._space.objectives
                ],
                load_if_exists=True,
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        code = {kind: code_digest(kind) for kind in SOURCES}
        found = study.user_attrs.get("code")
        if found is None:
            study.set_user_attr("code", code)
        elif found != code:
            raise ConfigError(
                f"{self._path}: must be of this version's code, not another's: choose another "
                f"folder; what has not changed is not computed again"
            )
        return study

    def _resume(self) -> None:
        """Find out what an earlier run has left; its unfinished trials are asked for again."""
        from optuna.trial import TrialState

        self._study.sampler = self._sampler()
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self.drawn += 1
            elif trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state == TrialState.WAITING:
                self._study.tell(self._study.ask(), state=TrialState.FAIL)
        kept = self._study.user_attrs
        while (values := kept.get(f"points {len(self._batches)}")) is not None:
            self._learn(kept.get(f"records {len(self._batches)}", ()))
            self._batches.append([self._space.point(each) for each in values])
        self.unfinished = self.drawn < sum(map(len, self._batches))
        self._number = len(self._batches) - self.unfinished

    def _learn(self, body: Sequence[Mapping[str, Any]]) -> None:
        for each in body:
            record = read_entry(each, self._space)
            self.records[record.point] = record
            if each["few"] is not None:
                self._few[record.point] = each["few"]

    def _sampler(self) -> "optuna.samplers.BaseSampler":
        from optuna.samplers import NSGAIISampler, TPESampler
        from optuna.trial import FrozenTrial

        class Nsga2(NSGAIISampler):
            """Has parents in the order of trials always, not only where it reads them back."""

            def select_parent(self, study: "optuna.Study", generation: int) -> list[FrozenTrial]:
                return sorted(super().select_parent(study, generation), key=lambda t: t.number)

        search = self._space.search
        seed = int(np.random.SeedSequence([search.seed, self._number]).generate_state(1)[0])
        if search.sampler == "tpe":
            return TPESampler(seed=seed)
        return Nsga2(population_size=search.population, seed=seed)

    def _distributions(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """Of knobs with several values: numbers by their place in order, others as categories."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            knob: IntDistribution(0, len(legal) - 1)
            if _ordered(legal)
            else CategoricalDistribution(legal)
            for knob, legal in self._knobs.items()
        }

    def _point(self, params: Mapping[str, Any]) -> Point:
        return self._space.point(
            {
                knob: sorted(legal)[params[knob]] if _ordered(legal) else params[knob]
                for knob, legal in self._knobs.items()
            }
        )

    def _asked(self, point: Point) -> "optuna.trial.Trial":
        """A trial of a given point."""
        values = dict(point.values)
        self._study.enqueue_trial(
            {
                knob: sorted(legal).index(values[knob]) if _ordered(legal) else values[knob]
                for knob, legal in self._knobs.items()
            }
        )
        trial = self._study.ask(self._distributions())
        # Where all is given nothing is drawn, and NSGA-II would not count it to a generation.
        _ = trial.relative_params
        return trial

    def _tell(self, trial: "optuna.trial.Trial", record: Record, few: float | None) -> None:
        from optuna.trial import TrialState

        space, metrics = self._space, record.metrics
        excesses = space.constraints.excess(metrics, record.point.get("target"))
        excess = sum(max(0.0, each) for each in excesses)
        if record.status is Status.FAILED:
            excess = IMPOSSIBLE
        elif record.status is Status.INFEASIBLE:
            excess = excess or 1.0
        trial.set_constraint("excess", excess)
        trial.set_user_attr("record", record.number)
        if few is not None:
            trial.report(few, int(Stage.FEW_IMAGES))
        single = len(space.objectives) == 1 and space.search.sampler == "tpe"
        if record.status is Status.PRUNED and single:
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        # What is not known of an infeasible point does not count, only its excess does.
        unknown = {True: 0.0, False: math.inf}
        self._study.tell(
            trial, [metrics.get(each.metric, unknown[each.maximize]) for each in space.objectives]
        )

    def _locked(self) -> IO[bytes]:
        """The journal, for this process alone until it is closed or the process ends."""
        with self._writing():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                if isinstance(error, BlockingIOError):
                    why = f"{self._path}: another exploration is at work on it"
                    raise OutputError(why) from None
                raise
        # A process that was killed while it wrote leaves Optuna's lock, which has an owner no more.
        Path(f"{self._path}.lock").unlink(missing_ok=True)
        return file

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self._path}: cannot be written: {reason}") from None


def _ordered(legal: Sequence[Value]) -> bool:
    return not any(isinstance(value, str) for value in legal)


def _mend(journal: Path) -> None:
    """Cut off a last line that the death of a process left unfinished.

    Raises: ConfigError where the file is something else; it is left as it is.
    """
    content = journal.read_bytes()
    if not _BEGIN.startswith(content[: len(_BEGIN)]):
        raise ConfigError(f"{journal}: not a journal of Optuna: begins {content[:20]!r}")
    if not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
