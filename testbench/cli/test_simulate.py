"""`rootshift simulate`: one image on golden or RTL, its tensors and its waves."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootshift.artifact import SCHEMA, Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.preprocessing import load_pixels
from rootshift.program import Program
from rootshift.sim.golden.model import GoldenModel

from ..contract.tampering import alter, read, write
from .running import files, invoke, refused

KEYS = {"engine", "label", "logits", "seconds", "saturated", "tensors"}


def test_json_is_what_golden_computes(saved: Path, image: Path, random_model: Artifact) -> None:
    result = invoke("simulate", saved, "--image", image, "--engine", "golden", "--json").json
    inference = GoldenModel(random_model).run(load_pixels(image, random_model.preprocessing)[None])
    logits = inference.logits[0] * random_model.operators[-1].scale
    assert result.keys() == KEYS
    assert result["engine"] == "golden"
    assert result["label"] == int(logits.argmax())
    np.testing.assert_allclose(result["logits"], logits, atol=1e-6)
    assert result["saturated"] == dict(inference.saturated)
    assert result["tensors"] == 0
    assert result["seconds"] > 0


CYCLES_KEYS = KEYS | {
    "array", "cycles", "mac_utilization", "cycles_per_second", "frames_per_second",
    "energy_microjoules", "trace", "report",
}  # fmt: skip
RTL_KEYS = CYCLES_KEYS | {"compared", "mismatches", "first", "first_cycle", "waves"}
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="no C++ compiler g++ on PATH"
)


@needs_compiler
def test_rtl_equals_golden_in_every_value(saved: Path, image: Path, random_model: Artifact) -> None:
    words = "simulate", saved, "--image", image, "--engine", "rtl", "--array", "2x2"
    result = invoke(*words, "--json").json
    golden = invoke("simulate", saved, "--image", image, "--json").json
    assert result.keys() == RTL_KEYS
    assert (result["engine"], result["array"]) == ("rtl", "2x2")
    assert (result["label"], result["logits"]) == (golden["label"], golden["logits"])
    assert (result["mismatches"], result["first"], result["first_cycle"]) == (0, None, None)
    assert result["waves"] is None
    shapes = random_model.shapes()
    values = sum(int(np.prod(shape)) for name, shape in shapes.items() if name != "pixels")
    assert result["compared"] == values + len(golden["logits"])
    assert sum(result["saturated"].values()) == sum(golden["saturated"].values())
    assert 0 < result["mac_utilization"] < 2
    text = invoke(*words).out
    assert f"{result['compared']} values compared with golden, 0 mismatches" in text


@needs_compiler
def test_the_memory_of_the_rtl_can_be_described(saved: Path, image: Path) -> None:
    words = "simulate", saved, "--image", image, "--engine", "rtl", "--array", "2x2", "--json"
    ideal = invoke(*words).json["cycles"]
    for option, value in (
        ("--read-latency", 50), ("--write-latency", 400), ("--extra-latency", 90),
        ("--bandwidth", 0.2), ("--hold", 0.5),
    ):  # fmt: skip
        result = invoke(*words, option, value).json
        assert result["mismatches"] == 0
        assert result["cycles"] > ideal + 20, option
    drawn = [invoke(*words, "--hold", 0.5, "--seed", seed).json["cycles"] for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


SLOW_MEMORY = ("--read-latency", 9, "--extra-latency", 20, "--hold", 0.2, "--bandwidth", 0.5)


@needs_compiler
@pytest.mark.parametrize("memory", [(), (*SLOW_MEMORY, "--seed", 3)])
def test_both_engines_count_the_same(saved: Path, image: Path, memory: tuple) -> None:
    words = "simulate", saved, "--image", image, "--array", "2x2", "--json", *memory
    rtl, cycles = (invoke(*words, "--engine", name).json for name in ("rtl", "cycles"))
    assert cycles.keys() == CYCLES_KEYS
    for key in CYCLES_KEYS - {"engine", "seconds", "cycles_per_second", "saturated"}:
        assert cycles[key] == rtl[key], key
    assert cycles["frames_per_second"] == pytest.approx(1e8 / cycles["cycles"], rel=1e-3)


@needs_compiler
def test_a_run_is_recorded(saved: Path, image: Path, tmp_path: Path) -> None:
    words = "simulate", saved, "--image", image, "--array", "2x2", "--clock", 50
    records: dict[str, tuple[str, str]] = {}
    for engine in ("rtl", "cycles"):
        trace, report = tmp_path / engine / "run.json", tmp_path / engine / "run.html"
        outcome = invoke(*words, "--engine", engine, "--trace", trace, "--report", report, "--json")
        assert (outcome.json["trace"], outcome.json["report"]) == (str(trace), str(report))
        page = report.read_text()
        assert f"simulate {saved.name} --image {image.name} --engine {engine}" in page
        # Which engine it was is all that may differ.
        named = re.compile(rf'(engine"?[ :]"?|<dd>){engine}\b')
        records[engine] = named.sub(r"\1", trace.read_text()), named.sub(r"\1", page)
    assert records["rtl"] == records["cycles"]
    events = json.loads((tmp_path / "rtl" / "run.json").read_text())["traceEvents"]
    assert max(event.get("ts", 0) for event in events) <= outcome.json["cycles"]
    text = invoke(*words, "--engine", "cycles", "--trace", tmp_path / "again.json").out
    assert f"trace: {tmp_path / 'again.json'}" in text


@needs_compiler
def test_energies_can_be_given(saved: Path, image: Path, tmp_path: Path) -> None:
    table = tmp_path / "energies.toml"
    words = "simulate", saved, "--image", image, "--array", "2x2", "--engine", "cycles"
    before = invoke(*words, "--json").json["energy_microjoules"]
    table.write_text("static_mw = 5.0\n")
    result = invoke(*words, "--energy-table", table, "--clock", 200, "--json").json
    more = 5e-3 * result["cycles"] / 200e6 * 1e6
    assert result["energy_microjoules"] == pytest.approx(before + more, rel=1e-3)
    table.write_text("stattic_mw = 5.0\n")
    assert "stattic_mw" in refused(*words, "--energy-table", table)


@pytest.fixture
def wrong_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs whose fc1 has other weights than the artifact, so that RTL computes others, too."""

    def altered(artifact: Artifact, config: AcceleratorConfig) -> Program:
        program = compile_program(artifact, config)
        offset, size = program.segments["block0.fc1.weight"]
        image = bytearray(program.image)
        for place in range(offset, offset + size):
            image[place] ^= 0x11
        return replace(program, image=bytes(image))

    monkeypatch.setattr("rootshift.hw.compiler.compile_program", altered)


@needs_compiler
def test_a_mismatch_is_named_with_its_cycle(saved: Path, image: Path, wrong_weights: None) -> None:
    words = "simulate", saved, "--image", image, "--engine", "rtl", "--array", "2x2"
    outcome = invoke(*words, "--json")
    result = outcome.json
    assert outcome.code == 1
    assert result["mismatches"] > 0
    assert 0 < result["first_cycle"] < result["cycles"]
    place = r"block0\.fc1\[0, \d+, \d+\]: must be -?\d+, not -?\d+"
    assert re.fullmatch(rf"{place} \(cycle {result['first_cycle']}\)", result["first"])
    text = invoke(*words)
    assert text.code == 1
    assert f"first mismatch: {result['first']}" in text.out


@needs_compiler
@pytest.mark.slow
def test_waves_of_a_run_or_around_a_mismatch(
    saved: Path, image: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "new" / "run.vcd"
    words = "simulate", saved, "--image", image, "--engine", "rtl", "--array", "2x2"
    words = *words, "--waves", file, "--read-latency", 7

    def times() -> tuple[int, int]:
        found = [int(line[1:]) for line in file.read_text().splitlines() if line[:1] == "#"]
        return found[0], found[-1]

    result = invoke(*words, "--json").json
    last = result["cycles"]
    assert result["waves"] == {"file": str(file), "begin": 1, "end": last + 1}
    assert times() == (10, 10 * last + 5)
    text = invoke(*words, "--wave-cycles", "100:130").out
    assert f"waves of cycles 100 to 129: {file}" in text
    assert times() == (1000, 1295)
    request.getfixturevalue("wrong_weights")
    outcome = invoke(*words, "--json")
    first = outcome.json["first_cycle"]
    assert outcome.code == 1
    assert outcome.json["waves"] == {"file": str(file), "begin": first - 200, "end": first + 50}
    assert times() == (10 * first - 2000, 10 * first + 495)
    assert [path.name for path in file.parent.iterdir()] == ["run.vcd"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--waves", "a.vcd"], "--waves needs --engine rtl, not golden"),
        (["--wave-cycles", "1:2"], "--wave-cycles needs --engine rtl, not golden"),
        (["--hold", "0.5"], "--hold needs --engine cycles or rtl, not golden"),
        (["--trace", "a.json"], "--trace needs --engine cycles or rtl, not golden"),
        (["--engine", "cycles", "--waves", "a.vcd"], "--waves needs --engine rtl, not cycles"),
        (["--engine", "cycles", "--clock", "0"], "--clock must be a positive number, not 0"),
        (["--engine", "cycles", "--energy-table", "no.toml"], "no.toml: cannot be read"),
        (["--engine", "rtl", "--wave-cycles", "1:2"], "--wave-cycles needs --waves"),
        (["--engine", "rtl", "--waves", "a.gtkw"], "a.gtkw: name of waves must end in .fst or"),
        (["--engine", "rtl", "--waves", ""], "--waves: must name a file or folder, not ''"),
        (["--wave-cycles", "7"], "--wave-cycles: must be two cycles A:B, not '7'"),
        (["--wave-cycles=-1:2"], "--wave-cycles: must be two cycles A:B, not '-1:2'"),
        (["--wave-cycles", "7:7"], "--wave-cycles: must end after it begins, not '7:7'"),
        (["--read-latency", "1.5"], "--read-latency: invalid int value: '1.5'"),
        (["--engine", "rtl", "--read-latency", "0"], "--read-latency must be 1 to 1048576, not 0"),
        (["--engine", "rtl", "--bandwidth", "nan"], "--bandwidth must be finite, not nan"),
        (["--engine", "rtl", "--hold", "1"], "--hold must be 0 to 0.99, not 1.0"),
    ],
)
def test_options_that_cannot_be_are_refused(
    saved: Path, image: Path, elsewhere: Path, words: list[str], said: str
) -> None:
    assert said in refused("simulate", saved, "--image", image, *words)
    assert files(elsewhere) == {}


def test_text_ranks_the_classes(saved: Path, image: Path) -> None:
    result = invoke("simulate", saved, "--image", image, "--json").json
    outcome = invoke("simulate", saved, "--image", image)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"label {result['label']} ")
    ranked = [int(line.split()[1]) for line in outcome.out.splitlines() if "class" in line]
    assert ranked == np.argsort(-np.array(result["logits"]), kind="stable")[:5].tolist()


def test_every_tensor_is_written_by_name(
    saved: Path, image: Path, tmp_path: Path, random_model: Artifact
) -> None:
    out = tmp_path / "new" / "tensors.npz"
    result = invoke("simulate", saved, "--image", image, "--tensors", out, "--json").json
    shapes = random_model.shapes()
    with np.load(out) as tensors:
        assert {name: tensors[name].shape for name in tensors} == shapes
        assert {tensors[name].dtype.kind for name in tensors} <= {"i", "u"}
        np.testing.assert_array_equal(
            tensors["pixels"], load_pixels(image, random_model.preprocessing)
        )
        scale = random_model.operators[-1].scale
        logits = tensors[random_model.operators[-1].name][0] * scale
    np.testing.assert_allclose(result["logits"], logits, atol=1e-6)
    assert result["tensors"] == len(shapes)
    assert {path.name for path in out.parent.iterdir()} == {"tensors.npz"}


def test_images_of_any_size_and_colour_are_fitted(saved: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (31, 17), (200, 10, 30, 255)).save(tmp_path / "wide.png")
    assert invoke("simulate", saved, "--image", tmp_path / "wide.png").code == 0


def test_tensors_stay_as_they_were_after_an_exception(
    saved: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "t.npz").write_bytes(b"before")

    def broken(file: object, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr("rootshift.cli.simulate.np.savez", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        invoke("simulate", saved, "--image", image, "--tensors", out / "t.npz")
    assert files(out) == {"t.npz": b"before"}


@pytest.mark.parametrize("place", ["", "file/tensors.npz", "."])
def test_tensors_go_to_a_file_that_can_be_written(
    saved: Path, image: Path, elsewhere: Path, place: str
) -> None:
    (elsewhere / "file").write_text("mine")
    message = refused("simulate", saved, "--image", image, "--tensors", place)
    assert ("cannot be written" if place else "must name a file") in message
    assert files(elsewhere) == {"file": b"mine"}


def image_directory(folder: Path) -> Path:
    return folder


def image_missing(folder: Path) -> Path:
    return folder / "no.png"


def image_of_text(folder: Path) -> Path:
    path = folder / "text.png"
    path.write_text("this is no image")
    return path


def image_truncated(folder: Path) -> Path:
    path = folder / "half.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def image_empty(folder: Path) -> Path:
    path = folder / "empty.png"
    path.touch()
    return path


def image_of_16_bits(folder: Path) -> Path:
    path = folder / "deep.png"
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (image_directory, "cannot be decoded"),
        (image_missing, "no such file"),
        (image_of_text, "cannot be decoded"),
        (image_truncated, "cannot be decoded"),
        (image_empty, "cannot be decoded"),
        (image_of_16_bits, "must have 8 bits per channel"),
    ],
)
def test_a_bad_image_is_named(saved: Path, tmp_path: Path, make, reason: str) -> None:
    path = make(tmp_path)
    message = refused("simulate", saved, "--image", path, "--json")
    assert message.startswith(f"image {path}: {reason}")


def no_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def no_tensors(directory: Path) -> None:
    (directory / "tensors.safetensors").unlink()


def newer_schema(directory: Path) -> None:
    manifest, _ = read(directory)
    write(directory, manifest | {"schema": SCHEMA + 1})


def corrupt_tensors(directory: Path) -> None:
    path = directory / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncated_manifest(directory: Path) -> None:
    path = directory / "manifest.json"
    path.write_bytes(path.read_bytes()[:-40])


def other_numbers(directory: Path) -> None:
    alter(directory, lambda manifest, tensors: tensors["head.bias"].fill(2**31 - 1))


def other_width(directory: Path) -> None:
    alter(directory, lambda manifest, tensors: manifest["bits"].update(weights=12))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (no_manifest, "manifest.json: cannot be read: No such file"),
        (no_tensors, "tensors.safetensors: cannot be read: No such file"),
        (newer_schema, f"manifest.json: schema must be {SCHEMA}, not {SCHEMA + 1}"),
        (corrupt_tensors, "tensors.safetensors: altered or truncated"),
        (truncated_manifest, "manifest.json: altered or truncated"),
        (other_numbers, "head: worst-case accumulator must fit 32 bits"),
        (other_width, "bits.weights must be from 3 to 8, not 12"),
    ],
)
def test_a_bad_artifact_is_named(saved: Path, image: Path, damage, reason: str) -> None:
    damage(saved)
    message = refused("simulate", saved, "--image", image)
    assert str(saved) in message
    assert reason in message


def test_an_engine_that_is_not_there_is_refused(saved: Path, image: Path) -> None:
    message = refused("simulate", saved, "--image", image, "--engine", "warp")
    assert "--engine: invalid choice: 'warp'" in message
