"""A whole board in simulation, its serial pins behind a pseudo-terminal: the program that a user
runs against a real port gives golden's logits, in the cycles of the cycle model."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.errors import LinkError
from rootshift.host_link import START, Kind, LinkFault, frame
from rootshift.hw.block_memory import BlockMemory
from rootshift.hw.boards.standalone import Standalone, identity_of
from rootshift.hw.compiler import compile_program
from rootshift.hw.driver.serial_board import SerialBoard
from rootshift.program import Program
from rootshift.sim.cycles.model import model_cycles
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.native.memory import MemoryTiming
from rootshift.sim.rtl.build import design_key
from rootshift.sim.rtl.serial_board import SimulatedBoard

from ..cli.running import invoke, refused
from ..random_model import Size, random_artifact
from ..seeds import generator
from .models import digits, digits_pixels

CLOCK, BAUD = 50_000_000, 3_000_000
SILENCE = 2000
"""Cycles of the timeout, 40 us."""
PATIENCE = 120.0
"""Seconds for an answer: a simulation on a machine that has other work."""
MEMORY = MemoryTiming(
    read_latency=BlockMemory.READ_LATENCY, write_latency=BlockMemory.WRITE_LATENCY
)


def compiled(artifact: Artifact, array: str) -> tuple[Program, int]:
    """The program, and what the register CYCLES must say of it."""
    program = compile_program(artifact, AcceleratorConfig.for_artifact(artifact, array), 1)
    # The register counts up to the interrupt; its line, which the model waits for, follows.
    return program, model_cycles(program, memory=MEMORY).cycles - 1


def simulated(artifact: Artifact, program: Program, cycles: int) -> SimulatedBoard:
    identity = identity_of(artifact, program, CLOCK)
    parameters = {"clock": CLOCK, "baud": BAUD, "timeout": SILENCE}
    design = Standalone(program=program, identity=identity, **parameters)
    key = design_key("standalone", program.image.hex(), identity, parameters)
    return SimulatedBoard(design, patience=2 * cycles, made_from=key)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return random_artifact(generator(5), Size(image=(8, 12, 1), width=10))


@pytest.fixture(scope="module")
def small(artifact: Artifact) -> Iterator[tuple[str, int]]:
    """Port of a board with a small model, and its cycles."""
    program, cycles = compiled(artifact, "2x2")
    with simulated(artifact, program, cycles) as board:
        yield board.port, cycles


def test_logits_and_cycles_are_golden(artifact: Artifact, small: tuple[str, int]) -> None:
    port, cycles = small
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 12, 1), np.uint8)
    golden = GoldenModel(artifact).run(pixels).logits.reshape(3, -1)
    with SerialBoard(port, BAUD, PATIENCE) as board:
        for image, logits in zip(pixels, golden, strict=True):
            found = board.classify(image)
            np.testing.assert_array_equal(found.logits, logits)
            assert (found.label, found.cycles) == (int(logits.argmax()), cycles)
        status = board.status()
    assert status["STATUS"] == {"busy": 0, "done": 1, "error": 0}
    assert status["CYCLES"] == {"count": cycles}
    assert len(np.unique(golden, axis=0)) == 3


def test_the_command_line_classifies(
    artifact: Artifact, small: tuple[str, int], tmp_path: Path
) -> None:
    from PIL import Image

    port, cycles = small
    pixels = np.random.default_rng(2).integers(0, 256, (8, 12), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    words = ("classify", "--port", port, "--image", tmp_path / "image.png", "--timeout", PATIENCE)
    outcome = invoke(*words, "--json")
    assert outcome.code == 0, outcome
    logits = GoldenModel(artifact).run(pixels[None, :, :, None]).logits.reshape(-1)
    assert outcome.json["logits"] == logits.tolist()
    assert outcome.json["label"] == int(logits.argmax())
    assert (outcome.json["cycles"], outcome.json["clock_mhz"]) == (cycles, 50)
    assert invoke(*words).out == (
        f"label {int(logits.argmax())} by random on a 2x2 array: {cycles} cycles, "
        f"{cycles / 50e3:.3f} ms at 50 MHz\n"
    )


def test_garbage_on_the_line_is_answered_and_left_behind(small: tuple[str, int]) -> None:
    port, cycles = small
    with SerialBoard(port, BAUD, PATIENCE) as board:
        for content, fault in (
            (b"\x00\xff\x13", LinkFault.NO_START),
            (frame(Kind.STATUS)[:-1] + b"\0", LinkFault.BAD_CRC),
            (frame(Kind.CLASSIFY, bytes(96))[:50], LinkFault.SILENCE),
        ):
            file = os.open(port, os.O_RDWR | os.O_NOCTTY)
            os.write(file, content)
            answer = b""
            while len(answer) < len(frame(Kind.ERROR, bytes(4))):
                answer += os.read(file, 64)
            os.close(file)
            assert answer == frame(Kind.ERROR, fault.to_bytes(4, "little"))
            assert answer[0] == START
            assert board.identity.model == "random"
            del board.identity
        assert board.status()["CYCLES"]["count"] in (0, cycles)


def test_a_wrong_image_is_refused_before_it_is_sent(small: tuple[str, int]) -> None:
    with SerialBoard(small[0], BAUD, PATIENCE) as board:
        with pytest.raises(ValueError, match=r"pixels must have shape \[8, 12, 1\], not \[8, 8\]"):
            board.classify(np.zeros((8, 8), np.uint8))
        with pytest.raises(TypeError, match="pixels must be uint8, not int64"):
            board.classify(np.zeros((8, 12, 1), np.int64))


@pytest.fixture
def silent_port() -> Iterator[tuple[str, int]]:
    """A port behind which the test itself answers."""
    master, slave = os.openpty()
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


def test_ports_without_a_board(silent_port: tuple[str, int], tmp_path: Path) -> None:
    port, _ = silent_port
    words = ("--image", tmp_path / "none.png", "--timeout", "0.1")
    assert refused("classify", "--port", tmp_path / "tty", *words) == (
        f"port {tmp_path / 'tty'}: cannot be opened: No such file or directory"
    )
    (tmp_path / "file").touch()
    assert "is no serial port" in refused("classify", "--port", tmp_path / "file", *words)
    assert refused("classify", "--port", port, *words) == f"port {port}: no answer within 0.1 s"
    assert "baud rate must be one of 9600, " in refused(
        "classify", "--port", port, "--baud", "3000001", *words
    )
    message = "--timeout must be a positive number, not -1"
    assert refused("classify", "--port", port, *words[:2], "--timeout=-1") == message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"login: ", "what answers is no such board"),
        (frame(0x81, b"{}  ")[:-1] + b"\0", "wrong CRC"),
        (frame(0x82, b""), "answer must be to IDENTIFY, not 0x82"),
        (frame(0x81, b"{}  "), "board must speak version 1 of the link"),
        (frame(0x81, b'{"protocol":1}  '), "identity of the board cannot be read"),
        (frame(Kind.ERROR, b"\5\0\0\0"), "the board has not understood the request: its CRC"),
        (frame(Kind.ERROR, b"\7\0\0\0\5\0\0\0\x40\0\0\0\0\0\0\0"), "stopped: bad_opcode at 0x40"),
        (frame(Kind.ERROR, b"\x63\0\0\0"), "an error that is not known"),
    ],
)
def test_wrong_answers_are_told(silent_port: tuple[str, int], answer: bytes, message: str) -> None:
    port, master = silent_port
    with SerialBoard(port, BAUD, 5) as board:
        os.write(master, answer)
        time.sleep(0.01)
        with pytest.raises(LinkError, match=message):
            _ = board.identity


@pytest.mark.slow
@pytest.mark.parametrize("array", ["4x4", "8x8"])
def test_digits(array: str) -> None:
    """Also says what a user may expect of the line: docs/fpga.md quotes it."""
    artifact = digits("W4A4")
    program, cycles = compiled(artifact, array)
    pixels = digits_pixels(artifact, 3)
    golden = GoldenModel(artifact).run(pixels).logits.reshape(3, -1)
    with (
        simulated(artifact, program, cycles) as simulation,
        SerialBoard(simulation.port, BAUD, PATIENCE) as board,
    ):
        for image, logits in zip(pixels, golden, strict=True):
            found = board.classify(image)
            np.testing.assert_array_equal(found.logits, logits)
            assert (found.label, found.cycles) == (int(logits.argmax()), cycles)
    spans = [end - begin for begin, end in simulation.exchanges[-3:]]
    line = (len(frame(Kind.CLASSIFY, bytes(64))) + len(frame(0, bytes(52)))) * 10 * CLOCK / BAUD
    for span in spans:
        assert cycles + line < span < cycles + line + 1000
    print(json.dumps({"array": array, "cycles": cycles, "images_per_second": CLOCK / max(spans)}))
