"""Top-1 and top-5 accuracy of any source of logits over a labelled image set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .errors import ImageError
from .images import ImageSet

Logits = Callable[[np.ndarray], np.ndarray]
"""uint8 pixels [images, H, W, C] -> logits [images, classes]."""


@dataclass(frozen=True)
class Accuracy:
    """Percent of the images whose label is the first (top1) or among the first five (top5)."""

    top1: float
    top5: float


def evaluate(
    levels: Mapping[str, Logits],
    images: ImageSet,
    *,
    batch: int = 16,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Accuracy]:
    """Accuracy of each level, every image decoded once.

    Raises: ImageError where the images have no labels, or a label is beyond the model's classes.
    """
    if images.labels is None:
        raise ImageError("images must have labels to evaluate")
    hits = {level: np.zeros(2, np.int64) for level in levels}
    done = 0
    for pixels in images.batches(batch):
        labels = images.labels[done : done + len(pixels)]
        for level, logits_of in levels.items():
            hits[level] += count_hits(logits_of(pixels), labels)
        done += len(pixels)
        if progress is not None:
            progress(done, len(images), "images")
    return {level: Accuracy(*(100.0 * found / done)) for level, found in hits.items()}


def count_hits(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of labels ranked first and among the first five; ties rank the lower class first."""
    classes = logits.shape[1]
    if labels.max() >= classes:
        raise ImageError(f"label must be below {classes}, the model's classes, not {labels.max()}")
    return hits_of(first_five(logits), labels)


def first_five(logits: np.ndarray) -> np.ndarray:
    """The classes that rank first, best first: int64 [images, up to 5]."""
    # As float64, because the negative of the least int32 is itself.
    return np.argsort(-logits.astype(np.float64), axis=1, kind="stable")[:, :5]


def hits_of(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of labels that are the first of an image's `classes`, and that are among them."""
    found = classes == labels[:, None]
    return np.array([found[:, 0].sum(), found.any(1).sum()])
