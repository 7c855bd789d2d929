"""`rootshift sensitivity`: what each quantizer adds, and bits for a budget."""

import csv
import json
from pathlib import Path

import pytest

from rootshift.artifact import Artifact
from rootshift.bit_table import BitTable

from .running import files, invoke, refused

QUICK = ("sensitivity", "digits", "--limit", "4", "--widths", "3", "4", "8")
FIELDS = ["quantizer", "layer", "field", "width", "divergence", "noise"]


def test_every_quantizer_at_every_width(tmp_path: Path) -> None:
    result = invoke(*QUICK, "--out", tmp_path / "s", "--json").json
    rows = json.loads((tmp_path / "s" / "sensitivity.json").read_text())
    page = (tmp_path / "s" / "sensitivity.html").read_text()
    assert all(f">{row['quantizer']}<" in page for row in rows)
    with (tmp_path / "s" / "sensitivity.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [FIELDS] * len(rows)
    assert [row["quantizer"] for row in table] == [row["quantizer"] for row in rows]
    names = {row["quantizer"] for row in rows}
    assert len(names) == result["quantizers"] == 4 * 12 + 2
    assert {(row["quantizer"], row["width"]) for row in rows} == {
        (name, width) for name in names for width in (3, 4, 8)
    }
    by_width = {w: sum(row["noise"] for row in rows if row["width"] == w) for w in (3, 4, 8)}
    assert by_width[3] > 2 * by_width[4] > 20 * by_width[8] > 0
    assert result["worst"][0]["divergence"] == max(
        row["divergence"] for row in rows if row["width"] == 4
    )


def test_bits_for_bytes_are_within_the_budget_and_quantize_takes_them(tmp_path: Path) -> None:
    out, artifact = tmp_path / "s", tmp_path / "a"
    result = invoke(*QUICK, "--weight-bytes", "70000", "--out", out, "--json").json
    assert result["bits"] == str(out / "bits.toml")
    table = BitTable.load(out / "bits.toml")
    widths = {bits.weights for _, bits in table.layers} | {table.default.weights}
    assert len(widths) > 1
    outcome = invoke(
        "quantize", "digits", "--limit", "4", "--bits", result["bits"], "--out", artifact, "--json"
    )
    assert outcome.json["weight_bytes"] == result["weight_bytes"] <= 70000
    assert Artifact.load(artifact).bits == table
    assert result["divergence"] > 0
    assert result["uniform_bits"] == "W4A4"


def test_bits_for_cycles_are_counted_by_the_cycle_model(tmp_path: Path) -> None:
    out, artifact = tmp_path / "s", tmp_path / "a"
    words = (*QUICK, "--array", "8x8", "--cycles", "49000")
    result = invoke(*words, "--out", out, "--json").json
    assert 41905 < result["cycles"] <= 49000
    invoke("quantize", "digits", "--limit", "4", "--bits", out / "bits.toml", "--out", artifact)
    image = tmp_path / "image.png"
    from PIL import Image

    Image.new("L", (8, 8), 128).save(image)
    simulated = invoke(
        "simulate", artifact, "--image", image, "--engine", "cycles", "--array", "8x8", "--json"
    )
    assert simulated.json["cycles"] == result["cycles"]


def test_text_shows_the_worst(tmp_path: Path) -> None:
    lines = invoke(*QUICK, "--out", tmp_path / "s").out.splitlines()
    assert lines[0].startswith("digits: 50 quantizers, each alone, on 4 images")
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--widths", "9"), "--widths must be from 3 to 8, not 9"),
        (("--weight-bytes", "0"), "--weight-bytes must be at least 1, not 0"),
        (("--cycles", "-5"), "--cycles must be at least 1, not -5"),
        (("--bits", "nothing"), "bits must be spelled like W4A4"),
        (("--weight-bytes", "100"), "budget must be at least"),
        (("--cycles", "9", "--array", "8x8"), "budget must be at least 41905 cycles, not 9"),
    ],
)
def test_bad_options_leave_nothing(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    short = ("sensitivity", "digits", "--limit", "2", "--widths", "4")
    assert refused(*short, *words, "--out", tmp_path / "s").startswith(message)
    assert not files(tmp_path)
