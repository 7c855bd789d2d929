"""Export of degenerate models and images: each works, or ends in one error that names its layer."""

import numpy as np
import pytest
import torch

from rootshift.errors import ArtifactError, CalibrationError
from rootshift.sim.golden.model import GoldenModel

from .exported import Exported, exported
from .exported import shaded_pixels as shaded
from .small_vit import small_vit


def zero_rows(model) -> None:
    block = model.blocks[0]
    for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2, model.head):
        layer.weight[2] = 0


def zero_layers(model) -> None:
    block = model.blocks[0]
    for layer in (block.attn.proj, block.mlp.fc2):
        layer.weight.zero_()
        layer.bias.zero_()


def zero_values(model) -> None:
    model.blocks[0].attn.qkv.weight[48:] = 0


def zero_query(model) -> None:
    model.blocks[0].attn.qkv.weight[:24] = 0


def zero_head(model) -> None:
    model.head.weight.zero_()


def constant_rows(model) -> None:
    model.blocks[0].mlp.fc1.weight[3] = 0.3
    model.blocks[0].attn.proj.weight[1] = -0.2
    model.patch_embed.proj.weight[0] = 0.1


def tiny_rows(model) -> None:
    model.blocks[0].attn.qkv.weight[5] *= 1e-20
    model.blocks[0].mlp.fc1.weight[5] *= 1e-38
    model.head.weight[1] *= 1e-10


def dead_channels(model) -> None:
    for norm in (model.blocks[0].norm1, model.blocks[0].norm2, model.norm):
        norm.weight[4] = 0
        norm.bias[4] = 0


def constant_channels(model) -> None:
    model.blocks[0].norm1.weight[:5] = 0
    model.blocks[0].norm2.weight[7] = 0


def constant_norm(model) -> None:
    model.blocks[0].norm1.weight.zero_()


def dead_norm(model) -> None:
    model.blocks[0].norm1.weight.zero_()
    model.blocks[0].norm1.bias.zero_()


def no_image(model) -> None:
    model.patch_embed.proj.weight.zero_()


def large_head_bias(model) -> None:
    model.head.bias[1] = 1e6


@pytest.mark.parametrize("method", ["repq", "repq+gptq"])
@pytest.mark.parametrize(
    "change",
    [
        zero_rows, zero_layers, zero_values, zero_query, zero_head, constant_rows, tiny_rows,
        dead_channels, constant_channels, constant_norm, dead_norm, no_image, large_head_bias,
    ],
)  # fmt: skip
def test_degenerate_weights_work(change, method: str) -> None:
    model = small_vit(1, depth=1)
    with torch.no_grad():
        change(model)
    made = exported(model, shaded(model, 32, 2), "W8A8", method=method)
    near_float(made, shaded(model, 12, 3))


def near_float(made: Exported, pixels: np.ndarray, share: float = 0.35) -> None:
    """Integer logits differ from float by at most a share of the greatest logit."""
    found = GoldenModel(made.artifact).run(pixels).logits * made.artifact.operators[-1].scale
    expected = made.float_logits(pixels)
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize("method", ["repq", "repq+gptq"])
@pytest.mark.parametrize("level", [None, 0, 128, 255])
def test_one_image_is_enough_for_itself(level: int | None, method: str) -> None:
    """Calibrated on one image, of noise or of one shade, the model is right on that image."""
    model = small_vit(1, depth=2)
    pixels = shaded(model, 1, 2)
    if level is not None:
        pixels = np.full_like(pixels, level)
    near_float(exported(model, pixels, "W8A8", method=method), pixels)


def test_positions_beyond_all_that_passes_the_stream_are_not_clipped() -> None:
    """The patches take back half of what the table adds."""
    model = small_vit(1, depth=1)
    with torch.no_grad():
        model.patch_embed.proj.bias[2] -= 600
        model.pos_embed[:, 1:, 2] += 1200
    made = exported(model, shaded(model, 4, 2), "W8A8")
    embed, node = made.artifact["embed"], made.quantized.network.by_name["embed"]
    table = torch.cat([node.prefix, node.position]).numpy()
    assert table.max() > 1190
    assert np.abs(embed.position * embed.scale - table).max() <= embed.scale


HUGE = {
    "query": lambda model: model.blocks[0].attn.qkv.bias[1].fill_(1e6),
    "key": lambda model: model.blocks[0].attn.qkv.bias[25].fill_(1e6),
    "proj": lambda model: model.blocks[0].attn.proj.bias[3].fill_(1e6),
    "fc2": lambda model: model.blocks[0].mlp.fc2.bias[1].fill_(1e30),
    "scores": lambda model: model.blocks[0].attn.qkv.weight.mul_(1e4),
    "gain": lambda model: model.blocks[0].norm1.weight.fill_(1e6),
    "fc1": lambda model: model.blocks[0].mlp.fc1.weight[1].mul_(1e20),
    "overflow": lambda model: model.blocks[0].mlp.fc1.weight[1].mul_(1e38),
    "epsilon": lambda model: setattr(model.blocks[0].norm1, "eps", 1e9),
    "patches": lambda model: model.patch_embed.proj.weight.mul_(1e38),
}


@pytest.mark.parametrize("method", ["repq", "repq+gptq"])
@pytest.mark.parametrize("place", HUGE)
def test_numbers_beyond_any_width_name_their_layer(place: str, method: str) -> None:
    model = small_vit(1, depth=1)
    with torch.no_grad():
        HUGE[place](model)
    layer = r"^(patch_embed|embed|blocks\.0|norm|head)[\w.]*: "
    with pytest.raises((CalibrationError, ArtifactError), match=layer) as caught:
        exported(model, shaded(model, 4, 2), "W8A8", method=method)
    assert "\n" not in str(caught.value)
