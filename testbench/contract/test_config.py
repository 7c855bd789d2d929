"""The accelerator's configuration: TOML there and back, and a message for every bad field."""

from dataclasses import fields, replace
from math import gcd
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.buffers import residual_words
from rootshift.config import AcceleratorConfig, default_lanes, parse_array
from rootshift.errors import ConfigError

from ..random_model import Size, random_artifact
from ..seeds import explored

LIMITS = {
    "rows": (1, 256),
    "cols": (1, 256),
    "activation_width": (3, 8),
    "weight_width": (3, 8),
    "log_width": (3, 8),
    "lanes": (1, 256),
    "token_depth": (1, 4096),
    "channel_depth": (1, 16384),
    "embedding_depth": (1, 4096),
    "code_depth": (4, 1 << 20),
    "residual_depth": (1, 1 << 20),
    "pipeline_stages": (1, 3),
}
CHOICES = {
    "base": ["sqrt2", "2"],
    "bus_width": [32, 64, 128],
    "array_multiplier": ["lut", "dsp"],
    "program_crc": [False, True],
    "buffer_parity": [False, True],
}


ARRAY = "rows", "cols", "lanes"


@st.composite
def configs(draw: st.DrawFn) -> AcceleratorConfig:
    """Any legal configuration."""
    sizes = {name: draw(st.integers(*limits)) for name, limits in LIMITS.items()}
    sizes["channel_depth"] = min(sizes["channel_depth"], 4096 * sizes["cols"])
    common = gcd(sizes["rows"], sizes["cols"])
    sizes["lanes"] = draw(st.sampled_from([n for n in range(1, common + 1) if common % n == 0]))
    sizes["code_depth"] -= sizes["code_depth"] % 4
    chosen = {name: draw(st.sampled_from(values)) for name, values in CHOICES.items()}
    return AcceleratorConfig(**sizes, **chosen)


def test_every_field_has_a_limit_here() -> None:
    assert {field.name for field in fields(AcceleratorConfig)} == {*LIMITS, *CHOICES}


@explored(50)
@given(config=configs())
def test_toml_gives_the_same_back(
    config: AcceleratorConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert AcceleratorConfig.load(path) == config
    assert AcceleratorConfig.load(str(path)) == config


def test_fields_left_out_take_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# small\nrows = 8\nbase = '2'\n")
    assert AcceleratorConfig.load(path) == replace(AcceleratorConfig(), rows=8, base="2")
    path.write_text("")
    assert AcceleratorConfig.load(path) == AcceleratorConfig()


@pytest.mark.parametrize("name", LIMITS)
def test_every_field_is_checked(name: str) -> None:
    low, high = LIMITS[name]
    for good in (low, high):
        fitting = {"lanes": 1} | {"rows": good, "cols": good} if name in ARRAY else {}
        assert getattr(AcceleratorConfig(**(fitting | {name: good})), name) == good
    for bad in (low - 1, high + 1, float(low), True, str(low), None, [low]):
        with pytest.raises(ConfigError) as caught:
            AcceleratorConfig(**{name: bad})
        assert str(caught.value) == f"{name} must be in {low}..{high}, not {bad!r}"


@pytest.mark.parametrize("bad", [0, 16, 48, 256, True, "64", None])
def test_bus_width_is_checked(bad: Any) -> None:
    with pytest.raises(ConfigError, match="bus_width must be one of 32, 64, 128, not "):
        AcceleratorConfig(bus_width=bad)


@pytest.mark.parametrize("name", ["program_crc", "buffer_parity"])
@pytest.mark.parametrize("bad", [0, 1, "true", None])
def test_switches_are_true_or_false(name: str, bad: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be true or false, not {bad!r}"):
        AcceleratorConfig(**{name: bad})


def test_code_buffer_has_whole_banks() -> None:
    with pytest.raises(ConfigError, match="code_depth must be a multiple of 4, not 4098"):
        AcceleratorConfig(code_depth=4098)


@pytest.mark.parametrize("sizes", [(16, 12, 8), (12, 16, 8), (5, 7, 5)])
def test_lanes_divide_rows_and_columns(sizes: tuple[int, int, int]) -> None:
    rows, cols, lanes = sizes
    with pytest.raises(ConfigError) as caught:
        AcceleratorConfig(rows=rows, cols=cols, lanes=lanes)
    assert str(caught.value) == f"lanes must divide {rows} rows and {cols} cols, not {lanes}"


@pytest.mark.parametrize(
    ("array", "lanes"),
    [((4, 4), 1), ((8, 8), 2), ((16, 16), 4), ((32, 32), 16), ((12, 8), 2), ((5, 7), 1)],
)
def test_default_lanes(array: tuple[int, int], lanes: int) -> None:
    assert default_lanes(*array) == lanes


def test_channels_come_in_groups_of_the_columns() -> None:
    AcceleratorConfig(cols=2, lanes=2, channel_depth=8192)
    with pytest.raises(ConfigError) as caught:
        AcceleratorConfig(cols=2, lanes=2, channel_depth=8193)
    assert str(caught.value) == "channel_depth must be at most 8192 with 2 cols, not 8193"


@pytest.mark.parametrize("bad", ["e", 2, "SQRT2", None, ["2"], {}])
def test_the_base_is_checked(bad: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        AcceleratorConfig(base=bad)
    assert str(caught.value) == f"base must be one of sqrt2, 2, not {bad!r}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = 0", "rows must be in 1..256, not 0"),
        ("rows = 4.5", "rows must be in 1..256, not 4.5"),
        ("base = ['2']", "base must be one of sqrt2, 2, not ['2']"),
        ("collumns = 8", "key must be one of rows, cols, "),
        ("[rows]\nx = 1", "rows must be in 1..256, not {'x': 1}"),
        ("rows = ", "not TOML: "),
        ("rows = 1\nrows = 2", "not TOML: "),
        ("rows = " + "[" * 100_000, "not TOML: "),
        ("rows = 0x" + "f" * 5000, ""),
        ("rows = '\xff'", "not TOML: "),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        AcceleratorConfig.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        AcceleratorConfig.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        AcceleratorConfig.load(tmp_path)


@pytest.mark.parametrize("base", ["sqrt2", "2"])
def test_the_config_of_an_artifact_holds_all_its_tensors(base: str) -> None:
    size = Size(image=(8, 8, 3), patch=2, width=12, hidden=20, classes=30, prefix=2)
    artifact = random_artifact(np.random.default_rng(0), size, bits="W5A6L7", base=base)
    config = AcceleratorConfig.for_artifact(artifact, "8x4")
    assert (config.rows, config.cols) == (8, 4)
    assert (config.weight_width, config.activation_width, config.log_width) == (5, 6, 7)
    assert config.base == base
    assert config.token_depth == 18
    assert config.channel_depth == 30
    assert config.embedding_depth == 12


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("activation_width", 3, "activation_width must be at least 4 for the artifact, not 3"),
        ("log_width", 5, "log_width must be the artifact's, 6, not 5"),
        ("base", "2", "base must be the artifact's, sqrt2, not 2"),
        ("token_depth", 4, "token_depth must be at least 5 for the artifact, not 4"),
        ("channel_depth", 23, "channel_depth must be at least 24 for the artifact, not 23"),
        ("embedding_depth", 11, "embedding_depth must be at least 12 for the artifact, not 11"),
        ("code_depth", 80, "code_depth must be at least 83 for the artifact, not 80"),
        ("residual_depth", 59, "residual_depth must be at least 60 for the artifact, not 59"),
    ],
)
def test_hardware_that_cannot_run_an_artifact_is_refused(
    field: str, value: object, message: str
) -> None:
    artifact = random_artifact(np.random.default_rng(0), bits="W5A4L6")
    config = AcceleratorConfig.for_artifact(artifact, "4x4")
    config.check_fits(artifact)
    replace(config, weight_width=8, token_depth=99, embedding_depth=99).check_fits(artifact)
    replace(config, activation_width=8, code_depth=4096, residual_depth=99).check_fits(artifact)
    replace(config, weight_width=3).check_fits(artifact)  # by digits
    with pytest.raises(ConfigError) as caught:
        replace(config, **{field: value}).check_fits(artifact)
    assert str(caught.value) == message


def test_depths_follow_from_the_fields_that_are_given() -> None:
    artifact = random_artifact(np.random.default_rng(1), Size())
    plain = AcceleratorConfig.for_artifact(artifact, "8x8")
    narrow = AcceleratorConfig.for_artifact(artifact, "8x8", lanes=1, bus_width=32)
    assert (narrow.lanes, narrow.bus_width) == (1, 32)
    assert narrow.residual_depth == residual_words(artifact, 1) > plain.residual_depth
    # Patches of wider codes take fewer digits.
    wide = AcceleratorConfig.for_artifact(artifact, "8x8", activation_width=8)
    assert wide.code_depth <= plain.code_depth
    wide.check_fits(artifact)
    deep = AcceleratorConfig.for_artifact(artifact, "8x8", code_depth=1 << 14, token_depth=99)
    assert (deep.code_depth, deep.token_depth) == (1 << 14, 99)
    with pytest.raises(ConfigError, match="lanes must divide 8 rows and 8 cols, not 3"):
        AcceleratorConfig.for_artifact(artifact, "8x8", lanes=3)


def test_a_batch_needs_room_for_all_its_tokens() -> None:
    artifact = random_artifact(np.random.default_rng(0), Size(image=(8, 8, 1), prefix=2))
    one, three = (AcceleratorConfig.for_artifact(artifact, "4x4", n) for n in (1, 3))
    assert one == AcceleratorConfig.for_artifact(artifact, "4x4")
    # Its patches lie where other tensors do later.
    grown = {"token_depth": 3 * 6, "residual_depth": 3 * one.residual_depth}
    assert three == replace(one, **grown, code_depth=three.code_depth)
    assert one.code_depth < three.code_depth <= 3 * one.code_depth
    three.check_fits(artifact, 3)
    three.check_fits(artifact)
    for field in ("token_depth", "residual_depth"):
        need = getattr(three, field)
        with pytest.raises(ConfigError) as caught:
            replace(three, **{field: need - 1}).check_fits(artifact, 3)
        have = f"for 3 images of the artifact, not {need - 1}"
        assert str(caught.value) == f"{field} must be at least {need} {have}"
    with pytest.raises(ConfigError, match=r"code_depth must be at least \d+ for 3 images of"):
        replace(three, code_depth=one.code_depth).check_fits(artifact, 3)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (0, "batch must be at least 1, not 0"),
        (-2, "batch must be at least 1, not -2"),
        (1000, "token_depth must be in 1..4096, not 5000"),
    ],
)
def test_a_batch_that_no_hardware_has_room_for(batch: int, message: str) -> None:
    artifact = random_artifact(np.random.default_rng(0))
    with pytest.raises(ConfigError) as caught:
        AcceleratorConfig.for_artifact(artifact, "4x4", batch)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "sizes"), [("16x16", (16, 16)), ("1x256", (1, 256))])
def test_an_array_is_written_rows_by_cols(text: str, sizes: tuple[int, int]) -> None:
    assert parse_array(text) == sizes


@pytest.mark.parametrize(
    "text",
    ["", "16", "x", "16x", "x16", "16 x 16", "-1x4", "4x4x4", "٤x٤", "1e1x4", "9" * 5000 + "x1"],
)
def test_another_spelling_of_an_array_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^array must be written ROWSxCOLS, not '"):
        parse_array(text)


@pytest.mark.parametrize("array", ["0x16", "16x257"])
def test_an_array_out_of_range_is_refused(array: str) -> None:
    artifact = random_artifact(np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"^(rows|cols) must be in 1\.\.256, not (0|257)$"):
        AcceleratorConfig.for_artifact(artifact, array)
