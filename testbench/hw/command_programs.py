"""Programs for the sequencer: random ones, those at the limits, and those that are not legal."""

import random
from collections.abc import Iterator, Sequence

from rootshift.config import AcceleratorConfig
from rootshift.csr import ErrorCause
from rootshift.hw.command_checks import limits
from rootshift.isa import (
    BY_NAME,
    BY_OPCODE,
    CHECK_START,
    COMMAND_BYTES,
    INSTRUCTIONS,
    OPCODE_WIDTH,
    Command,
    Instruction,
    Unit,
    next_check,
)

BEYOND = 512
"""Bytes beyond END that may be read."""
COUNTS = 1 << 16


def greatest(config: AcceleratorConfig, instruction: str, name: str) -> int:
    """The largest value that the design accepts."""
    high = BY_NAME[instruction].places[name][1].range[1]
    value = min(high, limits(config).get((instruction, name), high))
    return value - value % (config.bus_width // 8) if name == "offset" else value


def random_program(
    draw: random.Random, config: AcceleratorConfig, length: int, first_count: int
) -> list[Command]:
    """Legal commands whose waits are for commands before them."""
    program, issued = [], dict.fromkeys(Unit, 0)
    kinds = [i for i in INSTRUCTIONS if i.unit is not None]
    favourites = draw.sample(kinds, draw.randint(1, len(kinds)))
    for _ in range(length):
        instruction = draw.choice(favourites)
        operands = {}
        for name, (_, operand) in instruction.places.items():
            low, high = operand.range[0], greatest(config, instruction.name, name)
            value = draw.choice([low, high, draw.randint(low, high)])
            operands[name] = value - value % 16 if name == "offset" else value
        after = {}
        for unit in draw.sample([*Unit], draw.randint(0, 2)):
            # Mostly one of the last, so that there is something to wait for; or long past.
            behind = draw.choice([0, 0, 0, 1, 5, draw.randrange(COUNTS // 2 - length)])
            after[unit] = (first_count + issued[unit] - behind) % COUNTS
        program.append(Command(instruction.name, operands, after))
        issued[instruction.unit] += 1
    return program


def image(program: Sequence[Command | bytes]) -> bytes:
    """The program, END, and behind it what is illegal as commands; the checks are right."""
    parts, check = [], CHECK_START
    for each in [*program, Command("END")]:
        command = each if isinstance(each, bytes) else each.encode()
        check = next_check(command, check)
        parts.append(command[:30] + check.to_bytes(2, "big"))
    return b"".join([*parts, b"\xff" * BEYOND])


def patched(command: Command, *patches: tuple[int, int, int]) -> bytes:
    """A command with (bit, width, value) written over it, legal or not."""
    word = int.from_bytes(command.encode(), "little")
    for bit, width, value in patches:
        mask = (1 << width) - 1
        word = word & ~(mask << bit) | (value & mask) << bit
    return word.to_bytes(COMMAND_BYTES, "little")


def extreme(config: AcceleratorConfig, instruction: Instruction, most: bool) -> Command:
    """The instruction with all its operands as small or as great as is legal."""
    operands = {
        operand.name: greatest(config, instruction.name, operand.name) if most else operand.range[0]
        for operand in instruction.operands
    }
    return Command(instruction.name, operands)


def illegal_commands(config: AcceleratorConfig) -> Iterator[tuple[str, ErrorCause, bytes]]:
    """What the design must refuse: a word for it, the cause, and the command.

    Everything else in the command is legal, and as great as is legal.
    """
    for opcode in sorted(set(range(1 << OPCODE_WIDTH)) - set(BY_OPCODE)):
        yield f"opcode {opcode}", ErrorCause.BAD_OPCODE, patched(Command("END"), (0, 4, opcode))
    for instruction in INSTRUCTIONS:
        legal = extreme(config, instruction, most=True)
        for wait in (4, 23):
            empty = patched(legal, (wait + 3, 16, 0x8000))
            yield f"{instruction.name}: no wait", ErrorCause.BAD_OPERAND, empty
        for name, (bit, operand) in instruction.places.items():
            low, high = operand.range[0], greatest(config, instruction.name, name)
            least = -(1 << operand.width - 1) if operand.signed else 0
            top = least + (1 << operand.width) - 1
            ends = {least, low - 1, high + 1, top}
            wrong = {v for v in ends if least <= v <= top and not low <= v <= high}
            if name == "offset":
                wrong = {1, config.bus_width // 16, top}
            for value in sorted(wrong):
                command = patched(legal, (bit, operand.width, value))
                yield f"{instruction.name}: {name} {value}", ErrorCause.BAD_OPERAND, command
