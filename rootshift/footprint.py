"""Which words of the on-chip buffers a command reads and writes.

`docs/accelerator.md`, sections Buffers and Units: the layouts, as address ranges of the operands.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .config import AcceleratorConfig
from .isa import Command, Mode


class Space(Enum):
    """A buffer."""

    CODES = "code buffer"
    RESIDUAL = "residual buffer"

    def depth(self, config: AcceleratorConfig) -> int:
        """Words of the buffer."""
        return config.code_depth if self is Space.CODES else config.residual_depth


@dataclass(frozen=True)
class Region:
    """Words of a buffer: `count` runs of `run` words, their first ones `stride` apart."""

    space: Space
    base: int
    run: int
    stride: int = 0
    count: int = 1

    @property
    def stop(self) -> int:
        """The word behind the last one."""
        return self.base + self.stride * (self.count - 1) + self.run

    def of(self, words: np.ndarray) -> np.ndarray:
        """The region's part of an array of all words of its buffer, as a view [count, run].

        Raises: ValueError where the region lies beyond it.
        """
        if self.stop > len(words):
            raise ValueError(f"words must be at least {self.stop}, not {len(words)}")
        step = words.strides[0]
        return as_strided(words[self.base :], (self.count, self.run), (self.stride * step, step))

    def words(self) -> np.ndarray:
        """int64 [count * run], run after run."""
        starts = self.base + self.stride * np.arange(self.count)
        return (starts[:, None] + np.arange(self.run)).reshape(-1)


@dataclass(frozen=True)
class Footprint:
    """What a command touches; a word that it adds to is in both."""

    reads: tuple[Region, ...] = ()
    writes: tuple[Region, ...] = ()


def footprint(command: Command, config: AcceleratorConfig) -> Footprint:
    """The words that a command reads and writes on an accelerator of this configuration."""
    rule = _RULES.get(command.name)
    return rule(command, config) if rule else Footprint()


def _patchify(command: Command, config: AcceleratorConfig) -> Footprint:
    words = command["height"] * -(-command["run"] // config.rows)
    return Footprint(
        writes=tuple(
            Region(
                Space.CODES,
                command["base"] + digit * command["digit_stride"],
                command["down"] * command["across"],
                command["stride"],
                words,
            )
            for digit in range(command["digits"])
        )
    )


def _weights(command: Command, _: AcceleratorConfig) -> Footprint:
    if not command["buffer"]:
        return Footprint()
    base, channels, stride, tiles = (
        command[name] for name in ("base", "channels", "stride", "tiles")
    )
    return Footprint(reads=(Region(Space.CODES, base, channels, stride, tiles),))


def _gemm(command: Command, _: AcceleratorConfig) -> Footprint:
    base, digit, tokens, stride, tiles = (
        command[name] for name in ("base", "digit_stride", "tokens", "stride", "tiles")
    )
    return Footprint(
        reads=tuple(
            Region(Space.CODES, base + number * digit, tokens, stride, tiles)
            for number in range(command["activation_digits"])
        )
    )


def _store(command: Command, config: AcceleratorConfig) -> Footprint:
    mode, base, tokens, stride = (command[name] for name in ("mode", "base", "tokens", "stride"))
    chunks = min(command["chunks"], command["groups"] * config.cols // config.lanes)
    if mode in (Mode.CODES, Mode.GELU):
        tiles = -(-chunks * config.lanes // config.rows)
        return Footprint(writes=(Region(Space.CODES, base, tokens, stride, tiles),))
    if mode == Mode.RESIDUAL:
        rows = (Region(Space.RESIDUAL, base, chunks, stride, tokens),)
        return Footprint(rows, rows)
    return Footprint()


def _embed(command: Command, _: AcceleratorConfig) -> Footprint:
    return Footprint(writes=(Region(Space.RESIDUAL, command["base"], command["words"]),))


def _pool(command: Command, _: AcceleratorConfig) -> Footprint:
    base, chunks, stride, rows = (command[name] for name in ("base", "chunks", "stride", "rows"))
    return Footprint(
        (Region(Space.RESIDUAL, base, chunks, stride, rows),),
        (Region(Space.RESIDUAL, command["out"], chunks),),
    )


def _layernorm(command: Command, config: AcceleratorConfig) -> Footprint:
    channels, rows = command["channels"], command["rows"]
    chunks, tiles = -(-channels // config.lanes), -(-channels // config.rows)
    return Footprint(
        (Region(Space.RESIDUAL, command["base"], chunks, command["row_stride"], rows),),
        (Region(Space.CODES, command["out"], rows, command["stride"], tiles),),
    )


def _attention(command: Command, _: AcceleratorConfig) -> Footprint:
    stride, tiles = command["stride"], command["tiles"]
    return Footprint(
        (Region(Space.CODES, command["base"], command["keys"], stride, tiles),),
        (Region(Space.CODES, command["out"], command["queries"], stride, tiles),),
    )


_RULES = {
    "PATCHIFY": _patchify,
    "WEIGHTS": _weights,
    "GEMM": _gemm,
    "STORE": _store,
    "EMBED": _embed,
    "POOL": _pool,
    "LAYERNORM": _layernorm,
    "ATTENTION": _attention,
}
"""Instructions that touch a buffer -> their rules."""
