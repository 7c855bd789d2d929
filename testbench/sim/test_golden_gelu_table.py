"""The golden look-up: every index of every table width."""

import numpy as np
import pytest

from rootshift.sim.golden.gelu_table import gelu_table

from ..seeds import generator


@pytest.mark.parametrize("width", range(3, 9))
def test_every_index_gives_its_entry(width: int) -> None:
    rng = generator(width)
    table = rng.integers(0, 1 << width, 256).astype(np.uint8)
    index = rng.permutation(256).astype(np.uint8).reshape(2, 8, 16)
    got = gelu_table(index, table=table)
    assert got.dtype == np.uint8
    assert got.shape == index.shape
    for i, code in zip(index.ravel().tolist(), got.ravel().tolist(), strict=True):
        assert code == table[i]
