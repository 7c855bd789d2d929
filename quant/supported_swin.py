"""Which of timm's SwinTransformers the flow covers."""

from collections.abc import Iterator

from timm.layers import ClassifierHead
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformer,
    SwinTransformerBlock,
    SwinTransformerStage,
    WindowAttention,
)
from torch import nn

from .extractors import Taken
from .refusals import (
    Refusal,
    drop_path_refusals,
    embedding_refusals,
    mlp_refusals,
    must_be,
    must_be_layernorm,
)


def swin_refusals(model: SwinTransformer, taken: Taken | None = None) -> Iterator[Refusal]:
    """What a SwinTransformer has beyond the flow; of a feature extractor the head is not looked at.

    One that takes images of any size is taken at the size that it was made for.
    """
    yield from embedding_refusals(model.patch_embed, normalized=True)
    for index, stage in enumerate(model.layers):
        yield from _stage_refusals(f"layers.{index}", stage)
    if taken is None or (taken.norm and not isinstance(model.norm, nn.Identity)):
        yield from must_be_layernorm("norm", model.norm)
    if taken is None:
        yield from _head_refusals(model.head)


def _stage_refusals(name: str, stage: nn.Module) -> Iterator[Refusal]:
    if type(stage) is not SwinTransformerStage:
        yield name, f"must be a SwinTransformerStage, not {type(stage).__name__}"
        return
    merging = f"{name}.downsample"
    yield from must_be(merging, stage.downsample, PatchMerging, nn.Identity)
    if type(stage.downsample) is PatchMerging:
        yield from must_be_layernorm(f"{merging}.norm", stage.downsample.norm)
        yield from must_be(f"{merging}.reduction", stage.downsample.reduction, nn.Linear)
    for index, block in enumerate(stage.blocks):
        yield from _block_refusals(f"{name}.blocks.{index}", block)


def _block_refusals(name: str, block: nn.Module) -> Iterator[Refusal]:
    if type(block) is not SwinTransformerBlock:
        yield name, f"must be a SwinTransformerBlock, not {type(block).__name__}"
        return
    yield from must_be_layernorm(f"{name}.norm1", block.norm1)
    yield from must_be(f"{name}.attn", block.attn, WindowAttention)
    yield from must_be_layernorm(f"{name}.norm2", block.norm2)
    yield from mlp_refusals(f"{name}.mlp", block.mlp)
    yield from drop_path_refusals(name, block)


def _head_refusals(head: nn.Module) -> Iterator[Refusal]:
    if type(head) is not ClassifierHead:
        yield "head", f"must be a ClassifierHead, not {type(head).__name__}"
        return
    pool = head.global_pool.pool_type
    if pool != "avg":
        yield "head.global_pool", f"must be 'avg', not {pool!r}"
    yield from must_be("head.fc", head.fc, nn.Linear)
