"""The instruction set: encoded and written forms, and the same in C, in the page and in Python."""

import re
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.assembly import assemble, disassemble
from rootshift.errors import ProgramError
from rootshift.isa import (
    BY_NAME,
    BY_OPCODE,
    COMMAND_BYTES,
    INSTRUCTIONS,
    NO_UNIT,
    OPCODE_WIDTH,
    OPERANDS_BIT,
    UNIT_WIDTH,
    Command,
    Destination,
    Mode,
    Operand,
    Unit,
    decode,
    encode,
)
from rootshift.isa_text import c_constants, c_header_text, markdown

from ..seeds import explored

PAGE = Path(__file__).resolve().parents[2] / "docs" / "isa.md"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LINES = """
#include <stdio.h>
#include "rootshift_isa.h"
#include "rootshift_isa.h"
int main(void)
{
    uint8_t command[ROOTSHIFT_ISA_COMMAND_BYTES];
    unsigned bit, width;
    unsigned long long value;
    while (scanf("%u %u %llu", &bit, &width, &value) == 3) {
        for (unsigned i = 0; i < sizeof command; i++) {
            unsigned byte;
            if (scanf("%x", &byte) != 1)
                return 1;
            command[i] = (uint8_t)byte;
        }
        printf("%llu", (unsigned long long)rootshift_isa_get(command, bit, width));
        rootshift_isa_set(command, bit, width, value);
        for (unsigned i = 0; i < sizeof command; i++)
            printf(" %02x", command[i]);
        printf(" %u\\n", (unsigned)rootshift_isa_check(command, ROOTSHIFT_ISA_CHECK_START));
    }
    return 0;
}
"""


def values(operand: Operand) -> st.SearchStrategy[int]:
    """Legal values, the ends among them more often than by chance."""
    low, high = operand.range
    return st.sampled_from([low, high]) | st.integers(low, high)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """Any legal command, some operands left out."""
    instruction = draw(st.sampled_from(INSTRUCTIONS))
    operands = {o.name: draw(values(o)) for o in instruction.operands if draw(st.booleans())}
    waits = st.dictionaries(st.sampled_from(Unit), st.integers(0, 65535), max_size=2)
    return Command(instruction.name, operands, draw(waits))


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda i: i.name)
def test_operands_fit_and_do_not_overlap(instruction) -> None:
    used = set(range(OPERANDS_BIT))
    for name, (bit, operand) in instruction.places.items():
        bits = set(range(bit, bit + operand.width))
        assert bits
        assert not used & bits, name
        assert max(bits) < 8 * COMMAND_BYTES, name
        used |= bits
        low, high = operand.range
        assert low < high
        least = -(1 << operand.width - 1) if operand.signed else 0
        assert least <= low
        assert high < least + (1 << operand.width)
        assert operand.values is None or [*operand.values] == [*range(low, high + 1)]
        assert NAME.fullmatch(name)
        assert name != "after"
        assert operand.meaning.endswith(".")


def test_opcodes_and_names_are_unique() -> None:
    assert len(BY_NAME) == len(BY_OPCODE) == len(INSTRUCTIONS)
    assert all(0 < opcode < (1 << OPCODE_WIDTH) - 1 for opcode in BY_OPCODE), "erased memory"
    assert {i.unit for i in INSTRUCTIONS} == {None, *Unit}
    assert max(Unit) < NO_UNIT < 1 << UNIT_WIDTH
    for instruction in INSTRUCTIONS:
        assert len(instruction.places) == len(instruction.operands)


@given(command=commands())
@explored(500)
def test_a_command_reads_back_from_its_bytes_and_from_its_text(command: Command) -> None:
    image = command.encode()
    assert len(image) == COMMAND_BYTES
    assert decode(image) == command
    assert assemble(str(command)) == [command]
    for name, (bit, operand) in command.instruction.places.items():
        word = int.from_bytes(image, "little") >> bit
        assert word & (1 << operand.width) - 1 == command[name] % (1 << operand.width)


@given(program=st.lists(commands(), max_size=5))
@explored(50)
def test_a_program_reads_back(program: list[Command]) -> None:
    assert assemble(disassemble(encode(program))) == program


@given(image=st.binary(min_size=COMMAND_BYTES, max_size=COMMAND_BYTES), keep=st.integers(0, 255))
@explored(500)
def test_any_bytes_are_a_command_or_refused(image: bytes, keep: int) -> None:
    """What is decoded means the same when encoded again, the order of waits apart."""
    word = int.from_bytes(image, "little") & (1 << keep) - 1
    try:
        command = decode(word.to_bytes(COMMAND_BYTES, "little"))
    except ProgramError:
        return
    assert decode(command.encode()) == command


@given(program=st.lists(commands(), max_size=5))
@explored(50)
def test_each_command_has_the_crc_of_all_up_to_it(program: list[Command]) -> None:
    """As the page says, bit by bit."""
    image, check = encode(program), 0xFFFF
    for number, command in enumerate(program):
        for byte in command.encode()[:30]:
            for bit in reversed(range(8)):
                check = (check << 1 & 0xFFFF) ^ (check >> 15 ^ byte >> bit & 1) * 0x1021
        ends = image[32 * number + 30 : 32 * number + 32]
        assert ends == bytes([check >> 8, check & 0xFF])
        assert image[32 * number :][:30] == command.encode()[:30]


def test_layout_is_kept() -> None:
    """Bits of one command written out by hand from the page."""
    command = Command("GEMM", {"base": 3, "tokens": 197}, {Unit.LAYERNORM: 2, Unit.FETCH: 9})
    word = 4 | 5 << 4 | 2 << 7 | 0 << 23 | 9 << 26 | 3 << 48 | 197 << 108
    word |= 1 << 121 | 1 << 134 | 1 << 148 | 1 << 150
    assert int.from_bytes(command.encode(), "little") == word
    assert Command("END").encode() == (11 | 7 << 4 | 7 << 23).to_bytes(32, "little")


def test_operands_left_out_have_their_smallest_value() -> None:
    command = Command("STORE", {"mode": Mode.LOGITS})
    assert [command[name] for name in ("mode", "tokens", "base", "log2_scale")] == [4, 1, 0, 0]
    assert command == Command("STORE", {"tokens": 1, "mode": 4})


def test_numbers_of_numpy_are_numbers() -> None:
    """Shifted far left they would lose bits without a word."""
    high = np.uint8(255)
    command = Command("ATTENTION", {"high": high, "zero": np.int16(-1)}, {Unit.GEMM: np.int64(7)})
    assert decode(command.encode()) == Command(
        "ATTENTION", {"high": 255, "zero": -1}, {Unit.GEMM: 7}
    )


def test_assembly_of_a_program() -> None:
    text = """
    # The table, then one product.
    FETCH destination=GELU_TABLE beats=0x20   # 256 bytes
    TABLE
    STORE log2_scale=-5 mode=SCORES after=GEMM:1 after=STORE:0x10
    """
    first, second, third = assemble(text)
    assert first == Command("FETCH", {"destination": Destination.GELU_TABLE, "beats": 32})
    assert second == Command("TABLE")
    assert third.after == {Unit.GEMM: 1, Unit.STORE: 16}
    assert str(first) == "FETCH offset=0 beats=32 destination=GELU_TABLE"
    assert str(third).endswith("bytes=0 after=GEMM:1 after=STORE:16")
    assert assemble("STORE mode=3") == assemble("STORE mode=SCORES")


def bits(*parts: tuple[int, int], opcode: int = BY_NAME["END"].opcode) -> bytes:
    """A command from (bit, value) pairs, its waits empty."""
    word = opcode | 7 << 4 | 7 << 23
    for bit, value in parts:
        word ^= value << bit
    return word.to_bytes(COMMAND_BYTES, "little")


NAMES = ", ".join(BY_NAME)
UNITS = ", ".join(unit.name for unit in Unit)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (f"instruction must be one of {NAMES}, not JUMP", lambda: Command("JUMP")),
        (
            "FETCH: operand must be one of offset, beats, destination, not base",
            lambda: Command("FETCH", {"base": 1}),
        ),
        ("END: operand must be one of none, not base", lambda: Command("END", {"base": 1})),
        ("GEMM: tokens must be in 1..8191, not 0", lambda: Command("GEMM", {"tokens": 0})),
        ("GEMM: tokens must be in 1..8191, not 8192", lambda: Command("GEMM", {"tokens": 8192})),
        ("STORE: mode must be in 0..4, not 5", lambda: Command("STORE", {"mode": 5})),
        ("POOL: shift must be in 0..47, not 48", lambda: Command("POOL", {"shift": 48})),
        (
            "ATTENTION: zero must be in -32768..32767, not -32769",
            lambda: Command("ATTENTION", {"zero": -32769}),
        ),
        (
            "END: waits must be at most 2, not 3",
            lambda: Command("END", {}, {Unit.GEMM: 1, Unit.STORE: 1, Unit.FETCH: 1}),
        ),
        (
            "END: wait for GEMM must be in 0..65535, not 65536",
            lambda: Command("END", {}, {Unit.GEMM: 65536}),
        ),
        (
            "END: wait for GEMM must be in 0..65535, not -1",
            lambda: Command("END", {}, {Unit.GEMM: -1}),
        ),
        ("END: unit must be in 0..6, not 7", lambda: Command("END", {}, {7: 1})),
        ("command must have 32 bytes, not 31", lambda: decode(bytes(31))),
        ("opcode must be 1..11, not 0", lambda: decode(bytes(COMMAND_BYTES))),
        ("GEMM: tokens must be in 1..8191, not 0", lambda: decode(bits(opcode=4))),
        ("STORE: mode must be in 0..4, not 7", lambda: decode(bits((48, 7), opcode=5))),
        ("TABLE: bits that nothing reads must be 0", lambda: decode(bits((48, 1), opcode=7))),
        ("END: bits that nothing reads must be 0", lambda: decode(bits((42, 1)))),
        ("END: bits that nothing reads must be 0", lambda: decode(bits((239, 1)))),
        ("END: two waits for STORE", lambda: decode(bits((4, 3), (23, 3)))),
        ("END: count of no unit must be 0, not 5", lambda: decode(bits((26, 5)))),
        ("command 1: opcode must be 1..11, not 15", lambda: disassemble(bits() + bits(opcode=15))),
        ("command 1: command must have 32 bytes, not 1", lambda: disassemble(bits() + b"\0")),
        (
            f"line 3: instruction must be one of {NAMES}, not gemm",
            lambda: assemble("END\n\ngemm"),
        ),
        (
            "line 1: GEMM: operand must be written NAME=VALUE, not tokens",
            lambda: assemble("GEMM tokens 5"),
        ),
        (
            "line 1: GEMM: tokens must be an integer, not 'x'",
            lambda: assemble("GEMM tokens=x"),
        ),
        (
            "line 1: STORE: mode must be an integer, not 'codes'",
            lambda: assemble("STORE mode=codes"),
        ),
        ("line 1: GEMM: tokens is given twice", lambda: assemble("GEMM tokens=1 tokens=1")),
        (
            "line 1: GEMM: wait for STORE must be an integer, not ''",
            lambda: assemble("GEMM after=STORE"),
        ),
        ("line 1: GEMM: two waits for STORE", lambda: assemble("GEMM after=STORE:1 after=STORE:2")),
        (f"line 1: unit must be one of {UNITS}, not ARRAY", lambda: assemble("GEMM after=ARRAY:1")),
        (
            "line 2: GEMM: operand must be one of base, stride, .*, not keys",
            lambda: assemble("END\nGEMM keys=1"),
        ),
        ("line 1: POOL: shift must be in 0..47, not 99", lambda: assemble("POOL shift=99")),
    ],
)
def test_messages(message, call) -> None:
    with pytest.raises(ProgramError, match=f"^{message}$"):
        call()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (
            "GEMM: tokens must be an integer, not '3'",
            lambda: Command("GEMM", {"tokens": "3"}),
        ),
        ("POOL: rows must be an integer, not 2.0", lambda: Command("POOL", {"rows": 2.0})),
        (
            "END: wait for GEMM must be an integer, not None",
            lambda: Command("END", {}, {Unit.GEMM: None}),
        ),
    ],
)
def test_messages_of_wrong_kinds(message, call) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()


def test_an_operand_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Command("END")["base"]


def test_page_is_up_to_date() -> None:
    command = "python -c 'from rootshift.isa_text import markdown; print(markdown(), end=\"\")'"
    assert PAGE.read_text(encoding="utf-8") == markdown(), f"{command} > docs/isa.md"


def test_assembly_of_the_page_is_legal() -> None:
    (line,) = re.findall(r"^    (GEMM .*)$", markdown(), re.M)
    assert assemble(line)[0].after == {Unit.LAYERNORM: 1}


def test_c_has_the_table() -> None:
    constants = c_constants()
    assert list(constants) == re.findall(r"^#define (ROOTSHIFT_ISA_\w+) ", c_header_text(), re.M)
    assert constants["ROOTSHIFT_ISA_COMMAND_BYTES"] == COMMAND_BYTES
    assert constants["ROOTSHIFT_ISA_UNIT_NONE"] == NO_UNIT
    for unit in Unit:
        assert constants[f"ROOTSHIFT_ISA_UNIT_{unit.name}"] == unit
    for instruction in INSTRUCTIONS:
        name = f"ROOTSHIFT_ISA_{instruction.name}"
        assert constants[f"{name}_OPCODE"] == instruction.opcode
        for key, (bit, operand) in instruction.places.items():
            assert constants[f"{name}_{key.upper()}_BIT"] == bit
            assert constants[f"{name}_{key.upper()}_WIDTH"] == operand.width
            for value in operand.values or ():
                assert constants[f"{name}_{key.upper()}_{value.name}"] == value


def test_c_reads_and_patches_commands(tmp_path: Path) -> None:
    """Every operand of every instruction, in a full command, by the compiled header."""
    (tmp_path / "rootshift_isa.h").write_text(c_header_text())
    (tmp_path / "main.c").write_text(LINES)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-std=c99"]
    subprocess.run(["gcc", *flags, "-o", "main", "main.c"], cwd=tmp_path, check=True)
    asked, expected = [], []
    for instruction in INSTRUCTIONS:
        full = {operand.name: operand.range[1] for operand in instruction.operands}
        for name, (bit, operand) in instruction.places.items():
            before = Command(instruction.name, full)
            least = operand.range[0]
            after = Command(instruction.name, full | {name: least})
            patch = least % (1 << 64)
            asked.append(f"{bit} {operand.width} {patch} {before.encode().hex(' ')}")
            check = int.from_bytes(encode([after])[-2:], "big")
            expected.append(f"{before[name] % (1 << 64)} {after.encode().hex(' ')} {check}")
    done = subprocess.run(
        [tmp_path / "main"], input="\n".join(asked), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == expected
