"""Golden patch extraction against the page's order: channel, row, column."""

import numpy as np
import pytest

from rootshift.sim.golden.patchify import patchify

from ..seeds import generator
from . import page


@pytest.mark.parametrize(
    ("size", "patch"),
    [((4, 4, 1), (2, 2)), ((6, 4, 3), (3, 2)), ((5, 7, 3), (5, 7)), ((3, 2, 1), (1, 1))],
)
def test_equals_the_page(size: tuple[int, int, int], patch: tuple[int, int]) -> None:
    pixels = generator(*size).integers(0, 256, (2, *size)).astype(np.uint8)
    got = patchify(pixels, patch_height=patch[0], patch_width=patch[1])
    assert got.dtype == np.uint8
    assert got.tolist() == [page.patches(image.tolist(), *patch) for image in pixels]
    one = patchify(pixels[0], patch_height=patch[0], patch_width=patch[1])
    np.testing.assert_array_equal(one, got[0])
