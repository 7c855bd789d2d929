"""Golden patch extraction: `docs/numerics.md`, section gemm."""

import numpy as np


def patchify(pixels: np.ndarray, *, patch_height: int, patch_width: int) -> np.ndarray:
    """Cut images into patches, row by row; the K axis runs over channel, row, column.

    Parameters: `pixels` uint8 [.., H, W, C], H and W multiples of the patch.
    Returns: uint8 [.., patches, C * patch_height * patch_width].
    """
    *lead, height, width, channels = pixels.shape
    cut = pixels.reshape(
        *lead, height // patch_height, patch_height, width // patch_width, patch_width, channels
    )
    batch = len(lead)
    order = [*range(batch), batch, batch + 2, batch + 4, batch + 1, batch + 3]
    patches = (height // patch_height) * (width // patch_width)
    return np.ascontiguousarray(cut.transpose(order)).reshape(
        *lead, patches, channels * patch_height * patch_width
    )
