"""What a space refuses, with which words, and the line that each message points to."""

import json
import re
from pathlib import Path

import pytest

from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError
from rootshift.sim.explore.constraints import GOALS
from rootshift.sim.explore.point import CONFIG
from rootshift.sim.explore.space import Space
from rootshift.sim.explore.toml_text import line_of

from .spaces import LEAST, parsed, refusal

REFUSED = {
    "hardware": [
        ("aray = '8x8'", "key must be array, not aray"),
        (
            "burst = 1",
            "key must be one of array, rows, cols, lanes, activation_width, weight_width,"
            " token_depth, channel_depth, embedding_depth, code_depth, residual_depth, "
            "bus_width, pipeline_stages, array_multiplier, batch, not burst",
        ),
        ("lanes = []", "lanes must have at least one value, not none"),
        ("lanes = [4, 4]", "lanes must be different values, not 4 twice"),
        ("lanes = [[4]]", "lanes must be an integer, not [4]"),
        (
            "lanes = {from = 1}",
            "lanes must be a range of from, to and either step or factor, not {'from': 1}",
        ),
        (
            "lanes = {from = 1, to = 2, step = 1, factor = 2}",
            "lanes must be a range of from, to and either step or factor, not {'from': 1,"
            " 'to': 2, 'step': 1, 'factor': 2}",
        ),
        (
            "lanes = {from = 1, to = 2, by = 1}",
            "lanes must be a range of from, to and either step or factor, not {'from': 1,"
            " 'to': 2, 'by': 1}",
        ),
        ("array = 8", 'array must be a string such as "16x16", not 8'),
        ("array = '8'", "array must be written ROWSxCOLS, not '8'"),
        ("array = '8x300'", "array must be from 1x1 to 256x256, not '8x300'"),
        ("rows = 300", "rows must be in 1..256, not 300"),
        ("lanes = true", "lanes must be an integer, not True"),
        ("lanes = 1e400", "lanes must be an integer, not inf"),
        ("lanes = 'least'", "lanes must be an integer, not 'least'"),
        ("code_depth = 'most'", "code_depth must be an integer or \"least\", not 'most'"),
        ("code_depth = 6", "code_depth must be a multiple of 4, not 6"),
        ("bus_width = 64.0", "bus_width must be an integer, not 64.0"),
        ("bus_width = 65", "bus_width must be one of 32, 64, 128, not 65"),
        ("lanes = [4, 5]", "lanes must divide rows and cols of an array of the space, not 5"),
        ("batch = 0", "batch must be an integer from 1 to 4096, not 0"),
        (
            "rows = 0x" + "f" * 5000,
            "rows must be below 2^64, not a number of thousands of digits",
        ),
    ],
    "memory": [
        ("lanes = 4", "lanes must stand in [hardware]"),
        ("seed = 0x1_0000_0000_0000_0000", "seed must be below 2^64, not 18446744073709551616"),
        (
            "hold = {from = 0, to = '1', step = 1}",
            "hold to of its range must be a finite number, not '1'",
        ),
        (
            "hold = {from = nan, to = 1, step = 1}",
            "hold from of its range must be a finite number, not nan",
        ),
        (
            "hold = {from = 1, to = 0, step = 1}",
            "hold to of its range must be at least from, 1, not 0",
        ),
        ("hold = {from = 0, to = 1, step = 0}", "hold step of its range must be over 0, not 0"),
        (
            "hold = {from = 0, to = 1, step = 1e-6}",
            "hold must be a range of at most 10000 values, not 1000001",
        ),
        (
            "hold = {from = 0.1, to = 1, factor = 1.5}",
            "hold factor of its range must be an integer over 1, not 1.5",
        ),
        (
            "hold = {from = 0.1, to = 1, factor = 1}",
            "hold factor of its range must be an integer over 1, not 1",
        ),
        ("hold = {from = 0, to = 1, factor = 2}", "hold from of its range must be over 0, not 0"),
        ("read_latency = 0", "read_latency must be 1 to 1048576, not 0"),
        ("read_latency = 1.5", "read_latency must be an integer, not 1.5"),
        ("bandwidth = 2", "bandwidth must be 2^-16 to 1, not 2"),
        ("hold = 'r'", "hold must be a finite number, not 'r'"),
        ("hold = 1", "hold must be 0 to 0.99, not 1"),
        ("seed = 1979-05-27", "seed must be a finite number, not datetime.date(1979, 5, 27)"),
    ],
    "images": [
        ("firts = 4", "key must be first, not firts"),
        ("first = 0", "first must be an integer from 1 to 2147483647, not 0"),
        ("few = 0", "few must be an integer from 1 to 2147483647, not 0"),
        ("folder = '.'", "folder must be left out where there are no labels"),
    ],
    "search": [
        ("trails = 4", "key must be trials, not trails"),
        ("sampler = 'cma'", "sampler must be one of grid, nsga2, tpe, not 'cma'"),
        ("trials = 9", "trials must be left out for sampler grid"),
        ("seed = -1", "seed must be an integer from 0 to 4294967295, not -1"),
        ("prune = 'no'", "prune must be true or false, not 'no'"),
    ],
    "constraints": [
        ("images = { at_least = 4 }", f"key must be one of fits, {', '.join(GOALS)}, not images"),
        ("top_1 = 4", "key must be top1, not top_1"),
        ("fits = 1", "fits must be true or false, not 1"),
        ("fits = true", "fits must be false where [fpga] has no target"),
        ("top1 = 60", "top1 must be a table such as { at_most = 50 }, not 60"),
        ("top1 = {}", "top1 must have at_most or at_least, not {}"),
        ("top1 = { least = 5 }", "top1 must have at_most or at_least, not {'least': 5}"),
        ("top1 = { at_least = '5' }", "top1 at_least must be a finite number, not '5'"),
        ("cycles = { at_most = inf }", "cycles at_most must be a finite number, not inf"),
        ("top5 = { at_least = 101 }", "top5 at_least must be from 0 to 100 percent, not 101"),
        (
            "cycles = { at_least = 9, at_most = 8 }",
            "cycles at_least must be no more than at_most, 8, not 9",
        ),
        ("lut = { at_most = 8 }", "lut must be left out where [fpga] has no target"),
        (
            "latency_ms = { at_most = 8 }",
            "latency_ms must be left out where [fpga] has no clock_mhz",
        ),
    ],
    "fpga": [
        ("clock_mhz = [50, 50.0]", "clock_mhz must be different values, not 50.0 twice"),
        ("clock_mhz = 'max'", "clock_mhz must be a number of MHz or \"fmax\", not 'max'"),
        ("clock_mhz = 0", "clock_mhz must be over 0, not 0"),
        ("clock_mhz = nan", "clock_mhz must be a finite number, not nan"),
        ("clock_mhz = 'fmax'", 'clock_mhz must be a number where there is no target, not "fmax"'),
    ],
    "quantization": [
        ("bits = ['W4A4', 'w4a4l4']", "bits must be different values, not 'W4A4' twice"),
        (
            "seed = 4",
            "key must be one of bits, weights, activations, log, method, base, layers, not seed",
        ),
        ("bits = 'W4'", "bits must be spelled like W4A4 or W4A4L5, not 'W4'"),
        ("bits = 4", 'bits must be a string such as "W4A4", not 4'),
        ("bits = 'W9A4'", "bits.weights must be from 3 to 8, not 9"),
        ("weights = 2", "weights must be an integer from 3 to 8, not 2"),
        ("method = 'minmax'", "method must be one of repq, repq+erq, repq+gptq, not 'minmax'"),
        ("base = 2", 'base must be a string such as "sqrt2", not 2'),
        ("layers = 4", "layers must be a table, not 4"),
    ],
}
"""Section -> line, and what is said of it."""

OTHERS = [
    ("[hardwear]\n", "5: section must be hardware, not hardwear"),
    (
        "[x]\n",
        "5: section must be one of model, images, quantization, hardware, memory, fpga, "
        "constraints, objectives, search, not x",
    ),
    ("[[memory]]\n", "5: [memory] must be a table, not [{}]"),
    (
        "[quantization]\nbits = 'W4A4'\nlog = 5\n",
        "6: [quantization] bits must be left out where log is given",
    ),
    ("[quantization]\nweights = 4\n", "5: [quantization] activations must be given beside weights"),
    ("[quantization]\nlog = 4\n", "5: [quantization] weights must be given beside log"),
    (
        "[quantization.layers]\n'head' = 'W4'\n",
        "6: [quantization.layers] head must be a table, not 'W4'",
    ),
    (
        "[quantization.layers.head]\n",
        "5: [quantization.layers] head must have one of weights, activations, log",
    ),
    (
        "[quantization.layers.'blocks.*']\nweights = [4, 9]\n",
        '6: [quantization.layers."blocks.*"] weights must be an integer from 3 to 8, not 9',
    ),
    (
        "[quantization.layers.head]\nweight = 4\n",
        "6: [quantization.layers.head] key must be weights, not weight",
    ),
    (
        "[quantization.layers.blocks.0]\nweights = 4\n",
        "5: [quantization.layers.blocks] key must be one of weights, activations, log, "
        "not 0; a pattern with dots must stand in quotes",
    ),
    (
        "[quantization.layers.'']\nweights = 4\n",
        "5: [quantization.layers] \"\" must be printable text, not ''",
    ),
    (
        "[quantization.layers.'patch_embed.proj']\nweights = 4\n",
        '5: [quantization.layers] "patch_embed.proj" must be left out: pixels and their '
        "weights always have 8 bits",
    ),
    (
        "[hardware]\narray = '8x8'\ncols = 8\n",
        "6: [hardware] array must be left out where cols is given",
    ),
    ("[hardware]\nrows = 8\n", "5: [hardware] cols must be given beside rows"),
    (
        "[hardware]\nrows = [5, 8]\ncols = 10\nlanes = 4\n",
        "8: [hardware] lanes must divide rows and cols of an array of the space, not 4",
    ),
    (
        "[search]\nsampler = 'tpe'\ntrials = 9\npopulation = 9\n",
        "8: [search] population must be left out for sampler tpe",
    ),
    ("[search]\nsampler = 'tpe'\n", "5: [search] trials must be given for sampler tpe"),
    (
        "[search]\nsampler = 'tpe'\ntrials = 0\n",
        "7: [search] trials must be an integer from 1 to 2147483647, not 0",
    ),
    (
        "[search]\nsampler = 'nsga2'\ntrials = 9\npopulation = 1\n",
        "8: [search] population must be an integer from 2 to 2147483647, not 1",
    ),
]
"""Sections behind the four lines of `LEAST`, and the message with its line."""


class TestLines:
    """Where a key stands in its file."""

    TEXT = (
        "# a space\n"
        'title.sub = """one\n'
        'two = 2\n"""\n'
        "\n"
        "[a]  # comment\n"
        "x = [\n"
        "  1,  # first\n"
        "  2,\n"
        "]\n"
        "# about y\n"
        "y = 3\r\n"
        '  [a."b.c"]\n'
        "z = { deep = 1 }\n"
        "[b]\n"
        "y.x = 4\n"
        "[[c]]\n"
        "[c.d]\n"
    )

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            (("title", "sub"), 2),
            (("two",), None),
            (("a",), 6),
            (("a", "x"), 7),
            (("a", "y"), 12),
            (("a", "b.c"), 13),
            (("a", "b.c", "z"), 14),
            (("a", "b.c", "z", "deep"), 14),
            (("a", "y", "no"), None),
            (("b", "y"), 16),
            (("b", "y", "x"), 16),
            (("c",), 17),
            (("c", "x"), None),
        ],
    )
    def test_the_line_where_a_statement_begins(self, keys: tuple[str, ...], line: int) -> None:
        assert line_of(self.TEXT, keys) == line

    def test_where_a_message_points(self, folder: Path) -> None:
        text = f"{LEAST}[hardware]\n\nlanes = [\n  4,\n  0,\n]\n"
        what = "[hardware] lanes must be in 1..256, not 0"
        (folder / "bad.toml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            Space.load(folder / "bad.toml")
        assert str(caught.value) == f"{folder / 'bad.toml'}:7: {what}"
        assert refusal(text) == f"line 7: {what}"
        with pytest.raises(ConfigError) as caught:
            Space.from_table({"hardware": {"lanes": 0}, "model": {"name": "digits"}})
        assert str(caught.value) == what

    def test_what_is_left_out_is_missed_in_its_section_or_in_the_file(self) -> None:
        assert refusal('[objectives]\nmaximize = "top1"\n[model]\n', path="s.toml") == (
            's.toml:3: [model] name must be given, such as name = "digits"'
        )
        assert refusal("", path="s.toml") == (
            's.toml: [model] name must be given, such as name = "digits"'
        )


class TestRefusals:
    """Each message, word for word."""

    @pytest.mark.parametrize(
        ("section", "line", "said"),
        [(section, *case) for section, cases in REFUSED.items() for case in cases],
    )
    def test_of_a_key(self, section: str, line: str, said: str) -> None:
        text = f"{LEAST}[{section}]\n{line}\n"
        assert refusal(text, path="space.toml") == f"space.toml:6: [{section}] {said}"

    @pytest.mark.parametrize(("more", "message"), OTHERS)
    def test_of_sections_and_keys_together(self, more: str, message: str) -> None:
        assert refusal(LEAST + more, path="space.toml") == f"space.toml:{message}"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("", ": [objectives] maximize must have a metric where minimize has none"),
            (
                "minimize = []",
                ":3: [objectives] maximize must have a metric where minimize has none",
            ),
            ("minimise = 'cycles'", ":4: [objectives] key must be minimize, not minimise"),
            ("minimize = 3", ':4: [objectives] minimize must be a string such as "top1", not 3'),
            (
                "minimize = ['speed']",
                f":4: [objectives] minimize must be one of {', '.join(GOALS)}, not 'speed'",
            ),
            (
                "maximize = 'top1'\nminimize = ['cycles', 'top1']",
                ":5: [objectives] minimize must be different metrics, not top1 twice",
            ),
            (
                "minimize = 'lut'",
                ":4: [objectives] minimize must be without lut where [fpga] has no target",
            ),
            (
                "minimize = 'latency_ms'",
                ":4: [objectives] minimize must be without latency_ms where [fpga] has no "
                "clock_mhz",
            ),
        ],
    )  # fmt: skip
    def test_of_objectives(self, body: str, message: str) -> None:
        text = '[model]\nname = "digits"\n' + (f"[objectives]\n{body}\n" if body else "")
        assert refusal(text, path="s.toml") == f"s.toml{message}"

    @pytest.mark.parametrize(
        ("model", "images", "message"),
        [
            ("name = 3", "", '2: [model] name must be a string that is not empty, not 3'),
            ("name = ''", "", "2: [model] name must be a string that is not empty, not ''"),
            ("name = 'vit'\nwieghts = 'a'", "", "3: [model] key must be weights, not wieghts"),
            (
                "name = 'vit'\nweights = 'a.pth'", "",
                "3: [model] weights must be \"timm\" or a file, not '{folder}/a.pth'",
            ),
            (
                "name = 'vit'\nweights = 'images'", "",
                "3: [model] weights must be \"timm\" or a file, not '{folder}/images'",
            ),
            (
                "name = 'vit'\nimage_size = '224'", "",
                "3: [model] image_size must be a side or [height, width] from 1 to 16384, "
                "not '224'",
            ),
            (
                "name = 'vit'\nimage_size = [1, 2, 3]", "",
                "3: [model] image_size must be a side or [height, width] from 1 to 16384, "
                "not [1, 2, 3]",
            ),
            (
                "name = 'vit'", "",
                "3: [images] calibration must be given for vit: a folder or a CSV file",
            ),
            (
                "name = 'vit'", "calibration = 'images'",
                "3: [images] labels must be given for vit: a CSV file",
            ),
            (
                "name = 'digits'", "calibration = 'notes.txt'",
                "4: [images] calibration must be a folder or a CSV file, not '{folder}/notes.txt'",
            ),
            (
                "name = 'digits'", "labels = 'images'",
                "4: [images] labels must be a CSV file, not '{folder}/images'",
            ),
            (
                "name = 'digits'", "labels = 'no.csv'",
                "4: [images] labels must be a CSV file, not '{folder}/no.csv'",
            ),
            (
                "name = 'digits'", "labels = 'labels.csv'\nfolder = 'labels.csv'",
                "5: [images] folder must be a folder, not '{folder}/labels.csv'",
            ),
            (
                "name = 'digits'", "labels = 4",
                "4: [images] labels must be a string that is not empty, not 4",
            ),
            (
                "name = 'digits'", '[quantization]\nbits = "no.toml"',
                "5: [quantization] bits must be a file of legal bits, not {folder}/no.toml: "
                "cannot be read: No such file or directory",
            ),
            (
                "name = 'digits'", '[quantization]\nbits = "wrong.toml"',
                "5: [quantization] bits must be a file of legal bits, not {folder}/wrong.toml: "
                "default: bits.weights must be from 3 to 8, not 9",
            ),
        ],
    )  # fmt: skip
    def test_of_model_and_files(self, model: str, images: str, message: str, folder: Path) -> None:
        text = f'[model]\n{model}\n[images]\n{images}\n[objectives]\nmaximize = "top1"\n'
        message = message.replace("{folder}", str(folder))
        assert refusal(text, path="s.toml", folder=folder) == f"s.toml:{message}"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"[model\n", "not TOML: "),
            (b"name = '\xff'\n", "not TOML: 'utf-8' codec"),
            (b"a = " + b"[" * 100_000, "not TOML: "),
        ],
    )
    def test_of_files_that_are_no_toml(
        self, content: bytes | None, message: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "space.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}: {message}')}"):
            Space.load(path)

    def test_of_text_that_is_no_toml(self) -> None:
        assert refusal("[model").startswith("not TOML: ")

    @pytest.mark.parametrize("name", CONFIG)
    def test_a_field_has_the_limits_of_the_hardware(self, name: str) -> None:
        """The default of each is legal, as is the space's idea of the least."""
        value = getattr(AcceleratorConfig(), name)
        other = {"rows": "\ncols = 8", "cols": "\nrows = 8"}.get(name, "")
        assert parsed(f"[hardware]\n{name} = {json.dumps(value)}{other}\n").knobs[name] == (value,)
        assert f"[hardware] {name} must be" in refusal(f"{LEAST}[hardware]\n{name} = -1{other}\n")
