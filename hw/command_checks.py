"""What makes a command illegal on a design of a given configuration."""

from collections.abc import Iterator

from amaranth.hdl import Cat, Value
from amaranth.lib import data

from ..config import AcceleratorConfig
from ..formats import code_digits
from ..isa import (
    COUNT_WIDTH,
    INSTRUCTIONS,
    NO_UNIT,
    OPCODE_WIDTH,
    UNIT_WIDTH,
    WAITS,
    Operand,
)
from .axi_bursts import offset_width

WAITS_LAYOUT = data.ArrayLayout(
    data.StructLayout({"unit": UNIT_WIDTH, "count": COUNT_WIDTH}), WAITS
)
"""The waits of a command, from bit `OPCODE_WIDTH` on."""


def limits(config: AcceleratorConfig) -> dict[tuple[str, str], int]:
    """(instruction, operand) -> greatest legal value, where a design has less than the table."""
    tokens, high = config.token_depth, (1 << config.activation_width) - 1
    stationary = config.stationary_width
    activation_digits, weight_digits = (
        code_digits(width) for width in (config.activation_width, stationary)
    )
    code, residual = config.code_depth - 1, config.residual_depth - 1
    return {
        ("PATCHIFY", "base"): code,
        ("PATCHIFY", "digits"): activation_digits,
        ("WEIGHTS", "base"): code,
        ("GEMM", "base"): code,
        ("GEMM", "tokens"): tokens,
        ("GEMM", "activation_digits"): activation_digits,
        ("GEMM", "weight_digits"): weight_digits,
        ("STORE", "tokens"): tokens,
        # Of the buffer that its mode names; the smaller one faults itself.
        ("STORE", "base"): max(code, residual),
        ("EMBED", "base"): residual,
        ("POOL", "base"): residual,
        ("POOL", "rows"): tokens,
        ("POOL", "out"): residual,
        ("LAYERNORM", "base"): residual,
        ("LAYERNORM", "rows"): tokens,
        ("LAYERNORM", "channels"): config.embedding_depth,
        ("LAYERNORM", "high"): high,
        ("LAYERNORM", "out"): code,
        ("ATTENTION", "base"): code,
        ("ATTENTION", "keys"): tokens,
        ("ATTENTION", "queries"): tokens,
        ("ATTENTION", "last"): config.rows,
        ("ATTENTION", "out"): code,
        ("ATTENTION", "high"): high,
    }


def illegal(word: Value, config: AcceleratorConfig) -> Value:
    """What is out of range in a command (256 bits): a bit per wait and per instruction.

    The bit of an instruction is for its operands, in a command that is one; a legal command has no
    bit set. Bits that nothing reads do not count; what an opcode that is not in the table gives
    means nothing.
    """
    waits = data.View(WAITS_LAYOUT, word[OPCODE_WIDTH:][: WAITS_LAYOUT.size])
    found = [(wait.unit == NO_UNIT) & wait.count.any() for wait in waits]
    most = limits(config)
    for instruction in INSTRUCTIONS:
        wrong = [
            term
            for name, (bit, operand) in instruction.places.items()
            for term in _out_of_range(
                word[bit : bit + operand.width],
                operand,
                most.get((instruction.name, name)),
                offset_width(config.bus_width),
            )
        ]
        found.append((word[:OPCODE_WIDTH] == instruction.opcode) & Cat(wrong).any())
    return Cat(found)


def _out_of_range(
    value: Value, operand: Operand, most: int | None, alignment: int
) -> Iterator[Value]:
    """What must not be true of an operand; nothing where its width keeps it in range."""
    low, high = operand.range
    least = -(1 << operand.width - 1) if operand.signed else 0
    if operand.signed:
        value = value.as_signed()
    high = high if most is None else min(high, most)
    if low > least:
        yield value < low
    if high < least + (1 << operand.width) - 1:
        yield value > high
    if operand.name == "offset":
        yield value[:alignment].any()
