"""The program as a C header: what it says is what the program has."""

import re

import numpy as np
import pytest

from rootshift import csr_text, isa_text
from rootshift.config import AcceleratorConfig
from rootshift.csr import unpack_config
from rootshift.hw.compiler import compile_program
from rootshift.program import Program
from rootshift.program_text import c_constants, c_header_text

from ..random_model import Size, random_artifact

STEP = 0.1
IMAGES = 3


@pytest.fixture(scope="module")
def program() -> Program:
    artifact = random_artifact(np.random.default_rng(0), Size(image=(8, 12, 3), classes=7))
    return compile_program(artifact, AcceleratorConfig.for_artifact(artifact, "4x6"), IMAGES)


def number(program: Program, name: str) -> int:
    text = c_constants(program, STEP)[f"ROOTSHIFT_{name}"]
    assert re.fullmatch(r"\d+u", text), name
    return int(text[:-1])


def test_it_tells_sizes(program: Program) -> None:
    expected = {
        "IMAGE_HEIGHT": 8, "IMAGE_WIDTH": 12, "IMAGE_CHANNELS": 3, "CLASSES": 7, "IMAGES": IMAGES,
        "INPUT_BYTES": 8 * 12 * 3, "OUTPUT_BYTES": 4 * 7, "PROGRAM_BYTES": len(program.image),
    }  # fmt: skip
    assert {name: number(program, name) for name in expected} == expected


def test_images_and_logits_lie_where_the_program_has_them(program: Program) -> None:
    shape = (IMAGES, *program.shapes["pixels"])
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    memory = program.memory(pixels)
    for n, image in enumerate(pixels):
        start = number(program, "INPUT_OFFSET") + n * number(program, "INPUT_STRIDE")
        assert memory[start : start + number(program, "INPUT_BYTES")] == image.tobytes()
        start = number(program, "OUTPUT_OFFSET") + n * number(program, "OUTPUT_STRIDE")
        memory[start : start + 4] = (-n - 1).to_bytes(4, "little", signed=True)
    assert program.logits(memory)[:, 0].tolist() == [-1, -2, -3]


def test_the_configuration_comes_back_from_its_words(program: Program) -> None:
    words = re.findall(r"0x([0-9a-f]+)u", c_constants(program, STEP)["ROOTSHIFT_PROGRAM_CONFIG"])
    assert unpack_config([int(word, 16) for word in words]) == program.config


def test_the_checksum_is_that_of_the_image(program: Program) -> None:
    low, high = 1, 0
    for byte in program.image:  # RFC 1950, section 9
        low = (low + byte) % 65521
        high = (high + low) % 65521
    text = c_constants(program, STEP)["ROOTSHIFT_PROGRAM_ADLER32"]
    assert int(text.removesuffix("u"), 16) == high << 16 | low


@pytest.mark.parametrize("step", [0.1, 1.0, 2.0**-40, 1e300])
def test_the_step_of_a_logit_is_exact(program: Program, step: float) -> None:
    text = c_constants(program, step)["ROOTSHIFT_LOGIT_STEP"]
    assert float.fromhex(text) == step
    assert "p" in text, "a hexadecimal float of C has an exponent"


def test_the_header_is_guarded_and_has_the_constants(program: Program) -> None:
    text, constants = c_header_text(program, STEP), c_constants(program, STEP)
    assert dict(re.findall(r"^#define (\w+) (.+)$", text, re.M)) == constants
    assert text.count("#ifndef ROOTSHIFT_PROGRAM_H") == text.count("#endif") == 1


def test_no_name_is_taken(program: Program) -> None:
    """The driver includes registers and program, a user all three."""
    names = [c_constants(program, STEP), csr_text.c_constants(), isa_text.c_constants()]
    assert len(set().union(*names)) == sum(map(len, names))
