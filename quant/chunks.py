"""Tensors of many images, a chunk of images at a time, in bounded memory."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

MEMORY = 1 << 30
"""Bytes that a store keeps in memory by default."""


class Chunks:
    """Values of one tensor in chunks along the first axis, made anew each time they are read.

    Parameters: `make`, which gives chunk 0, 1, ..; `sizes`, the images of each.
    """

    def __init__(self, make: Callable[[int], Tensor], sizes: Sequence[int]) -> None:
        self._make = make
        self.sizes = tuple(sizes)

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(len(self.sizes)):
            yield self._make(index)


class ChunkStore:
    """Tensors by key; those that exceed `memory` bytes lie in temporary files until they are
    dropped. A context manager, which removes the files."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._free = memory
        self._kept: dict[object, Tensor] = {}
        self._files: dict[object, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> "ChunkStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def __contains__(self, key: object) -> bool:
        return key in self._kept or key in self._files

    def put(self, key: object, value: Tensor) -> None:
        """Keep a tensor, in place of an older one of the same key."""
        self.drop(key)
        size = value.numel() * value.element_size()
        if size <= self._free:
            self._kept[key] = value.cpu()
            self._free -= size
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rootshift-calibration-")
        self._count += 1
        path = Path(self._folder.name) / str(self._count)
        torch.save(value.cpu().clone(), path)
        self._files[key] = path

    def get(self, key: object) -> Tensor:
        """A tensor that was put; KeyError where there is none."""
        if key in self._files:
            return torch.load(self._files[key], weights_only=True)
        return self._kept[key]

    def drop(self, key: object) -> None:
        """Forget a tensor, if it is there."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._free += value.numel() * value.element_size()
        path = self._files.pop(key, None)
        if path is not None:
            path.unlink()
