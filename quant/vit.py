"""A timm VisionTransformer taken apart into named quantizer sites, linear layers and norms.

One walk through the network serves the float pass, every calibration pass and the quantized
inference; what happens at each place is up to the `Stages` that the walk visits.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from ..bits import Bits
from .layers import architecture_of, embeddings_of, layers_of
from .quantizers import Quantizer, UniformQuantizer


class Stages(Protocol):
    """What a walk does at each place of the network."""

    def activation(self, name: str, x: Tensor) -> Tensor:
        """Pass a tensor through the quantizer site `name`."""

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply the linear layer `name` to `x [..., K]`; `patch_embed.proj` to an image
        `[B, C, H, W]`, giving `[B, patches, N]`."""

    def residual(self, name: str, x: Tensor) -> None:
        """Take note of a tensor of the residual stream, `[B, T, D]`."""


class QuantizedViT(nn.Module):
    """A vision transformer with a quantizer at every matrix multiplication's input.

    Called with uint8 pixels `[B, H, W, C]` it gives float32 logits `[B, classes]`, computing
    in float between the quantizers. `calibrate` makes and fills it.

    Members:
        architecture: Architecture
        bits: Bits
        mode: {"reference", "integer"}
        base: {"sqrt2", "2"}
        mean, std: Tensor, float64, `[C]`. Preprocessing `(pixel / 255 - mean) / std`.
        linears: dict[str, LinearLayer]. Unquantized weights and final biases after every fold and
            correction. The columns of `patch_embed.proj` run over (channel, row, column) of a
            patch; in integer mode it takes pixel codes 0..255.
        norms: dict[str, LayerNorm]. `blocks.i.norm1`, `blocks.i.norm2` and `norm` (before or
            after the pooling).
        activation_module: list[nn.Module]. Elementwise function between fc1 and fc2 of each block.
        prefix: Tensor, float32, `[P, D]`. Class and register tokens, position included.
        position: Tensor, float32, `[patches, D]`. Position embedding of the patches.
        activation: dict[str, Quantizer]. Quantizer of each activation site.
        weight: dict[str, tuple[Tensor, UniformQuantizer]]. Codes uint8 `[N, K]` and quantizer
            (scale and zero `[N, 1]`) of each linear layer.
        residual_absmax: dict[str, float]. Greatest magnitude, over the calibration images, of each
            tensor of the residual stream.
    """

    def __init__(
        self,
        model: VisionTransformer,
        mean: Sequence[float],
        std: Sequence[float],
        bits: Bits,
        mode: str = "integer",
        base: str = "sqrt2",
    ) -> None:
        super().__init__()
        self.bits = bits
        self.mode = mode
        self.base = base
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.std = torch.tensor(std, dtype=torch.float64)
        self.architecture = architecture_of(model)
        self.prefix, self.position = embeddings_of(model, self.architecture)
        precision = torch.float32 if mode == "reference" else torch.float64
        self.linears, self.norms = layers_of(model, precision)
        self.activation_module = [block.mlp.act for block in model.blocks]
        self.activation: dict[str, Quantizer] = {}
        self.weight: dict[str, tuple[Tensor, UniformQuantizer]] = {}
        self.residual_absmax: dict[str, float] = {}
        self._dequantized: dict[str, Tensor] = {}
        if mode == "integer":
            self._fold_preprocessing()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 `[B, classes]`, of uint8 pixels `[B, H, W, C]`."""
        return self.walk(pixels, _Inference(self))

    def walk(self, pixels: Tensor, at: Stages) -> Tensor:
        """Visit every place of the network in order of execution; returns the logits."""
        shape = self.architecture
        self.check_pixels(pixels)
        image = pixels.permute(0, 3, 1, 2).float().contiguous()
        if self.mode == "reference":
            mean, std = self.mean.float()[:, None, None], self.std.float()[:, None, None]
            image = at.activation("patch_embed.proj.input", (image / 255 - mean) / std)
        x = at.linear("patch_embed.proj", image) + self.position
        x = torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], dim=1)
        at.residual("embed", x)
        for index in range(shape.depth):
            x = self._block(f"blocks.{index}", x, at, self.activation_module[index])
        pooled = x[:, 0] if shape.pool == "token" else x[:, shape.prefix_tokens :].mean(dim=1)
        x = self.norms["norm"](pooled)
        return at.linear("head", at.activation("head.input", x))

    def check_pixels(self, pixels: Tensor) -> None:
        """Refuse pixels of another kind (TypeError) or shape (ValueError) than the model takes."""
        shape = self.architecture
        expected = [*shape.image, shape.channels]
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
            raise TypeError(f"pixels must be a uint8 tensor, not {_kind(pixels)}")
        if pixels.ndim != 4 or list(pixels.shape[1:]) != expected:
            raise ValueError(
                f"pixels must have the shape [images, {', '.join(map(str, expected))}], "
                f"not {list(pixels.shape)}"
            )

    def activation_sites(self) -> list[str]:
        """Names of the activation quantizers in order of execution."""
        names = ["patch_embed.proj.input"] if self.mode == "reference" else []
        for index in range(self.architecture.depth):
            attention, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
            names += [f"{attention}.qkv.input"]
            names += [f"{attention}.matmul{operand}" for operand in ("1.A", "1.B", "2.A", "2.B")]
            names += [f"{attention}.proj.input", f"{mlp}.fc1.input"]
            names += [f"{mlp}.act.input"] if self.mode == "integer" else []
            names += [f"{mlp}.fc2.input"]
        return [*names, "head.input"]

    def norm_sites(self) -> dict[str, tuple[str, str]]:
        """Site behind each LayerNorm that is reparameterized: its norm and its linear layer."""
        sites = {}
        for index in range(self.architecture.depth):
            for norm, layer in (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")):
                name = f"blocks.{index}.{layer}"
                sites[f"{name}.input"] = (f"blocks.{index}.{norm}", name)
        return sites

    def set_weight(self, name: str, codes: Tensor, quantizer: UniformQuantizer) -> None:
        """Store the codes `[N, K]` of a linear layer; inference uses what they stand for."""
        self.weight[name] = codes.to(torch.uint8), quantizer
        self._dequantized[name] = quantizer.dequantize(codes)

    def quantized_linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a linear layer with its quantized weight."""
        return self._linear(x, self._dequantized[name], self.linears[name].bias)

    def float_linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a linear layer with its unquantized weight."""
        return self._linear(x, self.linears[name].weight.float(), self.linears[name].bias)

    def patches(self, image: Tensor) -> Tensor:
        """Rows `[B, patches, C * rows * columns]` that the patch embedding multiplies."""
        return functional.unfold(image, self.architecture.patch, stride=self.architecture.patch).mT

    def pixel_mean(self) -> Tensor:
        """Pixel code, float64 `[C * rows * columns]`, that the preprocessing maps to 0."""
        height, width = self.architecture.patch
        return 255 * self.mean.repeat_interleave(height * width)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if x.ndim == 3 or x.ndim == 2:
            return functional.linear(x, weight, bias.float())
        # The published code convolves, and another order of its sums would not be bit-identical.
        patch = self.architecture.patch
        weight = weight.reshape(-1, self.architecture.channels, *patch)
        return functional.conv2d(x, weight, bias.float(), stride=patch).flatten(2).mT

    def _block(self, name: str, x: Tensor, at: Stages, function: nn.Module) -> Tensor:
        branch = self._attention(f"{name}.attn", self.norms[f"{name}.norm1"](x), at)
        at.residual(f"{name}.attn.proj.output", branch)
        x = x + branch
        at.residual(f"{name}.attn.residual", x)

        mlp = f"{name}.mlp"
        hidden = at.activation(f"{mlp}.fc1.input", self.norms[f"{name}.norm2"](x))
        hidden = at.linear(f"{mlp}.fc1", hidden)
        if self.mode == "integer":
            hidden = at.activation(f"{mlp}.act.input", hidden)
        hidden = at.activation(f"{mlp}.fc2.input", function(hidden))
        branch = at.linear(f"{mlp}.fc2", hidden)
        at.residual(f"{mlp}.fc2.output", branch)
        x = x + branch
        at.residual(f"{mlp}.residual", x)
        return x

    def _attention(self, name: str, x: Tensor, at: Stages) -> Tensor:
        shape = self.architecture
        batch, tokens, _ = x.shape
        qkv = at.linear(f"{name}.qkv", at.activation(f"{name}.qkv.input", x))
        qkv = qkv.reshape(batch, tokens, 3, shape.heads, shape.head_dim).permute(2, 0, 3, 1, 4)
        q = at.activation(f"{name}.matmul1.A", qkv[0])
        k = at.activation(f"{name}.matmul1.B", qkv[1])
        scores = (q @ k.transpose(-2, -1)).mul_(shape.head_dim**-0.5)
        p = at.activation(f"{name}.matmul2.A", scores.softmax(dim=-1))
        v = at.activation(f"{name}.matmul2.B", qkv[2])
        x = (p @ v).transpose(1, 2).reshape(batch, tokens, shape.heads * shape.head_dim)
        return at.linear(f"{name}.proj", at.activation(f"{name}.proj.input", x))

    def _fold_preprocessing(self) -> None:
        """Let the patch embedding take pixel codes 0..255: the normalization moves into it."""
        layer = self.linears["patch_embed.proj"]
        height, width = self.architecture.patch
        std = self.std.repeat_interleave(height * width)
        layer.weight = layer.weight / (255 * std)
        layer.bias = layer.bias - layer.weight @ self.pixel_mean()


class _Inference:
    """The quantized network itself."""

    def __init__(self, vit: QuantizedViT) -> None:
        self._vit = vit

    def activation(self, name: str, x: Tensor) -> Tensor:
        return self._vit.activation[name].fake(x)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return self._vit.quantized_linear(name, x)

    def residual(self, name: str, x: Tensor) -> None:
        pass


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
