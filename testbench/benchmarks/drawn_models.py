"""Any timm model with random weights, and images for it: where real ones are not at hand.

    python testbench/benchmarks/drawn_models.py MODEL IMAGES FOLDER [--seed 0]

Writes FOLDER/model.safetensors and FOLDER/images/*.png.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import rootshift.quant.models  # noqa: F401  declares torchvision's operators before timm needs them

# isort: split
import timm

SIDE = 256
"""Rows and columns of an image in a file."""


def drawn_model(name: str, seed: int) -> nn.Module:
    """The model as timm initializes it, with gains, biases and what else starts constant moved."""
    torch.manual_seed(seed)
    model = timm.create_model(name).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight += 0.2 * torch.randn_like(module.weight)
        elif isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
            module.weight += 0.02 * torch.randn_like(module.weight)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias += 0.1 * torch.randn_like(module.bias)
    return model


def drawn_images(images: int, height: int, width: int, seed: int) -> np.ndarray:
    """uint8 [images, height, width, 3]: a slope, two gratings and a disc of random colours each,
    with noise on them."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    return np.stack([_drawn_image(rng, y, x) for _ in range(images)])


def _drawn_image(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    shade = rng.uniform(60, 190, 3) + y * rng.uniform(-60, 60, 3) + x * rng.uniform(-60, 60, 3)
    for frequency in (rng.uniform(2, 8), rng.uniform(10, 60)):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        wave = np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        shade = shade + wave * rng.uniform(-50, 50, 3)
    centre = rng.uniform(-0.7, 0.7, 2)
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < rng.uniform(0.1, 0.7) ** 2
    shade = np.where(inside, shade + rng.uniform(-120, 120, 3), shade)
    noisy = shade + rng.normal(0, rng.uniform(2, 25), shade.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def main() -> None:
    """Write a model and images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("images", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    place = options.folder / "images"
    place.mkdir(parents=True)
    model = drawn_model(options.model, options.seed)
    save_file(model.state_dict(), options.folder / "model.safetensors")
    for number in range(options.images):
        (pixels,) = drawn_images(1, SIDE, SIDE, options.seed + number)
        Image.fromarray(pixels).save(place / f"{number:05}.png")


if __name__ == "__main__":
    main()
