"""Families of timm models: what the flow covers of each, and how it becomes a network of nodes.

Everything else is refused by module name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ..errors import ModelError
from .extractors import opened
from .network import Network
from .refusals import Refusal
from .supported_swin import swin_refusals
from .supported_vit import vit_refusals
from .swin import swin_network
from .vit import vit_network

_SHOWN = 4


@dataclass(frozen=True)
class _Family:
    """What a model of the family has beyond the flow, and the network of one that has nothing."""

    refusals: Callable[..., Iterator[Refusal]]
    network: Callable[..., Network]


_VIT, _SWIN = _Family(vit_refusals, vit_network), _Family(swin_refusals, swin_network)
_FAMILIES: dict[type[nn.Module], _Family] = {
    VisionTransformer: _VIT,
    VisionTransformerDistilled: _VIT,
    SwinTransformer: _SWIN,
}


def network_of(
    model: nn.Module, mean: Sequence[float], std: Sequence[float], mode: str = "integer"
) -> Network:
    """The network of a timm model, a classifier or a feature extractor, with copies of its weights.

    Raises: ModelError naming each module that is not supported.
    """
    check_supported(model)
    model, taken = opened(model)
    return _FAMILIES[type(model)].network(model, mean, std, mode, taken)


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
    family = _FAMILIES.get(type(model))
    if family is None:
        *names, last = (kind.__name__ for kind in _FAMILIES)
        known = f"{', '.join(names)} or {last}"
        yield "model", f"must be a timm {known}, not {type(model).__name__}"
        return
    yield from family.refusals(model, taken)
