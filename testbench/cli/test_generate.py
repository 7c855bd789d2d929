"""`rootshift generate`: Verilog, program, C driver and vectors, written whole or not at all."""

import json
import os
import re
import zlib
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from rootshift import csr, csr_text, isa_text, memory_images, program_text
from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.config import AcceleratorConfig
from rootshift.hw.compiler import compile_program
from rootshift.isa import Destination
from rootshift.preprocessing import load_pixels
from rootshift.program import Program
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.native.toolchain import verilate

from .running import Outcome, files, invoke, refused

FILES = {
    "config.toml",
    "driver/rootshift.c",
    "driver/rootshift.h",
    "driver/rootshift.json",
    "driver/rootshift_pynq.py",
    "include/rootshift_csr.h",
    "include/rootshift_isa.h",
    "include/rootshift_program.h",
    "memory/memory_map.json",
    "memory/memory_map.md",
    "memory/program.hex",
    "memory/program.mem",
    "program/map.json",
    "program/program.asm",
    "program/program.bin",
    "rtl/rootshift.v",
    "vectors/logits.bin",
    "vectors/pixels.bin",
}


@pytest.fixture(scope="module")
def generated(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Everything, for the embedded model on a 2 x 3 array; read only."""
    out = tmp_path_factory.mktemp("generate") / "new" / "out"
    return out, invoke("generate", digits, "--array", "2x3", "--out", out, "--json")


def vectors(out: Path, artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Images and logits of the test vectors."""
    pixels = np.fromfile(out / "vectors" / "pixels.bin", np.uint8)
    logits = np.fromfile(out / "vectors" / "logits.bin", "<i4")
    images = pixels.reshape(-1, *artifact.preprocessing.shape)
    return images, logits.reshape(len(images), -1)


def test_json_counts_what_is_there(generated: tuple[Path, Outcome], digits: Path) -> None:
    out, outcome = generated
    there, program = files(out), Program.load(out / "program")
    assert (outcome.code, outcome.err) == (0, "")
    assert there.keys() == FILES
    assert outcome.json == {
        "out": str(out),
        "array": "2x3",
        "images": 1,
        "commands": len(program.commands),
        "program_bytes": len(there["program/program.bin"]),
        "files": len(FILES),
        "written": len(FILES),
    }
    config = AcceleratorConfig.load(out / "config.toml")
    assert config == AcceleratorConfig.for_artifact(Artifact.load(digits), "2x3")
    assert program.config == config


def test_the_design_is_one_module_that_verilator_takes(generated: tuple[Path, Outcome]) -> None:
    path = generated[0] / "rtl" / "rootshift.v"
    assert re.findall(r"^module (\w+)\(", path.read_text(encoding="utf-8"), re.M) == ["rootshift"]
    verilate(["--lint-only", "-Wall", "--top-module", "rootshift", str(path)])


def test_the_program_and_its_headers_are_of_the_model(
    generated: tuple[Path, Outcome], digits: Path
) -> None:
    out, artifact = generated[0], Artifact.load(digits)
    program = compile_program(artifact, AcceleratorConfig.load(out / "config.toml"))
    there = files(out)
    for name, content in program.files().items():
        assert there[f"program/{name}"] == content, name
    headers = {
        "csr": csr_text.c_header_text(),
        "isa": isa_text.c_header_text(),
        "program": program_text.c_header_text(program, artifact.operators[-1].scale),
    }
    for name, text in headers.items():
        assert there[f"include/rootshift_{name}.h"].decode() == text, name


def test_the_driver_is_the_one_of_the_package(generated: tuple[Path, Outcome]) -> None:
    folder = resources.files("rootshift.hw") / "driver"
    copied = {name for name in FILES if name.startswith("driver/")} - {"driver/rootshift.json"}
    there = files(generated[0])
    for name in copied:
        assert there[name] == (folder / name.removeprefix("driver/")).read_bytes(), name


def test_the_description_for_python_is_of_the_program(
    generated: tuple[Path, Outcome], digits: Path
) -> None:
    """The same numbers as in the C headers."""
    out, artifact = generated[0], Artifact.load(digits)
    told = json.loads((out / "driver" / "rootshift.json").read_text())
    program = Program.load(out / "program")
    assert told["config"] == list(csr.pack_config(program.config))
    assert told["bytes"] == len(program.image)
    assert told["adler32"] == zlib.adler32(program.image)
    assert (told["images"], tuple(told["shape"])) == (1, artifact.preprocessing.shape)
    assert told["output"] == asdict(program.output)
    assert told["input"] == asdict(program.input)
    assert told["logit_step"] == artifact.operators[-1].scale
    constants = csr_text.c_constants()
    for name, register in told["registers"].items():
        assert constants[f"ROOTSHIFT_{name}_OFFSET"] == register["offset"]
        assert constants[f"ROOTSHIFT_{name}_WORDS"] == register["words"]
        for field, place in register["fields"].items():
            word, low = divmod(place["bit"], 32)
            half = "_LOW" if place["width"] > 32 else ""
            prefix = f"ROOTSHIFT_{name}_{field.upper()}"
            assert constants[f"{prefix}{half}_OFFSET"] == register["offset"] + 4 * word
            assert half or constants[f"{prefix}_SHIFT"] == low
            for value, number in place.get("values", {}).items():
                assert constants[f"{prefix}_{value.upper()}"] == number
    registers = {register.name: len(register.fields) for register in csr.REGISTERS}
    assert {name: len(r["fields"]) for name, r in told["registers"].items()} == registers


def test_memory_images_lie_where_they_are_asked_for(
    digits: Path, tmp_path: Path, quick: None
) -> None:
    def made(*words: object) -> dict[str, bytes]:
        assert invoke("generate", digits, "--out", tmp_path, *words).code == 0
        return files(tmp_path)

    before = made()
    assert json.loads(before["memory/memory_map.json"])["address"] == 0
    after = made("--address", "0x10000000")
    assert {name for name in after if after[name] != before[name]} == {
        "memory/memory_map.json",
        "memory/memory_map.md",
        "memory/program.hex",
    }
    assert json.loads(after["memory/memory_map.json"])["address"] == 0x1000_0000
    assert made("--address", "268435456") == after
    program = Program.load(tmp_path / "program")
    for name, content in memory_images.files(program, 0x1000_0000).items():
        assert after[f"memory/{name}"] == content


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("here", "argument --address: must be a number such as 0x10000000, not 'here'"),
        ("", "argument --address: must be a number such as 0x10000000, not ''"),
        ("0x10", "address must be a multiple of 4096, not 0x10"),
        ("-4096", "address must be a multiple of 4096, not -0x1000"),
        ("0x100000000", "address must be at most 0x"),
    ],
)
def test_addresses_that_cannot_be_are_named(
    digits: Path, elsewhere: Path, quick: None, address: str, message: str
) -> None:
    assert message in refused("generate", digits, "--out", "o", f"--address={address}")
    assert not (elsewhere / "o").exists()


def test_nothing_depends_on_place_or_time(generated: tuple[Path, Outcome]) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for name, content in files(generated[0]).items():
        assert root not in content, name
        assert str(generated[0]).encode() not in content, name
        if not name.endswith(".bin"):
            assert not re.search(rb"\b20\d\d-\d\d-\d\d", content), name


def test_a_second_run_writes_nothing(
    generated: tuple[Path, Outcome], digits: Path, tmp_path: Path, quick: None
) -> None:
    words = ("generate", digits, "--array", "2x3", "--out", tmp_path / "out")
    first = invoke(*words, "--json").json
    assert first["written"] == len(FILES)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert invoke(*words, "--json").json["written"] == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert invoke(*words).out == (
        f"Verilog of a 2x3 array and a program of {first['commands']} commands, "
        f"{first['program_bytes']} bytes; {len(FILES)} files in all, 0 new or changed -> "
        f"{tmp_path / 'out'}\n"
    )


def test_another_image_changes_vectors_only(
    digits: Path, image: Path, tmp_path: Path, quick: None
) -> None:
    words = ("generate", digits, "--out", tmp_path)
    invoke(*words)
    before = files(tmp_path)
    assert invoke(*words, "--image", image, "--json").json["written"] == 2
    changed = {name for name, content in files(tmp_path).items() if before.get(name) != content}
    assert changed == {"vectors/pixels.bin", "vectors/logits.bin"}


def test_vectors_are_images_then_noise_and_their_golden_logits(
    digits: Path, images: Path, tmp_path: Path, quick: None
) -> None:
    chosen = [images / "4.png", images / "1.png"]
    given = [word for path in chosen for word in ("--image", path)]
    outcome = invoke("generate", digits, "--images", 4, *given, "--out", tmp_path, "--json")
    artifact = Artifact.load(digits)
    pixels, logits = vectors(tmp_path, artifact)
    assert outcome.json["images"] == len(pixels) == Program.load(tmp_path / "program").images == 4
    for number, path in enumerate(chosen):
        np.testing.assert_array_equal(
            pixels[number], load_pixels(path, artifact.preprocessing), path.name
        )
    assert len(np.unique(pixels.reshape(4, -1), axis=0)) == 4
    np.testing.assert_array_equal(logits, GoldenModel(artifact).run(pixels).logits)


def test_a_batch_reads_its_weights_once(digits: Path, tmp_path: Path, quick: None) -> None:
    def weight_beats(*words: object) -> int:
        outcome = invoke("generate", digits, "--images", 4, *words, "--out", tmp_path)
        assert outcome.code == 0
        program = Program.load(tmp_path / "program")
        fetches = [p.command for p in program.commands if p.command.name == "FETCH"]
        return sum(c["beats"] for c in fetches if c["destination"] == Destination.WEIGHTS)

    alone = weight_beats()
    assert weight_beats("--batch", 2) < 0.8 * alone
    assert weight_beats("--batch", 4) < 0.5 * alone
    assert AcceleratorConfig.load(tmp_path / "config.toml").token_depth == 4 * 17


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "images must be at least 1, not 0"),
        (["--images", "-3"], "images must be at least 1, not -3"),
        (["--images", "9" * 30], "images must be at most "),
        (["--images", "two"], "argument --images: invalid int value: 'two'"),
        (["--batch", "0"], "batch must be at least 1, not 0"),
        (["--images", "3", "--batch", "2"], "images must be a multiple of the batch, 2, not 3"),
        (
            ["--image", "a.png", "--image", "b.png"],
            "--image must be given at most 1 times, as --images says, not 2",
        ),
    ],
)
def test_bad_numbers_of_images_are_named(
    digits: Path, elsewhere: Path, quick: None, words: list[str], message: str
) -> None:
    assert message in refused("generate", digits, "--out", "o", *words)
    assert not (elsewhere / "o").exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "--out must be a directory, not the file file"),
        ("file/below", "file/below/config.toml: cannot be written: Not a directory"),
        ("", "--out: must name a file or folder, not ''"),
    ],
)
def test_out_must_be_a_directory(
    saved: Path, elsewhere: Path, quick: None, place: str, message: str
) -> None:
    (elsewhere / "file").write_text("mine")
    assert message in refused("generate", saved, "--out", place)
    assert files(elsewhere) == {"file": b"mine"}


def test_what_else_is_in_the_directory_stays(saved: Path, tmp_path: Path, quick: None) -> None:
    (tmp_path / "o" / "program").mkdir(parents=True)
    (tmp_path / "o" / "program" / "notes.txt").write_text("mine")
    assert invoke("generate", saved, "--out", tmp_path / "o").code == 0
    assert files(tmp_path / "o").keys() == {*FILES, "program/notes.txt"}


@pytest.mark.parametrize(
    "step",
    [
        "hw.compiler.compile_program",
        "hw.verilog.convert",
        "program_text.c_header_text",
        "program_text.json_text",
        "memory_images.files",
        "sim.golden.model.GoldenModel.run",
        "program.Program.files",
    ],
)
def test_nothing_is_written_before_everything_is_made(
    saved: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*arguments: object, **_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(f"rootshift.{step}", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        invoke("generate", saved, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_an_interrupted_write_leaves_whole_files(
    saved: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("generate", saved, "--out", tmp_path / "whole")
    count = 0

    def interrupted(*places: object) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        rename(*places)

    rename = os.replace
    monkeypatch.setattr("rootshift.output.os.replace", interrupted)
    assert invoke("generate", saved, "--out", tmp_path / "part").code == 130
    whole, part = files(tmp_path / "whole"), files(tmp_path / "part")
    assert len(part) == 5
    assert part.items() <= whole.items()


def test_names_of_operators_reach_no_file_name(saved: Path, tmp_path: Path, quick: None) -> None:
    """An artifact from elsewhere may call them what it likes."""
    artifact = Artifact.load(saved)
    object.__setattr__(artifact.operators[-1], "name", "../../escaped*/")
    object.__setattr__(artifact, "outputs", (Output("../../escaped*/"),))
    artifact.save(tmp_path / "evil")
    before = files(tmp_path)
    assert invoke("generate", tmp_path / "evil", "--out", tmp_path / "x" / "o").code == 0
    after = files(tmp_path)
    assert after.keys() - before.keys() == {f"x/o/{name}" for name in FILES}
    for name in FILES - {"program/map.json", "memory/memory_map.json", "memory/memory_map.md"}:
        assert b"escaped" not in after[f"x/o/{name}"], name


def test_a_model_that_cannot_be_compiled_is_one_line(
    saved: Path, tmp_path: Path, quick: None
) -> None:
    config = tmp_path / "small.toml"
    artifact = Artifact.load(saved)
    text = AcceleratorConfig.for_artifact(artifact, "4x4").to_toml()
    config.write_text(re.sub(r"code_depth = \d+", "code_depth = 4", text))
    message = refused("generate", saved, "--config", config, "--out", tmp_path / "o")
    assert re.search(r"code_depth must be at least \d+", message), message
    assert not (tmp_path / "o").exists()
