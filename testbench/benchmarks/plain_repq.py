"""The published RepQ-ViT procedure (arXiv 2212.08254) on a timm VisionTransformer, written plainly.

As its users run it: a float32 model with a quantizer module at each input of a matrix
multiplication. A quantizer searches its range at the first tensor that it sees; one with a scale
per channel does so channel by channel, and each of the three percentiles sorts the channel anew.
A pass over the images calibrates everything, the LayerNorm outputs are reparameterized (section
3.2), and a second pass calibrates the weights behind them again.

It is here to be timed and to be compared with. It handles no degenerate range, and of models the
plain ones alone: no LayerScale, no normalization of queries and keys, no gate.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from rootshift.bits import Bits

PERCENTILES = (0.999, 0.9999, 0.99999)


def percentile(x: Tensor, fraction: float) -> Tensor:
    """The value, float32 scalar, that `fraction` of the values are below, as torch gives it."""
    if x.numel() > 2**24:  # more than torch.quantile takes
        return torch.tensor(np.percentile(x.numpy(), 100 * fraction), dtype=torch.float32)
    return torch.quantile(x.reshape(-1), fraction)


def percentile_at_exact_rank(x: Tensor, fraction: float) -> Tensor:
    """As `percentile`, but interpolated at a rank that is not rounded to float32."""
    if x.numel() > 2**24:
        return percentile(x, fraction)
    values = x.reshape(-1).sort().values
    rank = float(torch.tensor(fraction)) * (len(values) - 1)
    below = int(rank)
    above = min(below + 1, len(values) - 1)
    return torch.lerp(values[below], values[above], torch.tensor(rank - below))


@torch.no_grad()
def calibrate(
    model: VisionTransformer,
    pixels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    bits: Bits,
    percentile: Callable[[Tensor, float], Tensor] = percentile,
) -> nn.Module:
    """A quantized copy of `model`, calibrated on uint8 `pixels [N, H, W, C]`."""
    images = pixels.permute(0, 3, 1, 2).float().contiguous() / 255
    images = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    network = quantized(model, bits)
    for module in network.modules():
        if isinstance(module, Uniform | LogSqrt2):
            module.percentile = percentile
    network(images)
    for block in network.blocks:
        reparameterize(block.norm1, block.attn.qkv)
        reparameterize(block.norm2, block.mlp.fc1)
    network(images)
    return network


def arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """Scale and zero point, float32 `[]` or `[channels]`, of every quantizer by its place: of
    inputs `<layer>.input.scale`, of weights `<layer>.weight.scale`, of `<attention>.matmul1.A`."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, Uniform | LogSqrt2):
            place = name.removesuffix("_quantizer").replace("weight_quantizer", "weight")
            found[f"{place}.scale"] = module.scale.reshape(module.scale.shape[:1]).numpy()
            if isinstance(module, Uniform):
                zero = module.zero_point
                found[f"{place}.zero_point"] = zero.reshape(zero.shape[:1]).numpy()
    return found


def quantized(model: VisionTransformer, bits: Bits) -> nn.Module:
    """A copy of `model` with quantizers in it, none of them calibrated yet."""
    network = deepcopy(model)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            network.set_submodule(name, QuantConv2d(module, bits))
        elif isinstance(module, nn.Linear):
            behind_norm = name.endswith(("attn.qkv", "mlp.fc1"))
            network.set_submodule(name, QuantLinear(module, bits, behind_norm))
    for block in network.blocks:
        block.attn = QuantAttention(block.attn, bits)
    return network


class Uniform(nn.Module):
    """Evenly spaced levels, for the whole tensor or for each channel of one axis (section 3.1)."""

    def __init__(self, bits: int, axis: int | None = None) -> None:
        super().__init__()
        self.top, self.axis = 2**bits - 1, axis
        self.percentile = percentile
        self.scale: Tensor | None = None
        self.zero_point: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x [..., channels]` or `[channels, ...]` rounded to the levels."""
        if self.scale is None:
            self.scale, self.zero_point = self._search(x)
        return self._rounded(x, self.scale, self.zero_point)

    def _search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.axis is None:
            return self._search_values(x)
        channels = [self._search_values(each) for each in x.unbind(self.axis)]
        shape = [1] * x.ndim
        shape[self.axis] = -1
        if self.axis == -1:
            shape = [-1]
        scale, zero_point = zip(*channels, strict=True)
        return torch.stack(scale).reshape(shape), torch.stack(zero_point).reshape(shape)

    def _search_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        best, least = None, float("inf")
        for fraction in PERCENTILES:
            high, low = self.percentile(x, fraction), self.percentile(x, 1 - fraction)
            scale = (high - low) / self.top
            zero_point = (-low / scale).round()
            error = squared_error(x, self._rounded(x, scale, zero_point))
            if error < least:
                best, least = (scale, zero_point), error
        if best is None:
            raise ValueError("values must have a range for some percentile, not be constant")
        return best

    def _rounded(self, x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        codes = ((x / scale).round() + zero_point).clamp(0, self.top)
        return (codes - zero_point) * scale


class LogSqrt2(nn.Module):
    """Powers of the square root of 2 below a greatest value, and 0 (section 3.3)."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits
        self.percentile = percentile
        self.scale: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape, from 0 up, rounded to the levels."""
        if self.scale is None:
            self.scale = self._search(x)
        return self._rounded(x, self.scale)

    def _search(self, x: Tensor) -> Tensor:
        candidates = [self.percentile(x, fraction) for fraction in PERCENTILES]
        errors = [squared_error(x, self._rounded(x, scale)) for scale in candidates]
        return candidates[errors.index(min(errors))]

    def _rounded(self, x: Tensor, scale: Tensor) -> Tensor:
        codes = (-2 * (x / scale).log2()).round()
        kept = codes.clamp(0, self.levels - 1)
        # An odd code is half an octave above the next even one.
        half = torch.where(kept % 2 == 1, 2**0.5, 1.0)
        values = torch.exp2(-(kept / 2).ceil()) * half * scale
        return values.masked_fill(codes >= self.levels, 0.0)


class QuantLinear(nn.Module):
    """A linear layer with quantized input and weight."""

    def __init__(self, layer: nn.Linear, bits: Bits, behind_norm: bool) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.input_quantizer = Uniform(bits.activations, -1 if behind_norm else None)
        self.weight_quantizer = Uniform(bits.weights, 0)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., K]` to `[..., N]`."""
        return functional.linear(
            self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias
        )


class QuantConv2d(nn.Module):
    """The patch embedding's convolution with 8-bit input and quantized weight."""

    def __init__(self, layer: nn.Conv2d, bits: Bits) -> None:
        super().__init__()
        self.weight, self.bias, self.stride = layer.weight, layer.bias, layer.stride
        self.input_quantizer = Uniform(8)
        self.weight_quantizer = Uniform(bits.weights, 0)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, N, rows, columns]`."""
        weight = self.weight_quantizer(self.weight)
        return functional.conv2d(self.input_quantizer(x), weight, self.bias, self.stride)


class QuantMatmul(nn.Module):
    """A product of two activations, both quantized."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.A, self.B = left, right

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """`[..., M, K]` times `[..., K, N]`."""
        return self.A(left) @ self.B(right)


class QuantAttention(nn.Module):
    """timm's attention, with both of its products quantized."""

    def __init__(self, attention: Attention, bits: Bits) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.heads, self.factor = attention.num_heads, attention.scale
        self.matmul1 = QuantMatmul(Uniform(bits.activations), Uniform(bits.activations))
        self.matmul2 = QuantMatmul(LogSqrt2(bits.log), Uniform(bits.activations))

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`; timm passes masks too, which are None here."""
        batch, tokens, _ = x.shape
        parts = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        scores = self.matmul1(query, key.transpose(-2, -1)) * self.factor
        mixed = self.matmul2(scores.softmax(dim=-1), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def reparameterize(norm: nn.LayerNorm, layer: QuantLinear) -> None:
    """Bring the channels behind a LayerNorm to one scale and zero point (equations 4 to 8)."""
    channels = layer.input_quantizer
    common = Uniform(0)
    common.top = channels.top
    common.scale, common.zero_point = channels.scale.mean(), channels.zero_point.mean()
    ratio = channels.scale / common.scale
    shift = (-channels.zero_point * channels.scale) / ratio + common.zero_point * common.scale
    norm.weight /= ratio
    norm.bias.copy_(norm.bias / ratio - shift)
    layer.weight *= ratio
    layer.bias += (layer.weight @ shift[:, None])[:, 0]
    layer.input_quantizer = common
    layer.weight_quantizer.scale = None


def squared_error(x: Tensor, rounded: Tensor) -> float:
    """Mean squared difference."""
    return float((x - rounded).square().mean())
