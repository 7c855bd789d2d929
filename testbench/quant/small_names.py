"""Small models that timm makes by name, as it makes its own of each family: to be loaded."""

import importlib
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from .small_swin import BASIC as SWIN
from .small_vit import BASIC as VIT
from .small_vit import randomized

registry = importlib.import_module("timm.models")
deit = importlib.import_module("timm.models.deit")
swin = importlib.import_module("timm.models.swin_transformer")
timm = importlib.import_module("timm")


def _configuration(side: int, classifier: str | tuple[str, ...]) -> dict[str, Any]:
    return {
        "input_size": (3, side, side),
        "fixed_input_size": True,
        "num_classes": 7,
        "crop_pct": 0.9,
        "first_conv": "patch_embed.proj",
        "classifier": classifier,
    }


default_cfgs = registry.generate_default_cfgs(
    {
        "small_deit": _configuration(16, "head"),
        "small_distilled": _configuration(16, ("head", "head_dist")),
        "small_swin": _configuration(32, "head.fc"),
    }
)
NAMES = tuple(default_cfgs)


@registry.register_model
def small_deit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A plain vision transformer for images of 16 pixels."""
    return deit._create_deit("small_deit", pretrained, **VIT | kwargs)


@registry.register_model
def small_distilled(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A distilled DeiT for images of 16 pixels."""
    return deit._create_deit("small_distilled", pretrained, distilled=True, **VIT | kwargs)


@registry.register_model
def small_swin(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A Swin transformer for images of 32 pixels."""
    return swin._create_swin_transformer("small_swin", pretrained, **SWIN | kwargs)


def random_weights(name: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint of the model with random weights."""
    path = folder / f"{name}.safetensors"
    save_file(randomized(timm.create_model(name, **changes), seed).state_dict(), path)
    return path
