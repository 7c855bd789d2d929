"""timm's SwinTransformer (Liu et al., ICCV 2021, arXiv 2103.14030) as a network of nodes."""

from collections.abc import Sequence

import torch
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    window_partition,
)
from torch import Tensor, nn
from torch.nn import functional

from .extractors import Taken
from .network import Network
from .nodes import Pool, ScoreBias
from .vit import Builder

Grid = tuple[int, int]


@torch.no_grad()
def swin_network(
    model: SwinTransformer,
    mean: Sequence[float],
    std: Sequence[float],
    mode: str = "integer",
    taken: Taken | None = None,
) -> Network:
    """Nodes of a supported model, with copies of its weights; `taken`, stages whose outputs are
    wanted instead of logits."""
    embedding = model.patch_embed
    builder = _SwinBuilder(mode, embedding.grid_size)
    x = builder.patch_embedding("patch_embed.proj", embedding.proj)
    if not isinstance(embedding.norm, nn.Identity):
        x = builder.norm("patch_embed.norm", embedding.norm, x)
    stages = list(model.layers)[: taken and taken.count]
    for index, stage in enumerate(stages):
        name = f"layers.{index}"
        if not isinstance(stage.downsample, nn.Identity):
            x = builder.merging(f"{name}.downsample", stage.downsample, x)
        for number, block in enumerate(stage.blocks):
            x = builder.block(f"{name}.blocks.{number}", block, x)
        if taken is not None and index in taken.indices:
            # timm normalizes the last stage of the whole model only.
            norm = model.norm if taken.norm and index == len(model.layers) - 1 else None
            builder.feature_map("norm", x, builder.grid, norm=norm)
    if taken is None:
        x = builder.norm("norm", model.norm, x)
        height, width = builder.grid
        x = builder.add(Pool(name="pool", inputs=(x,), mode="avg", prefix=0, tokens=height * width))
        builder.linear("head.fc", model.head.fc, x)
    image = (*embedding.img_size, embedding.proj.in_channels)
    return builder.network(image, mean, std)


class _SwinBuilder(Builder):
    """Nodes of a Swin transformer.

    Parameters: `mode` as of `Builder`; `grid`, height and width of the patches, which `merging`
    halves.
    """

    def __init__(self, mode: str, grid: Grid) -> None:
        super().__init__(mode)
        self.grid = grid

    def attention(self, name: str, block: SwinTransformerBlock, x: str) -> str:
        """Attention within windows of the tokens, cyclically shifted in every other block."""
        module = block.attn
        partition = partition_index(self.grid, block.window_size, block.shift_size)
        moved = not torch.equal(partition, torch.arange(len(partition)))
        if moved:
            x = self.gather(f"{name}.partition", x, partition[:, None], module.qkv.in_features)
        region = regions(block)
        heads, windows = module.num_heads, len(region)
        qkv = self.linear(f"{name}.qkv", module.qkv, x)
        q, k, v = self.heads(name, qkv, module.qkv.out_features // 3)
        scores = self.scores(name, q, k, heads, windows)
        bias = module._get_rel_pos_bias()[0].clone()
        scores = self.add(
            ScoreBias(name=f"{name}.bias", inputs=(scores,), bias=bias, region=region)
        )
        mixed = self.softmax_mix(name, scores, v, heads, windows)
        x = self.linear(f"{name}.proj", module.proj, mixed)
        if moved:
            reverse = reverse_index(partition)
            x = self.gather(f"{name}.reverse", x, reverse[:, None], module.proj.out_features)
        return x

    def merging(self, name: str, module: nn.Module, x: str) -> str:
        """Neighbours side by side, two by two, and their reduction to another width."""
        index = merging_index(self.grid)
        self.grid = tuple((size + 1) // 2 for size in self.grid)
        x = self.gather(f"{name}.neighbours", x, index, module.reduction.in_features // 4)
        x = self.norm(f"{name}.norm", module.norm, x)
        return self.linear(f"{name}.reduction", module.reduction, x)


def partition_index(grid: Grid, window: Grid, shift: Grid) -> Tensor:
    """Tokens of a grid, int64 `[windows * T]`, window by window: rolled back by `shift`, then
    filled up to whole windows with -1."""
    height, width = grid
    plane = torch.arange(height * width).reshape(grid).roll((-shift[0], -shift[1]), (0, 1))
    plane = functional.pad(plane, (0, -width % window[1], 0, -height % window[0]), value=-1)
    return window_partition(plane[None, :, :, None], window).flatten()


def reverse_index(partition: Tensor) -> Tensor:
    """Row of the windows that holds each token: int64 `[tokens]`."""
    rows = (partition >= 0).nonzero()[:, 0]
    return rows[partition[rows].argsort()]


def regions(block: SwinTransformerBlock) -> Tensor:
    """Region of each token of each window, int64 `[windows, T]`: timm's mask lets a token see those
    of its own region only. Without a mask there is one region.
    """
    height, width = (
        -(-size // window)
        for size, window in zip(block.input_resolution, block.window_size, strict=True)
    )
    mask = block.get_attn_mask(device=torch.device("cpu"), dtype=torch.float32)
    if mask is None:
        return torch.zeros(height * width, block.window_area, dtype=torch.int64)
    first_seen = (mask == 0).byte().argmax(dim=-1)
    return first_seen.unique(return_inverse=True)[1]


def merging_index(grid: Grid) -> Tensor:
    """Four tokens of each place of the grid of half the size, int64 `[tokens, 4]`, in the order of
    timm's PatchMerging: column by column. -1 is beyond an odd edge."""
    height, width = grid
    plane = torch.arange(height * width).reshape(grid)
    plane = functional.pad(plane, (0, width % 2, 0, height % 2), value=-1)
    squares = plane.unflatten(1, (-1, 2)).unflatten(0, (-1, 2))
    return squares.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)
