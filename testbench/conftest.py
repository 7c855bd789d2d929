"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rootshift.sim.rtl.toolchain import CACHE_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _builds_in_the_checkout() -> Iterator[None]:
    """Designs that tests build lie in `build/rtl`, where `make clean` finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(ROOT / "build" / "rtl"))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real weights, real images and reference results; skips where it is absent."""
    if not (SHARED / "data" / "deit_tiny").is_dir():
        pytest.skip(f"real data not found in {SHARED.name}/data beside the checkout")
    return SHARED
