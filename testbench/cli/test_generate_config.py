"""`rootshift generate`: the array or configuration that it takes, and the ones it refuses."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.config import AcceleratorConfig

from ..seeds import explored
from .running import invoke, refused


def test_a_whole_configuration_is_taken(digits: Path, tmp_path: Path, quick: None) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("rows = 4\ncols = 6\nlanes = 2\nchannel_depth = 512\n")
    result = invoke("generate", digits, "--config", config, "--out", tmp_path / "o", "--json").json
    assert result["array"] == "4x6"
    written = AcceleratorConfig.load(tmp_path / "o" / "config.toml")
    assert written == AcceleratorConfig(rows=4, cols=6, lanes=2, channel_depth=512)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("rowz = 3", "key must be one of rows, cols, "),
        ("rows = 0", "rows must be in 1..256, not 0"),
        ("rows = 4.0", "rows must be in 1..256, not 4.0"),
        ("rows = true", "rows must be in 1..256, not True"),
        ('rows = "4"', "rows must be in 1..256, not '4'"),
        ("base = 2", "base must be one of sqrt2, 2, not 2"),
        ("base = []", "base must be one of sqrt2, 2, not []"),
        (
            "rows = 3\ncols = 3\nlanes = 3\nchannel_depth = 16384",
            "channel_depth must be at most 12288 with 3 cols",
        ),
        ("rows = ", "not TOML"),
        ("rows = 1\nrows = 2", "not TOML"),
        ("rows = " + "[" * 5000, "not TOML"),
        ("rows = 0x" + "f" * 5000, "mine.toml: "),
        ("rows = " + "9" * 5000, "mine.toml: "),
        ("activation_width = 3", "activation_width must be at least 4 for the artifact, not 3"),
        ("cols = 5", "lanes must divide 16 rows and 5 cols, not 8"),
        ("code_depth = 62", "code_depth must be a multiple of 4, not 62"),
        ("code_depth = 64", "code_depth must be at least "),
        ("residual_depth = 64", "residual_depth must be at least "),
        ("bus_width = 48", "bus_width must be one of 32, 64, 128, not 48"),
        ("log_width = 5", "log_width must be the artifact's, 4, not 5"),
        ('base = "2"', "base must be the artifact's, sqrt2, not 2"),
        ("token_depth = 16", "token_depth must be at least 17 for the artifact, not 16"),
        ("channel_depth = 191", "channel_depth must be at least 192 for the artifact, not 191"),
        ("embedding_depth = 47", "embedding_depth must be at least 48 for the artifact, not 47"),
    ],
)
def test_a_bad_configuration_is_named(
    digits: Path, tmp_path: Path, toml: str, message: str
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(toml + "\n")
    assert message in refused("generate", digits, "--config", config, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--array", "4"], "array must be written ROWSxCOLS, not '4'"),
        (["--array", "4x"], "array must be written ROWSxCOLS, not '4x'"),
        (["--array", "4x4x4"], "array must be written ROWSxCOLS, not '4x4x4'"),
        (["--array", "-4x4"], "--array: expected one argument"),
        (["--array", "0x4"], "rows must be in 1..256, not 0"),
        (["--array", "4x257"], "cols must be in 1..256, not 257"),
        (["--array", "9" * 5000 + "x4"], "array must be written ROWSxCOLS"),
        (["--config", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (["--config", "."], ".: cannot be read: Is a directory"),
        (["--config", "bytes.toml"], "bytes.toml: not TOML"),
        (["--array", "4x4", "--config", "bytes.toml"], "not allowed with argument --array"),
        (["--image", "no.png"], "image no.png: no such file"),
    ],
)
def test_bad_words_are_named(digits: Path, elsewhere: Path, words: list[str], message: str) -> None:
    (elsewhere / "bytes.toml").write_bytes(b"\xff\xfe")
    assert message in refused("generate", digits, "--out", "o", *words)
    assert not (elsewhere / "o").exists()


@dataclass(frozen=True)
class Nothing:
    """Stands for a program, as to compile one for every configuration takes too long."""

    images: int = 1
    commands: tuple = ()
    image: bytes = b""


PLAIN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES = st.one_of(
    st.integers(-1, 20).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(['"2"', '"sqrt2"', "true", "[1]", "{a=1}", "1979-05-27", "''", "08"]),
)
LINES = st.lists(
    st.tuples(
        st.sampled_from([*AcceleratorConfig.__dataclass_fields__, "[rows]", '"a b"', "a.b"]), VALUES
    ).map(" = ".join),
    max_size=3,
)


@given(array=PLAIN, toml=st.one_of(PLAIN, LINES.map("\n".join)))
@explored(150)
def test_any_configuration_is_taken_or_refused(
    digits: Path, tmp_path_factory: pytest.TempPathFactory, array: str, toml: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    config = folder / "any.toml"
    config.write_text(toml, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootshift.hw.compiler.compile_program", lambda *_, **__: Nothing())
        patch.setattr("rootshift.cli.generate.output_files", lambda *arguments: {})
        for words in (["--array", array], ["--config", config]):
            outcome = invoke("generate", digits, *words, "--out", folder / "any")
            assert outcome.code in (0, 2)
            if outcome.code:
                assert outcome.out == ""
                assert outcome.err.startswith("rootshift generate: ")
                assert outcome.err.count("\n") == 1
            elif words[0] == "--config":
                taken = AcceleratorConfig.load(config)
                assert tomllib.loads(toml).items() <= vars(taken).items()
