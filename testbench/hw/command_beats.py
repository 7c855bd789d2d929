"""Commands on a bench's stream by the names of their operands, and a watch on a unit's wires."""

from collections.abc import Mapping, Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from rootshift.isa import BY_NAME, OPCODE_WIDTH, OPERANDS_BIT, OPERANDS_WIDTH

from .harness import Bench
from .layout import Field


def name_operands(bench: Bench, stream: str, instruction: str) -> None:
    """Let `bench` take the beats of a stream of `COMMAND` as those of one instruction.

    A beat is then given by `opcode` and by the operands' names, as `command_beats` makes them.
    """
    places = BY_NAME[instruction].places.items()
    fields: dict[str, Field] = {"opcode": (0, OPCODE_WIDTH, False, 1)}
    for name, (bit, operand) in places:
        fields[name] = (bit - OPERANDS_BIT + OPCODE_WIDTH, operand.width, operand.signed, 1)
    end = _end(instruction)
    fields["rest"] = (end, 1, False, OPCODE_WIDTH + OPERANDS_WIDTH - end)
    bench._fields[stream] = fields


def command_beats(instruction: str, commands: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """The beats of commands of one instruction, each a mapping of all its operands; noise in the
    bits behind them, which a unit must not mind.
    """
    opcode = BY_NAME[instruction].opcode
    names = BY_NAME[instruction].places
    beats = {name: [command[name] for command in commands] for name in names}
    size = len(commands), OPCODE_WIDTH + OPERANDS_WIDTH - _end(instruction)
    rest = np.random.default_rng(len(commands)).integers(0, 2, size)
    return {"opcode": [opcode] * len(commands)} | beats | {"rest": rest}


def _end(instruction: str) -> int:
    """The first bit of a `COMMAND` behind the operands of an instruction."""
    bits = sum(operand.width for _, operand in BY_NAME[instruction].places.values())
    return OPCODE_WIDTH + bits


def at_work(begun: Sequence[int], ended: Sequence[int]) -> list[int]:
    """Cycles in which a command is at work that was accepted and that ended in those."""
    spans = [range(first + 1, last + 1) for first, last in zip(begun, ended, strict=True)]
    return sorted({cycle for span in spans for cycle in span})


class Watch:
    """Samples ports in every cycle, settled, while it runs.

    Attributes
    ----------
    rows : dict
        Cycle -> values of the ports, in the order they were named.
    """

    def __init__(self, bench: Bench, *ports: str) -> None:
        self.rows: dict[int, tuple[int, ...]] = {}
        self._bench, self._ports = bench, ports
        self._task: Any = cocotb.start_soon(self._sample())

    async def _sample(self) -> None:
        while True:
            await FallingEdge(self._bench.dut.clk)
            values = tuple(self._bench.get(port) for port in self._ports)
            self.rows[self._bench.cycle] = values

    def stop(self) -> dict[int, tuple[int, ...]]:
        """End it and return `rows`."""
        self._task.cancel()
        return self.rows


def of_all_lengths(rng: np.random.Generator, most: int) -> list[int]:
    """Random numbers, one of each number of bits: up to `most`, which is the last one."""
    return [int(rng.integers(1 << k, 2 << k)) for k in range(most.bit_length() - 1)] + [most]


def alternate_bits(most: int) -> int:
    """The number up to `most` with every other bit set, the highest one first: while it is counted
    down, each of its bits is read an odd number of times, and no two wrong ones make up for it.
    """
    return sum(1 << bit for bit in range(most.bit_length() - 1, 0, -2))
