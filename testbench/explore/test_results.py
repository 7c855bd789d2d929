"""What is written is what was found, in each of the files, and comes back as it was."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from rootshift.errors import ConfigError, OutputError
from rootshift.sim.explore.metrics import METRICS
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.record import Record, Status
from rootshift.sim.explore.results import Exploration
from rootshift.sim.explore.space import Space

TEXT = """
[model]
name = "deit_tiny_patch16_224"
weights = "deit.safetensors"
[images]
calibration = "labels.csv"
labels = "labels.csv"
[quantization]
bits = ["W4A4", "W6A6"]
[quantization.layers."blocks.*.mlp.fc2"]
weights = [4, 8]
[hardware]
array = "8x8"
code_depth = ["least", 8192]
[memory]
read_latency = [1, 30]
bandwidth = [0.5, 1]
seed = [3, 4]
[fpga]
target = ["ecp5-85k", "xc7z020"]
clock_mhz = [50, "fmax"]
[constraints]
top1 = { at_least = 60 }
[objectives]
maximize = "top1"
minimize = "lut"
[search]
seed = 9
"""
MADE = {
    "version": "0.1.0",
    "code": "ab" * 32,
    "seed": 9,
    "engine": "local",
    "workers": 2,
    "seconds": 1.5,
    "counts": {"quantizations": 2, "quantizations kept": 1},
}
FILES = ["exploration.json", "points.csv", "points.parquet", "report.html", "space.toml"]


@pytest.fixture
def found(folder: Path) -> Exploration:
    """Six points on two targets: three complete, one on the front of each target."""
    space = Space.parse(TEXT, folder)

    def record(number: int, status: Status, reason: str = "", **metrics: float) -> Record:
        values = {knob: legal[number % len(legal)] for knob, legal in space.knobs.items()}
        artifact = f"{number}c" * 32 if metrics else ""
        return Record(number, Point.of(values), status, reason, metrics, artifact)

    records = (
        record(0, Status.COMPLETE, top1=70.0, images=64, lut=900, cycles=10**11, clock_mhz=50.0),
        record(1, Status.COMPLETE, top1=68.75, images=64, lut=500, cycles=7, clock_mhz=61.25),
        record(2, Status.COMPLETE, top1=70.0, images=64, lut=1000, cycles=7, clock_mhz=50.0),
        record(3, Status.INFEASIBLE, 'lut must be "less", not <b>, or\nso', lut=99_999),
        record(4, Status.PRUNED, "point 0 is better", top1=20.0, images=32, lut=9000),
        record(5, Status.FAILED, "no"),
    )
    return Exploration(space, records, MADE)


def test_each_target_has_a_front(found: Exploration) -> None:
    fronts = {target: [each.number for each in group] for target, group in found.fronts().items()}
    assert fronts == {"ecp5-85k": [0], "xc7z020": [1]}
    assert [each.number for each in found.front()] == [0, 1]
    assert [each.number for each in found.front("xc7z020")] == [1]
    with pytest.raises(
        ValueError, match=r"^target must be one of ecp5-85k, xc7z020, not 'ecp5-25k'$"
    ):
        found.front("ecp5-25k")


def test_a_target_without_a_complete_point_has_an_empty_front(found: Exploration) -> None:
    less = replace(found, records=found.records[3:])
    assert less.fronts() == {}
    assert less.front() == less.front("ecp5-85k") == []


def test_rows_have_the_same_columns(found: Exploration) -> None:
    rows = found.rows()
    assert len({tuple(row) for row in rows}) == 1
    assert [row["front"] for row in rows] == [True, True, False, False, False, False]
    assert {(row["seed"], row["version"], row["code"]) for row in rows} == {(9, "0.1.0", "ab" * 32)}
    # Knobs that have the name of another column do not hide it.
    assert [rows[0][name] for name in ("knob_seed", "knob_clock_mhz", "clock_mhz")] == [3, 50, 50.0]
    assert [rows[1][name] for name in ("knob_seed", "knob_clock_mhz")] == [4, "fmax"]
    assert rows[5]["top1"] is None
    assert set(METRICS) < set(rows[0])


def test_everything_comes_back(found: Exploration, tmp_path: Path) -> None:
    found.write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    again = Exploration.load(tmp_path / "out")
    assert again == found
    assert again.rows() == found.rows()
    assert Space.load(tmp_path / "out" / "space.toml") == found.space


def test_opens_where_the_model_and_its_images_are_not(found: Exploration, tmp_path: Path) -> None:
    """As on another machine."""
    found.write(tmp_path / "out")
    for name in ("deit.safetensors", "labels.csv"):
        (tmp_path / name).unlink()
    assert Exploration.load(tmp_path / "out") == found


class TestParquet:
    def test_is_typed(self, found: Exploration, tmp_path: Path) -> None:
        found.write(tmp_path)
        table = pyarrow.parquet.read_table(tmp_path / "points.parquet")
        types = {name: str(table.schema.field(name).type) for name in table.column_names}
        expected = {
            "number": "int64",
            "bits": "string",
            "weights@blocks.*.mlp.fc2": "int64",
            "code_depth": "string",  # "least" or a number
            "read_latency": "int64",
            "bandwidth": "double",
            "knob_clock_mhz": "string",
            "status": "string",
            "top1": "double",
            "cycles": "int64",
            "lut": "int64",
            "latency_ms": "double",  # known of no point
            "front": "bool",
            "seed": "int64",
            "version": "string",
            "code": "string",
        }
        assert {name: types[name] for name in expected} == expected

    def test_has_the_rows(self, found: Exploration, tmp_path: Path) -> None:
        found.write(tmp_path)
        rows = pyarrow.parquet.read_table(tmp_path / "points.parquet").to_pylist()
        mixed = ("code_depth", "knob_clock_mhz")
        for row, expected in zip(rows, found.rows(), strict=True):
            assert row == expected | {name: str(expected[name]) for name in mixed}
        assert rows[0]["cycles"] == 10**11
        assert rows[5]["lut"] is None

    def test_says_where_it_comes_from(self, found: Exploration, tmp_path: Path) -> None:
        found.write(tmp_path)
        metadata = pyarrow.parquet.read_schema(tmp_path / "points.parquet").metadata
        told = {key.decode(): value.decode() for key, value in metadata.items()}
        assert told["rootshift.version"] == "0.1.0"
        assert told["rootshift.seed"] == "9"
        assert told["rootshift.code"] == "ab" * 32
        assert Space.parse(told["rootshift.space"]) == found.space

    def test_of_no_point_has_all_columns(self, found: Exploration) -> None:
        none = replace(found, records=())
        assert none.table().column_names == list(found.rows()[0])
        assert none.table().num_rows == 0


def test_the_csv_has_the_rows(found: Exploration, tmp_path: Path) -> None:
    found.write(tmp_path)
    with (tmp_path / "points.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, found.rows(), strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            text = row[name]
            if value is None:
                assert text == ""
            elif isinstance(value, bool):
                assert text == str(value).lower()
            elif isinstance(value, float):
                assert float(text) == value
            else:
                assert text == str(value)


def test_the_table_of_a_notebook(found: Exploration) -> None:
    page = found._repr_html_()
    assert page.startswith("<table><caption>2 of 6 points on the front</caption>")
    assert page.count("<tr>") == 3
    heads = page.partition("</thead>")[0]
    assert "<th>top1 %</th><th>lut</th>" in heads
    assert "<th>array</th>" not in heads  # one value
    assert "<td>W4A4</td>" in page
    assert "<td>68.75</td>" in page


def test_a_long_front_is_cut(found: Exploration) -> None:
    first = found.records[0]
    many = tuple(replace(first, number=number) for number in range(30))
    page = replace(found, records=many)._repr_html_()
    assert "30 of 30 points on the front, the first 20</caption>" in page
    assert page.count("<tr>") == 21


class TestRefusals:
    def test_no_exploration(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"exploration\.json: cannot be read: No such file"):
            Exploration.load(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not JSON: "),
            ("[]", "schema must be 1, not None"),
            ('{"schema": 2}', "schema must be 1, not 2"),
            ('{"schema": 1}', "not an exploration: KeyError"),
            ('{"schema": 1, "space": 7}', "not an exploration: "),
        ],
    )
    def test_another_file(self, content: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "exploration.json").write_text(content)
        with pytest.raises(ConfigError, match=rf"exploration\.json: {message}"):
            Exploration.load(tmp_path)

    def test_records_of_something_else(self, found: Exploration, tmp_path: Path) -> None:
        found.write(tmp_path)
        path = tmp_path / "exploration.json"
        body = json.loads(path.read_text())
        body["records"][0]["status"] = "fine"
        path.write_text(json.dumps(body))
        with pytest.raises(ConfigError, match="not an exploration: ValueError"):
            Exploration.load(tmp_path)

    def test_a_folder_that_cannot_be_written(self, found: Exploration, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            found.write(tmp_path / "file" / "out")
