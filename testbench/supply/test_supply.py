"""What is installed is pinned, has a hash and a licence that the project can be used under."""

import re

import pytest

from .licences import PAGE, ROOT, pinned

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+).*((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)", re.M)
COPYLEFT = {"scapy"}
"""Of the tests alone, by way of cocotbext-axi: nothing of it is passed on."""


def normalized(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = {normalized(name): version for name, version in pinned().items()}
HASHED = {name: (version, hashes.count("--hash")) for name, version, hashes in LOCKED.findall(LOCK)}


@pytest.mark.parametrize("name", PINNED)
def test_a_pinned_version_has_hashes(name: str) -> None:
    if name in ("pip", "setuptools", "wheel"):
        pytest.skip("what builds is in no list of requirements")
    version, hashes = HASHED[name]
    assert version == PINNED[name]
    assert hashes


def test_nothing_is_locked_without_a_hash() -> None:
    names = re.findall(r"^([a-z0-9-]+)==", LOCK, re.M)
    assert sorted(names) == sorted(HASHED)
    assert len(names) >= len(PINNED) - 3


def test_every_licence_is_known() -> None:
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    found = {normalized(name): (version, licence) for name, version, licence in rows}
    del found["package"]
    assert {name: version for name, (version, _) in found.items()} == PINNED
    assert not [name for name, (_, licence) in found.items() if licence == "unknown"]
    copyleft = {name for name, (_, licence) in found.items() if "GPL" in licence}
    assert copyleft == COPYLEFT
