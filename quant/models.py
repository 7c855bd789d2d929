"""Models by name: timm vision transformers, from timm's weights or a local checkpoint.

At any image size that timm makes them for, and as classifiers or feature extractors.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.models import swin_transformer, vision_transformer
from torch import nn

from ..errors import ModelError
from ..preprocessing import Preprocessing
from . import digits  # noqa: F401  registers the embedded model with timm
from .extractors import feature_extractor, opened
from .families import check_supported

__all__ = ["check_supported", "load_model", "preprocessing_of"]

_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
_WRAPPERS = ("model", "state_dict")  # what training scripts, DeiT's among them, save around weights
_KEYS_SHOWN = 4
_HEADS = ("head.weight", "head.fc.weight")
_BIAS_TABLE = "relative_position_bias_table"


def load_model(
    name: str,
    weights: str | Path,
    image_size: int | tuple[int, int] | None = None,
    features: Sequence[int] | None = None,
) -> nn.Module:
    """A supported vision transformer with its weights: float32, in eval mode, no gradients needed.

    Parameters:
        name: a timm model name, with or without a tag, or `digits`.
        weights: `timm` for timm's own pretrained weights (downloaded, or packaged for `digits`), or
            a .safetensors file or a pickle (.pth, .pt, .bin, .ckpt; only tensors are unpickled)
            with exactly the model's keys, or these under `model` or `state_dict`. The number of
            classes follows the file's head.
        image_size: side of the image, or height and width, in pixels; the model's own by default.
            Where it is given, position embeddings and relative position biases of weights for
            another size are resampled as timm does with its own, and nothing else is.
        features: numbers of the blocks (ViT, DeiT) or stages (Swin) whose outputs are wanted
            instead of logits, ascending, negative ones from the end: timm's `features_only=True`.
            The file may then be without its head.

    Raises:
        ModelError: no such model or one that is not supported; weights missing, truncated, not
            finite, or of other keys or shapes; an image size or features that the model cannot
            have.
    """
    if not timm.is_model(name):
        known = timm.list_models(["vit_*", "deit*", "swin_*", "digits"])
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise ModelError(f"model {name!r} must be a timm model name or 'digits'{hint}")
    size = {} if image_size is None else {"img_size": _checked_size(image_size)}
    if str(weights) == "timm":
        _check_supported(_created(name, **size), features)
        model = _created(name, pretrained=True, **size)
    else:
        tensors = read_checkpoint(weights)
        model = _created(name, **_classes(tensors), **size)
        _check_supported(model, features)
        where = f"weights {weights} for model {name}"
        if image_size is not None:
            tensors = _resampled(tensors, model, where)
        expected = model.state_dict()
        if features is not None:
            expected = {
                key: value
                for key, value in expected.items()
                if key in tensors or not key.startswith("head")
            }
        _check_keys(tensors, expected, where)
        model.load_state_dict(tensors, strict=features is None)
    if features is not None:
        model = feature_extractor(model, features)
    model.float().eval().requires_grad_(False)
    check_finite(model, f"model {name}, weights {weights}")
    return model


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """What the checkpoint's own configuration says about its input (timm's `pretrained_cfg`), at
    the model's own image size.

    Raises:
        ModelError: the configuration asks for something that `Preprocessing` cannot express, or
            does not fit the model.
    """
    config = resolve_data_config({}, model=model)
    embedding = opened(model)[0].patch_embed
    channels, taken = config["input_size"][0], embedding.proj.in_channels
    if channels != taken:
        raise ModelError(
            f"preprocessing: input_size must have the {taken} channels that patch_embed takes, "
            f"not {channels}"
        )
    height, width = embedding.img_size
    crop = config["crop_pct"]
    try:
        return Preprocessing(
            height=height,
            width=width,
            channels=channels,
            resize_height=math.floor(height / crop),
            resize_width=math.floor(width / crop),
            interpolation=config["interpolation"],
            mean=tuple(float(v) for v in config["mean"]),
            std=tuple(float(v) for v in config["std"]),
            crop_mode=config["crop_mode"],
        )
    except ValueError as error:
        raise ModelError(f"preprocessing of {type(model).__name__}: {error}") from error


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file or of a pickle, unwrapped; nothing but tensors is unpickled.

    Raises:
        ModelError: missing, unreadable or truncated, of another suffix, or not floating-point
            tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file (or say 'timm' for timm's own)")
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _PICKLE_SUFFIXES:
        known = ", ".join((".safetensors", *_PICKLE_SUFFIXES))
        raise ModelError(f"weights {path}: suffix must be one of {known}, not {suffix!r}")
    try:
        if suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the readers raise almost anything
        raise ModelError(f"weights {path}: cannot be read: {_first_line(error)}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"weights {path}: must hold tensors by name, not {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise ModelError(f"weights {path}: {key} must be a floating-point tensor, not {kind}")
    return dict(content)


def check_finite(model: nn.Module, where: str) -> None:
    """Raises ModelError naming the first weight that holds NaN or infinity."""
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            count = int((~torch.isfinite(value)).sum())
            raise ModelError(f"{where}: {key} has {count} values that are NaN or infinite")


def _created(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except Exception as error:  # hub, network, file and timm errors share no base class
        what = "timm's weights cannot be loaded" if pretrained else "cannot be created"
        raise ModelError(f"model {name}: {what}: {_first_line(error)}") from error


def _classes(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    """Number of classes that a checkpoint's head has, by timm's name for it."""
    for key in _HEADS:
        # A tensor of no values may claim any shape, and the model is made as large as the head.
        if key in tensors and tensors[key].ndim == 2 and tensors[key].numel():
            return {"num_classes": len(tensors[key])}
    return {}


def _checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ModelError(f"image_size must be one or two positive integers, not {image_size!r}")
    return sides


def _check_supported(model: nn.Module, features: Sequence[int] | None) -> None:
    """Refuse a model, or a feature extractor around it, and leave the model as it is."""
    classifier = features is None
    check_supported(model if classifier else feature_extractor(model, features, prune=False))


def _resampled(
    tensors: dict[str, torch.Tensor], model: nn.Module, where: str
) -> dict[str, torch.Tensor]:
    """Position parameters of another image size at the model's, as timm resamples them."""
    expected = model.state_dict()
    if isinstance(model, swin_transformer.SwinTransformer):
        adapt, needed = swin_transformer.checkpoint_filter_fn, ()
        keys = [
            key
            for key, table in tensors.items()
            if key.endswith(_BIAS_TABLE) and key in expected and table.ndim == 2
            if table.shape != expected[key].shape and table.shape[1] == expected[key].shape[1]
        ]
    else:
        adapt, needed = vision_transformer.checkpoint_filter_fn, ("patch_embed.proj.weight",)
        position, own = tensors.get("pos_embed"), expected["pos_embed"]
        fits = position is not None and position.shape[::2] == own.shape[::2]
        keys = ["pos_embed"] if fits and position.ndim == 3 else []
    if any(key not in tensors or tensors[key].shape != expected[key].shape for key in needed):
        return tensors
    try:
        with warnings.catch_warnings():
            # How timm indexes is slow or outdated, as torch warns; nothing that a user can change.
            warnings.simplefilter("ignore", UserWarning)
            adapted = adapt({key: tensors[key] for key in (*keys, *needed)}, model)
    except Exception as error:  # shapes that are no grid make torch raise almost anything
        raise ModelError(f"{where}: positions cannot be resampled: {_first_line(error)}") from error
    return tensors | {key: adapted[key] for key in keys}


def _check_keys(
    tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], where: str
) -> None:
    missing = [f"{key} {_shape(expected[key])}" for key in expected if key not in tensors]
    unexpected = [f"{key} {_shape(tensors[key])}" for key in tensors if key not in expected]
    reshaped = [
        f"{key} {_shape(expected[key])} is {_shape(tensors[key])}"
        for key in expected
        if key in tensors and tensors[key].shape != expected[key].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "wrong shape": reshaped}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_shortened(keys)}" for what, keys in problems.items() if keys)
        raise ModelError(f"{where}: keys must match the model: {listed}")


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))


def _shortened(keys: list[str]) -> str:
    more = len(keys) - _KEYS_SHOWN
    return ", ".join(keys[:_KEYS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
