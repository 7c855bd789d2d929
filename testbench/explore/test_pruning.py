"""Points are given up early only where that loses nothing, or almost never."""

import math

import numpy as np
import pytest

from rootshift.sim.explore.metrics import Stage
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.pruning import CONFIDENCE, Pruning, upper_bound
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.space import Space

from ..seeds import generator

SPACE = """
[model]
name = "digits"
[quantization]
bits = ["W3A3", "W4A4"]
[fpga]
target = ["ecp5-85k", "xc7z020"]
{constraints}
[objectives]
{objectives}
"""
TWO = 'maximize = "top1"\nminimize = "lut"'
POINT = Point.of({"bits": "W4A4", "target": "ecp5-85k"})


def space(objectives: str = TWO, constraints: str = "") -> Space:
    return Space.parse(SPACE.format(objectives=objectives, constraints=constraints))


def rule(*known: dict[str, float], objectives: str = TWO, constraints: str = "", **more) -> Pruning:
    point = Point.of({"bits": "W3A3", "target": more.get("target", "ecp5-85k")})
    status = more.get("status", Status.COMPLETE)
    records = [Record(i, point, status, "", metrics) for i, metrics in enumerate(known)]
    return Pruning(space(objectives, constraints), records)


def seen(hits: int, images: int = 32, **exact: float) -> dict[str, float]:
    """Metrics after the first look."""
    return {"top1": 100.0 * hits / images, "images": images, **exact}


class TestBound:
    @pytest.mark.parametrize("images", [1, 8, 32, 200])
    def test_is_where_so_few_hits_become_rare(self, images: int) -> None:
        for hits in range(images):
            share = upper_bound(hits, images)
            rare = sum(
                math.comb(images, n) * share**n * (1 - share) ** (images - n)
                for n in range(hits + 1)
            )
            assert rare == pytest.approx(1 - CONFIDENCE, rel=1e-5)
        assert upper_bound(images, images) == 1.0

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.72, 0.9, 0.98, 0.996])
    def test_holds_for_all_but_one_draw_in_a_hundred(self, share: float) -> None:
        """Near 100 % as well, where the usual interval does not."""
        total, few, draws = 1000, 32, 20_000
        hits = round(share * total)
        found = generator(hits).hypergeometric(hits, total - hits, few, draws)
        missed = np.mean([upper_bound(int(each), few) < share for each in found])
        # Three standard deviations of the count itself.
        assert missed <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / draws)


class TestRule:
    def test_a_point_of_the_front_is_hardly_ever_lost(self) -> None:
        """The worst case: a rival that is all but as accurate, and better in the rest."""
        total, few, draws = 1000, 32, 4000
        rng, lost = generator(), 0
        for _ in range(draws):
            hits = int(rng.integers(1, total + 1))
            rival = {"top1": 100.0 * (hits - 1) / total, "lut": 900}
            known = seen(int(rng.hypergeometric(hits, total - hits, few)), lut=1000)
            lost += rule(rival).reason(POINT, Stage.FEW_IMAGES, known) is not None
        assert lost / draws <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / draws)

    def test_gives_up_what_a_complete_point_beats_beyond_doubt(self) -> None:
        found = rule({"top1": 80.0, "lut": 900})
        known = seen(8, lut=900)  # at most 47 %
        reason = found.reason(POINT, Stage.FEW_IMAGES, known)
        assert reason == "point 0 is better, whatever is not measured yet"
        assert found.reason(POINT, Stage.FEW_IMAGES, known | {"lut": 899}) is None
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(20, lut=900)) is None

    def test_counts_complete_points_of_its_target_only(self) -> None:
        known = seen(1, lut=9000)
        for more in ({"status": Status.INFEASIBLE}, {"target": "xc7z020"}):
            found = rule({"top1": 80.0, "lut": 900}, **more)
            assert found.reason(POINT, Stage.FEW_IMAGES, known) is None

    def test_a_point_that_can_still_be_equal_is_kept(self) -> None:
        found = rule({"top1": 100.0, "lut": 900})
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(32, lut=900)) is None
        assert found.reason(POINT, Stage.CYCLES, {"lut": 900}) is None
        assert found.reason(POINT, Stage.CYCLES, {"lut": 901}) is not None

    def test_exact_objectives_decide_before_any_image(self) -> None:
        minimize = 'minimize = ["lut", "latency_ms"]'
        found = rule({"lut": 900, "latency_ms": 2.0}, objectives=minimize)
        assert found.reason(POINT, Stage.AREA, {"lut": 900}) is None  # latency is open
        known = {"lut": 900, "latency_ms": 2.5}
        assert found.reason(POINT, Stage.CYCLES, known) is not None
        assert found.reason(POINT, Stage.CYCLES, known | {"latency_ms": 2.0}) is None

    def test_an_accuracy_to_make_small_is_open_until_all_images(self) -> None:
        found = rule({"top1": 1.0}, objectives='minimize = "top1"')
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(32)) is None

    def test_a_constraint_out_of_reach(self) -> None:
        found = rule(constraints="[constraints]\ntop1 = { at_least = 60 }")
        reason = found.reason(POINT, Stage.FEW_IMAGES, seen(8, lut=1))
        assert reason == "top1 must be at least 60, not 25.0 of 32 images, which makes 46.7 at most"
        # 41 % now, and yet 62 % is possible.
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(13, lut=1)) is None

    def test_a_measured_point_is_never_given_up(self) -> None:
        found = rule({"top1": 80.0, "lut": 900}, constraints="[constraints]\ntop1={at_least=60}")
        assert found.reason(POINT, Stage.ALL_IMAGES, seen(20, 2000, lut=9999)) is None

    def test_the_bound_is_of_the_images_that_were_looked_at(self) -> None:
        found = rule({"top1": 60.0, "lut": 1})
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(2, 10, lut=2)) is None
        assert found.reason(POINT, Stage.FEW_IMAGES, seen(8, 40, lut=2)) is not None
