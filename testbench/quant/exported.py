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
from rootshift.quant.extractors import opened
from rootshift.quant.network import QuantizedNetwork
from rootshift.quant.nodes import Node

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
    quantized: QuantizedNetwork
    artifact: Artifact

    def float_logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits of the timm model on uint8 pixels [B, H, W, C]."""
        return timm_logits(self.model, pixels)


def timm_logits(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Logits, float32 [B, classes], of a timm model on uint8 pixels [B, H, W, C]."""
    channels = pixels.shape[-1]
    mean, std = torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
    normalized = (torch.from_numpy(pixels).float() / 255 - mean) / std
    with torch.no_grad():
        return model(normalized.permute(0, 3, 1, 2)).numpy()


def preprocessing_for(model: Any) -> Preprocessing:
    """Images as the model takes them, not resized."""
    embedding = opened(model)[0].patch_embed
    height, width = embedding.img_size
    channels = embedding.proj.in_channels
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
    model: Any, pixels: np.ndarray, bits: str, base: str = "sqrt2", method: str = "repq+gptq"
) -> Exported:
    """Calibrate `model` on `pixels` and export it."""
    preprocessing = preprocessing_for(model)
    mean, std = preprocessing.mean, preprocessing.std
    options = {"base": base, "method": method}
    quantized = calibrate(model, torch.from_numpy(pixels), mean, std, Bits.parse(bits), **options)
    return Exported(model, quantized, export(quantized, preprocessing, {"model": "small"}))


def variant_model(name: str) -> Any:
    """One of `VARIANTS` with random weights."""
    return small_vit(1, **{"depth": 1, "mlp_ratio": 2.0} | VARIANTS[name])


def exported_variant(
    name: str, bits: str, base: str = "sqrt2", method: str = "repq+gptq", images: int = 16
) -> Exported:
    """One of `VARIANTS`, calibrated on random images."""
    print(f"variant={name!r} bits={bits} base={base} method={method}")
    model = variant_model(name)
    return exported(model, shaded_pixels(model, images, 2), bits, base, method)


@dataclass
class Trace:
    """What passes a calibrated network.

    Fields: `codes` of each activation site; `values`, the real tensor of each node before any
    quantizer; each with the images first.
    """

    quantized: QuantizedNetwork
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def execute(self, node: Node, tensors: list[Tensor]) -> Tensor:
        """Run a node as the network does, and keep its operands' codes and its output."""
        for site, x in zip(node.sites, tensors, strict=True):
            if site is not None:
                codes = self.quantized.activation[site].codes(x)
                self.codes[site] = codes.numpy().astype(np.int64)
        output = self.quantized.execute(node, tensors)
        self.values[node.name] = output.numpy().copy()
        return output


@torch.no_grad()
def traced(quantized: QuantizedNetwork, pixels: np.ndarray) -> Trace:
    """Everything that passes a calibrated network on uint8 pixels [B, H, W, C]."""
    trace = Trace(quantized)
    quantized.network.run(torch.from_numpy(pixels), trace.execute)
    return trace
