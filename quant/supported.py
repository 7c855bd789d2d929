"""Which timm vision transformers the flow covers; everything else is refused by module name."""

from collections.abc import Callable, Iterator

from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ..errors import ModelError
from .extractors import opened
from .refusals import Refusal
from .supported_swin import swin_refusals
from .supported_vit import vit_refusals

_SHOWN = 4

_REFUSALS: dict[type[nn.Module], Callable[..., Iterator[Refusal]]] = {
    VisionTransformer: vit_refusals,
    VisionTransformerDistilled: vit_refusals,
    SwinTransformer: swin_refusals,
}
"""Supported family -> what one of its models has beyond the flow."""


def check_supported(model: nn.Module) -> None:
    """Refuse a model that the integer flow does not compute exactly as timm does.

    Covered, at a fixed image size, with patches of any size and a linear embedding, blocks of
    LayerNorm, softmax attention and an MLP with any elementwise activation, with or without biases:
    - timm's VisionTransformer: a class token or none, register tokens, learned positions with or
      without them, LayerScale, a final LayerNorm before token pooling or after average pooling, a
      linear head; the distilled DeiT with its two heads;
    - timm's SwinTransformer: any windows, shifts and depths, an average and a linear head;
    - timm's feature extractors (`features_only=True`) of both.

    Raises:
        ModelError: the model has anything else; the message names each such module, up to four.
    """
    refusals = list(_refusals(model))
    if refusals:
        shown = "; ".join(f"{name} {reason}" for name, reason in refusals[:_SHOWN])
        more = f" and {len(refusals) - _SHOWN} more" if len(refusals) > _SHOWN else ""
        raise ModelError(f"model is not supported: {shown}{more}")


def _refusals(model: nn.Module) -> Iterator[Refusal]:
    model, taken = opened(model)
    find = _REFUSALS.get(type(model))
    if find is None:
        *names, last = (kind.__name__ for kind in _REFUSALS)
        families = f"{', '.join(names)} or {last}"
        yield "model", f"must be a timm {families}, not {type(model).__name__}"
        return
    yield from find(model, taken)
