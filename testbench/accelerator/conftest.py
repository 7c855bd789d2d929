"""What all tests of the whole accelerator need: a count of values and cycles."""

from collections.abc import Iterator

import pytest

from rootshift.testbench.hw.compared import record

from .inference import tally


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """One file per test, for `testbench/hw/compared.py`, and a property for the summary."""
    tally["worst"] = 0  # of this test alone; the others are sums
    before = dict(tally)
    yield
    if tally != before:
        counts = {key: tally[key] - before[key] for key in tally}
        record("accelerator", counts)
        request.node.user_properties.append(("accelerator", counts))
