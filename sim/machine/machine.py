"""Runs programs: sequencer, units and the order in which they move."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...errors import ProgramError
from ...isa import CHECK_START, COMMAND_BYTES, Command, Unit, decode, next_check, stored_check
from ...program import Program
from .array import fetch, gemm, patchify, weights
from .results import attention, embed, mean, norm, store, table
from .state import Room, State, Steps

EXECUTE: dict[str, Callable[[State, Command], Steps]] = {
    "FETCH": fetch,
    "PATCHIFY": patchify,
    "WEIGHTS": weights,
    "GEMM": gemm,
    "STORE": store,
    "EMBED": embed,
    "TABLE": table,
    "POOL": mean,
    "LAYERNORM": norm,
    "ATTENTION": attention,
}
"""Instruction -> its steps."""
WILFUL = 0.9
"""How often a random order takes the run's favourite."""


@dataclass(frozen=True, eq=False)
class MachineRun:
    """What a run gives.

    Fields: `logits` int32 [images, classes]; `beats`, int64 [beats, payload] per probe, in order;
    `saturated`, clamped values per unit.
    """

    logits: np.ndarray
    beats: dict[str, np.ndarray]
    saturated: Counter[str] = field(default_factory=Counter)


class Machine:
    """Executes the encoded commands of a program as `docs/accelerator.md` says, without time.

    Units move step by step, a command in some tens of steps. Without a generator they take turns;
    with one, every run has its own random favourites among the units, which move as early as the
    waits allow, while the others lag.

    Parameters: `program`.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def run(
        self,
        pixels: np.ndarray,
        order: np.random.Generator | None = None,
        room: Room | None = None,
    ) -> MachineRun:
        """Infer images.

        Parameters: `pixels` uint8 [images, H, W, C]; `order`, randomness of the units' order;
        `room` of the streams, the least if left out.
        Raises: TypeError or ValueError where `pixels` has another type or shape; ProgramError for a
        bad command or address, data left over in a stream, or a program that stops moving.
        """
        run = _Run(State(self.program.config, self.program.memory(pixels), room or Room()))
        run.finish(order)
        state = run.state
        beats = {
            name: np.concatenate(blocks) if blocks else np.zeros((0, 1), np.int64)
            for name, blocks in state.beats.items()
        }
        return MachineRun(self.program.logits(state.memory), beats, state.saturated)


class _Run:
    def __init__(self, state: State) -> None:
        self.state = state
        self.queues: dict[Unit, deque[Command]] = {unit: deque() for unit in Unit}
        self.done = dict.fromkeys(Unit, 0)
        self.present: dict[Unit, Command | None] = dict.fromkeys(Unit)
        self.ended = False

    def finish(self, order: np.random.Generator | None) -> None:
        """Move until all have finished."""
        movers = [self.sequence(), *(self.unit(unit) for unit in Unit)]
        favour = order.permutation(len(movers)) if order is not None else None
        turn = 0
        while not self.finished():
            if order is None:
                turn += 1
                ranks = np.roll(np.arange(len(movers)), turn)
            else:
                ranks = favour if order.random() < WILFUL else order.permutation(len(movers))
            if not any(next(movers[rank]) for rank in ranks):
                self.stuck()
        left = [d.name for d, stream in self.state.streams.items() if stream]
        fifos = {"weights": self.state.weights, "outputs": self.state.outputs}
        left += [name for name, fifo in fifos.items() if fifo.items]
        left += ["log codes"] if self.state.log_codes.items else []
        if left:
            raise ProgramError(f"streams must be empty at the end, not {', '.join(left)}")

    def finished(self) -> bool:
        idle = all(command is None for command in self.present.values())
        return self.ended and idle and not any(self.queues.values())

    def stuck(self) -> None:
        waiting = [f"{unit.name}: {command}" for unit, command in self.present.items() if command]
        queued = [f"{unit.name}: {queue[0]}" for unit, queue in self.queues.items() if queue]
        raise ProgramError(f"no unit can move; at work {waiting}, first in queues {queued}")

    def sequence(self) -> Steps:
        """Commands from memory to the queues."""
        at, check = 0, CHECK_START
        while True:
            image = bytes(self.state.memory[at : at + COMMAND_BYTES])
            check = next_check(image, check)
            if self.state.config.program_crc and stored_check(image) != check:
                raise ProgramError(
                    f"command {at // COMMAND_BYTES}: CRC must be {check:#06x}, "
                    f"not {stored_check(image):#06x}"
                )
            command = decode(image)
            unit = command.instruction.unit
            if unit is None:
                break
            while len(self.queues[unit]) >= self.state.room.commands:
                yield False
            self.queues[unit].append(command)
            at += COMMAND_BYTES
            yield True
        self.ended = True
        yield True
        while True:
            yield False

    def unit(self, unit: Unit) -> Steps:
        """Commands of one queue, one at a time."""
        queue = self.queues[unit]
        while True:
            while not queue or any(self.done[u] < n for u, n in queue[0].after.items()):
                yield False
            command = self.present[unit] = queue.popleft()
            yield from EXECUTE[command.name](self.state, command)
            self.present[unit] = None
            self.done[unit] += 1
            yield True
