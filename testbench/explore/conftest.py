"""Files that spaces name."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights, labels, images and tables of bits; all but the last are empty."""
    for name in ("deit.safetensors", "labels.csv", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "mixed.toml").write_text('default = "W4A4"\n[layers]\n"head" = "W8"\n')
    (tmp_path / "wrong.toml").write_text('default = "W9A4"\n')
    return tmp_path
