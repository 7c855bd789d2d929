"""Which of timm's VisionTransformers the flow covers, distilled DeiT included."""

from collections.abc import Iterator

from timm.layers import Attention, LayerScale
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from .extractors import Taken
from .refusals import (
    Refusal,
    drop_path_refusals,
    embedding_refusals,
    mlp_refusals,
    must_be,
    must_be_identity,
    must_be_layernorm,
)


def vit_refusals(model: VisionTransformer, taken: Taken | None = None) -> Iterator[Refusal]:
    """What a VisionTransformer has beyond the flow; of a feature extractor the head is not
    looked at."""
    yield from embedding_refusals(model.patch_embed, normalized=False)
    if model.dynamic_img_size:
        yield "patch_embed", "must take one image size, not dynamic ones"
    if model.pos_embed is None:
        yield "pos_embed", "must be learned, not absent"
    yield from must_be_identity("patch_drop", model.patch_drop)
    yield from must_be_identity("norm_pre", model.norm_pre)
    for index, block in enumerate(model.blocks):
        yield from _block_refusals(f"blocks.{index}", block, model.embed_dim)
    if taken is not None:
        if taken.norm and not isinstance(model.norm, nn.Identity):
            yield from must_be_layernorm("norm", model.norm)
    elif isinstance(model, VisionTransformerDistilled):
        yield from _distilled_refusals(model)
    else:
        yield from _head_refusals(model)


def _block_refusals(name: str, block: nn.Module, width: int) -> Iterator[Refusal]:
    if type(block) is not Block:
        yield name, f"must be a Block, not {type(block).__name__}"
        return
    yield from must_be_layernorm(f"{name}.norm1", block.norm1)
    yield from _attention_refusals(f"{name}.attn", block.attn, width)
    yield from must_be_layernorm(f"{name}.norm2", block.norm2)
    yield from mlp_refusals(f"{name}.mlp", block.mlp)
    for child in ("ls1", "ls2"):
        yield from must_be(f"{name}.{child}", getattr(block, child), LayerScale, nn.Identity)
    yield from drop_path_refusals(name, block)


def _attention_refusals(name: str, attention: nn.Module, width: int) -> Iterator[Refusal]:
    if type(attention) is not Attention:
        yield name, f"must be an Attention, not {type(attention).__name__}"
        return
    for child in ("q_norm", "k_norm", "norm"):
        yield from must_be_identity(f"{name}.{child}", getattr(attention, child))
    if getattr(attention, "gate", None) is not None:
        yield f"{name}.gate", "must be absent"
    if attention.num_heads * attention.head_dim != width:
        yield name, f"must have heads that add up to {width}, not {attention.attn_dim}"


def _head_refusals(model: VisionTransformer) -> Iterator[Refusal]:
    if model.global_pool not in ("token", "avg"):
        yield "global_pool", f"must be 'token' or 'avg', not {model.global_pool!r}"
        return
    # LayerNorm works per token: before or after picking one is the same, but not for an average.
    if model.global_pool == "avg" or not isinstance(model.fc_norm, nn.Identity):
        yield from must_be_identity("norm", model.norm)
        yield from must_be_layernorm("fc_norm", model.fc_norm)
    else:
        yield from must_be_layernorm("norm", model.norm)
    if model.global_pool == "avg" and model.pool_include_prefix and model.num_prefix_tokens:
        yield "global_pool", "must average patch tokens only, not prefix tokens too"
    yield from must_be("head", model.head, nn.Linear)


def _distilled_refusals(model: VisionTransformerDistilled) -> Iterator[Refusal]:
    yield from must_be_layernorm("norm", model.norm)
    if model.cls_token is None:
        yield "cls_token", "must be there, not absent"
    if model.reg_token is not None:
        yield "reg_token", "must be absent"
    if model.no_embed_class:
        yield "pos_embed", "must hold positions of the class and distillation tokens"
    for name in ("head", "head_dist"):
        yield from must_be(name, getattr(model, name), nn.Linear)
