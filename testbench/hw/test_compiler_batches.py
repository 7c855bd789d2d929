"""Batches: how their tensors lie, and which constants are streamed once for all their images.

That the programs compute the right values is shown in `testbench/sim/test_machine.py`.
"""

from collections import Counter

import pytest

from rootshift.buffers import code_tensors
from rootshift.program import Program

from ..random_model import Size
from .compiled import built, commands, model


def streamed(program: Program) -> Counter[str]:
    """Beats of every constant, as often as it is fetched."""
    names = {
        offset + byte: name
        for name, (offset, size) in program.segments.items()
        for byte in range(0, size, 64)
    }
    beats: Counter[str] = Counter()
    for fetch in commands(program, "FETCH"):
        beats[names[fetch["offset"] // 64 * 64]] += fetch["beats"]
    return beats


def test_a_batch_is_stacked_tile_by_tile() -> None:
    one, three = (
        {tensor.name: tensor for tensor in code_tensors(model(), 4, batch)} for batch in (1, 3)
    )
    assert one.keys() == three.keys()
    for name, tensor in three.items():
        assert (tensor.tiles, tensor.tokens) == (one[name].tiles, 3 * one[name].tokens)
    program = built(model(), images=3, batch=3)
    tokens, place = one["block0.q"].tokens, three["block0.q"].words // 2
    queries = [
        (command["base"], command["stride"])
        for command in commands(program, "WEIGHTS")
        if command["buffer"]
    ]
    first = queries[0][0]
    assert queries == [
        (first + head * place + image * tokens, 3 * tokens)
        for image in range(3)
        for head in range(2)
    ]


@pytest.mark.parametrize("array", ["4x4", "16x16"])
@pytest.mark.parametrize("norm_bands", [1, 2])
def test_weights_are_streamed_once_for_a_batch(array: str, norm_bands: int) -> None:
    artifact = model(Size(image=(12, 8, 1), depth=2))
    names = {op.name for op in artifact.operators}
    options = {"images": 6, "norm_bands": norm_bands}
    many = built(artifact, array, batch=3, **options)
    config = {name: getattr(many.config, name) for name in ("code_depth", "residual_depth")}
    single = streamed(built(artifact, array, token_depth=99, **config, **options))
    batch = streamed(many)
    # Of an image each: its bands, its positions, the parameters of its heads, its logits.
    own = {"patch_embed.weight", "embed.position", "head.weight"}
    own |= {f"{name}.parameters" for name in names if name.endswith("scores")}
    assert single.keys() == batch.keys()
    assert {name for name in batch if single[name] == batch[name]} == own
    for name in batch.keys() - own:
        assert single[name] == 3 * batch[name]
        assert norm_bands > 1 or batch[name] * 8 == 2 * many.segments[name][1]


def test_bands_of_patches_take_turns_over_the_images_of_a_batch() -> None:
    """Where an image has an odd number of them too: the next is cut while one is multiplied."""
    size = Size(image=(12, 32, 3), width=4, heads=1, hidden=4)
    program = built(model(size), images=4, batch=2)
    bands = [placed for placed in program.commands if placed.command.name == "PATCHIFY"]
    assert [band.image for band in bands] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [band.command["beats"] > 0 for band in bands] == [True, False, False] * 4
    assert [band.command["base"] for band in bands] == [0, 192] * 6
