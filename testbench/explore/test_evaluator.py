"""Figures of a point are those of the golden model, the cycle model and the area model alone."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from rootshift.accuracy import evaluate
from rootshift.bits import Bits
from rootshift.config import AcceleratorConfig
from rootshift.errors import ImageError, ModelError
from rootshift.hw.compiler import compile_program
from rootshift.quant.digits import digits_images
from rootshift.quant.quantize import quantize
from rootshift.sim.area.model import area
from rootshift.sim.costs import costs
from rootshift.sim.cycles.model import model_cycles
from rootshift.sim.energy import energy
from rootshift.sim.explore import evaluator as evaluator_module
from rootshift.sim.explore.engine import LocalEngine
from rootshift.sim.explore.evaluator import Evaluator
from rootshift.sim.explore.metrics import METRICS, Stage
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.space import Space
from rootshift.sim.explore.store import Store
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.layers import mac_utilization
from rootshift.sim.native.memory import MemoryTiming

IMAGES, FEW = 48, 16
TABLE = {
    "model": {"name": "digits"},
    "images": {"first": IMAGES, "few": FEW},
    "quantization": {"bits": ["W4A4", "W3A4"]},
    "hardware": {"array": ["4x4", "8x4"], "token_depth": ["least", 64], "batch": [1, 2]},
    "memory": {"read_latency": [1, 40]},
    "fpga": {"target": ["ecp5-85k", "xc7z020"], "clock_mhz": [25, "fmax"]},
    "objectives": {"maximize": ["top1"], "minimize": ["latency_ms", "lut"]},
}


def point(**values: object) -> Point:
    """The first point of the space, with other values."""
    first = {"bits": "W4A4", "array": "4x4", "target": "ecp5-85k"}
    return Point.of(first | values)


class Bench:
    """A store that all tests of this file add to, and one engine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.engine = folder, LocalEngine(2)
        self.stores = ExitStack()

    def evaluator(self, **sections: dict[str, object]) -> Evaluator:
        space = Space.from_table(TABLE | sections)
        return Evaluator(space, self.stores.enter_context(Store(self.folder)), self.engine)

    def records(self, *points: Point, **sections: dict[str, object]) -> list[Record]:
        return self.evaluator(**sections).evaluate(points)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("store"))
    with found.engine, found.stores:
        yield found


@pytest.fixture(scope="module")
def digits():
    return quantize("digits", "timm", lambda p: digits_images("calibration", p), Bits(4, 4))


def test_a_point_has_the_figures_of_each_model(bench: Bench, digits) -> None:
    (record,) = bench.records(point(read_latency=40, clock_mhz=25, token_depth=64))
    config = replace(AcceleratorConfig.for_artifact(digits, "4x4"), token_depth=64)
    program = compile_program(digits, config)
    timeline = model_cycles(program, memory=MemoryTiming(read_latency=40))
    found = area(config, "ecp5")
    images = digits_images("test", digits.preprocessing).take(range(IMAGES))
    exact = evaluate({"golden": lambda p: GoldenModel(digits).run(p).logits}, images)["golden"]
    moved = timeline.traffic.read_bytes + timeline.traffic.write_bytes
    assert record.status is Status.COMPLETE
    assert record.artifact == digits.digest
    assert record.metrics == pytest.approx(
        {
            "top1": exact.top1,
            "top5": exact.top5,
            "images": IMAGES,
            "weight_bytes": digits.weight_bytes,
            "cycles": timeline.cycles,
            "mac_utilization": mac_utilization(digits, program, timeline),
            "read_bytes": timeline.traffic.read_bytes,
            "write_bytes": timeline.traffic.write_bytes,
            "energy_uj": energy(costs(digits, program), config, 1).microjoules,
            "clock_mhz": 25,
            "fmax_mhz": found.fmax_mhz,
            "latency_ms": timeline.cycles / 25e3,
            "images_per_second": 25e6 / timeline.cycles,
            "bandwidth_mb_s": moved / timeline.cycles * 25,
            "lut": round(found.total.lut),
            "ff": round(found.total.ff),
            "dsp": found.total.dsp,
            "block_ram": found.total.block_ram,
        },
        rel=1e-12,
    )
    assert record.metrics.keys() == METRICS.keys()


def test_a_batch_is_timed_as_a_whole(bench: Bench, digits) -> None:
    (record,) = bench.records(point(batch=2))
    config = AcceleratorConfig.for_artifact(digits, "4x4", 2)
    timeline = model_cycles(compile_program(digits, config, images=2, batch=2))
    clock = area(config, "ecp5").fmax_mhz
    assert record.metrics["cycles"] == timeline.cycles
    assert record.metrics["clock_mhz"] == clock
    assert record.metrics["images_per_second"] == pytest.approx(2e6 * clock / timeline.cycles)


def test_nothing_is_measured_twice(bench: Bench, tmp_path: Path) -> None:
    points = [
        point(read_latency=latency, target=target, clock_mhz=clock)
        for latency in (1, 40)
        for target in ("ecp5-85k", "xc7z020")
        for clock in (10, 20)
    ]
    first = bench.evaluator()
    found = first.evaluate(points)
    assert first.counts["runs"] + first.counts["runs kept"] == 2
    # On another machine, to which the store was copied.
    shutil.copytree(bench.folder, tmp_path / "copy")
    with LocalEngine(1) as engine, Store(tmp_path / "copy") as store:
        again = Evaluator(first.space, store, engine)
        assert again.evaluate(points) == found
    computed = {what: n for what, n in again.counts.items() if not what.endswith("kept")}
    assert not any(computed.values()), again.counts
    assert again.counts["images kept"] == IMAGES


def test_what_does_not_fit_is_not_run(bench: Bench) -> None:
    evaluator = bench.evaluator()
    small, fast = evaluator.evaluate(
        [point(array="8x4", target="ecp5-25k", lanes=2), point(array="8x4", lanes=2, clock_mhz=900)]
    )
    assert small.status is fast.status is Status.INFEASIBLE
    assert small.reason.startswith(("lut must be at most 24288 for ecp5-25k, not ", "block_ram"))
    assert fast.reason.startswith("clock_mhz must be at most ")
    assert "lut" in small.metrics
    assert "cycles" not in small.metrics
    assert "top1" not in small.metrics
    assert not evaluator.counts["runs"] + evaluator.counts["images"]


def test_fitting_can_be_left_out(bench: Bench) -> None:
    (record,) = bench.records(point(target="ecp5-25k"), constraints={"fits": False})
    assert record.status is Status.COMPLETE


def test_constraints_end_a_point_where_their_metric_is_known(bench: Bench) -> None:
    evaluator = bench.evaluator(constraints={"latency_ms": {"at_most": 1e-6}})
    (record,) = evaluator.evaluate([point()])
    assert record.status is Status.INFEASIBLE
    assert record.reason.startswith("latency_ms must be at most 1e-06, not ")
    assert "top1" not in record.metrics
    best = {"top1": {"at_least": 100}}
    (record,) = bench.records(point(bits="W3A3"), constraints=best)
    assert (record.status, record.metrics["images"]) == (Status.INFEASIBLE, IMAGES)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"lanes": 3}, "lanes must divide 4 rows and 4 cols, not 3"),
        ({"code_depth": 64}, "code_depth must be at least "),
        ({"token_depth": 8}, "token_depth must be at least "),
        ({"weight_width": 9}, "weight_width must be in 3..8, not 9"),
    ],
)
def test_what_cannot_be_made_is_recorded(bench: Bench, values: dict[str, int], reason: str) -> None:
    bad, good = bench.records(point(**values), point())
    assert bad.status is Status.FAILED
    assert bad.reason.startswith(reason)
    assert good.status is Status.COMPLETE


def test_a_quantization_that_fails_is_recorded(bench: Bench) -> None:
    """And the next run tries it again: what fails is not kept."""
    values = {"weights": 4, "activations": 4, "weights@no.such.layer": 8}
    evaluator = bench.evaluator()
    (record,) = evaluator.evaluate([Point.of(dict(point().values[1:]) | values)])
    assert record.status is Status.FAILED
    assert "no.such.layer" in record.reason


def test_a_look_follows_each_stage_and_can_end_a_point(bench: Bench) -> None:
    seen: list[tuple[int, Stage, frozenset[str]]] = []

    def look(place: int, stage: Stage, metrics: dict[str, float]) -> str | None:
        seen.append((place, stage, frozenset(metrics)))
        return "enough" if (place, stage) == (1, Stage.FEW_IMAGES) else None

    kept, ended = bench.evaluator().evaluate([point(), point(bits="W3A4")], look=look)
    assert (kept.status, kept.metrics["images"]) == (Status.COMPLETE, IMAGES)
    assert (ended.status, ended.reason) == (Status.PRUNED, "enough")
    assert ended.metrics["images"] == FEW
    assert [stage for place, stage, _ in seen if place == 0] == list(Stage)
    assert [stage for place, stage, _ in seen if place == 1] == list(Stage)[:-1]
    for _, stage, names in seen:
        assert names == {name for name, metric in METRICS.items() if metric.stage <= stage}


def test_what_is_complete_can_end_what_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quantization that is ahead on few images is completed first."""
    monkeypatch.setattr(evaluator_module, "ARTIFACTS", 1)
    seen: list[tuple[int, Stage]] = []

    def look(place: int, stage: Stage, metrics: dict[str, float]) -> str | None:
        seen.append((place, stage))
        complete = [at for at, reached in seen if reached == Stage.ALL_IMAGES]
        return "beaten" if complete and stage == Stage.FEW_IMAGES else None

    points = [point(bits="W3A3"), point(), point(read_latency=40)]
    bits3, bits4, late = bench.evaluator().evaluate(points, look=look)
    few = [metrics for metrics in (bits3.metrics, bits4.metrics) if metrics["images"] == FEW]
    ended, kept = (bits3, bits4) if bits3.status is Status.PRUNED else (bits4, bits3)
    assert (ended.reason, few) == ("beaten", [ended.metrics])
    assert kept.status is Status.COMPLETE
    assert late.status is bits4.status
    assert seen.count((ended.number, Stage.FEW_IMAGES)) == 2
    assert seen.count((kept.number, Stage.FEW_IMAGES)) == 1


def test_records_are_numbered_in_order(bench: Bench) -> None:
    points = [point(), point(lanes=3), point(read_latency=40)]
    records = bench.evaluator().evaluate(points, first=7)
    assert [(each.number, each.point) for each in records] == list(enumerate(points, 7))


def test_wrong_models_and_labels_end_the_whole(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"none")
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        bench.evaluator(model={"name": "digits", "weights": str(weights)})
    image = tmp_path / "a.png"
    from PIL import Image

    Image.new("L", (8, 8)).save(image)
    (tmp_path / "labels.csv").write_text("file,label\na.png,10\n")
    evaluator = bench.evaluator(images={"labels": str(tmp_path / "labels.csv")})
    with pytest.raises(ImageError, match="must be below 10"):
        evaluator.evaluate([point()])
