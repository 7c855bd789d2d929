"""Widths layer by layer: the file, which line wins, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.artifact import Artifact
from rootshift.bit_table import (
    BitTable,
    PartialBits,
    bits_from_json,
    read_bits,
    widths_of,
)
from rootshift.bits import Bits
from rootshift.errors import ConfigError

from ..random_model import random_artifact
from ..seeds import explored

EXAMPLE = """
default = "W4A4"
[layers]
"blocks.0.*" = "W6A6"
"blocks.*.mlp.fc2" = "w4a8"
"blocks.*.attn.scores" = "A6"
"blocks.*.attn.softmax" = "L5"
"blocks.1.attn.softmax" = "L3"
"""
BLOCK = ("attn.qkv", "attn.scores", "attn.softmax", "attn.mix", "attn.proj", "mlp.fc1", "mlp.fc2")
LAYERS = (
    "patch_embed.proj",
    *(f"blocks.{block}.{layer}" for block in range(12) for layer in BLOCK),
    "head",
)

widths = st.integers(3, 8)
partials = st.tuples(*[st.none() | widths] * 3).filter(any).map(lambda w: PartialBits(*w))
patterns = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: text.isprintable() and text != "patch_embed.proj"
)
tables = st.builds(
    BitTable,
    st.builds(Bits, widths, widths, widths),
    st.lists(st.tuples(patterns, partials), unique_by=lambda line: line[0]).map(tuple),
)


class TestWidths:
    def test_later_lines_win_and_change_only_what_they_name(self) -> None:
        table = BitTable.parse(EXAMPLE)
        assert table.default == Bits(4, 4)
        assert table.of("blocks.0.attn.qkv") == Bits(6, 6, 4)
        assert table.of("blocks.0.mlp.fc2") == Bits(4, 8, 4)
        assert table.of("blocks.7.attn.scores").activations == 6
        assert [table.of(f"blocks.{block}.attn.softmax").log for block in range(3)] == [5, 3, 5]
        assert table.of("blocks.10.attn.qkv") == table.of("head") == Bits(4, 4)

    def test_pixels_stay_as_they_are(self) -> None:
        assert BitTable.parse('default = "W4A4"\nlayers = {"*" = "W6A6"}').of(
            "patch_embed.proj"
        ) == Bits(4, 4)

    def test_uniform_widths_answer_as_a_table_does(self) -> None:
        bits = Bits(4, 5, 6)
        assert bits.of("blocks.0.attn.qkv") == bits.default == bits
        bits.check(["anything"])

    def test_text_for_people(self) -> None:
        assert str(BitTable.parse(EXAMPLE)) == "W4A4 mixed"
        assert str(BitTable(Bits(4, 8, 5))) == "W4A8L5"

    @pytest.mark.parametrize(
        ("layer", "has"),
        [
            ("blocks.3.attn.scores", "A"),
            ("layers.0.blocks.1.attn.mix", "A"),
            ("blocks.3.attn.softmax", "L"),
            ("layers.1.downsample.reduction", "WA"),
            ("head", "WA"),
        ],
    )
    def test_widths_that_a_layer_has(self, layer: str, has: str) -> None:
        assert "".join(name[0] for name in widths_of(layer)).upper() == has


class TestFiles:
    @explored(200)
    @given(table=tables)
    def test_every_table_is_read_as_it_is_written(self, table: BitTable) -> None:
        assert BitTable.parse(table.to_toml()) == table
        assert bits_from_json(json.loads(json.dumps(table.to_json(), sort_keys=True))) == table

    def test_json_keeps_lines_of_one_pattern(self) -> None:
        lines = (("*", PartialBits(6)), ("head", PartialBits(8)), ("*", PartialBits(5)))
        table = BitTable(Bits(4, 4), lines)
        assert bits_from_json(table.to_json()) == table
        with pytest.raises(ConfigError, match=r'^layers\."\*" must stand in one line, not in two$'):
            table.to_toml()

    def test_uniform_widths_are_json_too(self) -> None:
        assert bits_from_json(json.loads(json.dumps(Bits(4, 5, 6).to_json()))) == Bits(4, 5, 6)

    def test_the_command_line_takes_either(self, tmp_path: Path) -> None:
        path = tmp_path / "mixed.toml"
        path.write_text(EXAMPLE)
        assert read_bits(str(path)) == BitTable.parse(EXAMPLE)
        assert read_bits("W4A8L5") == Bits(4, 8, 5)
        with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
            read_bits(str(tmp_path / "missing.toml"))
        with pytest.raises(ConfigError, match=r"^bits must be spelled like W4A4"):
            read_bits("mixed")
        with pytest.raises(TypeError, match=r"^bits must be a string such as 'W4A4', not 4$"):
            read_bits(4)


LINE = 'default = "W4A4"\n[layers]\n'
FAULTS = {
    "no default": ("[layers]", "default must be given, such as default = 'W4A4'"),
    "a key unknown": (
        'default = "W4A4"\nlayer = 4',
        "key must be one of default, layers, not layer",
    ),
    "default of a width": (
        'default = "W4"',
        "default: bits must be spelled like W4A4 or W4A4L5, not 'W4'",
    ),
    "default of another kind": (
        "default = 4",
        "default: bits must be a string such as 'W4A4', not 4",
    ),
    "layers of another kind": (
        'default = "W4A4"\nlayers = ["head"]',
        "layers must be a table of patterns, not ['head']",
    ),
    "a spelling": (
        LINE + '"head" = "A4W4"',
        "layers.\"head\": bits must be spelled like W6A6, W8, A6 or L5, not 'A4W4'",
    ),
    "nothing": (
        LINE + '"head" = ""',
        "layers.\"head\": bits must be spelled like W6A6, W8, A6 or L5, not ''",
    ),
    "a number": (
        LINE + '"head" = 6',
        'layers."head": bits must be spelled like W6A6, W8, A6 or L5, not 6',
    ),
    "a width": (
        LINE + '"head" = "W9"',
        'layers."head": bits.weights must be from 3 to 8, not 9',
    ),
    "a log width": (
        LINE + '"*" = "W4L2"',
        'layers."*": bits.log must be from 3 to 8, not 2',
    ),
    "no quotes": (
        LINE + 'blocks.0.mlp.fc1 = "W6"',
        'layers."blocks": a pattern with dots must stand in quotes',
    ),
    "pixels": (
        LINE + '"patch_embed.proj" = "W6"',
        'layers."patch_embed.proj" must be left out: pixels and their weights always have 8 bits',
    ),
    "an empty pattern": (LINE + '"" = "W6"', "layers.\"\" must be printable text, not ''"),
    "no TOML": ("default = ", "not TOML: "),
    "a pattern twice": (LINE + '"head" = "W6"\n"head" = "W5"', "not TOML: "),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        BitTable.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(ConfigError) as caught:
        BitTable.parse(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"default": "W4A4"}, "bits must have a default and a list of layers, not {"),
        ({"default": "W4A4", "layers": {"head": "W6"}}, "bits must have a default and a list of"),
        ({"default": "W4A4", "layers": [["head"]]}, "bits.layers must be pairs of pattern and"),
        ({"default": "W4A4", "layers": [["head", 6]]}, "bits.layers must be pairs of pattern and"),
        ({"default": "W4A4", "layers": [["head", "Q"]]}, 'layers."head": bits must be spelled'),
        ({"weights": 4, "activations": 4}, "bits: field 'log' is missing"),
        ({"weights": 4, "activations": 4, "log": 4, "x": 4}, "bits: field 'x' is unknown"),
    ],
)
def test_other_json_is_refused(item: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bits_from_json(item)
    assert str(caught.value).startswith(message)


def test_an_artifact_keeps_its_table(tmp_path: Path) -> None:
    """In the order of its lines, though a manifest is sorted by its keys."""
    text = 'default = "W4A4L5"\n[layers]\n"*.fc?" = "W8"\n"*" = "A5"\n"block0.fc1" = "W3A6"\n'
    table = BitTable.parse(text)
    artifact = random_artifact(np.random.default_rng(0), bits=table)
    artifact.save(tmp_path / "model")
    loaded = Artifact.load(tmp_path / "model")
    assert loaded.bits == table
    assert loaded.digest == artifact.digest
    assert loaded["block0.fc1"].weight_width == 3
    assert loaded["block0.norm2"].width == 6
    assert loaded["block0.fc2"].weight_width == 8


class TestModels:
    def table(self, line: str) -> BitTable:
        return BitTable.parse(LINE + line)

    def test_a_table_of_the_model(self) -> None:
        BitTable.parse(EXAMPLE).check(LAYERS)
        self.table('"*" = "W6A6L5"').check(LAYERS)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                '"blocks.0.attn.qvk" = "W6"',
                'layers."blocks.0.attn.qvk" must match a layer of the model, such as '
                "blocks.0.attn.qkv, ",
            ),
            (
                '"block.*.mlp.fc1" = "W6"',
                'layers."block.*.mlp.fc1" must match a layer of the model, such as '
                "blocks.*.mlp.fc1",
            ),
            ('"decoder" = "W6"', 'layers."decoder" must match a layer of the model'),
            ('"patch_embed.*" = "W6"', 'layers."patch_embed.*" must match a layer of the model'),
            ('"blocks.12.*" = "W6"', 'layers."blocks.12.*" must match a layer of the model'),
            ('"Head" = "W6"', 'layers."Head" must match a layer of the model, such as head'),
            (
                '"blocks.*.mlp.*" = "W6L5"',
                'layers."blocks.*.mlp.*" must give widths that its layers have, W and A for '
                "blocks.0.mlp.fc1, not L5",
            ),
            (
                '"*.scores" = "W4A6"',
                'layers."*.scores" must give widths that its layers have, A for '
                "blocks.0.attn.scores, not W4",
            ),
            (
                '"*.softmax" = "A5"',
                'layers."*.softmax" must give widths that its layers have, L for '
                "blocks.0.attn.softmax, not A5",
            ),
        ],
    )
    def test_a_line_without_effect_is_refused(self, line: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.table(line).check(LAYERS)
        assert str(caught.value).startswith(message)

    def test_the_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "mixed.toml"
        path.write_text(LINE + '"decoder" = "W6"')
        with pytest.raises(ConfigError) as caught:
            BitTable.load(path).check(LAYERS)
        assert str(caught.value) == f'{path}: layers."decoder" must match a layer of the model'


@pytest.mark.parametrize("text", ["", "W", "A4W4", "W4 A4", "W-4", "W٤", "4"])
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^bits must be spelled like W6A6, W8, A6 or L5, not '"):
        PartialBits.parse(text)


def test_no_width_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^bits must have a width, not none$"):
        PartialBits()


@pytest.mark.parametrize("bad", [4.0, "4", True])
def test_another_kind_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match=r"^bits\.activations must be an integer, not "):
        PartialBits(activations=bad)
