"""Single bit flips in memory end in a defined state; `flips.py` counts more of them."""

import pytest

from ..seeds import generator
from .flips import Campaign

FLIPS = 40


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return Campaign(generator(1))


@pytest.mark.parametrize("region", ["commands", "weights and parameters", "pixels"])
def test_a_flip_ends_in_a_defined_state(campaign: Campaign, region: str) -> None:
    print([campaign.outcome(campaign.draw(region)) for _ in range(FLIPS)])
