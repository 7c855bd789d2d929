"""timm's feature extractors (`features_only=True`): the transformer inside, and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass

from timm.models._features import FeatureDictNet, FeatureGetterNet
from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import nn

from ..errors import ModelError


@dataclass(frozen=True)
class Taken:
    """What a feature extractor takes from its transformer.

    Fields: `indices`, ascending, of the blocks (VisionTransformer) or stages (SwinTransformer)
    whose outputs are feature maps; `norm`, whether the model's last LayerNorm follows, as
    `forward_intermediates` of timm applies it.
    """

    indices: tuple[int, ...]
    norm: bool = False

    @property
    def count(self) -> int:
        """Blocks or stages that are needed."""
        return self.indices[-1] + 1


def feature_extractor(
    model: nn.Module, indices: Sequence[int], prune: bool = True
) -> FeatureGetterNet:
    """timm's own feature extractor around a model.

    Parameters: `indices` of blocks or stages, negative ones from the end; `prune`, drop in place
    the parts of `model` that no feature needs.
    Raises: ModelError where an index is no block or stage, or is not above the one before it.
    """
    parts = len(getattr(model, "feature_info", ()))
    if not parts:
        raise ModelError(f"model must have features, not {type(model).__name__}")
    resolved = []
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int) or not -parts <= index < parts:
            raise ModelError(
                f"features must be numbers from {-parts} to {parts - 1} of blocks or stages, "
                f"not {index!r}"
            )
        resolved.append(index % parts)
    if not resolved or resolved != sorted(set(resolved)):
        raise ModelError(f"features must be ascending, at least one, not {list(indices)}")
    extractor = FeatureGetterNet(model, out_indices=resolved, prune=prune)
    extractor.pretrained_cfg = getattr(model, "pretrained_cfg", {})
    return extractor


def opened(model: nn.Module) -> tuple[nn.Module, Taken | None]:
    """The transformer inside a feature extractor, and what is taken from it; a classifier itself,
    and None.

    The transformer has the extractor's own modules; its head may be missing. What is neither comes
    back as it is.
    """
    if isinstance(model, FeatureGetterNet):
        return model.model, Taken(_ascending(model.out_indices, model), bool(model.norm))
    if isinstance(model, FeatureDictNet) and _holds_swin(model):
        return _swin_of(model), Taken(_ascending(model.feature_info.out_indices, model))
    return model, None


def _ascending(indices: int | Sequence[int], extractor: nn.Module) -> tuple[int, ...]:
    # As timm reads them: a number asks for that many of the last ones.
    parts = len(extractor.feature_info.info)
    numbers = range(-indices, 0) if isinstance(indices, int) else indices
    return tuple(sorted({number % parts for number in numbers}))


def _holds_swin(extractor: nn.ModuleDict) -> bool:
    names = list(extractor.keys())
    return names[0] == "patch_embed" and all(
        name.startswith("layers_") and isinstance(extractor[name], SwinTransformerStage)
        for name in names[1:]
    )


def _swin_of(extractor: nn.ModuleDict) -> SwinTransformer:
    """timm rewrites a Swin transformer into a dictionary of its stages; this turns it back."""
    model = SwinTransformer.__new__(SwinTransformer)
    nn.Module.__init__(model)
    model.patch_embed = extractor["patch_embed"]
    model.layers = nn.Sequential(*(extractor[name] for name in list(extractor.keys())[1:]))
    model.norm = nn.Identity()
    model.head = nn.Identity()
    return model
