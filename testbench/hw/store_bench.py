"""The neighbours of the store unit: buffers, softmax, memory; and a run of jobs through it."""

from bisect import bisect_left
from typing import Any

import numpy as np

from rootshift.isa import ADDRESS_WIDTH, OFFSET_WIDTH, WORD_ADDRESS_WIDTH, Command, Mode

from . import layout
from .clamped_count import ClampedCount
from .command_beats import Watch
from .harness import Bench
from .patterns import PAIRS
from .store_model import MEMORY, WORDS, Job, StoreModel, command_words
from .streams import Sink, Source
from .word_server import WordServer

INSIDE = 12
"""Cycles that a score stays in the softmax."""


class Neighbour:
    """Takes the place of a bench's source or sink, with its wires."""

    def __init__(self, bench: Bench, end: Source | Sink) -> None:
        self.bench = bench
        super().__init__(end.wires, end.checker)


class ResidualSink(Neighbour, Sink):
    """Writes words where the reads of `server` find them."""

    def __init__(self, bench: Bench, end: Sink, server: WordServer) -> None:
        self.server = server
        super().__init__(bench, end)

    def sample(self, cycle: int) -> bool:
        moved = super().sample(cycle)
        if moved:
            beat = self.beats[-1]
            width = self.wires.width - WORD_ADDRESS_WIDTH - 1
            address = beat & (1 << WORD_ADDRESS_WIDTH) - 1
            self.server.words[address % WORDS] = beat >> WORD_ADDRESS_WIDTH & (1 << width) - 1
        return moved


class ScoreSink(Neighbour, Sink):
    """Keeps each score for `INSIDE` cycles, and holds `log2_scale` to that."""

    def reset(self) -> None:
        super().reset()
        self.left_at, self.scale = -1, 0
        self.scales: list[int] = []

    def sample(self, cycle: int) -> bool:
        scale = self.bench.get("log2_scale", signed=True)
        if scale != self.scale and cycle - 1 < self.left_at:
            raise AssertionError(f"log2_scale changed in cycle {cycle} with scores inside")
        self.scale = scale
        moved = super().sample(cycle)
        if moved:
            self.left_at = cycle + INSIDE
            self.scales.append(scale)
        return moved

    def drive(self) -> None:
        super().drive()
        self.bench.set("softmax_idle", self.bench.cycle >= self.left_at)


class DoneSource(Neighbour, Source):
    """Answers a write command once all its data is taken."""

    def drive(self) -> None:
        sinks, given = self.bench.sinks, len(self.cycles)
        beats = layout.unpack(self.bench._fields["write_command"], sinks["write_command"].beats)
        owed = sum(beats["beats"][: given + 1]) if len(beats["beats"]) > given else None
        if self._offered or (owed is not None and len(sinks["write_data"].beats) >= owed):
            super().drive()
        elif self.wires.valid():
            self.wires.offer(None)


class StoreBench:
    """A store unit among its neighbours, and the model of what it does."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.count = ClampedCount(bench)
        self.model = StoreModel(bench.params, np.random.default_rng(bench.params["seed"]))
        model = self.model
        self.server = WordServer(bench, "residual_read")
        word = {"": (0, 16, True, model.lanes)}
        self.server.words = layout.pack(word, model.expected.residual)
        self.codes = model.expected.codes.copy()
        self.memory = model.expected.memory.copy()
        sinks = bench.sinks
        sinks["residual_write"] = ResidualSink(bench, sinks["residual_write"], self.server)
        sinks["scores"] = ScoreSink(bench, sinks["scores"])
        bench.sources["write_done"] = DoneSource(bench, bench.sources["write_done"])
        bench._fields["command"] = {str(k): (53 * k, 53, False, 1) for k in range(4)}
        at, width = WORD_ADDRESS_WIDTH, model.width
        bench._fields["codes"] = {
            "address": (0, at, False, 1),
            "codes": (at, width, False, model.rows),
            "mask": (at + width * model.rows, 1, False, model.places),
        }
        bench._fields["residual_write"] = {
            "address": (0, at, False, 1),
            "values": (at, 16, True, model.lanes),
            "mask": (at + 16 * model.lanes, 1, False, 1),
        }

    async def run(self, jobs: list[Job], seed: int = 0, **patterns: str) -> dict[int, tuple]:
        """Carry out jobs that `self.model` drew; return what was watched, by cycle."""
        bench, model = self.bench, self.model
        # The first run takes the count to its end.
        if seed:
            await self.count.clear()
        self.base = MEMORY * model.integer(
            0, ((1 << ADDRESS_WIDTH) - (1 << OFFSET_WIDTH)) // MEMORY - 1
        )
        bench.set("base", self.base)
        y = np.concatenate([job.y for job in jobs])
        fields = bench._fields["outputs"]
        # Only the order of the beats may count.
        noise = {
            name: model.rng.integers(0, 1 << width, len(y))
            for name, (_, width, _, count) in fields.items()
            if name != "y" and width
        }
        counts = {
            name: sum(job.gives.get(name, 0) for job in jobs)
            for name in (*bench.sinks, "write_done")
        }
        # An error ends a command like a success.
        answers = model.rng.integers(0, 2, counts.pop("write_done"))
        commands = command_words([job.command for job in jobs])
        sources: dict[str, Any] = {
            "command": dict(zip("0123", commands.T, strict=True)),
            "outputs": {"y": y} | noise,
            "embed": self._beats(b"".join(job.embed for job in jobs)),
            "gelu_table": self._beats(b"".join(job.table for job in jobs)),
            "write_done": {"error": answers},
        }
        sources = {
            name: beats
            for name, beats in sources.items()
            if len(next(iter(beats.values())) if isinstance(beats, dict) else beats)
        }
        # Reads that come while writes wait, and the other way round.
        calm = {"always"} >= set(patterns.values())
        self.server.play(*PAIRS[0 if calm else (seed + len(PAIRS) // 2) % len(PAIRS)], seed)
        watch = Watch(bench, "done_stb", "busy", "stall", "gelu")
        bench.sinks["scores"].scales = []
        got = await bench.run(sources, counts, seed=seed, drain=40, **patterns)
        rows = watch.stop()
        self._check(got, jobs, rows)
        return rows

    async def begin_logits(self, size: int, seed: int) -> None:
        """Order logits of so many bytes, of more outputs than come; what has come leaves, and a
        reset ends it."""
        bench, model = self.bench, self.model
        operands = {"mode": Mode.LOGITS, "tokens": 1, "groups": 64, "chunks": 64 * model.parts}
        command = Command("STORE", operands | {"bytes": size})
        outputs = -(-12 * model.bytes // (4 * model.lanes))
        y = model.rng.integers(-(1 << 31), 1 << 31, (outputs, model.lanes))
        whole, beats = y.size * 4 // model.bytes, -(-size // model.bytes)
        raw = self._beats(y.astype("<i4").tobytes()[: whole * model.bytes])[:beats]
        words = command_words([command]).T
        fields = bench._fields["outputs"]
        zeros = {n: np.zeros(len(y), int) for n, (_, width, _, _) in fields.items() if width}
        sources = {"command": dict(zip("0123", words, strict=True)), "outputs": zeros | {"y": y}}
        counts = {"write_command": 1, "write_data": len(raw)}
        got = await bench.run(sources, counts, pressure="random:0.5", seed=seed)
        bench.compare(f"{size} bytes: beats", got["write_command"]["beats"], [beats])
        bench.compare(f"{size} bytes: words", got["write_data"].reshape(raw.shape), raw)
        await bench.reset()

    def _beats(self, raw: bytes) -> np.ndarray:
        return np.frombuffer(raw, np.uint8).reshape(-1, self.model.bytes)

    def _check(self, got: dict[str, Any], jobs: list[Job], rows: dict[int, tuple]) -> None:
        bench, model, expected = self.bench, self.model, self.model.expected
        self._write_codes(got["codes"])
        self._write_memory(got["write_command"], got["write_data"])
        bench.compare("words of codes", got["codes"]["address"], np.array(expected.code_words, int))
        bench.compare("words read", self.server.asked, expected.reads)
        words = np.array(expected.writes, int)
        bench.compare("words written", got["residual_write"]["address"], words)
        addresses = self.base + np.array(expected.offsets, int)
        bench.compare("addresses", got["write_command"]["address"], addresses)
        bench.compare("code buffer", self.codes, expected.codes)
        bench.compare("memory", self.memory, expected.memory)
        word = {"": (0, 16, True, model.lanes)}
        words = layout.unpack(word, list(self.server.words))[""].reshape(-1, model.lanes)
        bench.compare("residual buffer", words, expected.residual)
        scores = np.array(expected.scores, int).reshape(-1, model.cols)
        bench.compare("scores", got["scores"]["scores"].reshape(scores.shape), scores)
        bench.compare("last", got["scores"]["last"], np.array(expected.last, int))
        bench.compare("log2_scale", bench.sinks["scores"].scales, expected.scales)
        self.count.compare("residuals", expected.saturated)
        expected.saturated = 0
        probe = [row[3] for row in rows.values() if row[3] & 1]
        codes = np.array(expected.gelu, int).reshape(-1, model.lanes)
        bits = layout.pack({"": (1, model.width, False, model.lanes)}, codes)
        bench.compare("probe of the GELU table", probe, [beat | 1 for beat in bits])
        for kept in vars(expected).values():
            if isinstance(kept, list):
                kept.clear()
        self._check_strobes(jobs, rows)

    def _check_strobes(self, jobs: list[Job], rows: dict[int, tuple]) -> None:
        """A command is done when its last beat has moved, and none of the next before that."""
        bench = self.bench
        done = [cycle for cycle, row in rows.items() if row[0]]
        bench.compare("done strobes", len(done), len(jobs))
        started = bench.sources["command"].cycles
        ends = {"write_done": bench.sources["write_done"], "outputs": bench.sources["outputs"]}
        ends |= bench.sinks
        moved = {cycle for end in ends.values() for cycle in end.cycles}
        moved |= set(bench.sources["embed"].cycles) | set(bench.sources["gelu_table"].cycles)
        moved |= {*self.server.taken, *self.server.accepted}
        places = dict.fromkeys(ends, 0)
        for number, (job, end) in enumerate(zip(jobs, done, strict=True)):
            last = 0
            for name, count in (job.gives | {"outputs": len(job.y)}).items():
                cycles = ends[name].cycles[places[name] : places[name] + count]
                places[name] += count
                inside = [started[number] < cycle <= end for cycle in cycles]
                bench.compare(f"{job.command}: {name} within the command", inside, [True] * count)
                # That these have moved is in registers.
                last = max([last, *(c + (name in ("outputs", "write_done")) for c in cycles)])
            if job.command.name != "TABLE":
                bench.compare(f"{job.command}: done", end, last)
            for cycle in range(started[number] + 1, end + 1):
                _, busy, stall, _ = rows[cycle]
                bench.compare("busy", busy, 1)
                if stall:
                    bench.compare(f"{job.command}: moved in a stall", cycle in moved, False)
                elif job.command.name not in ("POOL", "TABLE") and cycle != end:
                    # These work on what no stream of the bench shows.
                    bench.compare(f"{job.command}: moved or in a stall", cycle in moved, True)
                elif job.command.name == "POOL" and cycle not in moved:
                    asked, taken = (
                        bisect_left(cycles, cycle)
                        for cycles in (self.server.accepted, self.server.taken)
                    )
                    bench.compare(f"{job.command}: no stall, no word awaited", asked, taken)
        idle = [row[1] | row[2] for cycle, row in rows.items() if cycle > done[-1]]
        bench.compare("idle at the end", idle, [0] * len(idle))

    def _write_codes(self, beats: dict[str, np.ndarray]) -> None:
        shape = -1, self.model.places, self.model.lanes
        masks = beats["mask"].reshape(-1, self.model.places).astype(bool)
        words = beats["codes"].reshape(shape)
        for address, word, mask in zip(beats["address"], words, masks, strict=True):
            self.codes[address % WORDS, mask] = word[mask]

    def _write_memory(self, commands: dict[str, np.ndarray], beats: np.ndarray) -> None:
        size, taken = self.model.bytes, 0
        for address, count, last in zip(
            commands["address"], commands["beats"], commands["last_bytes"], strict=True
        ):
            raw = beats.reshape(-1, size)[taken : taken + count].ravel()
            taken += count
            raw = raw[: raw.size - (size - last if last else 0)]
            self.memory[(address - self.base) % MEMORY :][: raw.size] = raw
