"""Spaces: what a TOML means, which points it has, and what is refused before anything runs."""

import itertools
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.errors import ConfigError
from rootshift.sim.explore.constraints import GOALS
from rootshift.sim.explore.knobs import SECTIONS
from rootshift.sim.explore.point import Point
from rootshift.sim.explore.space import Images, ModelSource, Objective, Search, Space
from rootshift.sim.explore.toml_text import toml_value

from ..seeds import explored
from .spaces import LEAST, parsed, refusal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explore.md"
FC2 = "blocks.*.mlp.fc2"


class TestReading:
    def test_the_page_s_example(self, folder: Path) -> None:
        (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (folder / "space.toml").write_text(example)
        space = Space.load(folder / "space.toml")
        assert space.model == ModelSource("deit_tiny_patch16_224", str(folder / "deit.safetensors"))
        assert space.images == Images(
            folder / "labels.csv", folder / "labels.csv", folder / "images", 128, 32
        )
        assert list(space.knobs.items()) == [
            ("bits", ("W4A4", "W6A6")),
            ("method", ("repq", "repq+gptq")),
            (f"weights@{FC2}", (4, 8)),
            ("array", ("8x8", "16x16")),
            ("lanes", (4, 8)),
            ("batch", (1, 2, 4)),
            ("read_latency", (1, 30)),
            ("bandwidth", (0.5, 0.75, 1.0)),
            ("target", ("ecp5-85k", "xc7z020")),
            ("clock_mhz", (50.0, "fmax")),
        ]
        assert space.constraints.fits
        assert space.constraints.at_least == {"top1": 60}
        assert space.constraints.at_most == {"latency_ms": 50}
        assert space.objectives == (
            Objective("top1", True), Objective("latency_ms", False), Objective("lut", False),
        )  # fmt: skip
        assert space.search == Search("nsga2", trials=200, population=20, seed=0, prune=True)
        assert space.size == 2**8 * 3**2

    def test_the_page_has_all_keys_and_metrics(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        names = {
            *itertools.chain(*SECTIONS.values()), *GOALS, "name", "weights", "image_size",
            "calibration", "labels", "folder", "first", "few", "fits", "at_least", "at_most",
            "maximize", "minimize", "sampler", "trials", "population", "seed", "prune",
            "from", "to", "step", "factor",
        }  # fmt: skip
        assert {name for name in names if f"`{name}`" not in page} == set()

    def test_what_is_left_out(self) -> None:
        space = parsed()
        assert space.model == ModelSource("digits", "timm", None)
        assert space.images == Images(None, None, None, None, 32)
        assert space.knobs == {"bits": ("W4A4",), "array": ("16x16",)}
        assert not space.constraints.fits
        assert space.search == Search("grid", None, None, 0, False)
        (point,) = space.points()
        assert str(point.quantization) == "W4A4 repq"
        assert dict(point.hardware.fields) == {"rows": 16, "cols": 16}
        assert point.hardware.clock_mhz is None

    def test_a_target_brings_the_constraint_that_points_fit(self) -> None:
        fpga = '[fpga]\ntarget = "ecp5-85k"\n'
        assert parsed(fpga).constraints.fits
        assert not parsed(f"{fpga}[constraints]\nfits = false\n").constraints.fits

    @pytest.mark.parametrize(("value", "size"), [("224", (224, 224)), ("[224, 320]", (224, 320))])
    def test_image_sizes(self, value: str, size: tuple[int, int]) -> None:
        text = f'[model]\nname = "digits"\nimage_size = {value}\n[objectives]\nmaximize = "top1"\n'
        assert Space.parse(text).model.image_size == size

    @pytest.mark.parametrize(
        ("sampler", "search"),
        [
            ("nsga2", Search("nsga2", 9, 20, 0, True)),
            ("tpe", Search("tpe", 9, None, 0, True)),
        ],
    )
    def test_samplers_have_their_defaults(self, sampler: str, search: Search) -> None:
        assert parsed(f'[search]\nsampler = "{sampler}"\ntrials = 9\n').search == search

    def test_values_are_kept_in_one_spelling(self) -> None:
        """So that two spellings are not two points, and each column has one type."""
        space = parsed(
            '[quantization]\nbits = "w4a4l4"\n[hardware]\narray = "08x8"\n'
            "[memory]\nbandwidth = 1\nhold = 0\n[fpga]\nclock_mhz = 50\n"
        )
        assert space.knobs["bits"] == ("W4A4",)
        assert space.knobs["array"] == ("8x8",)
        floats = [space.knobs[name][0] for name in ("bandwidth", "hold", "clock_mhz")]
        assert [repr(value) for value in floats] == ["1.0", "0.0", "50.0"]

    def test_widths_and_rows_by_themselves(self) -> None:
        space = parsed(
            "[quantization]\nweights = [4, 8]\nactivations = 6\nlog = 5\n"
            '[quantization.layers."head"]\nweights = 8\nactivations = [6, 8]\n'
            '[hardware]\nrows = 8\ncols = 12\nlanes = 4\ncode_depth = "least"\n'
        )
        first, *_, last = space.points()
        assert space.size == 4
        assert str(first.quantization.bits.default) == "W4A6L5"
        assert str(last.quantization.bits.of("head")) == "W8A8L5"
        assert dict(last.hardware.fields)["cols"] == 12

    def test_a_file_of_bits_counts_from_the_folder(self, folder: Path) -> None:
        space = Space.parse(f'{LEAST}[quantization]\nbits = ["W4A4", "mixed.toml"]\n', folder)
        assert space.knobs["bits"] == ("W4A4", str(folder / "mixed.toml"))
        assert [p.quantization.bits.of("head").weights for p in space.points()] == [4, 8]

    def test_files_need_not_be_there_to_read_old_results(self, tmp_path: Path) -> None:
        text = (
            '[model]\nname = "vit"\nweights = "w.pth"\n[objectives]\nmaximize = "top1"\n'
            '[images]\ncalibration = "c"\nlabels = "l.csv"\n[quantization]\nbits = "b.toml"\n'
        )
        space = Space.parse(text, tmp_path, check_files=False)
        assert space.images.labels == tmp_path / "l.csv"
        assert space.knobs["bits"] == (str(tmp_path / "b.toml"),)
        assert "must be" in refusal(text, folder=tmp_path)

    def test_a_table_of_python(self, folder: Path) -> None:
        table = {
            "model": {"name": "vit_tiny", "weights": folder / "deit.safetensors"},
            "images": {"calibration": "images", "labels": "labels.csv"},
            "hardware": {"array": ("8x8", "16x16")},
            "objectives": {"maximize": ["top1"]},
        }
        space = Space.from_table(table, folder)
        assert space.knobs["array"] == ("8x8", "16x16")
        assert space.images.calibration == folder / "images"
        assert Space.parse(space.text) == space

    def test_import_is_cheap(self) -> None:
        """`rootshift explore --help` and notebooks read spaces without loading these."""
        code = (
            "import sys, rootshift.sim.explore.space\n"
            "heavy = {'torch', 'timm', 'optuna', 'ray', 'pyarrow', 'amaranth'} & set(sys.modules)\n"
            "sys.exit(', '.join(heavy) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


class TestRanges:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("{ from = 1, to = 4, step = 1 }", (1, 2, 3, 4)),
            ("{ from = 1, to = 10, step = 4 }", (1, 5, 9)),
            ("{ from = 3, to = 3, step = 2 }", (3,)),
            ("{ from = 1, to = 64, factor = 4 }", (1, 4, 16, 64)),
            ("{ from = 3, to = 13, factor = 2 }", (3, 6, 12)),
        ],
    )
    def test_of_integers(self, text: str, values: tuple[int, ...]) -> None:
        found = parsed(f"[memory]\nread_latency = {text}\n").knobs["read_latency"]
        assert found == values
        assert all(isinstance(value, int) for value in found)

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("{ from = 0.1, to = 0.8, step = 0.1 }", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
            ("{ from = 0.125, to = 1, factor = 2 }", (0.125, 0.25, 0.5, 1.0)),
            ("{ from = 1e-1, to = 0.3, step = 1e-1 }", (0.1, 0.2, 0.3)),
        ],
    )
    def test_of_floats_end_where_they_say_and_do_not_drift(
        self, text: str, values: tuple[float, ...]
    ) -> None:
        assert parsed(f"[memory]\nbandwidth = {text}\n").knobs["bandwidth"] == values

    def test_of_layers(self) -> None:
        space = parsed(
            f'[quantization.layers."{FC2}"]\nweights = {{ from = 4, to = 8, step = 2 }}\n'
        )
        assert space.knobs[f"weights@{FC2}"] == (4, 6, 8)


class TestPoints:
    def test_the_last_knob_changes_fastest(self) -> None:
        space = parsed('[memory]\nread_latency = [1, 30]\n[fpga]\ntarget = ["xc7z010", "xc7z020"]')
        assert list(space.knobs) == ["bits", "array", "read_latency", "target"]
        assert [p.values[2:] for p in space.points()] == [
            (("read_latency", latency), ("target", target))
            for latency in (1, 30)
            for target in ("xc7z010", "xc7z020")
        ]

    def test_as_many_as_the_size_says_all_different(self) -> None:
        space = parsed(
            "[memory]\nread_latency = { from = 1, to = 100, step = 1 }\n"
            "write_latency = { from = 1, to = 100, step = 1 }\n"
        )
        assert space.size == 10_000 == len(set(space.points()))

    def test_by_its_values(self) -> None:
        space = parsed("[hardware]\nlanes = [4, 8]\n[fpga]\nclock_mhz = [50, 100]\n")
        point = space.point({"clock_mhz": 100, "lanes": 4})
        assert point in set(space.points())
        assert point == Point.of({"bits": "W4A4", "array": "16x16", "lanes": 4, "clock_mhz": 100.0})
        assert repr(point.get("clock_mhz")) == "100.0"

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "knob lanes must be given"),
            ({"lanes": 2}, "lanes must be one of 4, 8, not 2"),
            ({"lanes": "4"}, "lanes must be one of 4, 8, not '4'"),
            ({"lane": 4}, "knob must be one of bits, array, lanes, not lane"),
        ],
    )
    def test_a_point_that_is_not_in_the_space(self, values: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parsed("[hardware]\nlanes = [4, 8]\n").point(values)
        assert str(caught.value) == message

    def test_they_travel_between_processes(self) -> None:
        space = parsed("[hardware]\nlanes = [4, 8]\n")
        assert pickle.loads(pickle.dumps(space)) == space
        assert pickle.loads(pickle.dumps(list(space.points()))) == list(space.points())


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3, unique=True)


_WIDTHS = st.integers(3, 8)
_PATTERNS = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())
_TABLES = st.fixed_dictionaries(
    {
        "model": st.just({"name": "digits"}),
        "objectives": st.just({"minimize": ["lut", "latency_ms"], "maximize": "top1"}),
        "fpga": st.fixed_dictionaries(
            {"target": _lists(st.sampled_from(["xc7z020", "ecp5-25k"]))},
            optional={"clock_mhz": _lists(st.floats(1e-3, 1e3) | st.just("fmax"))},
        ),
    },
    optional={
        "quantization": st.fixed_dictionaries(
            {},
            optional={
                "base": _lists(st.sampled_from(["sqrt2", "2"])),
                "layers": st.dictionaries(
                    _PATTERNS,
                    st.dictionaries(
                        st.sampled_from(["weights", "activations", "log"]),
                        _lists(_WIDTHS),
                        min_size=1,
                    ),
                    max_size=3,
                ),
                "method": _lists(st.sampled_from(["repq", "repq+erq"])),
            },
        ),
        "hardware": st.dictionaries(
            st.sampled_from(["code_depth", "batch", "token_depth"]),
            _lists(st.integers(1, 500).map(lambda value: 4 * value)),
        ),
        "memory": st.dictionaries(
            st.sampled_from(["bandwidth", "hold"]), _lists(st.floats(2**-16, 0.99))
        ),
        "constraints": st.dictionaries(
            st.sampled_from(["top1", "cycles", "latency_ms"]),
            st.dictionaries(
                st.sampled_from(["at_most", "at_least"]), st.floats(0, 99), min_size=1, max_size=1
            ),
        ),
        "search": st.fixed_dictionaries(
            {"sampler": st.just("tpe"), "trials": st.integers(1, 1 << 30)},
            optional={"seed": st.integers(0, (1 << 32) - 1), "prune": st.booleans()},
        ),
    },
)


class TestWriting:
    @given(_TABLES, st.randoms(use_true_random=False))
    @explored(200)
    def test_what_is_written_reads_back(self, table: dict[str, Any], order: Any) -> None:
        keys = list(table)
        order.shuffle(keys)
        space = Space.from_table({key: table[key] for key in keys})
        again = Space.parse(space.to_toml(), "elsewhere")
        assert again == space
        # Equal dicts may differ in order, which is that of the points.
        assert list(again.knobs) == list(space.knobs)
        assert again.to_toml() == space.text

    def test_paths_stay_where_they_are(self, folder: Path, tmp_path: Path) -> None:
        text = (
            '[model]\nname = "vit"\nweights = "deit.safetensors"\n[objectives]\nmaximize = "top1"\n'
            '[images]\ncalibration = "images/../images"\nlabels = "labels.csv"\nfirst = 9\n'
            '[quantization]\nbits = "mixed.toml"\n'
        )
        space = Space.parse(text, folder)
        assert space.images.calibration == folder / "images"
        assert Space.parse(space.to_toml(), tmp_path / "other") == space

    def test_the_order_of_objectives_stays(self) -> None:
        text = '[model]\nname = "digits"\n[objectives]\nminimize = "cycles"\nmaximize = "top1"\n'
        space = Space.parse(text)
        assert [each.metric for each in space.objectives] == ["cycles", "top1"]
        assert Space.parse(space.text).objectives == space.objectives

    @pytest.mark.parametrize("value", ['a"b\\c', "\t\x00\x1f\x7f", "ü\u2028", 1e-7, 1e22, [True]])
    def test_values(self, value: Any) -> None:
        assert Space.from_table(
            {"model": {"name": str(value), "weights": "timm"}, "objectives": {"maximize": "top1"},
             "images": {"calibration": "c", "labels": "l.csv"}}, check_files=False,
        ).text.split("\n")[1] == f"name = {toml_value(str(value))}"  # fmt: skip
