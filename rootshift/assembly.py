"""Commands as text: an assembler and a disassembler, from the table of instructions."""

from collections.abc import Sequence

from .errors import ProgramError
from .isa import BY_NAME, COMMAND_BYTES, Command, Unit, decode


def assemble(text: str) -> list[Command]:
    """Commands of an assembly text: one a line, `#` begins a comment.

    Raises: ProgramError naming the line.
    """
    commands = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                commands.append(_parse(words))
            except ProgramError as error:
                raise ProgramError(f"line {number}: {error}") from None
    return commands


def disassemble(image: bytes) -> str:
    """The assembly text of a run of commands. Raises: ProgramError naming the command's number."""
    lines = []
    for at in range(0, len(image), COMMAND_BYTES):
        try:
            lines.append(str(decode(image[at : at + COMMAND_BYTES])))
        except ProgramError as error:
            raise ProgramError(f"command {at // COMMAND_BYTES}: {error}") from None
    return "\n".join([*lines, ""])


def _parse(words: Sequence[str]) -> Command:
    name, operands, after = words[0], {}, {}
    # A name that is not in the table is refused with the command.
    places = BY_NAME[name].places if name in BY_NAME else {}
    for word in words[1:]:
        key, sign, value = word.partition("=")
        if not sign:
            raise ProgramError(f"{name}: operand must be written NAME=VALUE, not {word}")
        if key == "after":
            unit, _, count = value.partition(":")
            if unit not in Unit.__members__:
                raise ProgramError(f"unit must be one of {', '.join(Unit.__members__)}, not {unit}")
            if Unit[unit] in after:
                raise ProgramError(f"{name}: two waits for {unit}")
            after[Unit[unit]] = _number(f"{name}: wait for {unit}", count)
            continue
        if key in operands:
            raise ProgramError(f"{name}: {key} is given twice")
        values = places[key][1].values if key in places else None
        known = values is not None and value in values.__members__
        operands[key] = int(values[value]) if known else _number(f"{name}: {key}", value)
    return Command(name, operands, after)


def _number(what: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ProgramError(f"{what} must be an integer, not {text!r}") from None
