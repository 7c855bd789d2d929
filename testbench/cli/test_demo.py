"""`rootshift demo`: the whole flow, its report, and its exit code."""

import shutil
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.cli import demo
from rootshift.config import AcceleratorConfig
from rootshift.errors import ToolError
from rootshift.sim.rtl.inference import Difference, Outcome

from .running import files, invoke, refused

KEYS = {
    "artifact", "generated", "bits", "array", "operators", "images", "float", "fake", "integer",
    "files", "commands", "label", "golden_label", "expected_label", "cycles", "mac_utilization",
    "cycles_per_second", "compared", "mismatches", "first", "first_cycle", "saturated",
    "seconds",
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Skips the simulator and Yosys; holds how many values differ, or what is raised."""
    plan: dict[str, object] = {"mismatches": 0, "error": None}

    def design(config: AcceleratorConfig) -> None:
        if plan["error"]:
            raise plan["error"]

    def infer(artifact: Artifact, program, pixels, golden) -> Outcome:
        wrong = Difference("blocks.0.norm1", (0, 0), 4, 3, 70) if plan["mismatches"] else None
        figures = {
            "cycles": 80, "mac_utilization": 0.5, "cycles_per_second": 1000, "compared": 120,
            "mismatches": plan["mismatches"], "first": str(wrong) if wrong else None,
            "first_cycle": wrong.cycle if wrong else None, "saturated": {"gemm": 0},
        }  # fmt: skip
        return Outcome(golden.logits, None, wrong, figures)

    monkeypatch.setattr("rootshift.sim.rtl.inference.design", design)
    monkeypatch.setattr("rootshift.sim.rtl.inference.infer", infer)
    monkeypatch.setattr("rootshift.hw.top.Accelerator", lambda config: None)
    monkeypatch.setattr("rootshift.hw.verilog.convert", lambda component, name: f"// {name}\n")
    evaluation = demo.evaluation_images
    monkeypatch.setattr(
        "rootshift.cli.demo.evaluation_images", lambda *words: evaluation(*words).take(range(64))
    )
    return plan


def test_json_tells_the_whole_flow(quick: dict, tmp_path: Path) -> None:
    outcome = invoke("demo", "--bits", "W4A4L5", "--array", "2x3", "--out", tmp_path, "--json")
    result = outcome.json
    assert (outcome.code, outcome.err) == (0, "")
    assert result.keys() == KEYS
    assert (result["bits"], result["array"], result["images"]) == ("W4A4L5", "2x3", 64)
    assert result["compared"] == 120
    assert result["mismatches"] == 0
    assert result["cycles"] == 80
    assert result["label"] == result["golden_label"]
    assert 85 < result["integer"]["top1"] <= 100
    artifact = Artifact.load(result["artifact"])
    assert result["operators"] == len(artifact.operators)
    assert len(files(Path(result["generated"]))) == result["files"]


def test_text_tells_mismatches_and_the_exit_code_too(quick: dict, tmp_path: Path) -> None:
    quick["mismatches"] = 7
    outcome = invoke("demo", "--array", "2x2", "--out", tmp_path)
    assert outcome.code == 1
    assert "120 values compared, 7 mismatches" in outcome.out
    assert "first mismatch: blocks.0.norm1[0, 0]: must be 3, not 4 (cycle 70)" in outcome.out


def test_a_missing_compiler_is_one_line(quick: dict, tmp_path: Path) -> None:
    quick["error"] = ToolError("a C++ compiler is needed to simulate: 'g++' is not on PATH")
    message = refused("demo", "--array", "2x2", "--out", tmp_path)
    assert message == "a C++ compiler is needed to simulate: 'g++' is not on PATH"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bits", "W4"], "bits must be spelled like W4A4 or W4A4L5, not 'W4'"),
        (["--array", "8"], "array must be written ROWSxCOLS, not '8'"),
        (["--array", "8x999"], "cols must be in 1..256, not 999"),
        (["--out", "file"], "file/artifact: cannot be written: Not a directory"),
        (["--out", "mine"], "mine/artifact must be a new, empty or artifact directory"),
        (["--out", ""], "--out: must name a file or folder, not ''"),
    ],
)
def test_bad_words_are_named(elsewhere: Path, words: list[str], message: str) -> None:
    (elsewhere / "file").write_text("mine")
    (elsewhere / "mine" / "artifact").mkdir(parents=True)
    (elsewhere / "mine" / "artifact" / "thesis.tex").write_text("mine")
    before = files(elsewhere)
    assert message in refused("demo", *words)
    assert files(elsewhere) == before


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler g++ on PATH")
def test_the_real_flow_has_no_mismatch(tmp_path: Path) -> None:
    result = invoke("demo", "--array", "4x4", "--out", tmp_path, "--json").json
    assert result["images"] == 449
    assert result["mismatches"] == 0
    assert result["compared"] > 50_000
    assert result["label"] == result["golden_label"]
    assert result["cycles"] > 10_000
    for level in ("float", "fake", "integer"):
        assert result[level]["top1"] > 96
