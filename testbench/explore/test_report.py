"""The page of an exploration: its data are the records, its effects are right, nothing escapes."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.errors import OutputError
from rootshift.sim.explore.metrics import METRICS
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.report import front_svg, write_exploration_report
from rootshift.sim.explore.report.columns import collect
from rootshift.sim.explore.report.effects import effects
from rootshift.sim.explore.results import Exploration
from rootshift.sim.explore.space import Space

from ..seeds import generator
from ..sim.test_report import Reader

SPACE = """
[model]
name = "digits"
[quantization]
bits = ["W4A4", "W6A6", "W8A8"]
method = ["repq", "repq+gptq"]
[hardware]
array = ["8x8", "16x16"]
lanes = [16, 8]
[memory]
seed = [0, 1]
[fpga]
target = ["ecp5-85k", "xc7z020"]
clock_mhz = [50, "fmax"]
[constraints]
top1 = { at_least = 60 }
latency_ms = { at_most = 12.5 }
[objectives]
maximize = ["top1"]
minimize = ["latency_ms", "lut"]
"""
MADE = {"version": "1.2.3", "code": "c0de" * 16, "seed": 7, "engine": "local", "workers": 2,
        "seconds": 3725.4, "counts": {"runs": 40, "runs kept": 8}}  # fmt: skip


def records_of(space: Space, rng: np.random.Generator) -> list[Record]:
    """A record per point, of all four kinds; its numbers have gaps, and its metrics repeat."""
    found = []
    for place, point in enumerate(space.points()):
        kind = list(Status)[int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
        metrics: dict[str, float] = {}
        if kind is not Status.FAILED:
            metrics = {name: float(rng.uniform(1, 1e6)) for name in METRICS if name != "ff"}
            metrics |= {"top1": float(rng.integers(60, 70)), "cycles": int(rng.integers(1, 1e9))}
            metrics["lut"] = int(rng.integers(1, 5))
        if kind is Status.INFEASIBLE:
            del metrics["top1"], metrics["top5"]
        reason = "" if kind is Status.COMPLETE else f"{kind}, because of {place % 3}"
        digest = f"{place % 5:064x}" if kind is not Status.FAILED else ""
        found.append(Record(3 * place, point, kind, reason, metrics, digest))
    return found


@pytest.fixture
def exploration() -> Exploration:
    space = Space.parse(SPACE)
    return Exploration(space, tuple(records_of(space, generator(5))), MADE)


def written(exploration: Exploration, path: Path) -> tuple[Reader, str]:
    """The page, read back, and its text."""
    write_exploration_report(path, exploration)
    text = path.read_text(encoding="utf-8")
    return Reader(text), text


def data_of(page: Reader) -> dict[str, Any]:
    (text,) = (text for head, text in page.scripts if head.get("id") == "exploration-data")
    return json.loads(text)


def columns_of(data: dict[str, Any]) -> dict[str, list[Any]]:
    """Column -> a value per record, as the page's scripts read them."""
    return {
        each["name"]: [each["values"][code] for code in each["codes"]]
        if "codes" in each
        else each["values"]
        for each in data["columns"]
    }


def test_the_embedded_columns_are_the_records(exploration: Exploration, tmp_path: Path) -> None:
    data = data_of(written(exploration, tmp_path / "report.html")[0])
    columns, rows = columns_of(data), exploration.rows()
    assert data["count"] == len(rows)
    assert data["table"] == list(rows[0])
    missing = data["table"] - columns.keys()
    assert missing == {"ff", "front", *data["origin"]}
    for name in columns:
        assert columns[name] == [row[name] for row in rows], name
    front = [row["front"] for row in rows]
    assert any(front)
    assert data["front"] == [place for place, on in enumerate(front) if on]
    for name, value in data["origin"].items():
        assert value == str(rows[0][name])


def test_columns_say_what_is_better(exploration: Exploration) -> None:
    data = collect(exploration)
    columns = {each["name"]: each for each in data["columns"]}
    assert data["objectives"] == ["top1", "latency_ms", "lut"]
    assert (columns["top1"]["objective"], columns["top1"]["higher"]) == ("maximize", True)
    assert (columns["lut"]["objective"], columns["lut"]["higher"]) == ("minimize", False)
    assert columns["dsp"]["objective"] == ""
    assert columns["top1"]["limit"] == "at least 60"
    assert columns["latency_ms"]["limit"] == "at most 12.5"
    # Numbers go up along an axis, texts as the space has them; two columns share no name.
    assert columns["lanes"]["values"] == [8, 16]
    assert columns["knob_clock_mhz"]["values"] == [50, "fmax"]
    assert columns["knob_seed"]["values"] == [0, 1]
    assert columns["status"]["values"] == [str(status) for status in Status]


def test_an_objective_decides_what_is_better(exploration: Exploration) -> None:
    turned = tuple(
        replace(each, maximize=not each.maximize) for each in exploration.space.objectives
    )
    other = replace(exploration, space=replace(exploration.space, objectives=turned))
    columns = {each["name"]: each for each in collect(other)["columns"]}
    assert (columns["top1"]["objective"], columns["top1"]["higher"]) == ("minimize", False)


def test_the_page_is_whole_and_loads_nothing(exploration: Exploration, tmp_path: Path) -> None:
    page, text = written(exploration, tmp_path / "report.html")
    assert not page.open
    assert max(page.ids.values()) == 1
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= page.ids.keys()
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|import\(", outside)
    assert "default-src &#x27;none&#x27;" in text
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not {"link", "iframe", "img", "object", "embed"} & page.elements.keys()


def test_the_scripts_find_what_they_look_for(exploration: Exploration, tmp_path: Path) -> None:
    page, _ = written(exploration, tmp_path / "report.html")
    code = "".join(text for head, text in page.scripts if "type" not in head)
    wanted = set(re.findall(r'getElementById\("([\w-]+)"\)', code))
    wanted |= set(re.findall(r'"(page-\w+)"', code)) | {"x-axis", "y-axis", "x-log", "y-log"}
    assert len(wanted) >= 18
    assert wanted <= page.ids.keys()
    assert {"data-state", "data-statuses", "data-point"} <= page.attributes


def test_links_name_places_of_their_points(exploration: Exploration, tmp_path: Path) -> None:
    _, text = written(exploration, tmp_path / "report.html")
    links = re.findall(r'data-point="(\d+)">#(\d+)</a>', text)
    assert links
    for place, number in links:
        assert exploration.records[int(place)].number == int(number)


@pytest.mark.parametrize(
    "name", ["</script><b>x</b>", "<!--<script>", "a\"'&amp;</style>", "𝛼 層 <i>"]
)
def test_names_are_text(exploration: Exploration, tmp_path: Path, name: str) -> None:
    plain = written(exploration, tmp_path / "report.html")[0].elements
    knobs = dict(exploration.space.knobs) | {"method": ("repq", name)}
    space = replace(
        exploration.space, knobs=knobs, model=replace(exploration.space.model, name=name)
    )
    records = tuple(
        replace(
            record,
            point=Point.of(dict(record.point.values) | {"method": ("repq", name)[at % 2]}),
            reason=record.reason and name,
        )
        for at, record in enumerate(exploration.records)
    )
    page, _ = written(Exploration(space, records, MADE), tmp_path / "report.html")
    assert not page.open
    for tag in ("script", "style", "i", "svg"):
        assert page.elements[tag] == plain[tag] or tag in ("i", "svg")
    columns = columns_of(data_of(page))
    assert columns["method"][1] == name
    assert name in columns["reason"]
    assert name in {row[0] for row in page.rows}


def test_equal_explorations_give_equal_bytes(exploration: Exploration, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    _, first = written(exploration, path)
    _, second = written(exploration, path)
    assert first == second


def test_commands_name_the_folder(exploration: Exploration, tmp_path: Path) -> None:
    page, _ = written(exploration, tmp_path / "some runs" / "report.html")
    assert data_of(page)["folder"] == "'some runs'"


def test_what_cannot_be_written_leaves_nothing(exploration: Exploration, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OutputError, match="cannot be written"):
        write_exploration_report(tmp_path / "file" / "report.html", exploration)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("what", ["nothing", "one", "failed"])
def test_pages_of_little_are_whole(exploration: Exploration, tmp_path: Path, what: str) -> None:
    failed = [
        replace(each, status=Status.FAILED, metrics={}, artifact="") for each in exploration.records
    ]
    done = [each for each in exploration.records if each.status is Status.COMPLETE]
    records = {"nothing": [], "one": done[:1], "failed": failed}[what]
    page, _ = written(replace(exploration, records=tuple(records)), tmp_path / "report.html")
    assert not page.open
    assert data_of(page)["count"] == len(records)
    assert (
        "no two complete points" in " ".join((tmp_path / "report.html").read_text().split()).lower()
    )


def test_ten_thousand_points_stay_small(tmp_path: Path) -> None:
    """No metric but accuracy repeats, which is the worst that can be."""
    space = Space.parse(SPACE.replace("seed = [0, 1]", "seed = { from = 0, to = 104, step = 1 }"))
    rng = generator(9)
    records = []
    for number, point in enumerate(itertools.islice(space.points(), 10_000)):
        metrics = {
            name: float(rng.uniform(1, 1e4)) if metric.unit else int(rng.integers(1, 1e9))
            for name, metric in METRICS.items()
        }
        metrics |= {"top1": float(rng.integers(60, 70)), "top5": 90.0, "images": 1000}
        metrics |= {name: int(metrics[name] * 1e3) for name in metrics if name.endswith("_bytes")}
        records.append(Record(number, point, Status.COMPLETE, "", metrics, f"{number % 6:064x}"))
    assert len(records) == 10_000
    page, text = written(Exploration(space, tuple(records), MADE), tmp_path / "report.html")
    assert data_of(page)["count"] == 10_000
    assert len(text) < 2_500_000


def record(number: int, metrics: dict[str, float], **knobs: Any) -> Record:
    return Record(number, Point.of(knobs), Status.COMPLETE, "", metrics)


def test_effects_of_a_small_table() -> None:
    knobs = {"array": ("8x8", "16x16"), "lanes": (4, 8, 16)}
    table = [
        ("8x8", 4, 70.0, 100.0), ("8x8", 8, 70.0, 80.0), ("8x8", 16, 69.0, 75.0),
        ("16x16", 4, 70.5, 50.0), ("16x16", 8, 70.5, 44.0),
    ]  # fmt: skip
    records = [
        record(n, {"top1": top1, "cycles": cycles}, array=array, lanes=lanes)
        for n, (array, lanes, top1, cycles) in enumerate(table)
    ]
    array, lanes = effects(records, knobs, ["top1", "cycles"])
    assert (array.name, array.reference, list(array.effects)) == ("array", "8x8", ["16x16"])
    found = array.effects["16x16"]
    assert (found["top1"].pairs, found["top1"].factor, found["top1"].median) == (2, False, 0.5)
    cycles = found["cycles"]
    assert cycles.factor
    assert (cycles.least, cycles.greatest) == (0.5, 0.55)
    assert cycles.median == pytest.approx(0.525)
    assert (cycles.low, cycles.high) == (pytest.approx(0.5125), pytest.approx(0.5375))
    # 4 and 8 make three pairs each, 16 makes two: the first of the most is the reference.
    assert (lanes.reference, list(lanes.effects)) == (4, [8, 16])
    assert lanes.effects[16]["cycles"].pairs == 1
    assert lanes.effects[16]["cycles"].median == 0.75
    assert lanes.effects[8]["cycles"].median == pytest.approx((0.8 + 0.88) / 2)
    assert lanes.effects[16]["top1"].median == -1.0


def test_a_metric_that_can_be_nothing_has_differences() -> None:
    records = [
        record(n, {"dsp": dsp}, lanes=lanes, bits=bits)
        for n, (lanes, bits, dsp) in enumerate(
            [(4, "W4A4", 0), (8, "W4A4", 3), (4, "W8A8", 2), (8, "W8A8", 7)]
        )
    ]
    lanes, _ = effects(records, {"lanes": (4, 8), "bits": ("W4A4", "W8A8")}, ["dsp"])
    assert not lanes.effects[8]["dsp"].factor
    assert (lanes.effects[8]["dsp"].least, lanes.effects[8]["dsp"].greatest) == (3, 5)


def test_effects_are_those_of_all_pairs() -> None:
    """Of a grid with holes, against pairs that are looked for one by one."""
    space = Space.parse(SPACE)
    rng = generator(11)
    records = [
        record(n, {"cycles": float(rng.uniform(1, 9)), "top1": float(rng.uniform(50, 60))},
               **dict(point.values))
        for n, point in enumerate(space.points()) if rng.random() < 0.4
    ]  # fmt: skip
    del records[0].metrics["top1"]
    found = {each.name: each for each in effects(records, space.knobs, ["cycles", "top1"])}
    assert found.keys() == {name for name, values in space.knobs.items() if len(values) > 1}
    for name, knob in found.items():
        most = {}
        for value in space.knobs[name]:
            for other in space.knobs[name]:
                pairs = [
                    (a, b)
                    for a in records if a.point.get(name) == value
                    for b in records if b.point.get(name) == other and value != other
                    and all(a.point.get(k) == b.point.get(k) for k in space.knobs if k != name)
                ]  # fmt: skip
                most[other] = most.get(other, 0) + len(pairs)
                if other != knob.reference or value == other:
                    continue
                factors = [a.metrics["cycles"] / b.metrics["cycles"] for a, b in pairs]
                effect = knob.effects[value]["cycles"]
                assert effect.pairs == len(pairs)
                assert effect.median == pytest.approx(np.median(factors), rel=1e-12)
                assert (effect.least, effect.greatest) == (min(factors), max(factors))
                steps = [
                    a.metrics["top1"] - b.metrics["top1"]
                    for a, b in pairs if "top1" in a.metrics and "top1" in b.metrics
                ]  # fmt: skip
                assert knob.effects[value]["top1"].pairs == len(steps)
                assert knob.effects[value]["top1"].median == pytest.approx(np.median(steps))
        assert most[knob.reference] == max(most.values())


def test_values_without_a_pair_have_no_effect() -> None:
    records = [
        record(0, {"cycles": 1.0}, lanes=4, bits="W4A4"),
        record(1, {"cycles": 2.0}, lanes=8, bits="W8A8"),
    ]
    lanes, bits = effects(records, {"lanes": (4, 8), "bits": ("W4A4", "W8A8")}, ["cycles"])
    assert lanes.effects == {8: {"cycles": None}}
    assert bits.effects == {"W8A8": {"cycles": None}}


def drawn(text: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter())


def named(elements: list[ElementTree.Element], tag: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in elements if e.tag.endswith("}" + tag) and e.get("class") == kind]


@pytest.mark.parametrize("log", [False, True])
def test_a_picture_has_the_front_of_each_target(exploration: Exploration, log: bool) -> None:
    text = front_svg(exploration, "latency_ms", "top1", x_log=log)
    assert text == front_svg(exploration, "latency_ms", "top1", x_log=log)
    assert not re.search(r"href|url\(|@import|<script", text)
    elements = drawn(text)
    texts = [each.text for each in elements if each.tag.endswith("}text")]
    assert "latency_ms (ms) ← better" in texts
    assert "top1 (%) → better" in texts
    assert {"ecp5-85k", "xc7z020"} <= set(texts)
    lines = named(elements, "path", "front")
    assert len(lines) == 2
    complete = [each for each in exploration.records if each.status is Status.COMPLETE]
    for line, target in zip(lines, ("ecp5-85k", "xc7z020"), strict=True):
        group = {
            (each.metrics["latency_ms"], each.metrics["top1"])
            for each in complete if each.point.get("target") == target
        }  # fmt: skip
        best = [
            a for a in group
            if not any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in group)
        ]  # fmt: skip
        # Two corners for each point of the front: where it stands, and the step to the next.
        corners = line.get("d")[1:].split("L")
        assert len(corners) == 2 * len(best) + 1
        heights = [float(corner.split()[1]) for corner in corners[1::2]]
        assert heights == sorted(heights, reverse=True)
        assert len(set(heights)) == len(best)


def test_picked_points_are_numbered(exploration: Exploration) -> None:
    picked = [each.number for each in exploration.front("xc7z020")][:4]
    elements = drawn(front_svg(exploration, "lut", "top1", picked=picked))
    assert [e.text for e in named(elements, "text", "pick")] == [str(number) for number in picked]
    assert len(named(elements, "circle", "pick")) == len(picked)


def test_a_picture_refuses_what_it_cannot_show(exploration: Exploration) -> None:
    with pytest.raises(ValueError, match=r"metric must be one of top1, .*, not 'luts'"):
        front_svg(exploration, "luts", "top1")
    with pytest.raises(ValueError, match="a complete point must have ff and top1, not none"):
        front_svg(exploration, "ff", "top1")
    failed = next(each for each in exploration.records if each.status is Status.FAILED)
    with pytest.raises(ValueError, match="picked must be complete points with lut and top1, not"):
        front_svg(exploration, "lut", "top1", picked=[failed.number])
    zero = replace(exploration.front()[0], metrics={"lut": 0, "top1": 1.0})
    with pytest.raises(ValueError, match="lut must be over 0 on a logarithmic axis, not 0"):
        front_svg(replace(exploration, records=(zero,)), "lut", "top1", x_log=True)
