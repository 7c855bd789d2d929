"""`rootshift explore`: a space in, its results out; and one of its points as a design."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rootshift.artifact import Artifact
from rootshift.cli import explore
from rootshift.cli.main import build_parser
from rootshift.config import AcceleratorConfig
from rootshift.program import Program
from rootshift.quant.digits import digits_images
from rootshift.sim.explore.results import Exploration
from rootshift.sim.rtl.inference import Difference
from rootshift.sim.rtl.inference import Outcome as RtlOutcome

from ..accelerator.designs import WIDE
from .running import Outcome, files, invoke, refused
from .test_generate import FILES

HARDWARE = {
    name: value
    for name, value in asdict(WIDE).items()
    # Not of the hardware table: of the quantization, and what is no matter of speed.
    if name not in ("log_width", "base", "program_crc", "buffer_parity")
}
"""A design that other tests have built as well."""
FIELDS = "\n".join(
    f"{name} = {json.dumps(value)}" for name, value in HARDWARE.items() if name != "token_depth"
)
SPACE = f"""
[model]
name = "digits"
[images]
first = 32
few = 8
[hardware]
{FIELDS}
token_depth = [{WIDE.token_depth}, 8]
batch = 2
[memory]
read_latency = [1, 40, 5000]
[constraints]
cycles = {{ at_most = 600_000 }}
[objectives]
maximize = ["top1"]
minimize = ["cycles"]
"""
KEYS = {
    "out", "points", "complete", "infeasible", "pruned", "failed", "objectives", "front",
    "left_out", "computed", "kept", "seconds", "files",
}  # fmt: skip
PICK_KEYS = {
    "out", "number", "status", "knobs", "array", "commands", "files", "written", "recorded_cycles",
    "cycles", "cycles_apart", "compared", "mismatches", "first", "first_cycle",
}  # fmt: skip
QUICK, SLOW_MEMORY, INFEASIBLE, FAILED = range(4)
"""Numbers of points."""


class Run:
    """A finished exploration; read only."""

    def __init__(self, folder: Path) -> None:
        self.space, self.out, self.cache = folder / "space.toml", folder / "out", folder / "cache"
        self.space.write_text(SPACE)
        self.outcome = self.again("--json")

    def again(self, *words: object) -> Outcome:
        """The same command once more."""
        place = ("--out", self.out, "--cache", self.cache, "--workers", 1)
        return invoke("explore", self.space, *place, *words)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("explore"))


@pytest.fixture
def copied(explored: Run, tmp_path: Path) -> tuple[object, ...]:
    """Words of a command that picks from a copy, which may be added to."""
    (tmp_path / "out").mkdir()
    for name, content in files(explored.out).items():
        if "/" not in name:
            (tmp_path / "out" / name).write_bytes(content)
    return "explore", "--out", tmp_path / "out", "--cache", explored.cache, "--pick"


def test_json_tells_what_came_of_the_points(explored: Run) -> None:
    result = explored.outcome.json
    assert (explored.outcome.code, explored.outcome.err) == (0, "")
    assert result.keys() == KEYS
    counts = {name: result[name] for name in ("complete", "infeasible", "pruned", "failed")}
    assert (result["points"], counts) == (
        6,
        {"complete": 2, "infeasible": 1, "pruned": 0, "failed": 3},
    )
    assert result["objectives"] == {"top1": "maximize", "cycles": "minimize"}
    (best,) = result["front"]
    assert (best["number"], best["knobs"]["read_latency"]) == (QUICK, 1)
    assert best["objectives"].keys() == {"top1", "cycles"}
    assert best["objectives"]["top1"] > 80
    assert result["left_out"]["failed"] == {
        "number": FAILED,
        "reason": "token_depth must be at least 34 for 2 images of the artifact, not 8",
    }
    assert result["left_out"]["infeasible"]["number"] == INFEASIBLE
    assert "cycles must be at most 600000" in result["left_out"]["infeasible"]["reason"]
    assert result["computed"] == {"quantizations": 1, "runs": 3, "images": 32}
    assert result["seconds"] > 0


def test_its_files_are_there_and_no_others(explored: Run) -> None:
    assert explored.outcome.json["files"] == list(explore.FILES)
    assert {path.name for path in explored.out.iterdir() if path.is_file()} == set(explore.FILES)
    found = Exploration.load(explored.out)
    assert [record.number for record in found.records] == list(range(6))


def test_a_second_run_computes_nothing(explored: Run) -> None:
    result, before = explored.again("--json").json, explored.outcome.json
    assert result["computed"] == dict.fromkeys(result["computed"], 0)
    assert result["kept"]["runs"] == 3
    changing = ("computed", "kept", "seconds")
    assert {k: v for k, v in result.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }


def test_text_shows_the_front_and_what_to_do_next(explored: Run) -> None:
    lines = explored.again().out.splitlines()
    cycles = str(explored.outcome.json["front"][0]["objectives"]["cycles"])
    assert lines[0].startswith("6 points: 2 complete, 1 infeasible, 3 failed; ")
    assert any(line.split()[:1] == [str(QUICK)] and line.split()[-1] == cycles for line in lines)
    assert any("failed, such as point 3: token_depth must be at least 34" in line for line in lines)
    next_one = lines[-1].split("rootshift ")[1].split()
    assert build_parser("explore").parse_args(next_one).pick == QUICK


def shown(front: list[dict[str, Any]]) -> list[list[str]]:
    """Words of the table's rows, below its title."""
    result = {name: 0 for name in KEYS} | {"out": "o", "front": front, "left_out": {}}
    result |= {"computed": {}, "objectives": {"top1": "maximize", "lut": "minimize"}}
    lines = explore.render(result).splitlines()
    return [line.split() for line in lines if line.startswith("  ")]


def test_the_table_names_what_differs_the_best_first() -> None:
    def point(number: int) -> dict[str, Any]:
        knobs = {"bits": "W4A4", "array": f"{number + 2}x4", "target": "ab"[number % 2]}
        return {"number": number, "knobs": knobs, "objectives": {"top1": number, "lut": 2.5}}

    rows = shown([point(number) for number in range(4)])
    assert rows[0] == ["point", "array", "target", "top1", "lut"]
    assert [row[0] for row in rows[1:]] == ["2", "0", "3", "1"]
    assert rows[1] == ["2", "4x4", "a", "2", "2.5"]
    many = shown([point(2 * number) for number in range(100)])
    assert len(many) == 1 + 15
    assert [many[1][0], many[-1][0]] == ["198", "0"]


def test_the_bar_tells_what_goes_on_and_how_many_points_are_done() -> None:
    steps: list[tuple[int, int, str]] = []
    progress = explore.phases(lambda *step: steps.append(step))
    for step in ((1, 2, "runs"), (16, 40, "points"), (3, 9, "groups of images")):
        progress(*step)
    assert steps == [(1, 2, "runs"), (3, 9, "groups of images, 16 of 40 points")]


def test_a_dry_run_counts_and_writes_nothing(explored: Run, elsewhere: Path) -> None:
    outcome = invoke("explore", explored.space, "--dry-run", "--json")
    result = outcome.json
    assert (outcome.code, result["points"], result["quantizations"]) == (0, 6, 1)
    assert result["knobs"]["read_latency"] == [1, 40, 5000]
    assert result["constraints"] == {"fits": False, "cycles": {"at_most": 600000}}
    text = invoke("explore", explored.space, "--dry-run").out
    assert "6 points, 1 quantizations" in text
    assert ["read_latency", "1,", "40,", "5000"] in [line.split() for line in text.splitlines()]
    assert files(elsewhere) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[memory]", "[memmory]", "section must be memory, not memmory"),
        ("rows = 4", "rows = 0", "[hardware] rows must be in 1..256, not 0"),
        ('minimize = ["cycles"]', 'minimize = ["area"]', "[objectives] minimize must be one of"),
    ],
)
def test_a_bad_space_is_named_by_its_line(
    elsewhere: Path, old: str, new: str, message: str
) -> None:
    text = SPACE.replace(old, new)
    line = text.splitlines().index(new) + 1
    (elsewhere / "s.toml").write_text(text)
    for words in (("--out", "o", "--cache", "c"), ("--dry-run",)):
        assert refused("explore", "s.toml", *words).startswith(f"s.toml:{line}: {message}")
    assert files(elsewhere).keys() == {"s.toml"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "o"), "SPACE.toml must be given, or --pick"),
        (("s.toml",), "--out must be given"),
        (("--pick", "1"), "--out must be given"),
        (("s.toml", "--out", "o", "--pick", "1"), "SPACE.toml must be left out with --pick"),
        (("--out", "o", "--pick", "1", "--workers", "2"), "--workers must be left out with --pick"),
        (("--out", "o", "--pick", "1", "--dry-run"), "--dry-run must be left out with --pick"),
        (("s.toml", "--out", "o", "--no-rtl"), "--no-rtl must be left out without --pick"),
        (("s.toml", "--out", "o", "--image", "i"), "--image must be left out without --pick"),
        (("no.toml", "--out", "o"), "no.toml: cannot be read: No such file or directory"),
        (("s.toml", "--out", "o", "--workers", "0"), "workers must be an integer of 1 or more"),
        (("s.toml", "--out", "o", "--address", "a"), "address must be left out with the engine"),
        (("--out", "o", "--pick", "1"), "o/exploration.json: cannot be read: No such file"),
        (("s.toml", "--out", "s.toml"), "s.toml/space.toml: cannot be written: Not a directory"),
    ],
)
def test_bad_options_are_named(elsewhere: Path, words: tuple[str, ...], message: str) -> None:
    (elsewhere / "s.toml").write_text(SPACE)
    cache = ("--cache", elsewhere.parent / "cache")
    assert refused("explore", *words, *cache).startswith(message)
    assert files(elsewhere) == {"s.toml": SPACE.encode()}


def test_a_picked_point_is_all_there(copied: tuple, tmp_path: Path, quick: None) -> None:
    """From an empty cache: its artifact is made again, the same one."""
    words = [tmp_path / "cache" if Path(word).name == "cache" else word for word in copied]
    outcome = invoke(*words, SLOW_MEMORY, "--no-rtl", "--json")
    result, out = outcome.json, tmp_path / "out" / "picked" / str(SLOW_MEMORY)
    assert (outcome.code, outcome.err) == (0, "")
    assert result.keys() == PICK_KEYS
    there = files(out)
    artifact = {"artifact/manifest.json", "artifact/tensors.safetensors"}
    assert there.keys() == FILES | artifact | {"point.json"}
    assert result["out"] == str(out)
    assert result["files"] == result["written"] == len(FILES) + 1
    record = Exploration.load(tmp_path / "out").records[SLOW_MEMORY]
    assert result["recorded_cycles"] == record.metrics["cycles"]
    assert result["cycles"] is None
    described = json.loads(there["point.json"])
    assert described["point"] == result["knobs"] == dict(record.point.values)
    assert described["metrics"] == record.metrics
    assert {"seed", "version", "code"} <= described.keys()
    model = Artifact.load(out / "artifact")
    assert model.digest == record.artifact
    program = Program.load(out / "program")
    assert program.config == AcceleratorConfig.load(out / "config.toml") == WIDE
    pixels = np.frombuffer(there["vectors/pixels.bin"], np.uint8)
    images = digits_images("test", model.preprocessing)
    np.testing.assert_array_equal(pixels, next(images.batches(2)).ravel())


def test_a_point_runs_on_its_rtl_as_it_was_recorded(
    copied: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The point of the slow memory: on another one it would take other cycles."""
    # Their Verilog without probes is another design, and takes its time.
    monkeypatch.setattr("rootshift.cli.pick.output_files", lambda *_: {})
    outcome = invoke(*copied, SLOW_MEMORY, "--json")
    result = outcome.json
    assert (outcome.code, outcome.err) == (0, "")
    assert result["cycles"] == result["recorded_cycles"]
    assert (result["cycles_apart"], result["mismatches"], result["first"]) == (0, 0, None)
    assert result["compared"] == 2 * 67452


@pytest.fixture
def fake_rtl(monkeypatch: pytest.MonkeyPatch, quick: None) -> dict[str, Any]:
    """Replaces the run on RTL; holds its figures, what it was given, and a mismatch."""
    plan: dict[str, Any] = {"cycles": 0, "mismatches": 0, "given": None}

    def infer(artifact: Artifact, program: Program, *given: Any) -> RtlOutcome:
        wrong = Difference("head", (0, 1), 4, 3, 70) if plan["mismatches"] else None
        figures = {
            "cycles": plan["cycles"], "compared": 120, "mismatches": plan["mismatches"],
            "first": str(wrong) if wrong else None, "first_cycle": wrong and wrong.cycle,
        }  # fmt: skip
        plan["given"] = given
        return RtlOutcome(np.zeros((1, 10), np.int32), None, wrong, figures)

    monkeypatch.setattr("rootshift.sim.rtl.inference.design", lambda config: None)
    monkeypatch.setattr("rootshift.sim.rtl.inference.infer", infer)
    return plan


@pytest.mark.parametrize(("apart", "wrong", "code"), [(0, 0, 0), (2, 0, 1), (-2, 0, 1), (0, 7, 1)])
def test_a_difference_makes_the_exit_code(
    copied: tuple, explored: Run, fake_rtl: dict[str, Any], apart: int, wrong: int, code: int
) -> None:
    recorded = explored.outcome.json["front"][0]["objectives"]["cycles"]
    fake_rtl |= {"cycles": recorded + apart, "mismatches": wrong}
    outcome = invoke(*copied, QUICK)
    assert outcome.code == code
    assert f"{recorded + apart} cycles on the RTL, {recorded} recorded" in outcome.out
    assert f"120 values compared with golden, {wrong} mismatches" in outcome.out
    assert ("head[0, 1]: must be 3, not 4 (cycle 70)" in outcome.out) == bool(wrong)
    assert fake_rtl["given"][-1].read_latency == 1
    apart_json = invoke(*copied, QUICK, "--json").json
    assert (apart_json["cycles_apart"], apart_json["written"]) == (abs(apart), 0)


def test_an_infeasible_point_runs_on_a_given_image_and_one_of_the_space(
    copied: tuple, fake_rtl: dict[str, Any], image: Path
) -> None:
    result = invoke(*copied, INFEASIBLE, "--image", image, "--json").json
    assert result["status"] == "infeasible"
    assert result["recorded_cycles"] > 600_000
    assert fake_rtl["given"][-1].read_latency == 5000
    artifact = Artifact.load(Path(result["out"]) / "artifact")
    pixels, last = fake_rtl["given"][0], digits_images("test", artifact.preprocessing).pixels(1)
    np.testing.assert_array_equal(pixels[0, :, :, 0], np.asarray(Image.open(image)))
    np.testing.assert_array_equal(pixels[1], last)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((FAILED,), "--pick must be a point that can be made, not 3: token_depth must be at least"),
        ((6,), "--pick must be a point from 0 to 5, not 6"),
        ((-1,), "--pick must be a point from 0 to 5, not -1"),
        (
            (QUICK, *3 * ("--image", "a")),
            "--image must be given at most 2 times, as the point's batch says, not 3",
        ),
        ((QUICK, "--image", "a"), "image a: "),
    ],
)
def test_what_cannot_be_picked_is_refused(
    copied: tuple, tmp_path: Path, words: tuple, message: str
) -> None:
    assert refused(*copied, *words).startswith(message)
    assert not (tmp_path / "out" / "picked").exists()


def test_another_artifact_than_was_recorded_is_refused(copied: tuple, tmp_path: Path) -> None:
    path = tmp_path / "out" / "exploration.json"
    body = json.loads(path.read_text())
    body["records"][QUICK]["artifact"] = "0" * 64
    path.write_text(json.dumps(body))
    assert f"the artifact must be {'0' * 64}, as recorded, not " in refused(*copied, QUICK)
    assert not (tmp_path / "out" / "picked").exists()
