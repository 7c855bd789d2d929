"""`rootshift targets`: every device and board, and the largest array of a model that fits each."""

from dataclasses import replace
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.cli.targets import FULL, SIZES
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.sim.area.model import area, fits
from rootshift.sim.cycles.model import model_cycles
from rootshift.targets import TARGETS

from .running import invoke, refused


def test_all_targets_are_listed() -> None:
    rows = {row["target"]: row for row in invoke("targets", "--json").json["targets"]}
    assert rows.keys() == TARGETS.keys()
    assert rows["kv260"] == {
        "target": "kv260",
        "board": "Kria KV260",
        "part": "XCK26",
        "family": "xcup",
        "lut": 117120,
        "ff": 234240,
        "dsp": 1248,
        "bram": 288,
        "routed": False,
    }
    assert rows["ulx3s-85f"]["routed"]


@pytest.mark.parametrize(
    ("board", "device"),
    [
        ("ulx3s-85f", "ecp5-85k"),
        ("pynq-z2", "xc7z020"),
        ("kv260", "xck26"),
        ("zcu102", "xczu9eg"),
    ],
)
def test_a_board_has_what_its_device_has(board: str, device: str) -> None:
    there = TARGETS[board]
    assert there.board
    assert replace(there, name=device, board="") == TARGETS[device]


def test_the_largest_array_is_the_last_that_fits(saved: Path, random_model: Artifact) -> None:
    configs = {
        f"{size}x{size}": AcceleratorConfig.for_artifact(random_model, f"{size}x{size}")
        for size in SIZES
    }
    for row in invoke("targets", saved, "--json").json["targets"]:
        goal = TARGETS[row["target"]]
        room = replace(goal, lut=int(FULL * goal.lut))
        fitting = [
            name
            for name, config in configs.items()
            if fits(area(config, goal.family).total, room) is None
        ]
        largest = row["largest"]
        assert (largest and largest["array"]) == (fitting[-1] if fitting else None), goal
        if largest is None:
            continue
        found = area(configs[largest["array"]], goal.family)
        assert largest["utilization"]["lut"] == pytest.approx(
            100 * found.total.lut / goal.lut, abs=0.1
        )
        assert largest["utilization"]["lut"] <= 100 * FULL


def test_speed_is_that_of_the_cycle_model(saved: Path, random_model: Artifact) -> None:
    rows = {row["target"]: row for row in invoke("targets", saved, "--json").json["targets"]}
    largest = rows["zcu102"]["largest"]
    config = AcceleratorConfig.for_artifact(random_model, largest["array"])
    timeline = model_cycles(compile_program(random_model, config))
    assert largest["cycles"] == timeline.cycles
    hertz = 1e6 * area(config, "xcup").fmax_mhz
    assert largest["frames_per_second"] == pytest.approx(hertz / timeline.cycles, rel=1e-3)
    assert largest["latency_ms"] == pytest.approx(1e3 * timeline.cycles / hertz, rel=1e-2)
    moved = timeline.traffic.read_bytes + timeline.traffic.write_bytes
    assert largest["memory_mb_per_s"] == pytest.approx(
        moved * hertz / timeline.cycles / 1e6, rel=1e-3
    )


def test_text_has_a_line_for_each(saved: Path) -> None:
    for words in ([], [saved]):
        text = invoke("targets", *words).out
        for name in TARGETS:
            assert sum(line.startswith(f"{name} ") for line in text.splitlines()) == 1
    assert "estimates of the area model" in text


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    assert "manifest.json" in refused("targets", tmp_path / "nowhere")
