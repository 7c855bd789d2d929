"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real weights, real images and reference results; skips where it is absent."""
    if not (SHARED / "data" / "deit_tiny").is_dir():
        pytest.skip(f"real data not found in {SHARED.name}/data beside the checkout")
    return SHARED
