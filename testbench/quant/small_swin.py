"""Small random Swin transformers for tests of the calibration."""

import importlib
from typing import Any

from .small_vit import randomized

swin = importlib.import_module("timm.models.swin_transformer")

BASIC: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
    "mlp_ratio": 2.0,
    "num_classes": 7,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded windows, odd merging": {"img_size": (20, 28)},
    "shifted along rows only": {"img_size": (32, 16)},
    "shifted along columns only": {"img_size": (16, 32), "window_size": (4, 3)},
    "windows larger than the grid": {"window_size": 12},
    "always partitioned": {"window_size": 7, "always_partition": True},
    "windows of each stage": {"window_size": ((2, 4), (3, 1))},
    "images of any size": {"img_size": (24, 20), "strict_img_size": False},
    "one stage": {"depths": (3,), "num_heads": (2,)},
    "three stages": {"img_size": 36, "depths": (2, 1, 2), "num_heads": (1, 2, 4)},
    "four stages": {
        "img_size": (40, 64), "depths": (1, 2, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 3,
    },
    "grey": {"in_chans": 1, "img_size": (24, 32)},
    "no qkv bias": {"qkv_bias": False},
    "width of the heads": {"head_dim": (3, 5)},
    "oblong patches": {"patch_size": (2, 8), "img_size": (12, 64)},
    "one token": {"img_size": 4, "depths": (1, 1)},
    "drop rates": {"drop_rate": 0.1, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1},
}  # fmt: skip


def small_swin(seed: int = 0, **changes: Any):
    """A timm SwinTransformer whose weights, biases, gains and position biases are all random."""
    print(f"seed={seed} changes={changes}")
    return randomized(swin.SwinTransformer(**BASIC | changes), seed)
