"""The instruction set: one table, from which decoder, assembly, C header and documents are made.

A program is a run of commands of 32 bytes. Each belongs to one unit; units take their commands in
program order, one at a time, and run side by side. What a command needs of other units it says with
counts: it starts when each unit named in `after` has finished that many commands of this run.
"""

from binascii import crc_hqx
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from .errors import ProgramError
from .formats import MULTIPLIER_WIDTH, SHIFT_MAX, ZERO_WIDTH

COMMAND_BYTES = 32
ADDRESS_WIDTH = 40
"""Bits of a byte address on the memory bus."""
OFFSET_WIDTH = 32
"""Bits of a byte offset from ENTRY, where the program image begins."""
WORD_ADDRESS_WIDTH = 20
"""Bits of a word address in the code buffer and in the residual buffer."""
OPCODE_WIDTH, COUNT_WIDTH, WAITS = 4, 16, 2
OPERANDS_BIT = 48
CHECK_BIT, CHECK_WIDTH = 240, 16
CHECK_START = (1 << CHECK_WIDTH) - 1
"""What the check of the first command goes on from."""
OPERANDS_WIDTH = CHECK_BIT - OPERANDS_BIT
TOKENS_WIDTH, TILES_WIDTH, GROUPS_WIDTH = 13, 14, 13


class Unit(IntEnum):
    """Who executes a command; a wait names its unit by this number, 7 stands for no wait."""

    FETCH = 0
    PATCHIFY = 1
    WEIGHTS = 2
    GEMM = 3
    STORE = 4
    LAYERNORM = 5
    ATTENTION = 6


NO_UNIT = 7
UNIT_WIDTH = 3


class Destination(IntEnum):
    """Where a FETCH streams to."""

    WEIGHTS = 0
    LAYERNORM = 1
    GELU_TABLE = 2
    EMBED = 3


class Mode(IntEnum):
    """What a STORE does with the outputs of the array."""

    CODES = 0
    GELU = 1
    RESIDUAL = 2
    SCORES = 3
    LOGITS = 4


@dataclass(frozen=True)
class Operand:
    """One operand of an instruction: some bits of the command.

    Parameters: `meaning` in one line; `signed` numbers are two's complement; `values` names the
    legal ones of an enumeration; `least` and `most` are the smallest and largest legal value where
    they are not the width's.
    """

    name: str
    width: int
    meaning: str
    signed: bool = False
    values: type[IntEnum] | None = None
    least: int | None = None
    most: int | None = None

    @cached_property
    def range(self) -> tuple[int, int]:
        """Smallest and largest legal value."""
        if self.values is not None:
            return min(self.values), max(self.values)
        low = -(1 << self.width - 1) if self.signed else 0
        high = low + (1 << self.width) - 1
        least = low if self.least is None else self.least
        return least, high if self.most is None else self.most

    @cached_property
    def default(self) -> int:
        """What an operand left out is: 0, or the smallest legal value where 0 is not legal."""
        return max(0, self.range[0])


@dataclass(frozen=True)
class Instruction:
    """One instruction: its operands lie side by side from bit 48 of the command."""

    name: str
    opcode: int
    unit: Unit | None
    meaning: str
    operands: tuple[Operand, ...] = ()

    @cached_property
    def places(self) -> dict[str, tuple[int, Operand]]:
        """Name -> lowest bit in the command, and the operand."""
        found, bit = {}, OPERANDS_BIT
        for operand in self.operands:
            found[operand.name] = (bit, operand)
            bit += operand.width
        return found


def _word(name: str, meaning: str) -> Operand:
    return Operand(name, WORD_ADDRESS_WIDTH, meaning)


def _count(name: str, width: int, meaning: str) -> Operand:
    return Operand(name, width, meaning, least=1)


def _zero(name: str, meaning: str) -> Operand:
    return Operand(name, ZERO_WIDTH, meaning, signed=True)


def _shift(meaning: str) -> Operand:
    return Operand("shift", SHIFT_MAX.bit_length(), meaning, most=SHIFT_MAX)


_TOKENS = _count("tokens", TOKENS_WIDTH, "Tokens, which are the vectors of one pass.")
_GROUPS = _count("groups", GROUPS_WIDTH, "Groups of `cols` output channels.")

INSTRUCTIONS = (
    Instruction("END", 11, None, "Ends the run when all units have finished."),
    Instruction(
        "FETCH",
        1,
        Unit.FETCH,
        "Streams a run of memory to a unit, which takes it in the order of the FETCHes to it.",
        (
            Operand("offset", OFFSET_WIDTH, "Where it begins, in bytes from ENTRY; bus aligned."),
            _count("beats", 24, "Bus beats."),
            Operand("destination", 2, "Which unit's stream.", values=Destination),
        ),
    ),
    Instruction(
        "PATCHIFY",
        2,
        Unit.PATCHIFY,
        "Cuts the next rows of patches of an image into words of the code buffer.",
        (
            Operand("offset", OFFSET_WIDTH, "The image, in bytes from ENTRY; bus aligned."),
            Operand("beats", 24, "Bus beats of the whole image; 0 goes on with the one begun."),
            _word("base", "First word; tile k of token t is at base + k * stride + t."),
            _word("stride", "Words between tiles."),
            _word("digit_stride", "Words between digits."),
            _count("digits", 2, "Digits of `activation_width` bits of a pixel."),
            _count("run", 16, "Bytes of a row of one patch: patch width times channels."),
            _count("height", 12, "Pixel rows of a patch."),
            _count("across", 12, "Patches side by side."),
            _count("down", 12, "Rows of patches to cut."),
        ),
    ),
    Instruction(
        "WEIGHTS",
        3,
        Unit.WEIGHTS,
        "Brings parameters and stationary tiles to the array.",
        (
            Operand("buffer", 1, "1: columns come from the code buffer, not from the stream."),
            Operand("shared", 1, "1: one set of parameters for all groups."),
            _GROUPS,
            _count("tiles", TILES_WIDTH, "Tiles per group: tiles of K times weight digits."),
            _word("base", "First word of the columns in the code buffer."),
            _word("stride", "Words between tiles."),
            Operand("channels", TOKENS_WIDTH, "Columns in all; the others are zero."),
        ),
    ),
    Instruction(
        "GEMM",
        4,
        Unit.GEMM,
        "Sends vectors of the code buffer through the array.",
        (
            _word("base", "First word; tile k of token t is at base + k * stride + t."),
            _word("stride", "Words between tiles."),
            _word("digit_stride", "Words between activation digits."),
            _TOKENS,
            _GROUPS,
            _count("tiles", TILES_WIDTH, "Tiles of K."),
            _count("activation_digits", 2, "Digits of an activation."),
            _count("weight_digits", 2, "Digits of a weight."),
            Operand("shared", 1, "1: one set of parameters for all groups."),
        ),
    ),
    Instruction(
        "STORE",
        5,
        Unit.STORE,
        "Takes the outputs of one GEMM to where they go.",
        (
            Operand("mode", 3, "Where they go.", values=Mode),
            _TOKENS,
            _GROUPS,
            _count("chunks", 16, "Chunks of `lanes` channels that count; the others are dropped."),
            _word("base", "First word in the code buffer or in the residual buffer."),
            _word("stride", "Words between tiles (CODES, GELU) or between rows (RESIDUAL)."),
            Operand("shift", 4, "Growth of the residual's scale (RESIDUAL)."),
            _zero("log2_scale", "The quantizer's offset of log2_softmax (SCORES)."),
            Operand("offset", OFFSET_WIDTH, "Where logits go, in bytes from ENTRY (LOGITS)."),
            Operand("bytes", 24, "Bytes of logits per token (LOGITS)."),
        ),
    ),
    Instruction(
        "EMBED",
        6,
        Unit.STORE,
        "Fills words of the residual buffer from the stream.",
        (_word("base", "First word."), _count("words", WORD_ADDRESS_WIDTH, "Words.")),
    ),
    Instruction("TABLE", 7, Unit.STORE, "Fills the GELU table from the stream."),
    Instruction(
        "POOL",
        8,
        Unit.STORE,
        "Writes the mean of rows of the residual buffer.",
        (
            _word("base", "First word of the first row."),
            _word("stride", "Words between rows."),
            _count("rows", TOKENS_WIDTH, "Rows."),
            _count("chunks", 16, "Words of a row."),
            Operand("multiplier", MULTIPLIER_WIDTH, "Factor of a sum."),
            _shift("Right shift of the product."),
            _word("out", "First word of the row that is written."),
        ),
    ),
    Instruction(
        "LAYERNORM",
        9,
        Unit.LAYERNORM,
        "Takes its parameters from the stream, then normalizes rows of the residual buffer.",
        (
            Operand("keep", 1, "1: takes none, and keeps those of the LAYERNORM before."),
            _word("base", "First word of the first row."),
            _word("row_stride", "Words between rows."),
            _count("rows", TOKENS_WIDTH, "Rows."),
            _count("channels", TOKENS_WIDTH, "Channels of a row."),
            _count("epsilon", 40, "In squared units of the row's sum."),
            _shift("Right shift to codes."),
            Operand("high", 8, "Largest code."),
            _word("out", "First word written; tile k of row t is at out + k * stride + t."),
            _word("stride", "Words between tiles."),
        ),
    ),
    Instruction(
        "ATTENTION",
        10,
        Unit.ATTENTION,
        "Mixes the values of one head by the log codes that the softmax gives.",
        (
            _word("base", "First word of the values; tile c of key t is at base + c * stride + t."),
            _word("stride", "Words between tiles, of values and of outputs."),
            _count("keys", TOKENS_WIDTH, "Keys."),
            _count("queries", TOKENS_WIDTH, "Queries."),
            _count("tiles", 9, "Tiles of `rows` value channels."),
            _count("last", 9, "Channels of the last tile."),
            _word("out", "First word written; tile c of query t is at out + c * stride + t."),
            _zero("value_zero", "Zero point of the values."),
            _zero("zero", "Zero point of the outputs."),
            Operand("multiplier_even", MULTIPLIER_WIDTH, "Factor of the sum over even codes."),
            Operand("multiplier_odd", MULTIPLIER_WIDTH, "Factor of the sum over odd codes."),
            _shift("Right shift to codes."),
            Operand("high", 8, "Largest code."),
        ),
    ),
)

BY_NAME = {instruction.name: instruction for instruction in INSTRUCTIONS}
BY_OPCODE = {instruction.opcode: instruction for instruction in INSTRUCTIONS}


@dataclass(frozen=True)
class Command:
    """One command: an instruction, its operands, and what it waits for.

    Parameters:
        name: of an instruction, in capitals.
        operands: name -> value; those left out are 0, or the smallest legal value. The attribute
            has them all, in the order of the table.
        after: unit -> number of its commands that must have finished, modulo 2^16 and less than
            2^15 ahead of what has; at most two units.
    Raises:
        ProgramError: naming instruction, operand, value and legal range.
        TypeError: a value is not an integer.
    """

    name: str
    operands: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[Unit, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in BY_NAME:
            raise ProgramError(f"instruction must be one of {', '.join(BY_NAME)}, not {self.name}")
        places = self.instruction.places
        if unknown := [name for name in self.operands if name not in places]:
            names = ", ".join(places) or "none"
            raise ProgramError(f"{self.name}: operand must be one of {names}, not {unknown[0]}")
        operands = {
            name: self._checked(name, self.operands.get(name, operand.default), *operand.range)
            for name, (_, operand) in places.items()
        }
        if len(self.after) > WAITS:
            raise ProgramError(f"{self.name}: waits must be at most {WAITS}, not {len(self.after)}")
        after = {}
        for number, count in self.after.items():
            unit = Unit(self._checked("unit", number, min(Unit), max(Unit)))
            after[unit] = self._checked(f"wait for {unit.name}", count, 0, (1 << COUNT_WIDTH) - 1)
        # Plain integers of any length: those of numpy would lose what is shifted past bit 63.
        self.__dict__.update(operands=operands, after=after)

    def _checked(self, name: str, value: int, low: int, high: int) -> int:
        if not hasattr(value, "__index__"):
            raise TypeError(f"{self.name}: {name} must be an integer, not {value!r}")
        if not low <= value <= high:
            raise ProgramError(f"{self.name}: {name} must be in {low}..{high}, not {value}")
        return int(value)

    @property
    def instruction(self) -> Instruction:
        """The row of the table."""
        return BY_NAME[self.name]

    def __getitem__(self, name: str) -> int:
        """An operand's value. Raises: KeyError where the instruction has no such operand."""
        return self.operands[name]

    def encode(self) -> bytes:
        """The 32 bytes in memory, lowest first, with 0 in place of the check."""
        image, bit = self.instruction.opcode, OPCODE_WIDTH
        waits = [*self.after.items()] + [(NO_UNIT, 0)] * (WAITS - len(self.after))
        for unit, count in waits:
            image |= (unit | count << UNIT_WIDTH) << bit
            bit += UNIT_WIDTH + COUNT_WIDTH
        for name, (at, operand) in self.instruction.places.items():
            image |= (self[name] & (1 << operand.width) - 1) << at
        return image.to_bytes(COMMAND_BYTES, "little")

    def __str__(self) -> str:
        words = [self.name]
        for name, (_, operand) in self.instruction.places.items():
            value = self[name]
            words.append(f"{name}={operand.values(value).name if operand.values else value}")
        words += [f"after={Unit(unit).name}:{count}" for unit, count in self.after.items()]
        return " ".join(words)


def encode(commands: Iterable[Command]) -> bytes:
    """The bytes of a program: its commands, each with its check."""
    parts, check = [], CHECK_START
    for command in commands:
        image = command.encode()
        check = next_check(image, check)
        parts += [image[: CHECK_BIT // 8], check.to_bytes(CHECK_WIDTH // 8, "big")]
    return b"".join(parts)


def next_check(image: bytes, check: int) -> int:
    """The check of a command of 32 bytes, behind one that has `check`, or behind CHECK_START.

    It is the CRC-16 (polynomial 0x1021, highest bit of each byte first) of all commands up to this
    one without their checks; its high byte comes first.
    """
    return crc_hqx(image[: CHECK_BIT // 8], check)


def stored_check(image: bytes) -> int:
    """The check that a command of 32 bytes ends with."""
    return int.from_bytes(image[CHECK_BIT // 8 :], "big")


def decode(image: bytes) -> Command:
    """The command that 32 bytes stand for, whatever its check, which depends on those before it.

    Raises: ProgramError for another length, opcode, unit, or operand than the table allows, and
    for bits set that nothing reads.
    """
    if len(image) != COMMAND_BYTES:
        raise ProgramError(f"command must have {COMMAND_BYTES} bytes, not {len(image)}")
    word = int.from_bytes(image, "little")
    opcode = word & (1 << OPCODE_WIDTH) - 1
    if opcode not in BY_OPCODE:
        raise ProgramError(f"opcode must be {min(BY_OPCODE)}..{max(BY_OPCODE)}, not {opcode}")
    instruction, bit, after = BY_OPCODE[opcode], OPCODE_WIDTH, {}
    for _ in range(WAITS):
        unit = word >> bit & (1 << UNIT_WIDTH) - 1
        count = word >> bit + UNIT_WIDTH & (1 << COUNT_WIDTH) - 1
        bit += UNIT_WIDTH + COUNT_WIDTH
        if unit in after:
            raise ProgramError(f"{instruction.name}: two waits for {Unit(unit).name}")
        if unit != NO_UNIT:
            after[Unit(unit)] = count
        elif count:
            raise ProgramError(f"{instruction.name}: count of no unit must be 0, not {count}")
    operands, read = {}, (1 << bit) - 1 | (1 << CHECK_WIDTH) - 1 << CHECK_BIT
    for name, (at, operand) in instruction.places.items():
        value = word >> at & (1 << operand.width) - 1
        if operand.signed and value >> operand.width - 1:
            value -= 1 << operand.width
        operands[name] = value
        read |= (1 << operand.width) - 1 << at
    if word & ~read:
        raise ProgramError(f"{instruction.name}: bits that nothing reads must be 0")
    return Command(instruction.name, operands, after)
