"""Trains the embedded model: `python -m rootshift.quant.train_digits` writes digits.safetensors.

Deterministic for a seed on one kind of machine. Nothing here was chosen by looking at the test
split: `--validate` holds every fifth training image back, and the settings below were the best of a
few on those, in float and quantized to 4 bits.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional
from tqdm import tqdm

from .digits import CHECKPOINT, digits_images
from .models import preprocessing_of

SEED = 0
EPOCHS = 150
BATCH = 64
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.1
LABEL_SMOOTHING = 0.1
AVERAGING = 0.99  # of the exponential moving average over steps, which is what is kept
CLEAN_SHARE = 0.3  # of a batch that stays undistorted: at 8 x 8 any distortion blurs
SHIFT_PIXELS = 0.5
ROTATION_DEGREES = 10.0
STRETCH = 0.1
VALIDATION_STEP = 5


def train(
    pixels: np.ndarray, labels: np.ndarray, seed: int = SEED, epochs: int = EPOCHS
) -> torch.nn.Module:
    """A `digits` model trained from scratch: float32, in eval mode.

    Parameters:
        pixels: uint8 [N, 8, 8, 1].
        labels: int64 [N], 0..9.
    """
    torch.manual_seed(seed)
    model = timm.create_model("digits", weight_init="jax").train()
    images = _normalized(pixels, model)
    targets = torch.from_numpy(labels)
    steps = len(images) // BATCH
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=PEAK_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=epochs * steps, pct_start=0.1
    )
    averaged = copy.deepcopy(model)
    for _ in tqdm(range(epochs), desc="training digits", unit="epoch"):
        for batch in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            logits = model(_distorted(images[batch]))
            loss = functional.cross_entropy(logits, targets[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(averaged.parameters()), list(model.parameters()), 1 - AVERAGING
                )
    return averaged.eval()


@torch.no_grad()
def accuracy(model: torch.nn.Module, pixels: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 in percent on pixels uint8 [N, 8, 8, 1]."""
    predicted = model(_normalized(pixels, model)).argmax(1).numpy()
    return 100.0 * float((predicted == labels).mean())


def _normalized(pixels: np.ndarray, model: torch.nn.Module) -> torch.Tensor:
    expected = preprocessing_of(model)
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(expected.mean), torch.tensor(expected.std)
    return (scaled - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)


def _distorted(images: torch.Tensor) -> torch.Tensor:
    """A batch [N, 1, 8, 8] with most images shifted, rotated and stretched a little."""
    count = len(images)

    def spread(limit: float) -> torch.Tensor:
        return (2 * torch.rand(count) - 1) * limit

    angle, stretch, shear = spread(math.radians(ROTATION_DEGREES)), spread(STRETCH), spread(STRETCH)
    # affine_grid measures in half image sizes.
    across, down = (spread(2 * SHIFT_PIXELS / images.shape[-1]) for _ in range(2))
    rows = (
        torch.stack([(1 + stretch) * angle.cos(), shear - angle.sin(), across], 1),
        torch.stack([angle.sin(), (1 + stretch) * angle.cos(), down], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), images.shape, align_corners=False)
    # Outside the image is background, which is the darkest value there is.
    background = images.min()
    moved = functional.grid_sample(images - background, grid, align_corners=False) + background
    stays = torch.rand(count) < CLEAN_SHARE
    return torch.where(stays.view(-1, 1, 1, 1), images, moved)


def _parameter_groups(model: torch.nn.Module) -> list[dict]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]


def main(arguments: list[str] | None = None) -> None:
    """Train, report the accuracies and write the checkpoint."""
    parser = argparse.ArgumentParser(description="Train the embedded model `digits`.")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="safetensors file to write")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="train without every fifth training image, report accuracy on these, write nothing",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    expected = preprocessing_of(timm.create_model("digits"))
    images = digits_images("train", expected)
    pixels = np.concatenate(list(images.batches(len(images))))
    held_back = np.arange(len(images)) % VALIDATION_STEP == VALIDATION_STEP // 2
    if options.validate:
        model = train(pixels[~held_back], images.labels[~held_back])
        top1 = accuracy(model, pixels[held_back], images.labels[held_back])
        print(f"validation top-1 {top1:.2f} on {held_back.sum()} images")
        return
    model = train(pixels, images.labels)
    partial = options.out.with_name(options.out.name + ".partial")
    save_file(model.state_dict(), partial)
    os.replace(partial, options.out)
    test = digits_images("test", expected)
    top1 = accuracy(model, np.concatenate(list(test.batches(len(test)))), test.labels)
    print(f"test top-1 {top1:.2f} on {len(test)} images; {options.out}")


if __name__ == "__main__":
    main()
