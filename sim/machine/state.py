"""What the units of the machine share: memory, buffers, streams, records."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import AcceleratorConfig
from ...errors import ProgramError
from ...isa import Destination

PROBES = (
    "gemm",
    "layernorm",
    "log2_softmax",
    "shift_attention",
    "gelu_table",
    "residual",
    "patchify",
)
"""Streams whose beats are recorded, as in `docs/accelerator.md`."""
Steps = Iterator[bool]
"""Steps of a unit: True where it moved, False where it waits."""


@dataclass(frozen=True)
class Room:
    """How much may wait where.

    Fields: `bytes` of a fetched stream, `groups` of weights and of outputs, `codes`, query tiles of
    log codes, and `commands` in the queue of a unit. The least, which is the default, stops
    programs that the accelerator cannot run either; much lets units run far ahead.
    """

    bytes: int = 512
    groups: int = 1
    codes: int = 2
    commands: int = 2


class Fifo:
    """A stream of whole items between two units, with room for `room` of them."""

    def __init__(self, room: int) -> None:
        self.room, self.items = room, deque()

    def put(self, item: Any) -> Steps:
        """Wait for room, then append."""
        while len(self.items) >= self.room:
            yield False
        self.items.append(item)
        yield True

    def wait(self) -> Steps:
        """Wait until there is an item."""
        while not self.items:
            yield False


class State:
    """Memory and buffers.

    Fields: `codes` uint8 [code_depth, rows]; `residual` int16 [residual_depth, lanes]; `beats`, per
    probe the recorded blocks; `saturated`, clamped values per unit.
    """

    def __init__(self, config: AcceleratorConfig, memory: bytearray, room: Room) -> None:
        self.config, self.memory, self.room = config, memory, room
        self.beat = config.bus_width // 8
        self.codes = np.zeros((config.code_depth, config.rows), np.uint8)
        self.residual = np.zeros((config.residual_depth, config.lanes), np.int16)
        self.streams = {destination: bytearray() for destination in Destination}
        self.weights, self.outputs = Fifo(room.groups), Fifo(room.groups)
        self.log_codes = Fifo(room.codes)
        self.table, self.norm = np.zeros(256, np.uint8), bytearray()
        self.pixels = np.zeros(0, np.uint8)
        self.beats: dict[str, list[np.ndarray]] = {name: [] for name in PROBES}
        self.saturated: Counter[str] = Counter()

    def record(self, probe: str, beats: np.ndarray) -> None:
        """Add beats: integers [.., payload], in order."""
        self.beats[probe].append(beats.reshape(-1, beats.shape[-1]).astype(np.int64))

    def address(self, buffer: np.ndarray, words: np.ndarray) -> np.ndarray:
        """`words`, which must lie in the buffer. Raises: ProgramError."""
        if words.size and words.max() >= len(buffer):
            name = "code" if buffer is self.codes else "residual"
            raise ProgramError(
                f"{name} buffer address must be below {len(buffer)}, not {words.max()}"
            )
        return words

    def read(self, offset: int, size: int) -> np.ndarray:
        """Bytes of memory. Raises: ProgramError beyond its end."""
        if offset % self.beat or offset + size > len(self.memory):
            raise ProgramError(
                f"offset must be a multiple of {self.beat} and end below {len(self.memory)}, "
                f"not {offset} and {offset + size}"
            )
        return np.frombuffer(self.memory, np.uint8, size, offset).copy()

    def take(self, source: Destination, size: int, into: bytearray) -> Steps:
        """Wait for `size` bytes of a stream, and append them to `into`."""
        stream, end = self.streams[source], len(into) + size
        while len(into) < end:
            count = min(len(stream), end - len(into))
            into += stream[:count]
            del stream[:count]
            if len(into) < end:
                yield bool(count)
        yield True

    def padding(self, size: int) -> int:
        """Zeros that follow `size` bytes of a stream up to a whole beat."""
        return -size % self.beat
