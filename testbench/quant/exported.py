"""Small random models calibrated and exported, and the calibrated network's own tensors."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.preprocessing import Preprocessing
from rootshift.quant.calibrate import calibrate
from rootshift.quant.export import export
from rootshift.quant.vit import QuantizedViT

from .small_vit import MEAN, STD, small_vit

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"depth": 3},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "registers": {"reg_tokens": 3},
    "positions without class": {"no_embed_class": True, "reg_tokens": 2},
    "odd widths": {"embed_dim": 15, "num_heads": 3, "mlp_ratio": 1.5},
    "one narrow head": {"embed_dim": 7, "num_heads": 1},
    "no qkv bias": {"qkv_bias": False},
    "layer scale": {"init_values": 0.1},
    "average": {"global_pool": "avg"},
    "norm after pooling": {"fc_norm": True},
    "relu": {"act_layer": "relu"},
    "silu": {"act_layer": "silu"},
    "tanh": {"act_layer": "tanh"},
    "oblong": {"img_size": (8, 16), "patch_size": (2, 4)},
    "grey": {"in_chans": 1, "patch_size": 8},
    "one token": {"img_size": 4, "class_token": False, "global_pool": "avg"},
    "two classes": {"num_classes": 2},
}


@dataclass(frozen=True)
class Exported:
    """A timm model, the network calibrated from it, and its artifact."""

    model: Any
    vit: QuantizedViT
    artifact: Artifact

    def float_logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits of the timm model on uint8 pixels [B, H, W, C]."""
        channels = pixels.shape[-1]
        mean, std = torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
        normalized = (torch.from_numpy(pixels).float() / 255 - mean) / std
        with torch.no_grad():
            return self.model(normalized.permute(0, 3, 1, 2)).numpy()


def preprocessing_for(model: Any) -> Preprocessing:
    """Images as the model takes them, not resized."""
    height, width = model.patch_embed.img_size
    channels = model.patch_embed.proj.in_channels
    return Preprocessing(
        height=height, width=width, channels=channels, resize_height=height, resize_width=width,
        interpolation="bicubic", mean=MEAN[:channels], std=STD[:channels],
    )  # fmt: skip


def shaded_pixels(model: Any, images: int, seed: int) -> np.ndarray:
    """uint8 [images, H, W, C]: four shades with noise."""
    print(f"seed={seed} images={images}")
    height, width, channels = preprocessing_for(model).shape
    rng = np.random.default_rng(seed)
    shades = rng.uniform(0, 160, (images, 2, 2, channels))
    smooth = shades.repeat(height // 2, axis=1).repeat(width // 2, axis=2)
    return (smooth + rng.uniform(0, 90, (images, height, width, channels))).astype(np.uint8)


def exported(
    model: Any,
    pixels: np.ndarray,
    bits: str,
    base: str = "sqrt2",
    rounding: str = "second-moment",
) -> Exported:
    """Calibrate `model` on `pixels` and export it."""
    preprocessing = preprocessing_for(model)
    mean, std = preprocessing.mean, preprocessing.std
    options = {"base": base, "rounding": rounding}
    vit = calibrate(model, torch.from_numpy(pixels), mean, std, Bits.parse(bits), **options)
    return Exported(model, vit, export(vit, preprocessing, {"model": "small"}))


def exported_variant(
    name: str, bits: str, base: str = "sqrt2", rounding: str = "second-moment", images: int = 16
) -> Exported:
    """One of `VARIANTS` with random weights, calibrated on random images."""
    print(f"variant={name!r} bits={bits} base={base} rounding={rounding}")
    model = small_vit(1, **{"depth": 1, "mlp_ratio": 2.0} | VARIANTS[name])
    return exported(model, shaded_pixels(model, images, 2), bits, base, rounding)


@dataclass
class Sites:
    """Stages of a walk through a calibrated network that keep what passes them.

    Fields: `codes` of each activation site, `linears` the real outputs of each linear layer,
    `residuals` the real residual stream; each with the images first.
    """

    vit: QuantizedViT
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    linears: dict[str, np.ndarray] = field(default_factory=dict)
    residuals: dict[str, np.ndarray] = field(default_factory=dict)

    def activation(self, name: str, x: Tensor) -> Tensor:
        """Keep the codes and give back what they stand for."""
        codes = self.vit.activation[name].codes(x)
        self.codes[name] = codes.numpy().astype(np.int64)
        return self.vit.activation[name].dequantize(codes)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Keep the output."""
        output = self.vit.quantized_linear(name, x)
        self.linears[name] = output.numpy().copy()
        return output

    def residual(self, name: str, x: Tensor) -> None:
        """Keep the stream."""
        self.residuals[name] = x.numpy().copy()


@torch.no_grad()
def walked(vit: QuantizedViT, pixels: np.ndarray) -> tuple[Sites, np.ndarray]:
    """What passes the sites of a calibrated network, and its logits."""
    sites = Sites(vit)
    logits = vit.walk(torch.from_numpy(pixels), sites)
    return sites, logits.numpy()
