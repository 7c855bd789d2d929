"""A network of nodes, in float and with quantizers at every operand of a matrix multiplication."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..bit_table import BitTable
from ..bits import Bits
from ..formats import GELU_INDEX_WIDTH, PIXEL_WIDTH
from .nodes import (
    Activation,
    Add,
    Embed,
    Gather,
    LayerNorm,
    Linear,
    Mix,
    Node,
    Part,
    PatchEmbedding,
    Pool,
    Scores,
    Softmax,
)
from .quantizers import Quantizer, UniformQuantizer

PIXELS = "pixels"
MODES = ("integer", "reference")


def precision_of(mode: str) -> torch.dtype:
    """Precision of parameters and of calibration.

    Float64 in integer mode, so that the order in which a processor adds up does not reach the
    rounded results; float32 in reference mode, as published.
    """
    return torch.float64 if mode == "integer" else torch.float32


@dataclass(frozen=True)
class FeatureMap:
    """An output of a feature extractor: the rows of `tensor` behind `prefix` ones, which lie on a
    `grid` of (height, width)."""

    tensor: str
    grid: tuple[int, int]
    prefix: int = 0


class Network:
    """A vision transformer as nodes in order of execution, the last one giving the logits.

    Parameters:
        nodes: the operators.
        image: height, width and channels of the uint8 pixels that go in.
        mean, std: float64 `[C]`. Preprocessing `(pixel / 255 - mean) / std`.
        mode: {"integer", "reference"}. In integer mode the preprocessing is folded into the patch
            embedding, which takes pixel codes 0..255.
        features: feature maps to give instead of logits.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        image: tuple[int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        mode: str = "integer",
        features: Sequence[FeatureMap] = (),
    ) -> None:
        self.nodes = tuple(nodes)
        self.image = image
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.std = torch.tensor(std, dtype=torch.float64)
        self.mode = mode
        self.features = tuple(features)
        self.by_name = {node.name: node for node in self.nodes}
        self.linears = {node.name: node for node in self.nodes if isinstance(node, Linear)}
        self.sites = {
            site: (node, operand)
            for node in self.nodes
            for operand, site in enumerate(node.sites)
            if site is not None
        }
        self.readers: dict[str, list[Node]] = {name: [] for name in (PIXELS, *self.by_name)}
        for node in self.nodes:
            for name in node.inputs:
                self.readers[name].append(node)
        if mode == "integer":
            for linear in self.linears.values():
                if isinstance(linear, PatchEmbedding):
                    self._fold_preprocessing(linear)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that a run gives."""
        return tuple(each.tensor for each in self.features) or (self.nodes[-1].name,)

    def layers(self) -> tuple[str, ...]:
        """Names that a table of bits may use, in order of execution."""
        kinds = (Linear, Scores, Softmax, Mix)
        return tuple(node.name for node in self.nodes if isinstance(node, kinds))

    def norm_before(self, linear: Linear) -> LayerNorm | None:
        """The LayerNorm that the layer alone reads, so that both can be reparameterized.

        RepQ-ViT leaves the last one of a classifier, behind which the head is, as it is.
        """
        moves = self.moves_before(linear)
        name = moves[-1].inputs[0] if moves else linear.inputs[0]
        node = self.by_name.get(name)
        if not isinstance(node, LayerNorm) or not self._is_read_once(name):
            return None
        return node if linear is not self.nodes[-1] else None

    def moves_before(self, linear: Linear) -> list[Gather]:
        """What rearranges the rows of the layer's input, and of nothing else: the last first."""
        moves: list[Gather] = []
        name = linear.inputs[0]
        while self._is_read_once(name):
            node = self.by_name.get(name)
            if not isinstance(node, Gather) or node.index.shape[1] != 1:
                break
            moves.append(node)
            name = node.inputs[0]
        return moves

    def _is_read_once(self, name: str) -> bool:
        return len(self.readers[name]) == 1 and name not in self.outputs

    def norm_sites(self) -> dict[str, tuple[LayerNorm, Linear]]:
        """Sites behind a LayerNorm that is reparameterized, with the layers on both sides."""
        found = {}
        for linear in self.linears.values():
            norm = self.norm_before(linear)
            if norm is not None and linear.sites[0] is not None:
                found[linear.sites[0]] = (norm, linear)
        return found

    def is_stream(self, name: str) -> bool:
        """Whether a tensor is of the residual stream: made by what gives 16 bits whatever reads it,
        read without a quantizer, or a feature."""
        if any(each.tensor == name for each in self.features):
            return True
        if isinstance(self.by_name.get(name), (Add, Embed, Pool)):
            return True
        for reader in self.readers[name]:
            if isinstance(reader, (Add, Embed, LayerNorm, Pool)):
                return True
            if isinstance(reader, (Gather, Part)) and self.is_stream(reader.name):
                return True
        return False

    def site_width(self, site: str, bits: Bits | BitTable) -> int:
        """Bits of the codes of an activation site."""
        node, operand = self.sites[site]
        if isinstance(node, PatchEmbedding):
            return PIXEL_WIDTH
        if isinstance(node, Activation):
            return GELU_INDEX_WIDTH
        if isinstance(node, Mix) and operand == 0:
            return bits.of(node.inputs[0]).log
        return bits.of(node.name).activations

    def weight_width(self, linear: Linear, bits: Bits | BitTable) -> int:
        """Bits of the codes of a weight."""
        if isinstance(linear, PatchEmbedding) and self.mode == "integer":
            return PIXEL_WIDTH
        return bits.of(linear.name).weights

    @property
    def precision(self) -> torch.dtype:
        """`precision_of` its mode."""
        return precision_of(self.mode)

    def prepare(self, pixels: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """What the patch embedding takes of uint8 pixels `[B, H, W, C]`: `[B, C, H, W]` in the
        precision that everything behind it is then computed in."""
        image = pixels.permute(0, 3, 1, 2).to(precision).contiguous()
        if self.mode == "integer":
            return image
        mean, std = (each.to(precision)[:, None, None] for each in (self.mean, self.std))
        return (image / 255 - mean) / std

    def check_pixels(self, pixels: Tensor) -> None:
        """Refuse pixels of another kind (TypeError) or shape (ValueError) than the model takes."""
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
            kind = pixels.dtype if isinstance(pixels, Tensor) else type(pixels).__name__
            raise TypeError(f"pixels must be a uint8 tensor, not {kind}")
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != self.image:
            raise ValueError(
                f"pixels must have the shape [images, {', '.join(map(str, self.image))}], "
                f"not {list(pixels.shape)}"
            )

    def pixel_mean(self, embedding: PatchEmbedding) -> Tensor:
        """Pixel code, float64 `[C * rows * columns]`, that the preprocessing maps to 0."""
        height, width = embedding.patch
        return 255 * self.mean.repeat_interleave(height * width)

    def to(self, device: torch.device | str) -> "Network":
        """Move all parameters to `device`, in place."""
        for node in self.nodes:
            for key, value in vars(node).items():
                if isinstance(value, Tensor):
                    setattr(node, key, value.to(device))
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def run(
        self,
        pixels: Tensor,
        execute: Callable[[Node, list[Tensor]], Tensor] | None = None,
        precision: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """Outputs by name for uint8 pixels `[B, H, W, C]`.

        Parameters: `execute`, called in order with each node and its operands, gives the node's
        tensor; the node's own forward by default, which is the float network. `precision`, as
        `prepare` has it.
        Raises: TypeError or ValueError as `check_pixels` does.
        """
        self.check_pixels(pixels)
        tensors = {PIXELS: self.prepare(pixels, precision)}
        left = {name: len(readers) for name, readers in self.readers.items()}
        for node in self.nodes:
            operands = [tensors[name] for name in node.inputs]
            tensors[node.name] = execute(node, operands) if execute else node.forward(*operands)
            for name in node.inputs:
                left[name] -= 1
                if not left[name] and name not in self.outputs:
                    del tensors[name]
        return {name: tensors[name] for name in self.outputs}

    def _fold_preprocessing(self, layer: PatchEmbedding) -> None:
        height, width = layer.patch
        std = self.std.repeat_interleave(height * width)
        layer.weight = layer.weight / (255 * std)
        layer.bias = layer.bias - layer.weight @ self.pixel_mean(layer)


class QuantizedNetwork:
    """A network with a quantizer at every matrix multiplication's operand.

    It computes in float between the quantizers. `calibrate` makes and fills it.

    Members:
        network: Network. Unquantized weights and final biases, after every fold and correction.
        bits: Bits or BitTable. Widths of the codes.
        base: {"sqrt2", "2"}. Base of the softmax codes.
        activation: dict[str, Quantizer]. Quantizer of each activation site.
        weight: dict[str, tuple[Tensor, UniformQuantizer]]. Codes uint8 `[N, K]` and quantizer
            (scale and zero `[N, 1]`) of each linear layer.
        stream_absmax: dict[str, float]. Greatest magnitude, over the calibration images, of each
            tensor that no quantizer reads.
    """

    def __init__(self, network: Network, bits: Bits | BitTable, base: str = "sqrt2") -> None:
        self.network = network
        self.bits = bits
        self.base = base
        self.activation: dict[str, Quantizer] = {}
        self.weight: dict[str, tuple[Tensor, UniformQuantizer]] = {}
        self.stream_absmax: dict[str, float] = {}
        self._dequantized: dict[str, Tensor] = {}

    @property
    def mode(self) -> str:
        """{"integer", "reference"}"""
        return self.network.mode

    def set_weight(self, name: str, codes: Tensor, quantizer: UniformQuantizer) -> None:
        """Store the codes `[N, K]` of a linear layer; inference uses what they stand for."""
        self.weight[name] = codes.to(torch.uint8), quantizer
        self._dequantized[name] = quantizer.dequantize(codes)

    def operands(self, node: Node, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Operands of a node behind their quantizers, those that are there already."""
        found = []
        for site, x in zip(node.sites, tensors, strict=True):
            quantizer = self.activation.get(site) if site else None
            found.append(x if quantizer is None else quantizer.fake(x))
        return found

    def execute(self, node: Node, tensors: Sequence[Tensor]) -> Tensor:
        """A node with quantized operands and weight."""
        operands = self.operands(node, tensors)
        if isinstance(node, Linear) and node.name in self._dequantized:
            return node.apply(operands[0], self._dequantized[node.name])
        return node.forward(*operands)

    @torch.no_grad()
    def outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        """Outputs by name, float32, of uint8 pixels `[B, H, W, C]`."""
        return self.network.run(pixels, self.execute)

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 `[B, classes]`, of uint8 pixels `[B, H, W, C]`."""
        return next(iter(self.outputs(pixels).values())).flatten(1)

    def to(self, device: torch.device | str) -> "QuantizedNetwork":
        """Move everything to `device`, in place."""
        self.network.to(device)
        self.activation = {site: moved(q, device) for site, q in self.activation.items()}
        self.weight = {
            name: (codes.to(device), moved(quantizer, device))
            for name, (codes, quantizer) in self.weight.items()
        }
        self._dequantized = {name: w.to(device) for name, w in self._dequantized.items()}
        return self


def moved(quantizer: Quantizer, device: torch.device | str) -> Quantizer:
    """The quantizer with its tensors on `device`."""
    tensors = {k: v.to(device) for k, v in vars(quantizer).items() if isinstance(v, Tensor)}
    return replace(quantizer, **tensors)
