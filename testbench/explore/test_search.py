"""A search finds the front, does so again, and measures no point twice."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootshift.sim.explore.pareto import fronts
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.search import search
from rootshift.sim.explore.space import Space

from .analytic import LIMIT, THREE, Evaluator, journal, space, whole_grid

NSGA2 = 'sampler = "nsga2"\npopulation = 12\ntrials = 96'
TPE = 'sampler = "tpe"\ntrials = 64'
ONE = '[objectives]\nmaximize = "top1"\n'


@pytest.fixture(autouse=True, scope="module")
def _no_disk() -> Iterator[None]:
    """What a process has written outlives it; only against loss of power must the disk have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def run(space: Space, out: Path) -> tuple[list[Record], Evaluator]:
    evaluator = Evaluator(space)
    return search(space, evaluator, out), evaluator


def front_of(records: list[Record], space: Space) -> set[Point]:
    return {each.point for each in fronts(records, space.objectives).get(None, [])}


class TestGrid:
    def test_every_point_in_the_order_of_the_space(self, tmp_path: Path) -> None:
        grid = space('sampler = "grid"')
        records, evaluator = run(grid, tmp_path)
        assert [each.point for each in records] == list(grid.points()) == evaluator.points
        assert [each.number for each in records] == list(range(grid.size))
        assert evaluator.looks == 0
        assert evaluator.batches == 1
        assert list(tmp_path.iterdir()) == []

    def test_pruning_keeps_the_front(self, tmp_path: Path) -> None:
        grid = space('sampler = "grid"\nprune = true', constraints="")
        records, evaluator = run(grid, tmp_path)
        assert [each.number for each in records] == list(range(grid.size))
        assert evaluator.batches == 1
        assert front_of(records, grid) == front_of(whole_grid(), grid)
        counts = Counter(each.status for each in records)
        print(counts)
        assert counts[Status.PRUNED] > grid.size // 4
        assert all(each.reason for each in records if each.status is not Status.COMPLETE)


SEEDS = 1, 2, 3
Runs = dict[int, tuple[list[Record], Evaluator]]


@pytest.fixture(scope="module", params=[NSGA2, TPE], ids=["nsga2", "tpe"])
def sampler(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def runs(sampler: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Of each seed."""
    return {
        seed: run(space(f"{sampler}\nseed = {seed}"), tmp_path_factory.mktemp("out"))
        for seed in SEEDS
    }


class TestSampler:
    def test_finds_much_of_the_front_with_few_points(self, runs: Runs) -> None:
        wanted = space(NSGA2)
        true = front_of(whole_grid(), wanted)
        for records, evaluator in runs.values():
            found, share = front_of(records, wanted), len(records) / wanted.size
            print(f"{len(found & true)} of {len(true)} with {share:.0%} of the points")
            # Points drawn evenly would have found the same share of both.
            assert len(found & true) / len(true) > 1.5 * share
            assert evaluator.looks > 0

    def test_no_point_twice(self, runs: Runs) -> None:
        for records, evaluator in runs.values():
            assert len(set(evaluator.points)) == len(evaluator.points) == len(records)
            assert [each.number for each in records] == list(range(len(records)))

    def test_the_same_seed_the_same_points(self, sampler: str, runs: Runs, tmp_path: Path) -> None:
        again, _ = run(space(f"{sampler}\nseed = {SEEDS[0]}"), tmp_path)
        assert again == runs[SEEDS[0]][0]
        assert {each.point for each in again} != {each.point for each in runs[SEEDS[1]][0]}

    def test_one_objective(self, sampler: str, tmp_path: Path) -> None:
        single = space(sampler, ONE)
        records, _ = run(single, tmp_path)
        best = max(each.metrics["top1"] for each in whole_grid(ONE) if "top1" in each.metrics)
        (found,) = {each.metrics["top1"] for each in fronts(records, single.objectives)[None]}
        assert found == best
        assert any("the median of earlier points" in each.reason for each in records)

    def test_nothing_is_given_up_without_pruning(self, sampler: str, tmp_path: Path) -> None:
        records, evaluator = run(space(f"{sampler}\nprune = false"), tmp_path)
        assert Status.PRUNED not in {each.status for each in records}
        assert evaluator.looks == 0

    def test_stops_when_all_points_are_known(self, sampler: str, tmp_path: Path) -> None:
        few = Space.parse(
            '[model]\nname = "digits"\n[quantization]\nbits = ["W4A4", "W6A6"]\n'
            'method = ["repq"]\n[hardware]\nbus_width = 64\narray = "8x8"\n'
            "[memory]\nread_latency = [30, 1]\n"
            f"{ONE}[search]\n{sampler}\n"
        )
        records, evaluator = run(few, tmp_path)
        assert {each.point for each in records} == set(few.points())
        assert len(evaluator.points) == few.size == 4
        # Numbers are drawn by their place in order, and come back as they are.
        assert {each.point.get("read_latency") for each in records} == {1, 30}

    def test_a_space_of_one_point(self, sampler: str, tmp_path: Path) -> None:
        one = Space.parse(
            '[model]\nname = "digits"\n[quantization]\nbits = "W4A4"\nmethod = "repq"\n[hardware]\n'
            f'bus_width = 64\narray = "8x8"\n[memory]\nread_latency = 1\n{ONE}[search]\n{sampler}\n'
        )
        assert len(run(one, tmp_path)[0]) == 1


def test_progress_ends_at_all_trials(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    wanted = space('sampler = "nsga2"\npopulation = 10\ntrials = 25')
    search(wanted, Evaluator(wanted), tmp_path, lambda *each: told.append(each))
    assert told == [(10, 25, "points"), (20, 25, "points"), (25, 25, "points")]


def test_a_journal_is_one_of_optuna(tmp_path: Path) -> None:
    """Other tools can open it: values, parameters and infeasible points are there."""
    import optuna

    wanted = space('sampler = "nsga2"\npopulation = 8\ntrials = 16', THREE, LIMIT)
    records, _ = run(wanted, tmp_path)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal(tmp_path)))
    )
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert len(trials) == 16
    by_number = {each.number: each for each in records}
    for trial in trials:
        record = by_number[trial.user_attrs["record"]]
        assert trial.params["bits"] == record.point.get("bits")
        assert (1, 10, 30, 60)[trial.params["read_latency"]] == record.point.get("read_latency")
        infeasible = record.status in (Status.INFEASIBLE, Status.FAILED)
        assert (trial.constraints["excess"] > 0) >= infeasible
        if record.status is Status.COMPLETE:
            names = ("top1", "latency_ms", "energy_uj")
            assert trial.values == [record.metrics[name] for name in names]


def test_nothing_experimental_and_nothing_deprecated_is_used(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sampler in (NSGA2, TPE):
            run(space(sampler.replace("96", "24").replace("64", "32")), tmp_path / sampler[11:14])
