"""What all tests of the whole accelerator need: where its builds are kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rootshift.sim.rtl.toolchain import CACHE_VARIABLE

BUILDS = Path(__file__).resolve().parents[2] / "build" / "rtl"


@pytest.fixture(scope="session", autouse=True)
def _cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(BUILDS))
        yield
