"""The same program with its commands in another order, and with more of them.

Units take their commands in order, wait for those they name, and stream to each other; beyond that
the order in memory is free. So whatever order keeps these three must give the same values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError
from rootshift.footprint import Space, footprint
from rootshift.formats import fixed_point
from rootshift.hw.compiler.emitter import ALIGNMENT, rounded
from rootshift.isa import COMMAND_BYTES, Command, Destination, Mode, Unit, encode
from rootshift.latency import COMMAND_QUEUE
from rootshift.operators import Embed
from rootshift.program import Placed, Program
from rootshift.sim.golden.residual_add import pool

from .inference import Proof

TRIES = 50
_FED_BY_FETCH = {
    Destination.WEIGHTS: lambda command: command.name == "WEIGHTS",
    Destination.LAYERNORM: lambda command: command.name == "LAYERNORM" and not command["keep"],
    Destination.GELU_TABLE: lambda command: command.name == "TABLE",
    Destination.EMBED: lambda command: command.name == "EMBED",
}


@dataclass(eq=False)
class Node:
    """A command, those that it waits for, and those that stream to it or that it streams to."""

    placed: Placed
    waits: list["Node"] = field(default_factory=list)
    beside: list["Node"] = field(default_factory=list)

    @property
    def command(self) -> Command:
        return self.placed.command

    @property
    def unit(self) -> Unit:
        return self.command.instruction.unit

    def streaming(self) -> set["Node"]:
        """All commands that are at work at the same time, this one among them."""
        found, new = {self}, [self]
        while new:
            more = [node for node in new.pop().beside if node not in found]
            found.update(more)
            new += more
        return found


def nodes(commands: Sequence[Placed]) -> list[Node]:
    """A node for each command but END. Raises: ValueError where a stream has but one end."""
    found = [Node(placed) for placed in commands if placed.command.name != "END"]
    queues = by_unit(found)
    for node in found:
        node.waits = [queues[unit][count - 1] for unit, count in node.command.after.items()]
    for destination, fed in _FED_BY_FETCH.items():
        from_fetch = [
            node for node in queues[Unit.FETCH] if node.command["destination"] == destination
        ]
        _stream(from_fetch, [node for node in found if fed(node.command)])
    stores = [node for node in found if node.command.name == "STORE"]
    _stream(queues[Unit.WEIGHTS], queues[Unit.GEMM])
    _stream(queues[Unit.GEMM], stores)
    scores = [node for node in stores if node.command["mode"] == Mode.SCORES]
    _stream(scores, queues[Unit.ATTENTION])
    return found


def _stream(senders: list[Node], receivers: list[Node]) -> None:
    for sender, receiver in zip(senders, receivers, strict=True):
        sender.beside.append(receiver)
        receiver.beside.append(sender)


def by_unit(commands: Iterable[Node]) -> dict[Unit, list[Node]]:
    found: dict[Unit, list[Node]] = {unit: [] for unit in Unit}
    for node in commands:
        found[node.unit].append(node)
    return found


def reordered(commands: list[Node], rng: np.random.Generator) -> list[Node]:
    """Another order in which no unit's queue is ever full of commands that cannot end.

    Raises: RuntimeError where none is found.
    """
    for _ in range(TRIES):
        order = _order(by_unit(commands), rng)
        if len(order) == len(commands):
            return order
    raise RuntimeError(f"an order must be found in {TRIES} tries")


def _order(waiting: dict[Unit, list[Node]], rng: np.random.Generator) -> list[Node]:
    waiting = {unit: list(queue) for unit, queue in waiting.items()}
    queued: dict[Unit, list[Node]] = {unit: [] for unit in Unit}
    order: list[Node] = []
    ended: set[Node] = set()
    while True:
        _run(queued, ended)
        units = [u for u in Unit if waiting[u] and len(queued[u]) < COMMAND_QUEUE]
        if not units:
            return order
        unit = units[rng.integers(len(units))]
        # Some at once, so that commands of one unit follow each other.
        for _ in range(min(rng.integers(1, 4), COMMAND_QUEUE - len(queued[unit]))):
            if waiting[unit]:
                order.append(waiting[unit].pop(0))
                queued[unit].append(order[-1])


def _run(queued: dict[Unit, list[Node]], ended: set[Node]) -> None:
    """End what can end: commands that stream to each other all at once, which asks for most."""
    moved = True
    while moved:
        moved = False
        for queue in queued.values():
            group = queue[0].streaming() if queue else set()
            if group and all(
                queued[node.unit][:1] == [node] and ended.issuperset(node.waits) for node in group
            ):
                for node in group:
                    ended.add(queued[node.unit].pop(0))
                moved = True


class Reordered(Proof):
    """A proof whose program has its commands in another order, and more of them.

    Before some commands that no stream runs across, a table is loaded once more, or rows beyond
    those of the model are filled, or pooled: each of these is a tensor of its own. Raises:
    ConfigError where the residual buffer has no room for these rows.
    """

    def __init__(
        self,
        artifact: Artifact,
        config: AcceleratorConfig,
        pixels: np.ndarray,
        rng: np.random.Generator,
        **options: int,
    ) -> None:
        super().__init__(artifact, config, pixels, **options)
        extra = _Extra(self.program, artifact)
        commands = reordered(extra.insert(nodes(self.program.commands), rng), rng)
        golden = self.golden
        self.program = _assembled(self.program, commands, extra.tensors)
        self.golden = replace(golden, tensors=golden.tensors | extra.tensors)


class _Extra:
    """Commands that can stand wherever no stream runs, and do not touch what a program makes.

    `tensors`, what they make: name -> int64 [images, rows, channels], 0 but for the first image.
    """

    def __init__(self, program: Program, artifact: Artifact) -> None:
        self.program = program
        self.tensors: dict[str, np.ndarray] = {}
        commands = [placed.command for placed in program.commands]
        self.embed = next(command for command in commands if command.name == "EMBED")
        self.rows = next(op.position for op in artifact.operators if isinstance(op, Embed))
        self.row_words = self.embed["words"] // len(self.rows)
        touched = [footprint(command, program.config) for command in commands]
        regions = [region for each in touched for region in (*each.reads, *each.writes)]
        used = max(each.stop for each in regions if each.space is Space.RESIDUAL)
        depth = program.config.residual_depth
        # Up to the last word of the buffer.
        self.base = depth - self.embed["words"] - self.row_words
        if self.base < used:
            raise ConfigError(f"residual_depth must be {depth + used - self.base}, not {depth}")
        self.filled = False
        # The table that is loaded already, or will be.
        self.table = _first_fetch(commands, Destination.GELU_TABLE)
        self.positions = _first_fetch(commands, Destination.EMBED)

    def insert(self, commands: list[Node], rng: np.random.Generator) -> list[Node]:
        """The commands with others between them."""
        found: list[Node] = []
        streaming: set[Node] = set()
        for node in commands:
            if not streaming:
                for _ in range(rng.integers(0, 3)):
                    makes = [self._embed, self._table, *([self._pool] if self.filled else [])]
                    found += makes[rng.integers(len(makes))](rng)
            streaming ^= {node} if node in streaming else node.streaming() - {node}
            if node.command.name == "FETCH" and _goes_to(node.command, Destination.GELU_TABLE):
                self.table = node.command
            found.append(node)
        return found

    def _embed(self, rng: np.random.Generator) -> list[Node]:
        self.filled = True
        name = self._tensor(self.rows)
        command = Command("EMBED", {**self.embed.operands, "base": self.base})
        return _fed(self.positions, Placed(command, (name,)))

    def _table(self, rng: np.random.Generator) -> list[Node]:
        return _fed(self.table, Placed(Command("TABLE")))

    def _pool(self, rng: np.random.Generator) -> list[Node]:
        rows = int(rng.integers(1, len(self.rows) + 1))
        multiplier, shift = (int(part) for part in fixed_point(1 / rows))
        mean = {"multiplier": multiplier, "shift": shift}
        made = pool(self.rows[None, :rows], mode="avg", prefix=0, **mean)[0]
        operands = {
            "base": self.base,
            "stride": self.row_words,
            "rows": rows,
            "chunks": self.row_words,
            "out": self.base + self.embed["words"],
        }
        return [Node(Placed(Command("POOL", operands | mean), (self._tensor(made),)))]

    def _tensor(self, values: np.ndarray) -> str:
        name = f"extra{len(self.tensors)}"
        made = np.zeros((self.program.images, *values.shape), np.int64)
        made[0] = values
        self.tensors[name] = made
        return name


def _goes_to(fetch: Command, destination: Destination) -> bool:
    return fetch["destination"] == destination


def _first_fetch(commands: Iterable[Command], destination: Destination) -> Command:
    """The first FETCH to a destination."""
    fetches = (command for command in commands if command.name == "FETCH")
    return next(command for command in fetches if _goes_to(command, destination))


def _fed(fetch: Command, placed: Placed) -> list[Node]:
    found = [Node(Placed(Command("FETCH", fetch.operands))), Node(placed)]
    _stream(found[:1], found[1:])
    return found


def _assembled(program: Program, commands: list[Node], tensors: dict[str, np.ndarray]) -> Program:
    """The program of these commands; what lies behind them in memory moves where they are more."""
    number = {node: n for queue in by_unit(commands).values() for n, node in enumerate(queue, 1)}
    old, size = len(program.code), COMMAND_BYTES * (len(commands) + 1)
    rest = rounded(old, ALIGNMENT)
    move = rounded(size, ALIGNMENT) - rest
    placed = []
    for node in commands:
        operands = dict(node.command.operands)
        if node.command.name in ("FETCH", "PATCHIFY") or operands.get("mode") == Mode.LOGITS:
            operands["offset"] += move
        after = {other.unit: number[other] for other in node.waits}
        placed.append(replace(node.placed, command=Command(node.command.name, operands, after)))
    placed.append(program.commands[-1])
    code = encode(each.command for each in placed)
    segments = {name: (offset + move, size) for name, (offset, size) in program.segments.items()}
    return replace(
        program,
        commands=tuple(placed),
        image=code.ljust(rest + move, b"\0") + program.image[rest:],
        input=replace(program.input, offset=program.input.offset + move),
        output=replace(program.output, offset=program.output.offset + move),
        segments=segments | {"program": (0, size)},
        shapes=dict(program.shapes) | {name: made.shape[1:] for name, made in tensors.items()},
    )
