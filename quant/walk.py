"""The way of the calibration images through a network, node by node, in chunks of images."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ..errors import CalibrationError
from .chunks import Chunks, ChunkStore
from .network import PIXELS, Network, QuantizedNetwork
from .nodes import Node

EXACT, QUANTIZED = "exact", "quantized"
"""Paths: the float network, and the one with the quantizers and weights found so far."""

_READ_ONCE = 1 << 28
"""Bytes of a tensor, of all chunks together, that is made once for all its readings; on top of what
the store keeps."""
_LARGEST = torch.finfo(torch.float32).max ** 0.5
"""Of the residual stream: greater values have no variance in float32, which models are made in."""
_CHUNK_IMAGES = 32
_CHUNK_BYTES = 1 << 27


def image_chunks(network: Network, pixels: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    """Images, uint8 `[B, H, W, C]`, as many at a time as keep the largest tensor bearable.

    Parameters: `pixels`, all of them or some after the other.
    Raises: TypeError or ValueError as `Network.check_pixels` does.
    """
    size = None
    for part in [pixels] if isinstance(pixels, Tensor) else pixels:
        network.check_pixels(part)
        if size is None and len(part):
            size = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // _widest(network, part[:1])))
        if len(part):
            yield from part.split(size)


def _widest(network: Network, pixels: Tensor) -> int:
    """Bytes of the largest tensor of one image."""
    widest = 1

    def execute(node: Node, operands: list[Tensor]) -> Tensor:
        nonlocal widest
        result = node.forward(*operands)
        widest = max(widest, result.numel() * result.element_size())
        return result

    network.run(pixels.to(network.mean.device), execute, network.precision)
    return widest


class Walk:
    """What every node gives for the calibration images, as far as the walk has come.

    Parameters:
        quantized: the network, whose quantizers are filled in between the steps.
        store: keeps what is not cheap to make again; a method may keep tensors there under keys of
            its own.
        paths: which of `EXACT` and `QUANTIZED` to walk.
        device: where to compute; the store stays in main memory.
    """

    def __init__(
        self,
        quantized: QuantizedNetwork,
        store: ChunkStore,
        paths: Iterable[str] = (QUANTIZED,),
        device: torch.device | str = "cpu",
    ) -> None:
        self.quantized = quantized
        self.network = quantized.network
        self.paths = tuple(paths)
        self.device = torch.device(device)
        self.sizes: list[int] = []
        self.store = store
        self._last_use = {
            name: node for node in self.network.nodes for name in self._kept_operands(node)
        }

    def start(self, chunks: Iterable[Tensor]) -> None:
        """Take the images in, uint8 `[B, H, W, C]` each."""
        for pixels in chunks:
            self.network.check_pixels(pixels)
            self.store.put((PIXELS, PIXELS, len(self.sizes)), pixels)
            self.sizes.append(len(pixels))

    def pixels(self, chunk: int) -> Tensor:
        """Images of a chunk, uint8 `[B, H, W, C]`, until the patch embedding is passed."""
        return self.store.get((PIXELS, PIXELS, chunk)).to(self.device)

    @property
    def chunks(self) -> range:
        """Numbers of the chunks."""
        return range(len(self.sizes))

    def values(self, make: Callable[[int], Tensor]) -> Tensor | Chunks:
        """What `make` gives of every chunk: made at once where that is little."""
        first = make(0)
        if len(self.sizes) == 1:
            return first
        if len(self.sizes) * first.numel() * first.element_size() > _READ_ONCE:
            return Chunks(make, self.sizes)
        return torch.cat([first, *(make(chunk) for chunk in self.chunks[1:])])

    def value(self, name: str, chunk: int, path: str = QUANTIZED) -> Tensor:
        """Tensor of a node that the walk has passed, before any quantizer reads it."""
        if name == PIXELS:
            return self.network.prepare(self.pixels(chunk), self.network.precision)
        if (path, name, chunk) in self.store:
            return self.store.get((path, name, chunk)).to(self.device)
        return self.make(self.network.by_name[name], chunk, path)

    def operands(self, node: Node, chunk: int, path: str = QUANTIZED) -> list[Tensor]:
        """Operands of a node, on the quantized path behind the quantizers that are there."""
        values = [self.value(name, chunk, path) for name in node.inputs]
        return self.quantized.operands(node, values) if path == QUANTIZED else values

    def make(self, node: Node, chunk: int, path: str = QUANTIZED) -> Tensor:
        """Compute a node, with the quantized weight on the quantized path."""
        values = [self.value(name, chunk, path) for name in node.inputs]
        return self.quantized.execute(node, values) if path == QUANTIZED else node.forward(*values)

    def keep(self, node: Node, path: str) -> None:
        """Store what a node gives, unless it is light or kept already."""
        if node.light:
            return
        for chunk in self.chunks:
            if (path, node.name, chunk) not in self.store:
                self.store.put((path, node.name, chunk), self.make(node, chunk, path))

    def shift(self, node: Node, offset: Tensor) -> None:
        """Add a constant `[N]` to what is kept of a node on the quantized path."""
        for chunk in self.chunks:
            key = (QUANTIZED, node.name, chunk)
            self.store.put(key, self.store.get(key).to(self.device) + offset)

    def leave(self, node: Node) -> None:
        """Note the magnitude of a tensor of the residual stream, and drop what no node ahead
        needs.

        Raises: CalibrationError where the magnitude is one that no float32 model can have.
        """
        if self.network.is_stream(node.name) and QUANTIZED in self.paths:
            largest = 0.0
            for chunk in self.chunks:
                low, high = torch.aminmax(self.value(node.name, chunk))
                largest = max(largest, -float(low), float(high))
            # What is not finite is told where it is searched.
            if _LARGEST < largest < math.inf:
                raise CalibrationError(
                    f"{node.name}: values must be at most {_LARGEST:.3g}, not {largest:.3g}"
                )
            self.quantized.stream_absmax[node.name] = largest
        for name, last in self._last_use.items():
            if last is node:
                paths = (PIXELS,) if name == PIXELS else self.paths
                for path in paths:
                    for chunk in self.chunks:
                        self.store.drop((path, name, chunk))

    def _kept_operands(self, node: Node) -> set[str]:
        """Stored tensors that a node is made of, directly or through light nodes."""
        found = set()
        for name in node.inputs:
            maker = self.network.by_name.get(name)
            if maker is not None and maker.light:
                found |= self._kept_operands(maker)
            else:
                found.add(name)
        return found
