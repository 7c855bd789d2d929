"""Timelines of programs that nothing ran: in order, after their waits, of random lengths."""

import numpy as np

from rootshift.isa import Unit
from rootshift.program import Program
from rootshift.sim.timeline import ArrayState, Timeline, Traffic
from rootshift.sim.trace import waits

WINDOW = 256
FEEDS = {"GEMM": Unit.WEIGHTS, "STORE": Unit.GEMM, "ATTENTION": Unit.STORE}
"""Instruction -> unit whose last command streams to it, and so ends before it."""


def random_timeline(program: Program, rng: np.random.Generator) -> Timeline:
    """A run as it could have been, as far as order, waits and streams say."""
    commands = [placed.command for placed in program.commands]
    free = dict.fromkeys(Unit, 0)
    begun, done = [], []
    for command, ends in zip(commands[:-1], waits(commands), strict=False):
        unit = command.instruction.unit
        ready = max([free[unit], *(done[end] for end in ends.values())])
        begun.append(ready + int(rng.integers(1, 4)))
        fed = free[FEEDS[command.name]] if command.name in FEEDS else 0
        done.append(max(begun[-1], fed) + int(rng.integers(1, 60)))
        free[unit] = done[-1]
    cycles = max(done) + 5
    gemms = [at for at, command in enumerate(commands) if command.name == "GEMM"]
    ends = np.array([0, *(done[at] for at in gemms), cycles])
    shares = rng.dirichlet(np.ones(len(ArrayState)), len(ends) - 1)
    array = np.array([rng.multinomial(n, p) for n, p in zip(np.diff(ends), shares, strict=True)])
    reads, writes = (rng.integers(0, WINDOW // 2, -(-cycles // WINDOW)) for _ in range(2))
    return Timeline(
        cycles=cycles,
        begun=np.array(begun),
        done=np.array(done),
        units={},
        array=array,
        traffic=Traffic(1, int(reads.sum()), 8 * int(reads.sum()), 1, int(writes.sum()), 8),
        window=WINDOW,
        reads=reads,
        writes=writes,
    )
