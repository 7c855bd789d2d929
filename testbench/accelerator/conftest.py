"""What all tests of the whole accelerator need: a count of values."""

from collections.abc import Iterator

import pytest

from rootshift.testbench.hw.compared import record

from .inference import tally


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    """One file per test, for `testbench/hw/compared.py`."""
    before = dict(tally)
    yield
    if tally != before:
        record("accelerator", {key: tally[key] - before[key] for key in tally})
