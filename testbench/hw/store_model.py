"""What commands of the store unit do, in NumPy, and random ones to try."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rootshift.isa import BY_NAME, OPCODE_WIDTH, OPERANDS_BIT, WORD_ADDRESS_WIDTH, Command, Mode
from rootshift.sim.golden.residual_add import pool, residual_add

WORDS, MEMORY = 256, 1 << 12
"""Words of a buffer and bytes of the memory: what lies beyond comes to the same places again."""
SCALES = (-300, 77, 32767)
"""Few of them, so that neighbours often agree."""
MOST = {
    name: {operand: place[1].range[1] for operand, place in BY_NAME[name].places.items()}
    for name in ("STORE", "EMBED", "POOL")
}


@dataclass
class Job:
    """A command, what its streams bring, and how many beats it gives on each stream."""

    command: Command
    y: np.ndarray
    embed: bytes = b""
    table: bytes = b""
    gives: dict[str, int] = field(default_factory=dict)

    @property
    def mode(self) -> Mode | None:
        return Mode(self.command["mode"]) if self.command.name == "STORE" else None


@dataclass
class Expected:
    """State of the buffers, and all that left on streams."""

    residual: np.ndarray
    codes: np.ndarray
    memory: np.ndarray
    table: np.ndarray
    scores: list[np.ndarray] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)
    scales: list[int] = field(default_factory=list)
    gelu: list[np.ndarray] = field(default_factory=list)
    code_words: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    saturated: int = 0


def command_words(commands: list[Command]) -> np.ndarray:
    """The bits of each `COMMAND` in words of 53, lowest first."""
    words = []
    for command in commands:
        image = int.from_bytes(command.encode(), "little")
        beat = image & (1 << OPCODE_WIDTH) - 1 | image >> OPERANDS_BIT << OPCODE_WIDTH
        words.append([beat >> 53 * k & (1 << 53) - 1 for k in range(4)])
    return np.array(words)


class StoreModel:
    """A store unit of a given size: `draw` makes a job and carries it out on `expected`."""

    def __init__(self, params: dict[str, int], rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows, self.cols, self.lanes = (params[key] for key in ("rows", "cols", "lanes"))
        self.width, self.bytes = params["code_width"], params["bus_width"] // 8
        self.parts, self.places = self.cols // self.lanes, self.rows // self.lanes
        self.expected = Expected(
            residual=self.words((WORDS, self.lanes)),
            codes=rng.integers(0, 1 << self.width, (WORDS, self.places, self.lanes)),
            memory=rng.integers(0, 256, MEMORY),
            table=np.zeros(256, int),
        )

    def words(self, shape: Any) -> np.ndarray:
        """16-bit values of all magnitudes: half of them large, so that some sums are clamped."""
        noise = self.rng.integers(-(1 << 15), 1 << 15, shape)
        return np.where(self.rng.random(shape) < 0.5, noise, noise >> 6)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def far(self, place: int, last: int, size: int = WORDS) -> int:
        """A number up to `last` that comes to the same place of the `size` there are."""
        return place + size * self.integer(0, (last - place) // size)

    def chunk_order(self, operands: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Token and chunk of each beat that counts, in the order in which they come."""
        sizes = operands["groups"], operands["tokens"], self.parts
        group, token, part = np.indices(sizes).reshape(3, -1)
        chunk = group * self.parts + part
        counts = chunk < operands["chunks"]
        return token[counts], chunk[counts]

    def draw(self, kind: str, **fixed: int) -> Job:
        """A random command of one instruction or mode; `fixed` are operands that are set."""
        if kind in Mode.__members__:
            job = self._store(Mode[kind], fixed)
        else:
            job = getattr(self, f"_{kind.lower()}")(fixed)
        return job

    def _store(self, mode: Mode, fixed: dict[str, int]) -> Job:
        operands = {"mode": mode, "tokens": self.integer(1, 6), "groups": self.integer(1, 3)}
        if mode == Mode.LOGITS:
            operands["tokens"] = 1
        operands |= fixed
        tokens, groups = operands["tokens"], operands["groups"]
        chunks = operands.setdefault("chunks", self.integer(1, groups * self.parts))
        tiles = -(-chunks // self.places)
        if mode == Mode.RESIDUAL:
            self._place(operands, chunks, tokens)
            operands["shift"] = max(0, self.integer(-15, 15))
        elif mode == Mode.SCORES:
            operands.setdefault("log2_scale", SCALES[self.integer(0, 2)])
        elif mode == Mode.LOGITS:
            operands["bytes"] = self.integer(1, chunks * self.lanes * 4)
            room = (MEMORY - operands["bytes"]) // self.bytes
            place = self.integer(0, room) * self.bytes
            operands["offset"] = self.far(place, MOST["STORE"]["offset"] - MEMORY, MEMORY)
        else:
            self._place(operands, tokens, tiles)
        shape = groups, tokens, self.parts, self.lanes
        y = {
            Mode.CODES: lambda: self.rng.integers(0, 1 << self.width, shape),
            Mode.GELU: lambda: self.rng.integers(0, 256, shape),
            Mode.RESIDUAL: lambda: self.words(shape),
            Mode.SCORES: lambda: self.rng.integers(-(1 << 23), 1 << 23, shape),
            Mode.LOGITS: lambda: self.rng.integers(-(1 << 31), 1 << 31, shape),
        }[mode]()
        job = Job(Command("STORE", operands), y.reshape(-1, self.lanes))
        whole = y.transpose(1, 0, 2, 3).reshape(tokens, -1, self.lanes)
        getattr(self, f"_do_{mode.name.lower()}")(job, operands, whole[:, :chunks], y)
        return job

    def _place(self, operands: dict[str, int], run: int, runs: int) -> None:
        """Base and stride of so many runs of words, apart from each other."""
        stride = run + self.integer(0, 2)
        base = self.integer(0, max(0, WORDS - runs * stride))
        last = (1 << WORD_ADDRESS_WIDTH) - 1
        operands["stride"] = self.far(stride, max(stride, last // runs - WORDS))
        operands["base"] = self.far(base, max(base, last - runs * operands["stride"]))

    def _do_codes(self, job: Job, operands: dict, chunks: np.ndarray, y: np.ndarray) -> None:
        for n in range(chunks.shape[1]):
            tile, place = divmod(n, self.places)
            at = operands["base"] + tile * operands["stride"]
            rows = (at + np.arange(len(chunks))) % WORDS
            self.expected.codes[rows, place] = chunks[:, n]
            self.expected.codes[rows, place + 1 :] = 0
        token, n = self.chunk_order(operands)
        words = operands["base"] + n // self.places * operands["stride"] + token
        self.expected.code_words += list(words)
        job.gives = {"codes": len(words)}

    def _do_gelu(self, job: Job, operands: dict, chunks: np.ndarray, y: np.ndarray) -> None:
        self._do_codes(job, operands, self.expected.table[chunks], y)
        for group in range(0, chunks.shape[1], self.parts):
            part = chunks[:, group : group + self.parts].reshape(-1, self.lanes)
            self.expected.gelu += list(self.expected.table[part])

    def _do_residual(self, job: Job, operands: dict, chunks: np.ndarray, y: np.ndarray) -> None:
        at = operands["base"] + np.arange(len(chunks))[:, None] * operands["stride"]
        at = (at + np.arange(chunks.shape[1])) % WORDS
        token, n = self.chunk_order(operands)
        words = operands["base"] + token * operands["stride"] + n
        self.expected.reads += list(words)
        self.expected.writes += list(words)
        before = self.expected.residual[at].astype(np.int16)
        after, saturated = residual_add(before, chunks.astype(np.int16), shift=operands["shift"])
        self.expected.residual[at] = after
        self.expected.saturated += saturated
        job.gives = {"residual_write": at.size}

    def _do_scores(self, job: Job, operands: dict, chunks: np.ndarray, y: np.ndarray) -> None:
        groups, tokens = y.shape[:2]
        self.expected.scores += list(y.reshape(-1, self.cols))
        self.expected.last += ([False] * (tokens - 1) + [True]) * groups
        self.expected.scales += [operands["log2_scale"]] * (groups * tokens)
        job.gives = {"scores": groups * tokens}

    def _do_logits(self, job: Job, operands: dict, chunks: np.ndarray, y: np.ndarray) -> None:
        raw = np.frombuffer(chunks.astype("<i4").tobytes(), np.uint8)[: operands["bytes"]]
        self.expected.memory[operands["offset"] % MEMORY :][: raw.size] = raw
        self.expected.offsets.append(operands["offset"])
        beats = -(-raw.size // self.bytes)
        job.gives = {"write_command": 1, "write_data": beats, "write_done": 1}

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.lanes), int)

    def _embed(self, fixed: dict[str, int]) -> Job:
        words = fixed.get("words", self.integer(1, 20))
        base = self.integer(0, max(0, WORDS - words))
        base = self.far(base, MOST["EMBED"]["base"] - words)
        operands = {"base": base, "words": words} | fixed
        values = self.words((words, self.lanes))
        at = operands["base"] + np.arange(words)
        self.expected.residual[at % WORDS] = values
        self.expected.writes += list(at)
        raw = values.astype("<i2").tobytes()
        raw += bytes(-len(raw) % self.bytes)
        command = Command("EMBED", operands)
        return Job(command, self._nothing(), embed=raw, gives={"residual_write": words})

    def _table(self, fixed: dict[str, int]) -> Job:
        self.expected.table = self.rng.integers(0, 1 << self.width, 256)
        raw = self.expected.table.astype(np.uint8).tobytes()
        return Job(Command("TABLE"), self._nothing(), table=raw)

    def _pool(self, fixed: dict[str, int]) -> Job:
        rows, chunks = self.integer(1, 20), self.integer(1, 3)
        stride = chunks + self.integer(0, 2)
        operands = {"rows": rows, "chunks": chunks, "stride": stride}
        operands["base"] = self.integer(0, WORDS - rows * stride)
        operands["out"] = self.integer(0, WORDS - chunks)
        operands["shift"] = self.integer(5, 36)
        operands["multiplier"] = min((1 << operands["shift"]) // rows, (1 << 16) - 1)
        # The result is clear of the rows, as the compiler has it.
        if operands["out"] + chunks > operands["base"]:
            operands["out"], operands["base"] = 0, max(chunks, operands["base"])
            operands["base"] = min(operands["base"], WORDS - rows * stride)
        last = (1 << WORD_ADDRESS_WIDTH) - 1
        operands["out"] = self.far(operands["out"], last - chunks)
        operands["stride"] = self.far(stride, last // rows - WORDS)
        operands["base"] = self.far(operands["base"], last - rows * operands["stride"])
        operands |= fixed
        rows, chunks, stride = (operands[name] for name in ("rows", "chunks", "stride"))
        at = operands["base"] + np.arange(rows)[:, None] * stride + np.arange(chunks)
        self.expected.reads += list(at.T.ravel())
        self.expected.writes += list(operands["out"] + np.arange(chunks))
        mean = {key: operands[key] for key in ("multiplier", "shift")}
        x = self.expected.residual[at % WORDS].reshape(rows, -1).astype(np.int16)
        result = pool(x, mode="avg", prefix=0, **mean).reshape(chunks, self.lanes)
        self.expected.residual[operands["out"] % WORDS :][:chunks] = result
        return Job(Command("POOL", operands), self._nothing(), gives={"residual_write": chunks})
