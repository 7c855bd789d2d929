"""Programs on disk: the same back, whole or not at all, and a message for every damage."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rootshift import output
from rootshift.assembly import assemble
from rootshift.config import AcceleratorConfig
from rootshift.errors import ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.isa import COMMAND_BYTES, encode
from rootshift.program import Area, Program, _render

from ..random_model import Size, random_artifact, random_pixels


@pytest.fixture(scope="module")
def program() -> Program:
    artifact = random_artifact(np.random.default_rng(0), Size(prefix=2))
    return compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "4x4"), 2)


@pytest.fixture
def saved(program: Program, tmp_path: Path) -> Path:
    program.save(tmp_path / "program")
    return tmp_path / "program"


def refused(path: Path) -> str:
    with pytest.raises(ProgramError) as caught:
        Program.load(path)
    return str(caught.value)


def remap(path: Path, **changes: object) -> None:
    """Change fields of the map and its digest with them."""
    table = json.loads((path / "map.json").read_bytes()) | changes
    table.pop("map_sha256")
    table["map_sha256"] = hashlib.sha256(_render(table)).hexdigest()
    (path / "map.json").write_bytes(_render(table))


def test_a_saved_program_comes_back(program: Program, saved: Path) -> None:
    assert {entry.name for entry in saved.iterdir()} == {"program.bin", "map.json", "program.asm"}
    loaded = Program.load(saved)
    for name in ("config", "image", "images", "classes", "input", "output"):
        assert getattr(loaded, name) == getattr(program, name)
    for name in ("segments", "shapes", "rows"):
        assert dict(getattr(loaded, name)) == dict(getattr(program, name))
    assert len(loaded.commands) == len(program.commands)
    for old, new in zip(program.commands, loaded.commands, strict=True):
        assert new.command.encode() == old.command.encode()
        assert (new.operators, new.image, new.head, new.token) == (
            old.operators,
            old.image,
            old.head,
            old.token,
        )
        np.testing.assert_array_equal(new.channels, old.channels)


def test_the_text_assembles_to_the_image(program: Program, saved: Path) -> None:
    text = (saved / "program.asm").read_text(encoding="utf-8")
    code = encode(assemble(text))
    assert program.image.startswith(code)
    assert len(code) == COMMAND_BYTES * len(program.commands)


def test_a_program_is_written_over_another(program: Program, saved: Path) -> None:
    replace(program, classes=3).save(saved)
    assert Program.load(saved).classes == 3


def test_saving_destroys_nothing_else(program: Program, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("a year of work")
    with pytest.raises(ProgramError, match="must be a new, empty or program directory"):
        program.save(tmp_path)
    with pytest.raises(ProgramError, match="must be a new, empty or program directory"):
        program.save(tmp_path / "thesis.tex")
    with pytest.raises(ProgramError, match="cannot be written: Not a directory"):
        program.save(tmp_path / "thesis.tex" / "program")
    assert (tmp_path / "thesis.tex").read_text() == "a year of work"


def test_an_interrupted_save_leaves_the_old_program(
    program: Program, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(ProgramError, match="cannot be written: No space left on device"):
        replace(program, classes=3).save(saved)
    assert Program.load(saved).classes == program.classes
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


class TestDamage:
    @pytest.mark.parametrize("name", ["program.bin", "map.json"])
    def test_missing(self, saved: Path, name: str) -> None:
        (saved / name).unlink()
        assert refused(saved) == f"{saved / name}: cannot be read: No such file or directory"

    @pytest.mark.parametrize("name", ["program.bin", "map.json"])
    def test_truncated(self, saved: Path, name: str) -> None:
        content = (saved / name).read_bytes()
        (saved / name).write_bytes(content[: len(content) // 2])
        assert refused(saved).startswith(f"{saved / name}: altered or truncated: ")

    @pytest.mark.parametrize("name", ["program.bin", "map.json"])
    def test_altered(self, saved: Path, name: str) -> None:
        content = bytearray((saved / name).read_bytes())
        at = content.index(b'"token":0') + 8 if name == "map.json" else len(content) // 2
        content[at] ^= 1
        (saved / name).write_bytes(content)
        message = f"{saved / name}: altered or truncated: digest does not match"
        assert refused(saved) == message

    def test_another_file(self, saved: Path) -> None:
        (saved / "map.json").write_text("[]\n")
        assert refused(saved) == f"{saved / 'map.json'}: not the map of a program"

    def test_another_schema(self, saved: Path) -> None:
        remap(saved, schema=1)
        assert refused(saved) == f"{saved / 'map.json'}: schema must be 2, not 1"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": "2"}, "images must be of type int, not '2'"),
            ({"extra": 1}, "field 'extra' is unknown"),
            ({"config": {"rows": 0}}, "rows must be in 1..256, not 0"),
            ({"config": {"raws": 4}}, "unexpected keyword argument 'raws'"),
            ({"input": {"offset": 0, "stride": 0}}, "input: field 'bytes' is missing"),
            ({"output": {"offset": 1 << 40, "stride": 0, "bytes": 0}}, "output must lie within"),
            ({"commands": []}, "commands must be as many as the image holds, up to END"),
            ({"commands": [{"operators": []}]}, "command 0: field 'channels' is missing"),
            ({"segments": {"x": [0, 1 << 30]}}, "segment x must lie within the image of"),
            (
                {"segments": {"x": [0]}},
                "segments must be lists of 2 integers from 0 to 2^31 - 1, not [0]",
            ),
            ({"shapes": {"x": 3}}, "shapes must be lists of integers from 1 to 2^31 - 1, not 3"),
            ({"shapes": {}}, "input must have the 0 bytes of the pixels' shape"),
        ],
    )
    def test_a_map_that_is_wrong(
        self, saved: Path, changes: dict[str, object], message: str
    ) -> None:
        remap(saved, **changes)
        assert message in refused(saved)

    def test_commands_that_are_wrong(self, saved: Path) -> None:
        content = bytearray((saved / "program.bin").read_bytes())
        content[COMMAND_BYTES] = 0xFF
        (saved / "program.bin").write_bytes(content)
        remap(saved, image_sha256=hashlib.sha256(content).hexdigest())
        assert refused(saved).startswith(f"{saved}: command 1: opcode must be 1..11, not 15")


class TestMemory:
    def test_images_and_logits_have_their_places(self, program: Program) -> None:
        artifact = random_artifact(np.random.default_rng(0), Size(prefix=2))
        pixels = random_pixels(np.random.default_rng(1), artifact, 2)
        memory = program.memory(pixels)
        assert len(memory) == len(program.image)
        area = program.input
        assert memory[area.offset + area.stride :][: area.bytes] == pixels[1].tobytes()
        logits = np.arange(-5, 5, dtype=np.int32)
        start = program.output.offset + program.output.stride
        memory[start : start + program.output.bytes] = logits.astype("<i4").tobytes()
        assert program.logits(memory).tolist() == [[0] * 10, logits.tolist()]

    def test_other_images_are_refused(self, program: Program) -> None:
        with pytest.raises(TypeError, match="pixels must be uint8, not int64"):
            program.memory(np.zeros((2, 8, 8, 1), np.int64))
        with pytest.raises(ValueError, match=r"shape \[2, 8, 8, 1\], not \[1, 8, 8, 1\]"):
            program.memory(np.zeros((1, 8, 8, 1), np.uint8))

    def test_areas_lie_in_the_image(self, program: Program) -> None:
        size = len(program.image)
        with pytest.raises(ProgramError, match="output must lie within the image of"):
            replace(program, output=Area(size - 4, 64, 40))

    def test_the_image_begins_with_the_commands(self, program: Program) -> None:
        with pytest.raises(ProgramError, match="image must begin with the commands"):
            replace(program, image=bytes(len(program.image)))
        wrong = bytearray(program.image)
        wrong[COMMAND_BYTES - 1] ^= 1
        with pytest.raises(ProgramError, match="commands and their checks"):
            replace(program, image=bytes(wrong))
