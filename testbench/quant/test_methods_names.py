"""Names of methods: every one has a class, and the other way round."""

from rootshift.methods import DEFAULT_METHOD, METHODS
from rootshift.quant.methods import CLASSES


def test_every_name_has_a_class() -> None:
    assert list(CLASSES) == list(METHODS)
    assert len(set(CLASSES.values())) == len(CLASSES)


def test_the_default_has_integers() -> None:
    assert METHODS[DEFAULT_METHOD].integer
