"""The compiler: layouts, streams, bands and waits, and what it refuses, by name.

That the programs compute the right values is shown in `testbench/sim/test_machine.py`.
"""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rootshift.artifact import Artifact
from rootshift.buffers import CodeTensor, PatchGrid, place, plan_codes, tiled
from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError, ProgramError
from rootshift.formats import GELU_INDEX_WIDTH, RESIDUAL_WIDTH
from rootshift.hw.compiler import compile
from rootshift.hw.compiler.bands import plan_bands
from rootshift.hw.compiler.emitter import Emitter
from rootshift.hw.compiler.lower import side_by_side
from rootshift.hw.compiler.packing import Columns, pack_layernorm, pack_parameters, pack_tiles
from rootshift.isa import COMMAND_BYTES
from rootshift.operator_base import Operator
from rootshift.operators import GeluTable

from ..random_model import Size
from ..seeds import explored, generator
from .compiled import built, commands, model


class TestStreams:
    """Constants against a reading of the page bit by bit."""

    def test_tiles(self) -> None:
        rng = generator(1)
        rows, cols, width, digits, beat = 5, 3, 3, 2, 8
        weight = rng.integers(0, 64, (2 * cols, 2 * rows)).astype(np.uint8)
        packed = pack_tiles(weight, rows, cols, width, digits, beat)
        assert packed.shape == (2, 24)
        for group in range(2):
            at = 0
            for digit in range(digits):
                for tile in range(2):
                    for column in reversed(range(cols)):
                        word = int.from_bytes(packed[group, at : at + 2].tobytes(), "little")
                        at += 2
                        for row in range(rows):
                            code = int(weight[group * cols + column, tile * rows + row])
                            want = code >> width * digit & 7
                            assert word >> width * row & 7 == want

    def test_parameters(self) -> None:
        columns = Columns(
            weight_zero=np.array([-3, 0]), bias=np.array([-(1 << 31), (1 << 31) + 5]),
            multiplier=np.array([65535, 1]), shift=47, width=24, zero=-2,
        )  # fmt: skip
        packed = pack_parameters(columns, 2, 16)
        assert packed.shape == (1, 32)
        setting, first, second, rest = np.frombuffer(packed.tobytes(), "<u8").tolist()
        assert setting == 47 | 24 << 8 | 0xFFFE << 16
        assert first == 0x80000000 | 0xFFFD << 32 | 65535 << 48
        assert second == 0x80000005 | 1 << 48
        assert rest == 0

    def test_layernorm(self) -> None:
        gain = np.array([1, -2, 3], np.int16)
        packed = pack_layernorm(gain, np.array([-4, 5, 6], np.int32), 2, 16)
        assert len(packed) == 32
        want = [(1, -2), (-4, 5), (3, 0), (6, 0)]
        found, at = [], 0
        for kind, size in (("<i2", 4), ("<i4", 8)) * 2:
            found.append(tuple(np.frombuffer(packed[at : at + size], kind).tolist()))
            at += size
        assert found == want
        assert packed[24:] == bytes(8)


class TestLayout:
    def test_heads_take_whole_words(self) -> None:
        assert tiled(6, 2, 4).tolist() == [0, 1, 2, -1, 3, 4, 5, -1]
        assert tiled(5, 1, 4).tolist() == [0, 1, 2, 3, 4, -1, -1, -1]

    @pytest.mark.parametrize("array", ["4x4", "16x16"])
    def test_tensors_alive_together_lie_apart(self, array: str) -> None:
        plan = plan_codes(model(Size(depth=2)), int(array.split("x")[0]))
        for part in (plan.body, plan.tail):
            for one in part:
                for other in part:
                    a, b = plan.tensors[one], plan.tensors[other]
                    if one < other and a.begin <= b.end and b.begin <= a.end:
                        low, high = sorted([(part[one], a.words), (part[other], b.words)])
                        assert low[0] + low[1] <= high[0]

    def test_places_are_taken_again(self) -> None:
        tensors = list(plan_codes(model(Size(depth=3)), 4).tensors.values())
        once = list(plan_codes(model(Size(depth=1)), 4).tensors.values())
        ends = [
            max(place(part)[tensor.name] + tensor.words for tensor in part)
            for part in (tensors, once)
        ]
        assert ends[0] == ends[1]

    def test_everything_in_memory_is_aligned_and_apart(self) -> None:
        program = built(model(), bus_width=128, images=2)
        places = sorted(program.segments.values())
        assert places[0][0] == 0
        for (offset, size), (following, _) in pairwise(places):
            assert offset + size <= following
            assert following % 16 == 0
        assert len(program.image) >= COMMAND_BYTES * len(program.commands) + 512
        known = {offset: size for offset, size in program.segments.values()}
        for fetch in commands(program, "FETCH"):
            assert fetch["beats"] * 16 == known[fetch["offset"]]

    def test_equal_constants_are_stored_once(self) -> None:
        one, three = (built(model(), images=images) for images in (1, 3))
        assert one.segments.keys() == three.segments.keys()
        for name in one.segments.keys() - {"program", "input", "output"}:
            assert one.segments[name][1] == three.segments[name][1]

    def test_next_images_are_cut_before_the_last_product(self) -> None:
        program = built(model(), images=2)
        names = [(p.command.name, p.image) for p in program.commands]
        head = max(
            n for n, p in enumerate(program.commands) if p.operators == ("head",) and p.image == 0
        )
        assert names.index(("PATCHIFY", 1)) < head

    def test_next_images_are_cut_while_rows_are_averaged(self) -> None:
        program = built(model(Size(prefix=0, pool="avg")), images=2)
        names = [(p.command.name, p.image) for p in program.commands]
        assert names.index(("PATCHIFY", 1)) < names.index(("POOL", 0))

    def test_rows_are_normalized_while_others_are_made(self) -> None:
        program = built(model(Size(image=(16, 8, 1), prefix=0)), norm_bands=4)
        order = [
            (placed.command.name, placed.token)
            for placed in program.commands
            if placed.operators in (("block0.proj", "block0.add1"), ("block0.norm2",))
        ]
        store, norm = "STORE", "LAYERNORM"
        assert order == [
            (store, 0), (store, 2), (norm, 0), (store, 4), (norm, 2), (store, 6), (norm, 4),
            (norm, 6),
        ]  # fmt: skip

    def test_a_pixel_of_a_wide_design_has_one_digit(self) -> None:
        for width, digits in ((4, 2), (8, 1)):
            program = built(model(), activation_width=width)
            assert commands(program, "PATCHIFY")[0]["digits"] == digits
            assert commands(program, "GEMM")[0]["activation_digits"] == digits
            assert commands(program, "GEMM")[0]["weight_digits"] == digits


class TestTokensSideBySide:
    """A distilled classifier: what is gathered is read where it lies."""

    SIZE = Size(width=10, prefix=2, pool="distilled")

    @pytest.mark.parametrize("batch", [1, 3])
    def test_layout(self, batch: int) -> None:
        program = built(model(self.SIZE), images=batch, batch=batch)
        tokens, chunks, tiles = self.SIZE.tokens, -(-10 // program.config.lanes), 3
        norms = commands(program, "LAYERNORM")[-batch:]
        heads = commands(program, "GEMM")[-batch:]
        first = norms[0]["out"]
        for image, (norm, head) in enumerate(zip(norms, heads, strict=True)):
            assert (norm["rows"], norm["row_stride"], norm["stride"]) == (2, chunks, 2)
            assert norm["base"] == image * tokens * chunks
            assert norm["keep"] == (image > 0)
            assert norm["out"] == head["base"] == first + image * 2 * tiles
            assert (head["tokens"], head["stride"], head["tiles"]) == (1, 1, 2 * tiles)
        made = {name for placed in program.commands for name in placed.operators}
        assert program.shapes.keys() - made == {"pixels", "pool", "head.tokens"}
        assert program.rows == {"pool": ("block0.add2", 0), "head.tokens": ("norm", 0)}

    def test_weights_are_in_the_order_of_the_words(self) -> None:
        channels = np.array([0, 1, 2, 3, 4, -1], np.int32)
        tensor = CodeTensor("norm", 3, channels, 0, 0, rows=2)
        assert side_by_side(tensor, 5).reshape(-1, 2).tolist() == [
            [0, 1], [5, 6], [10, 11], [2, 3], [7, 8], [12, 13], [4, -1], [9, -1], [14, -1],
        ]  # fmt: skip

    @pytest.mark.parametrize("array", ["4x4", "16x16"])
    def test_next_images_are_cut_before_the_last_product(self, array: str) -> None:
        """Beside the codes of the last LayerNorm, whose words are not the patches'."""
        artifact = model(self.SIZE)
        program = built(artifact, array, images=2)
        names = [(p.command.name, p.image) for p in program.commands]
        norm = max(n for n, p in enumerate(program.commands) if p.operators == ("norm",))
        assert names.index(("PATCHIFY", 1)) < norm
        plan = plan_codes(artifact, int(array.split("x")[0]))
        assert plan.tail.keys() == {"norm"}
        assert plan.tensors["norm"].end == len(artifact.operators) - 1

    def test_a_stream_that_is_no_longer_there(self) -> None:
        artifact = model(self.SIZE)
        operators = tuple(
            replace(op, inputs=("embed",)) if op.name == "pool" else op for op in artifact.operators
        )
        message = "pool: input embed must be the residual stream, block0.add2, at this step"
        with pytest.raises(ProgramError, match=f"^{re.escape(message)}$"):
            built(replace(artifact, operators=operators))


@explored(300)
@given(
    down=st.integers(1, 40),
    across=st.integers(1, 20),
    tiles=st.integers(1, 30),
    digits=st.integers(1, 3),
    free=st.integers(0, 4000),
    columns=st.integers(1, 600),
)
def test_bands_cover_the_image_and_fit(
    down: int, across: int, tiles: int, digits: int, free: int, columns: int
) -> None:
    grid = PatchGrid(down, across, 1, 1, digits, tiles, np.zeros(0, np.int32))
    words = grid.row_words + free
    bands = plan_bands("p", grid, words, columns)
    assert [band.first for band in bands] == np.cumsum([0, *(b.down for b in bands[:-1])]).tolist()
    assert sum(band.down for band in bands) == down
    assert min(band.down for band in bands) >= 1
    assert all(band.base + band.down * grid.row_words <= words for band in bands)
    if down > 1:
        assert len(bands) > 1 or words < 2 * grid.row_words
    if down > 1 and words >= 2 * grid.row_words:
        for one, other in pairwise(bands):
            low, high = sorted([one, other], key=lambda band: band.base)
            assert low.base + low.down * grid.row_words <= high.base


def test_a_command_beyond_a_buffer_is_named() -> None:
    config = AcceleratorConfig.for_artifact(model(), "4x4")
    depth = config.residual_depth
    message = f"residual buffer must hold {depth + 1} words for EMBED, embed, not {depth}"
    with pytest.raises(ProgramError, match=message):
        Emitter(config, 1, 64, 10).command(
            "EMBED", {"base": depth, "words": 1}, operators=("embed",)
        )


def test_commands_of_attention_say_whose_values_they_make() -> None:
    program = built(model(Size(width=18, heads=3)), "4x4")
    found = [placed for placed in program.commands if placed.command.name == "ATTENTION"]
    assert [placed.head for placed in found] == [0, 1, 2]
    assert [placed.channels.size for placed in found] == [
        placed.command["tiles"] * program.config.rows for placed in found
    ]


class TestRefusals:
    def refused(self, artifact: Artifact, message: str, **fields: Any) -> None:
        with pytest.raises((ProgramError, ConfigError)) as caught:
            built(artifact, **fields)
        assert re.fullmatch(message, str(caught.value)), caught.value

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"code_depth": 40}, "code buffer must hold 83 words for block0.attention, not 40"),
            ({"residual_depth": 59}, "residual buffer must hold 60 words for embed, not 59"),
            ({"token_depth": 4}, "token_depth must be at least 5 for the artifact, not 4"),
            ({"log_width": 5}, "block0.softmax: log_width must be the hardware's, 5, not 4"),
            ({"base": "2"}, "block0.softmax: base must be the hardware's, 2, not sqrt2"),
            (
                {"activation_width": 3},
                "block0.norm1: codes must have at most 3 bits, as activation_width, not 4",
            ),
            ({"images": 0}, "images must be at least 1, not 0"),
            ({"norm_bands": 0}, "norm_bands must be at least 1, not 0"),
            ({"batch": 0}, "batch must be at least 1, not 0"),
            ({"images": 3, "batch": 2}, "images must be a multiple of the batch, 2, not 3"),
            ({"batch": 2}, "images must be a multiple of the batch, 2, not 1"),
            (
                {"images": 2, "batch": 2, "code_depth": 80},
                "code buffer must hold 166 words for block0.attention, not 80",
            ),
            (
                {"images": 2, "batch": 2, "residual_depth": 119},
                "residual buffer must hold 120 words for embed, not 119",
            ),
            (
                {"images": 2, "batch": 2, "token_depth": 9},
                "token_depth must be at least 10 for 2 images of the artifact, not 9",
            ),
        ],
    )
    def test_hardware_too_small(self, fields: dict[str, Any], message: str) -> None:
        self.refused(model(), re.escape(message), **fields)

    def test_no_room_for_patches(self) -> None:
        artifact = model(Size(image=(8, 32, 3), hidden=4, width=4, heads=1))
        message = r"code buffer must hold 192 words for a row of patches, not the 179 that it has.*"
        self.refused(artifact, message, code_depth=180)

    def test_too_many_commands(self) -> None:
        message = r"images must be at most 4095, with 16 commands of FETCH each, not 5000"
        self.refused(model(), message, images=5000)
        message = (
            r"images must be at most 5956, with 22 commands of FETCH for each batch of 2, not 6000"
        )
        self.refused(model(), message, images=6000, batch=2)

    def test_as_many_commands_as_can_be_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compile, "COUNT_WIDTH", 6)
        assert built(model(), images=3).images == 3
        message = r"images must be at most 3, with 16 commands of FETCH each, not 4"
        self.refused(model(), message, images=4)

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            (
                "block0.add1",
                {"inputs": ("embed", "patch_embed")},
                "patch_embed: gemm must feed one embed, not embed embed, residual_add block0.add1",
            ),
            (
                "block0.add2",
                {"inputs": ("embed", "block0.fc2")},
                "block0.add2: input embed must be the residual stream, block0.add1, at this step",
            ),
            (
                "block0.add1",
                {"inputs": ("block0.proj", "embed")},
                "block0.add1: branch must be block0.proj, not embed",
            ),
            (
                "norm",
                {"inputs": ("embed",)},
                "norm: input embed must be the residual stream, block0.add2, at this step",
            ),
        ],
    )
    def test_operators_that_fit_no_step(
        self, name: str, changes: dict[str, Any], message: str
    ) -> None:
        artifact = model(Size(image=(4, 4, 1), prefix=0))
        operators = tuple(
            replace(op, **changes) if op.name == name else op for op in artifact.operators
        )
        self.refused(replace(artifact, operators=operators), re.escape(message))

    def test_a_stream_after_its_mean(self) -> None:
        """Row 0 is the mean's by then."""
        artifact = model(Size(pool="avg"))
        block = {name: replace(artifact[f"block0.{name}"], name=name) for name in ("proj", "add1")}
        changed = replace(block["add1"], inputs=("block0.add2", "proj"))
        message = "add1: input block0.add2 must be the residual stream, pool, at this step"
        with_proj = with_operator(artifact, block["proj"], "norm")
        self.refused(with_operator(with_proj, changed, "norm"), message)

    def test_a_table_beside_other_readers(self) -> None:
        artifact = model()
        table = artifact["block0.gelu"]
        extra = GeluTable(
            name="second", inputs=table.inputs, scale=1.0, table=table.table, width=table.width
        )
        message = (
            "block0.fc1: gemm must feed one gelu_table, "
            "not gelu_table second, gelu_table block0.gelu"
        )
        self.refused(with_operator(artifact, extra, "block0.gelu"), re.escape(message))

    def test_a_table_before_scores(self) -> None:
        """Fill channels of a head would have its first entry."""
        artifact = model(Size(width=18, heads=3))
        query, table = artifact["block0.q"], artifact["block0.gelu"]
        found = []
        for op in artifact.operators:
            if op is query:
                found.append(replace(query, name="raw", width=GELU_INDEX_WIDTH))
                found.append(
                    replace(table, name=query.name, inputs=("raw",), table=table.table | 1)
                )
            else:
                found.append(op)
        message = (
            "block0.scores: input block0.q must have 0 in its fill channels, "
            "so it cannot come from a table"
        )
        self.refused(replace(artifact, operators=tuple(found)), message, lanes=4)

    def test_a_table_of_other_codes(self) -> None:
        artifact = model()
        table = artifact["block0.gelu"]
        extra = GeluTable(
            name="second", inputs=("block0.norm2",), scale=1.0, table=table.table, width=table.width
        )
        message = "second: no command of the accelerator makes this gelu_table of block0.norm2"
        self.refused(with_operator(artifact, extra, "block0.fc1"), message)

    def test_patches_come_once(self) -> None:
        artifact = model()
        extra = replace(artifact["patches"], name="second")
        message = "second: a model must have one patchify, not two"
        self.refused(with_operator(artifact, extra, "head"), message)

    def test_an_operator_of_several_inputs(self) -> None:
        artifact = model()
        extra = replace(artifact["block0.scores"], name="second")
        self.refused(with_operator(artifact, extra, "head"), "second: .* of block0.q, block0.k")

    def test_a_branch_that_nothing_adds(self) -> None:
        artifact = model()
        extra = replace(artifact["block0.proj"], name="second")
        assert extra.width == RESIDUAL_WIDTH
        message = "second: gemm must feed one residual_add, not nothing"
        self.refused(with_operator(artifact, extra, "block0.add1"), message)


def with_operator(artifact: Artifact, extra: Operator, before: str) -> Artifact:
    at = [operator.name for operator in artifact.operators].index(before)
    return replace(artifact, operators=(*artifact.operators[:at], extra, *artifact.operators[at:]))


@pytest.mark.parametrize("array", ["4x4", "8x4", "16x16"])
@pytest.mark.parametrize("size", [Size(), Size(image=(16, 12, 3), prefix=3, hidden=50, depth=2)])
def test_a_configuration_for_an_artifact_has_room_for_two_bands(array: str, size: Size) -> None:
    program = built(model(size), array)
    bands = commands(program, "PATCHIFY")
    assert len({band["base"] for band in bands}) == 2


def test_the_same_model_gives_the_same_program() -> None:
    first, second = built(model()), built(model())
    assert first.image == second.image
    assert first.segments == second.segments
