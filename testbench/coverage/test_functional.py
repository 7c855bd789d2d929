"""What matters has happened on the RTL, in runs whose every value is golden's."""

import pytest

from .functional import counted


@pytest.mark.slow
def test_every_case_has_been_seen() -> None:
    assert {group: names for group, names in counted().never.items() if names} == {}
