"""Commands as the hardware sees them: the layouts of the instruction table."""

from amaranth.hdl import Shape, Value
from amaranth.lib import data

from ..isa import BY_NAME, OPCODE_WIDTH, OPERANDS_BIT, OPERANDS_WIDTH

COMMAND = data.StructLayout({"opcode": OPCODE_WIDTH, "operands": OPERANDS_WIDTH})
"""What a unit is given: waits have been waited for."""


def operands(name: str, command: data.View) -> data.View:
    """The operands of instruction `name` in a `COMMAND`, by name."""
    fields = {
        key: data.Field(Shape(operand.width, operand.signed), bit - OPERANDS_BIT)
        for key, (bit, operand) in BY_NAME[name].places.items()
    }
    return data.View(data.FlexibleLayout(OPERANDS_WIDTH, fields), command.operands)


def is_opcode(name: str, command: data.View) -> Value:
    """Whether a `COMMAND` is of instruction `name`."""
    return command.opcode == BY_NAME[name].opcode
