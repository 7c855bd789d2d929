"""`rootshift compare`: methods side by side, on the same images."""

from pathlib import Path

import pytest

from rootshift.methods import METHODS

from .running import invoke, refused

ROW = {"method", "bits", "seconds", "fake"}


def test_rows_of_methods_and_bits() -> None:
    words = ("compare", "digits", "--method", "repq", "minmax", "--bits", "W8A8", "W3A4")
    outcome = invoke(*words, "--first", "48", "--limit", "8", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    result = outcome.json
    assert (result["model"], result["images"]) == ("digits", 48)
    assert [(row["method"], row["bits"]) for row in result["rows"]] == [
        (method, bits) for bits in ("W8A8", "W3A4") for method in ("repq", "minmax")
    ]
    for row in result["rows"]:
        integer = {"integer"} if METHODS[row["method"]].integer else set()
        assert row.keys() == ROW | integer
        assert all(0 <= row[level]["top1"] <= row[level]["top5"] <= 100 for level in row.keys() - {
            "method", "bits", "seconds"
        })  # fmt: skip
    assert result["float"]["top1"] >= 95
    assert min(row["fake"]["top1"] for row in result["rows"][:2]) >= 90


def test_figures_are_those_of_quantize_and_evaluate(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    common = ("--method", "repq+gptq", "--limit", "8", "--bits", "W3A3")
    row = invoke("compare", "digits", *common, "--json").json["rows"][0]
    assert invoke("quantize", "digits", *common, "--out", artifact).code == 0
    found = invoke("evaluate", artifact, "--level", "fake", "integer", "--json").json
    assert {level: row[level] for level in ("fake", "integer")} == {
        level: found[level] for level in ("fake", "integer")
    }


def test_text_has_a_line_per_row_and_a_dash_without_integers() -> None:
    words = ("compare", "digits", "--method", "percentile", "--first", "8", "--limit", "4")
    lines = invoke(*words).out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("digits, 8 images, float top-1 ")
    assert lines[2].split()[:2] == ["percentile", "W4A4"]
    assert lines[2].split()[3] == "-"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--first", "0"), "--first must be at least 1, not 0"),
        (("--limit", "0"), "--limit must be at least 1, not 0"),
        (("--seed", "-1"), "--seed must be at least 0, not -1"),
        (("--bits", "W9A4"), "bits.weights must be from 3 to 8, not 9"),
        (("--device", "abacus"), "device must be one that torch can use, not 'abacus'"),
    ],
)
def test_bad_options_are_refused(words: tuple[str, ...], message: str) -> None:
    assert refused("compare", "digits", *words).startswith(message)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    message = refused("compare", "digits", "--method", "magic")
    assert "magic" in message
    assert "repq" in message
