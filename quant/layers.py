"""What a timm VisionTransformer is made of: sizes, linear layers, norms and embeddings by name."""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class LinearLayer:
    """`y = x @ weight.T + bias`: `weight [N, K]`, `bias [N]`.

    Parameters are float64 in integer mode, and float32 in reference mode, as published."""

    weight: Tensor
    bias: Tensor


@dataclass
class LayerNorm:
    """Normalization over the last axis: `gamma [D]`, `beta [D]`, `eps` added to the variance.

    Parameters are float64 in integer mode, and float32 in reference mode, as published."""

    gamma: Tensor
    beta: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(
            x, self.gamma.shape, self.gamma.float(), self.beta.float(), self.eps
        )


@dataclass(frozen=True)
class Architecture:
    """What of a vision transformer is not a weight; sizes in pixels, tokens or channels."""

    image: tuple[int, int]
    patch: tuple[int, int]
    channels: int
    width: int
    depth: int
    heads: int
    head_dim: int
    hidden: int
    classes: int
    prefix_tokens: int
    pool: str

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.image[0] // self.patch[0], self.image[1] // self.patch[1]

    @property
    def tokens(self) -> int:
        """Prefix tokens and patches."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]


def architecture_of(model: VisionTransformer) -> Architecture:
    """Sizes of a supported model."""
    attention = model.blocks[0].attn
    return Architecture(
        image=tuple(model.patch_embed.img_size),
        patch=tuple(model.patch_embed.patch_size),
        channels=model.patch_embed.proj.in_channels,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=attention.num_heads,
        head_dim=attention.qkv.out_features // (3 * attention.num_heads),
        hidden=model.blocks[0].mlp.fc1.out_features,
        classes=model.num_classes,
        prefix_tokens=model.num_prefix_tokens,
        pool=model.global_pool,
    )


@torch.no_grad()
def embeddings_of(model: VisionTransformer, shape: Architecture) -> tuple[Tensor, Tensor]:
    """Prefix tokens `[P, D]` with their positions, and positions `[patches, D]`."""
    tokens = [token[0] for token in (model.cls_token, model.reg_token) if token is not None]
    prefix = torch.cat(tokens) if tokens else torch.zeros(0, shape.width)
    position = model.pos_embed[0]
    if model.no_embed_class:
        return prefix.clone(), position.clone()
    return prefix + position[: shape.prefix_tokens], position[shape.prefix_tokens :].clone()


@torch.no_grad()
def layers_of(
    model: VisionTransformer, precision: torch.dtype
) -> tuple[dict[str, LinearLayer], dict[str, LayerNorm]]:
    """Linear layers and norms by name; LayerScale is folded, a missing bias is zeros."""
    linears = {"patch_embed.proj": _linear(model.patch_embed.proj, precision)}
    norms = {}
    for index, block in enumerate(model.blocks):
        name = f"blocks.{index}"
        norms[f"{name}.norm1"] = _norm(block.norm1, precision)
        norms[f"{name}.norm2"] = _norm(block.norm2, precision)
        linears[f"{name}.attn.qkv"] = _linear(block.attn.qkv, precision)
        linears[f"{name}.attn.proj"] = _linear(block.attn.proj, precision, block.ls1)
        linears[f"{name}.mlp.fc1"] = _linear(block.mlp.fc1, precision)
        linears[f"{name}.mlp.fc2"] = _linear(block.mlp.fc2, precision, block.ls2)
    final = model.norm if isinstance(model.fc_norm, nn.Identity) else model.fc_norm
    norms["norm"] = _norm(final, precision)
    linears["head"] = _linear(model.head, precision)
    return linears, norms


def _linear(
    module: nn.Module, precision: torch.dtype, layer_scale: nn.Module | None = None
) -> LinearLayer:
    weight = module.weight.to(precision, copy=True).flatten(1)
    bias = weight.new_zeros(weight.shape[0])
    if module.bias is not None:
        bias += module.bias
    gain = getattr(layer_scale, "gamma", None)
    if gain is None:
        return LinearLayer(weight, bias)
    return LinearLayer(weight * gain.to(precision)[:, None], bias * gain.to(precision))


def _norm(module: nn.Module, precision: torch.dtype) -> LayerNorm:
    gamma = module.weight.to(precision, copy=True)
    return LayerNorm(gamma, module.bias.to(precision, copy=True), module.eps)
