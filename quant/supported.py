"""Which timm vision transformers the flow covers; everything else is refused by module name."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.layers import Attention, DropPath, LayerScale, Mlp, PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from ..errors import ModelError

# A refusal: the module's name, and what it must be and is not.
_Refusal = tuple[str, str]


def check_supported(model: nn.Module) -> None:
    """Refuse a model that the integer flow does not compute exactly as timm does.

    Covered: timm's VisionTransformer at a fixed image size; patches of any size with a linear
    embedding; a class token or none, register tokens, learned positions with or without them;
    blocks of LayerNorm, softmax attention and an MLP with any elementwise activation, with or
    without biases and LayerScale; a final LayerNorm before token pooling, or after average pooling;
    a linear head.

    Raises:
        ModelError: the model has anything else; the message names each such module, up to four.
    """
    refusals = list(_refusals(model))
    if refusals:
        shown = "; ".join(f"{name} {reason}" for name, reason in refusals[:4])
        more = f" and {len(refusals) - 4} more" if len(refusals) > 4 else ""
        raise ModelError(f"model is not supported: {shown}{more}")


def _refusals(model: nn.Module) -> Iterator[_Refusal]:
    if type(model) is not VisionTransformer:
        yield "model", f"must be a timm VisionTransformer, not {type(model).__name__}"
        return
    yield from _embedding_refusals(model)
    for index, block in enumerate(model.blocks):
        yield from _block_refusals(f"blocks.{index}", block, model.embed_dim)
    yield from _head_refusals(model)


def _embedding_refusals(model: VisionTransformer) -> Iterator[_Refusal]:
    embedding = model.patch_embed
    if type(embedding) is not PatchEmbed:
        yield "patch_embed", f"must be a PatchEmbed, not {type(embedding).__name__}"
        return
    projection = embedding.proj
    if projection.kernel_size != projection.stride or projection.groups != 1:
        yield (
            "patch_embed.proj",
            f"must have its stride equal to its kernel {projection.kernel_size}, "
            f"not {projection.stride}",
        )
    yield from _must_be_identity("patch_embed.norm", embedding.norm)
    if model.dynamic_img_size or embedding.dynamic_img_pad:
        yield "patch_embed", "must take one image size, not dynamic ones"
    elif any(s % p for s, p in zip(embedding.img_size, embedding.patch_size, strict=True)):
        yield (
            "patch_embed",
            f"must have whole patches of {embedding.patch_size} in its image {embedding.img_size}",
        )
    if model.pos_embed is None:
        yield "pos_embed", "must be learned, not absent"
    yield from _must_be_identity("patch_drop", model.patch_drop)
    yield from _must_be_identity("norm_pre", model.norm_pre)


def _block_refusals(name: str, block: nn.Module, width: int) -> Iterator[_Refusal]:
    if type(block) is not Block:
        yield name, f"must be a Block, not {type(block).__name__}"
        return
    yield from _must_be_layernorm(f"{name}.norm1", block.norm1)
    yield from _attention_refusals(f"{name}.attn", block.attn, width)
    yield from _must_be_layernorm(f"{name}.norm2", block.norm2)
    yield from _mlp_refusals(f"{name}.mlp", block.mlp)
    for child in ("ls1", "ls2"):
        yield from _must_be(f"{name}.{child}", getattr(block, child), LayerScale, nn.Identity)
    for child in ("drop_path1", "drop_path2"):
        yield from _must_be(f"{name}.{child}", getattr(block, child), DropPath, nn.Identity)


def _attention_refusals(name: str, attention: nn.Module, width: int) -> Iterator[_Refusal]:
    if type(attention) is not Attention:
        yield name, f"must be an Attention, not {type(attention).__name__}"
        return
    for child in ("q_norm", "k_norm", "norm"):
        yield from _must_be_identity(f"{name}.{child}", getattr(attention, child))
    if getattr(attention, "gate", None) is not None:
        yield f"{name}.gate", "must be absent"
    if attention.num_heads * attention.head_dim != width:
        yield name, f"must have heads that add up to {width}, not {attention.attn_dim}"


def _mlp_refusals(name: str, mlp: nn.Module) -> Iterator[_Refusal]:
    if type(mlp) is not Mlp:
        yield name, f"must be an Mlp, not {type(mlp).__name__}"
        return
    yield from _must_be(f"{name}.fc1", mlp.fc1, nn.Linear)
    yield from _must_be(f"{name}.fc2", mlp.fc2, nn.Linear)
    yield from _must_be_identity(f"{name}.norm", mlp.norm)
    if not _is_elementwise(mlp.act):
        yield (
            f"{name}.act",
            f"must be elementwise and without weights, not {type(mlp.act).__name__}",
        )


def _head_refusals(model: VisionTransformer) -> Iterator[_Refusal]:
    if model.global_pool not in ("token", "avg"):
        yield "global_pool", f"must be 'token' or 'avg', not {model.global_pool!r}"
        return
    # LayerNorm works per token: before or after picking one is the same, but not for an average.
    if model.global_pool == "avg" or not isinstance(model.fc_norm, nn.Identity):
        yield from _must_be_identity("norm", model.norm)
        yield from _must_be_layernorm("fc_norm", model.fc_norm)
    else:
        yield from _must_be_layernorm("norm", model.norm)
    if model.global_pool == "avg" and model.pool_include_prefix and model.num_prefix_tokens:
        yield "global_pool", "must average patch tokens only, not prefix tokens too"
    yield from _must_be("head", model.head, nn.Linear)


def _must_be(name: str, module: nn.Module, *kinds: type[nn.Module]) -> Iterator[_Refusal]:
    if type(module) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        yield name, f"must be {expected}, not {type(module).__name__}"


def _must_be_identity(name: str, module: nn.Module) -> Iterator[_Refusal]:
    return _must_be(name, module, nn.Identity)


def _must_be_layernorm(name: str, module: nn.Module) -> Iterator[_Refusal]:
    # timm's own LayerNorm classes differ from torch's in how they run, not in what they compute.
    if not isinstance(module, nn.LayerNorm) or len(module.normalized_shape) != 1:
        yield name, f"must be LayerNorm over channels, not {type(module).__name__}"
    elif module.weight is None or module.bias is None:
        yield name, "must be LayerNorm with gain and bias"


def _is_elementwise(activation: nn.Module) -> bool:
    """Whether each output depends on its own input only, the same way at every position."""
    if any(True for _ in activation.parameters()):
        return False
    probe = torch.linspace(-6, 6, 48, dtype=torch.float32, device="cpu").reshape(2, 24)
    was_training = activation.training
    activation.eval()
    try:
        whole = activation(probe.clone())
        if whole.shape != probe.shape:
            return False
        flipped = activation(probe.flip(0, 1)).flip(0, 1)
        alone = activation(probe[:1, :1].clone())
    finally:
        activation.train(was_training)
    return torch.allclose(whole, flipped, atol=1e-6) and torch.allclose(
        whole[:1, :1], alone, atol=1e-6
    )
