"""Families of timm models, and how each becomes a network of nodes."""

from collections.abc import Callable, Sequence

from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from .extractors import opened
from .network import Network
from .supported import check_supported
from .swin import swin_network
from .vit import vit_network

_BUILDERS: dict[type[nn.Module], Callable[..., Network]] = {
    VisionTransformer: vit_network,
    VisionTransformerDistilled: vit_network,
    SwinTransformer: swin_network,
}


def network_of(
    model: nn.Module, mean: Sequence[float], std: Sequence[float], mode: str = "integer"
) -> Network:
    """The network of a timm model, a classifier or a feature extractor, with copies of its weights.

    Raises: ModelError naming each module that is not supported.
    """
    check_supported(model)
    model, taken = opened(model)
    return _BUILDERS[type(model)](model, mean, std, mode, taken)
