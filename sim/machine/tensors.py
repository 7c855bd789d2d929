"""From the beats that the probes give, of the machine or of the RTL, to the artifact's tensors."""

from collections.abc import Mapping
from math import prod

import numpy as np

from ...isa import Mode
from ...program import Placed, Program


def tensors(program: Program, beats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every operator's tensor, int64 [images, ...], as the golden model's.

    Parameters: `beats`, per probe integers [beats, payload] in the order in which they left.
    Raises: ValueError where a probe gave more or fewer beats than the program makes, or fill
    channels that are not 0.
    """
    return _Reader(program, beats).read()


def value_cycles(
    program: Program, beats: Mapping[str, np.ndarray], cycles: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The cycle in which each value of `tensors` left, int64 [images, ...] per operator's tensor.

    Parameters: `beats` as `tensors` takes them; `cycles`, per probe int64 [beats], of each beat.
    Of a value whose digits left in several beats, the last one's counts.
    Raises: ValueError where a probe gave more or fewer beats than the program makes.
    """
    stamps = {
        name: np.broadcast_to(cycles[name][:, None], payloads.shape)
        for name, payloads in beats.items()
    }
    return _CycleReader(program, stamps).read()


class _Reader:
    def __init__(self, program: Program, beats: Mapping[str, np.ndarray]) -> None:
        self.program, self.beats = program, beats
        self.at = dict.fromkeys(beats, 0)
        self.made = {
            name: np.zeros((program.images, *shape), np.int64)
            for name, shape in program.shapes.items()
            if name != "pixels" and name not in program.rows
        }

    def read(self) -> dict[str, np.ndarray]:
        for placed in self.program.commands:
            read = getattr(self, placed.command.name.lower(), None)
            if read is not None and placed.operators:
                read(placed)
        for name, beats in self.beats.items():
            if self.at[name] != len(beats):
                raise ValueError(f"{name}: beats must be {self.at[name]}, not {len(beats)}")
        for name, (source, row) in self.program.rows.items():
            shape = self.program.shapes[name]
            values = self.made[source][:, row:].reshape(self.program.images, -1)
            self.made[name] = values[:, : prod(shape)].reshape(-1, *shape)
        return {name: self.made[name] for name in self.program.shapes if name in self.made}

    def take(self, probe: str, *shape: int) -> np.ndarray:
        """The next beats, in this shape, of which the last axis is the payload."""
        start, count = self.at[probe], int(np.prod(shape[:-1]))
        self.at[probe] = start + count
        found = self.beats[probe][start : start + count]
        if found.shape != (count, shape[-1]):
            raise ValueError(
                f"{probe}: beats must be {start + count} and more of {shape[-1]} values, "
                f"not {len(self.beats[probe])} of {self.beats[probe].shape[-1]}"
            )
        return found.reshape(shape)

    def put(self, name: str, placed: Placed, token: int, values: np.ndarray) -> None:
        """Rows [tokens, places] from token `token` of an image on, and of those behind it."""
        places = placed.channels[: values.shape[1]]
        used = places >= 0
        tokens, channels = self.program.shapes[name]
        rows = self.made[name].reshape(-1, channels)
        first = placed.image * tokens + token
        rows[first : first + len(values), places[used]] = values[:, : places.size][:, used]
        spare = np.ones(values.shape[1], bool)
        spare[: places.size] = ~used
        self.check_fill(name, values[:, spare])

    def check_fill(self, name: str, values: np.ndarray) -> None:
        if values.any():
            raise ValueError(f"{name}: fill channels must be 0")

    def joined(self, digits: np.ndarray) -> np.ndarray:
        """Values of digits [..., digits, places], the lowest first."""
        weights = 1 << self.program.config.activation_width * np.arange(digits.shape[-2])
        return (digits * weights[:, None]).sum(-2)

    def patchify(self, placed: Placed) -> None:
        command, config = placed.command, self.program.config
        words = -(-command["run"] // config.rows)
        down, height, across = command["down"], command["height"], command["across"]
        digits = command["digits"]
        found = self.take("patchify", down, height, across, words, digits, config.rows)
        pixels = self.joined(found).transpose(0, 2, 1, 3, 4)
        rows = pixels.reshape(down * across, -1)
        self.put(placed.operators[0], placed, placed.token, rows)

    def layernorm(self, placed: Placed) -> None:
        command, lanes = placed.command, self.program.config.lanes
        chunks = -(-command["channels"] // lanes)
        found = self.take("layernorm", command["rows"], chunks, lanes)
        self.put(placed.operators[0], placed, placed.token, found.reshape(len(found), -1))

    def embed(self, placed: Placed) -> None:
        """Positions; the rows behind the prefix are replaced when the patches come."""
        name, lanes = placed.operators[0], self.program.config.lanes
        tokens, channels = self.program.shapes[name]
        found = self.take("residual", placed.command["words"], lanes)
        self.made[name][placed.image] = found.reshape(tokens, -1)[:, :channels]

    def pool(self, placed: Placed) -> None:
        name = placed.operators[0]
        found = self.take("residual", placed.command["chunks"], self.program.config.lanes)
        channels = self.program.shapes[name][1]
        self.made[name][placed.image] = found.reshape(1, -1)[:, :channels]

    def store(self, placed: Placed) -> None:
        command, config, mode = placed.command, self.program.config, Mode(placed.command["mode"])
        groups, tokens = command["groups"], command["tokens"]
        parts = config.cols // config.lanes
        found = self.take("gemm", groups, tokens, parts, config.lanes)
        rows = found.transpose(1, 0, 2, 3).reshape(tokens, -1)
        if mode == Mode.SCORES:
            self.scores(placed, rows)
            return
        self.put(placed.operators[0], placed, placed.token, rows)
        if mode not in (Mode.GELU, Mode.RESIDUAL):
            return
        probe = "gelu_table" if mode == Mode.GELU else "residual"
        kept = [max(0, min(parts, command["chunks"] - group * parts)) for group in range(groups)]
        blocks = [
            self.take(probe, tokens, count, config.lanes).reshape(tokens, -1) for count in kept
        ]
        # Rows of the stream begin behind the prefix.
        name = placed.operators[1]
        prefix = self.program.shapes[name][0] - self.program.shapes[placed.operators[0]][0]
        values = np.concatenate(blocks, axis=1)
        if mode == Mode.GELU:
            # The table gives fill channels a value too, whose weights are 0.
            values = np.where(self.spare(placed, values.shape[1]), 0, values)
        self.put(name, placed, prefix + placed.token, values)

    def spare(self, placed: Placed, size: int) -> np.ndarray:
        places = np.full(size, -1)
        count = min(size, placed.channels.size)
        places[:count] = placed.channels[:count]
        return places < 0

    def scores(self, placed: Placed, rows: np.ndarray) -> None:
        command, config = placed.command, self.program.config
        scores, softmax = (self.made[name][placed.image, placed.head] for name in placed.operators)
        queries = len(scores)
        scores[:] = rows[:, :queries].T
        codes = self.take("log2_softmax", command["groups"], command["tokens"], config.cols)
        softmax[:] = codes.transpose(0, 2, 1).reshape(-1, command["tokens"])[:queries]

    def attention(self, placed: Placed) -> None:
        command, config = placed.command, self.program.config
        queries, tiles = command["queries"], command["tiles"]
        for first in range(0, queries, config.cols):
            count = min(config.cols, queries - first)
            found = self.take("shift_attention", tiles, count, config.rows)
            rows = found.transpose(1, 0, 2).reshape(count, -1)
            self.put(placed.operators[0], placed, first, rows)


class _CycleReader(_Reader):
    """Beats hold, in place of each value, the cycle in which they left."""

    def check_fill(self, name: str, values: np.ndarray) -> None:
        pass

    def joined(self, digits: np.ndarray) -> np.ndarray:
        return digits.max(-2)
