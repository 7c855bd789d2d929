"""Programs on disk: any damage is refused, and what loads is a program that fits its memory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.artifact import Artifact
from rootshift.assembly import assemble
from rootshift.config import AcceleratorConfig
from rootshift.errors import ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.isa import (
    CHECK_BIT,
    COMMAND_BYTES,
    COUNT_WIDTH,
    OPCODE_WIDTH,
    OPERANDS_BIT,
    UNIT_WIDTH,
    WAITS,
    Command,
    decode,
)
from rootshift.program import IMAGE, MAP, Program

from ..seeds import explored
from .damage import damaged, nested, replaced
from .tally import attempt


@pytest.fixture(scope="module")
def program(artifact: Artifact) -> Program:
    return compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "4x4"))


@pytest.fixture(scope="module")
def folder(program: Program, work: Path) -> Path:
    program.save(work / "program")
    return work / "program"


@pytest.fixture(scope="module")
def table(program: Program) -> dict[str, Any]:
    return json.loads(program.files()[MAP])


def rendered(table: dict[str, Any]) -> bytes:
    """A map with its digest recomputed, as `Program.save` writes it."""

    def text(body: dict[str, Any]) -> bytes:
        return (json.dumps(body, separators=(",", ":"), sort_keys=True) + "\n").encode()

    body = {key: value for key, value in table.items() if key != "map_sha256"}
    return text(body | {"map_sha256": hashlib.sha256(text(body)).hexdigest()})


def usable(program: Program) -> None:
    """What was loaded does what callers ask of it, within its own memory."""
    shape = (program.images, *program.shapes["pixels"])
    memory = program.memory(np.zeros(shape, np.uint8))
    assert len(memory) == len(program.image)
    assert program.logits(memory).shape == (program.images, program.classes)
    assert {name.isprintable() for name in program.files()} == {True}


def loads_or_refuses(folder: Path) -> None:
    found = attempt("program", lambda: Program.load(folder))
    if found is not None:
        usable(found)


def read_parts(image: bytes) -> tuple[int, list[int], int]:
    """Opcode, waits in any order, and operands: all of a command but its check."""
    word, size = int.from_bytes(image, "little") & (1 << CHECK_BIT) - 1, UNIT_WIDTH + COUNT_WIDTH
    waits = [word >> OPCODE_WIDTH + n * size & (1 << size) - 1 for n in range(WAITS)]
    return word & (1 << OPCODE_WIDTH) - 1, sorted(waits), word >> OPERANDS_BIT


def decodes_or_refuses(image: bytes) -> None:
    command = attempt("command bytes", lambda: decode(image))
    if command is not None:
        assert read_parts(command.encode()) == read_parts(image)


def assembles_or_refuses(content: bytes) -> None:
    found = attempt("assembly", lambda: assemble(content.decode(errors="replace")))
    for command in found or ():
        assert isinstance(command, Command)
        assert len(command.encode()) == COMMAND_BYTES


@explored(150)
@given(data=st.data())
def test_damaged_files(data: st.DataObject, folder: Path, program: Program) -> None:
    """Digests see every damage, whichever of both files has it."""
    for name, content in program.files().items():
        (folder / name).write_bytes(content)
    name = data.draw(st.sampled_from([IMAGE, MAP]))
    content = data.draw(damaged(program.files()[name]))
    (folder / name).write_bytes(content)
    loads_or_refuses(folder)
    if content != program.files()[name]:
        with pytest.raises(ProgramError):
            Program.load(folder)


@explored(400)
@given(data=st.data())
def test_values_of_the_map(
    data: st.DataObject, folder: Path, program: Program, table: dict[str, Any]
) -> None:
    """With digests that are right: who wrote it may be wrong about anything."""
    small = table | {"commands": table["commands"][:3]}
    chosen = data.draw(st.sampled_from([table, small]))
    section = data.draw(st.sampled_from(sorted(table.keys() - {"map_sha256", "commands"})))
    changed = dict(chosen)
    if data.draw(st.booleans()):
        changed |= data.draw(replaced({section: chosen[section]}))
    else:
        changed["commands"] = data.draw(replaced(chosen["commands"][:3])) + chosen["commands"][3:]
    (folder / IMAGE).write_bytes(program.image)
    (folder / MAP).write_bytes(rendered(changed))
    loads_or_refuses(folder)


@explored(200)
@given(data=st.data())
def test_damaged_commands(
    data: st.DataObject, folder: Path, program: Program, table: dict[str, Any]
) -> None:
    image = (
        data.draw(damaged(program.image[: len(program.code)])) + program.image[len(program.code) :]
    )
    (folder / IMAGE).write_bytes(image)
    digest = hashlib.sha256(image).hexdigest()
    (folder / MAP).write_bytes(rendered(table | {"image_sha256": digest}))
    loads_or_refuses(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": [[1 << 40]]}, r"channels must be lists of integers from -1 to 2\^31 - 1"),
        ({"shapes": {"pixels": ["x", 1 << 30]}}, r"shapes must be lists of integers from 1 to"),
        ({"shapes": {"pixels": [-8, -8, 1]}}, r"shapes must be lists of integers from 1 to"),
        ({"segments": {"x": [float("nan"), 0]}}, r"segments must be lists of 2 integers from 0"),
        ({"images": 1 << 40}, r"input must lie within the image"),
        ({"classes": 1 << 40}, r"classes must be from 1 to the output's 10, not"),
        ({"rows": nested(400)}, r"rows must be of type dict"),
    ],
)
def test_a_map_that_would_cost_memory_or_a_traceback(
    folder: Path, program: Program, table: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    (folder / IMAGE).write_bytes(program.image)
    (folder / MAP).write_bytes(rendered(table | changes))
    with pytest.raises(ProgramError, match=message):
        Program.load(folder)


@explored(300)
@given(data=st.data())
def test_any_bytes_as_a_command(data: st.DataObject, program: Program) -> None:
    """What decodes encodes to the same bytes: nothing in them was overlooked."""
    at = COMMAND_BYTES * data.draw(st.integers(0, len(program.commands) - 1))
    valid = program.image[at : at + COMMAND_BYTES]
    whole = st.binary(min_size=COMMAND_BYTES, max_size=COMMAND_BYTES)
    decodes_or_refuses(
        data.draw(st.one_of(st.binary(max_size=40), whole, st.just(valid), damaged(valid, most=1)))
    )


@explored(300)
@given(data=st.data())
def test_any_text_as_assembly(data: st.DataObject, program: Program) -> None:
    text = program.files()["program.asm"].decode().splitlines()
    lines = data.draw(st.lists(st.sampled_from(text), max_size=3))
    content = data.draw(damaged("\n".join(lines).encode()))
    assembles_or_refuses(content)
