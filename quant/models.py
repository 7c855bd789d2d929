"""Models by name: timm vision transformers, from timm's weights or a local checkpoint."""

from __future__ import annotations

import difflib
import math
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ..errors import ModelError
from ..preprocessing import Preprocessing
from . import digits  # noqa: F401  registers the embedded model with timm
from .supported import check_supported

__all__ = ["check_supported", "load_model", "preprocessing_of"]

_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
_WRAPPERS = ("model", "state_dict")  # what training scripts, DeiT's among them, save around weights
_KEYS_SHOWN = 4


def load_model(name: str, weights: str | Path) -> VisionTransformer:
    """A supported vision transformer with its weights: float32, in eval mode, no gradients needed.

    Parameters:
        name: a timm model name, with or without a tag, or `digits`.
        weights: `timm` for timm's own pretrained weights (downloaded, or packaged for `digits`), or
            a .safetensors file or a pickle (.pth, .pt, .bin, .ckpt; only tensors are unpickled)
            with exactly the model's keys, or these under `model` or `state_dict`. The number of
            classes follows the file's `head.weight`.

    Raises:
        ModelError: no such model or one that is not supported; weights missing, truncated, not
            finite, or of other keys or shapes.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(["vit_*", "deit*", "digits"]), n=3)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise ModelError(f"model {name!r} must be a timm model name or 'digits'{hint}")
    if str(weights) == "timm":
        check_supported(_created(name))
        model = _created(name, pretrained=True)
    else:
        tensors = read_checkpoint(weights)
        head = tensors.get("head.weight")
        classes = {} if head is None or head.ndim != 2 else {"num_classes": head.shape[0]}
        model = _created(name, **classes)
        check_supported(model)
        _check_keys(tensors, model.state_dict(), f"weights {weights} for model {name}")
        model.load_state_dict(tensors)
    model.float().eval().requires_grad_(False)
    check_finite(model, f"model {name}, weights {weights}")
    return model


def preprocessing_of(model: VisionTransformer) -> Preprocessing:
    """What the checkpoint's own configuration says about its input (timm's `pretrained_cfg`).

    Raises:
        ModelError: the configuration asks for something that `Preprocessing` cannot express, or
            does not fit the model.
    """
    config = resolve_data_config({}, model=model)
    channels, height, width = config["input_size"]
    embedding = model.patch_embed
    taken = (embedding.proj.in_channels, *embedding.img_size)
    if (channels, height, width) != taken:
        raise ModelError(
            f"preprocessing: input_size must be what patch_embed takes, {taken}, "
            f"not {(channels, height, width)}"
        )
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


def _created(name: str, pretrained: bool = False, **arguments: int) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except Exception as error:  # hub, network, file and timm errors share no base class
        what = "timm's weights cannot be loaded" if pretrained else "cannot be created"
        raise ModelError(f"model {name}: {what}: {_first_line(error)}") from error


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
