"""Small random vision transformers for tests of the calibration."""

import importlib
from typing import Any

import torch

import rootshift.quant.models  # noqa: F401  declares torchvision's operators before timm needs them

timm = importlib.import_module("timm")

MEAN = (0.5, 0.4, 0.3)
STD = (0.2, 0.25, 0.3)
BASIC = {
    "img_size": 16,
    "patch_size": 4,
    "in_chans": 3,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 7,
}


SHAPES = {
    "plain": {},
    "no qkv bias": {"qkv_bias": False, "proj_bias": False},
    "layer scale": {"init_values": 0.5},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "average pool": {"global_pool": "avg", "class_token": False},
    "average pool with a class token": {"global_pool": "avg"},
    "one head, one block, odd width": {"embed_dim": 21, "num_heads": 1, "depth": 1},
    "other activation": {"act_layer": "silu"},
    "patches of 8 x 4": {"patch_size": (8, 4), "mlp_ratio": 2.5},
    "one class": {"num_classes": 1},
}
"""Changes of `BASIC`, all for images of 16 x 16 pixels."""


def small_vit(seed: int = 0, **changes: Any):
    """A timm VisionTransformer whose weights, biases, gains and tokens are all random."""
    print(f"seed={seed} changes={changes}")
    return randomized(timm.models.vision_transformer.VisionTransformer(**BASIC | changes), seed)


def randomized(model, seed: int):
    """The model with random parameters, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif name.endswith("gamma"):
                parameter.copy_(0.5 + 0.1 * noise)
            elif parameter.ndim >= 2:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.2 * noise)
    return model.eval().requires_grad_(False)


def random_pixels(images: int, seed: int = 0) -> torch.Tensor:
    """uint8 [images, 16, 16, 3]: smooth shades with noise."""
    print(f"seed={seed} images={images}")
    generator = torch.Generator().manual_seed(seed)
    shade = torch.rand(images, 1, 1, 3, generator=generator) * 160
    noise = torch.rand(images, 16, 16, 3, generator=generator) * 90
    return (shade + noise).to(torch.uint8)


def float_logits(model, pixels: torch.Tensor) -> torch.Tensor:
    """Logits of the timm model itself on uint8 pixels [B, H, W, C]."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    normalized = (pixels.float() / 255 - mean) / std
    with torch.no_grad():
        return model(normalized.permute(0, 3, 1, 2))
