"""The instruction set as a C header and as the page `docs/isa.md`."""

from collections.abc import Iterator

from .isa import (
    ADDRESS_WIDTH,
    CHECK_BIT,
    CHECK_START,
    CHECK_WIDTH,
    COMMAND_BYTES,
    COUNT_WIDTH,
    INSTRUCTIONS,
    NO_UNIT,
    OPCODE_WIDTH,
    OPERANDS_BIT,
    UNIT_WIDTH,
    WAITS,
    Instruction,
    Operand,
    Unit,
)

_RULES = """\
A program is a run of commands of {bytes} bytes, little endian: bit 0 is the lowest bit of the first
byte. It begins at ENTRY, a multiple of 4096 below 2^{address}, and runs to its END. [The
accelerator](accelerator.md) says what the units do with their commands.

| bits | field | |
|---|---|---|
{fields}
| {last}:{operands} | operands | Of the instruction, below; side by side from bit {operands} on. |
| {check} | check | CRC of the program up to here; looked at where `program_crc` says so. |

- Bits that nothing reads are 0.
- The check is the CRC-16 with the polynomial 0x1021, from 0xFFFF on, of bytes 0 to 29 of all
  commands up to this one, the highest bit of each byte first; its high byte is byte 30. A design
  with `program_crc` stops at the first command whose check is wrong, with BAD_CRC. So a bit that
  has flipped, a piece that is missing and one that is left of another program are found before
  anything of them is carried out.
- Signed operands are two's complement.
- Offsets are bytes from ENTRY and multiples of a bus beat. Word addresses and strides count words
  of the code buffer or of the residual buffer.
- Ranges below are those of the encoding. A design has less: tokens, keys, queries and rows up to
  `token_depth`, channels of a LAYERNORM up to `embedding_depth`, codes up to
  2^`activation_width` - 1, digits as many as 8 bits need, a first word inside its buffer, and in
  the last tile of an ATTENTION up to `rows` channels.
- An opcode that is not in the table stops the run with BAD_OPCODE; an operand out of range, or a
  count beside unit {none}, with BAD_OPERAND. Nothing after that command is carried out.

## Units and waits

| unit | number | instructions |
|---|---|---|
{units}

Commands of one unit are carried out in program order, one at a time; units run side by side. A
command with `unit` and `count` in a wait starts when that unit has finished `count` commands since
the start of the run; it has {waits} waits. Unit {none} stands for no wait, with count 0. Counts are
modulo 2^{count}: a wait is over when (finished - count) modulo 2^{count} is less than 2^{half}, so
count and what is finished must stay less than 2^{half} apart. END waits for all units, whatever
its waits say.

## Assembly

One command a line, `#` begins a comment:

    GEMM base=64 tokens=197 groups=12 tiles=12 after=LAYERNORM:1   # queries

Operands are written by name, in any order, as Python writes integers, or by the name of the value
where they have names. Those left out are 0, or 1 where 0 is not legal. In Python
`encode(assemble(text))`, of `rootshift.isa` and `rootshift.assembly`, gives the bytes with checks.
"""

_FUNCTIONS = """\
/* The operand at `bit` of a command; a signed one is not extended. */
static inline uint64_t rootshift_isa_get(const uint8_t *command, unsigned bit, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)(command[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
    return value;
}

/* Sets the operand at `bit` of a command; higher bits of `value` do not count. */
static inline void rootshift_isa_set(uint8_t *command, unsigned bit, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        uint8_t mask = (uint8_t)(1u << (bit + i) % 8);
        uint8_t rest = (uint8_t)(command[(bit + i) / 8] & ~mask);
        command[(bit + i) / 8] = (uint8_t)(value >> i & 1 ? rest | mask : rest);
    }
}

/* The check of a command behind one that has the check `before`, or behind CHECK_START. */
static inline uint16_t rootshift_isa_check(const uint8_t *command, uint16_t before)
{
    uint16_t check = before;
    for (unsigned i = 0; i < ROOTSHIFT_ISA_CHECK_BIT / 8; i++) {
        check = (uint16_t)(check ^ (unsigned)command[i] << 8);
        for (unsigned bit = 0; bit < 8; bit++)
            check = (uint16_t)((unsigned)check << 1 ^ (check & 0x8000u ? 0x1021u : 0));
    }
    return check;
}
"""


def c_constants() -> dict[str, int]:
    """Name -> value of every constant of the C header, in its order."""
    return {name: value for group in _groups() for name, value, _ in group[1]}


def c_header_text() -> str:
    """The C header: lowest bit and width of every operand, opcodes, units and enumerations."""
    lines = [
        "/* Commands of a Rootshift accelerator. Generated. */",
        "#ifndef ROOTSHIFT_ISA_H",
        "#define ROOTSHIFT_ISA_H",
        "",
        "#include <stdint.h>",
    ]
    for comment, constants in _groups():
        lines += ["", f"/* {comment} */"]
        lines += [
            f"#define {name} {value}u" + (f" /* {meaning} */" if meaning else "")
            for name, value, meaning in constants
        ]
    return "\n".join([*lines, "", _FUNCTIONS, "#endif", ""])


def markdown() -> str:
    """The text of `docs/isa.md`."""
    units = [
        f"| {unit.name} | {unit.value} | "
        + ", ".join(f"[{i.name}](#{i.name.lower()})" for i in INSTRUCTIONS if i.unit is unit)
        + " |"
        for unit in Unit
    ]
    rules = _RULES.format(
        bytes=COMMAND_BYTES,
        address=ADDRESS_WIDTH,
        fields="\n".join(
            f"| {_bits(bit, width)} | {name.replace('_', ' ')} | {meaning} |"
            for name, bit, width, meaning in _head()
        ),
        operands=OPERANDS_BIT,
        last=CHECK_BIT - 1,
        check=_bits(CHECK_BIT, CHECK_WIDTH),
        none=NO_UNIT,
        units="\n".join(units),
        waits=WAITS,
        count=COUNT_WIDTH,
        half=COUNT_WIDTH - 1,
    )
    parts = [
        "# The instruction set",
        "",
        "Generated from the table in `rootshift/isa.py`; a test holds this page to it.",
        "",
        rules,
        "## Instructions",
        "",
        "| opcode | instruction | unit | |",
        "|---|---|---|---|",
    ]
    for instruction in INSTRUCTIONS:
        link = f"[{instruction.name}](#{instruction.name.lower()})"
        unit = instruction.unit.name if instruction.unit is not None else ""
        parts.append(f"| {instruction.opcode} | {link} | {unit} | {instruction.meaning} |")
    for instruction in INSTRUCTIONS:
        parts += ["", *_section(instruction)]
    return "\n".join([*parts, ""])


def _section(instruction: Instruction) -> Iterator[str]:
    yield f"### {instruction.name}"
    yield ""
    where = f" Unit {instruction.unit.name}." if instruction.unit is not None else ""
    yield f"Opcode {instruction.opcode}.{where} {instruction.meaning}"
    yield ""
    if not instruction.operands:
        yield "No operands."
        return
    yield "| bits | operand | range | |"
    yield "|---|---|---|---|"
    for name, (bit, operand) in instruction.places.items():
        low, high = operand.range
        meaning = operand.meaning + _values(operand)
        yield f"| {_bits(bit, operand.width)} | {name} | {low} to {high} | {meaning} |"


def _values(operand: Operand) -> str:
    if operand.values is None:
        return ""
    return " " + ", ".join(f"{value.value}: {value.name}" for value in operand.values) + "."


def _bits(bit: int, width: int) -> str:
    return str(bit) if width == 1 else f"{bit + width - 1}:{bit}"


def _head() -> Iterator[tuple[str, int, int, str]]:
    """Name, lowest bit, width and meaning of what every command begins with."""
    yield "opcode", 0, OPCODE_WIDTH, "Which instruction."
    bit = OPCODE_WIDTH
    for wait in range(WAITS):
        yield f"wait_{wait}_unit", bit, UNIT_WIDTH, f"Whom to wait for; {NO_UNIT}: nobody."
        bit += UNIT_WIDTH
        yield f"wait_{wait}_count", bit, COUNT_WIDTH, "Commands that it must have finished."
        bit += COUNT_WIDTH


def _groups() -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
    """Comment, and name, value and meaning of the constants, for the whole and each instruction."""
    prefix = "ROOTSHIFT_ISA"
    every = [(f"{prefix}_COMMAND_BYTES", COMMAND_BYTES, "")]
    for name, bit, width, meaning in _head():
        every += _place(f"{prefix}_{name.upper()}", bit, width, meaning)
    meaning = "CRC of the program up to here; its high byte comes first."
    every += _place(f"{prefix}_CHECK", CHECK_BIT, CHECK_WIDTH, meaning)
    every.append(
        (f"{prefix}_CHECK_START", CHECK_START, "What that of the first command goes on from.")
    )
    yield "All commands: little endian, bit 0 is the lowest bit of the first byte", every
    units = [(f"{prefix}_UNIT_{unit.name}", unit.value, "") for unit in Unit]
    yield "Units, as waits name them", [*units, (f"{prefix}_UNIT_NONE", NO_UNIT, "")]
    for instruction in INSTRUCTIONS:
        name = f"{prefix}_{instruction.name}"
        constants = [(f"{name}_OPCODE", instruction.opcode, "")]
        for key, (bit, operand) in instruction.places.items():
            meaning = operand.meaning + (" Signed." if operand.signed else "")
            constants += _place(f"{name}_{key.upper()}", bit, operand.width, meaning)
            for value in operand.values or ():
                constants.append((f"{name}_{key.upper()}_{value.name}", value.value, ""))
        yield f"{instruction.name}: {instruction.meaning}", constants


def _place(name: str, bit: int, width: int, meaning: str) -> list[tuple[str, int, str]]:
    return [(f"{name}_BIT", bit, meaning), (f"{name}_WIDTH", width, "")]
