"""Commands on a bench's stream by the names of their operands, and a watch on a unit's wires."""

from collections.abc import Mapping, Sequence
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge

from rootshift.isa import BY_NAME, OPCODE_WIDTH, OPERANDS_BIT

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
    bench._fields[stream] = fields


def command_beats(instruction: str, commands: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    """The beats of commands of one instruction, each a mapping of all its operands."""
    opcode = BY_NAME[instruction].opcode
    names = BY_NAME[instruction].places
    beats = {name: [command[name] for command in commands] for name in names}
    return {"opcode": [opcode] * len(commands)} | beats


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
