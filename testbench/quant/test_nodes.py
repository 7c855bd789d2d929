"""Nodes against plain torch: layouts of windows and heads, gathered rows, patches."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rootshift.quant.nodes import (
    Add,
    Embed,
    Gather,
    LayerNorm,
    Linear,
    Mix,
    Part,
    PatchEmbedding,
    Pool,
    ScoreBias,
    Scores,
    Softmax,
)

LAYOUTS = list(itertools.product((1, 2, 3), (1, 4)))
"""Heads and windows."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    print(f"seed={seed} shape={shape}")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def head_of(x: Tensor, image: int, window: int, head: int, heads: int, tokens: int) -> Tensor:
    """[T, d] of `[B, windows * T, heads * d]`."""
    width = x.shape[-1] // heads
    rows = x[image, window * tokens : (window + 1) * tokens]
    return rows[:, head * width : (head + 1) * width]


@pytest.mark.parametrize(("heads", "windows"), LAYOUTS)
def test_attention_is_that_of_each_window_and_head(heads: int, windows: int) -> None:
    images, tokens, width = 2, 5, 4
    query, key, value = (
        drawn(images, windows * tokens, heads * width, seed=seed) for seed in range(3)
    )
    parts = {"heads": heads, "windows": windows}
    score = Scores(name="s", inputs=("q", "k"), **parts).forward(query, key)
    assert score.shape == (images, windows * heads, tokens, tokens)
    probability = Softmax(name="p", inputs=("s",)).forward(score)
    mixed = Mix(name="m", inputs=("p", "v"), **parts).forward(probability, value)
    assert mixed.shape == value.shape
    for image, window, head in itertools.product(range(images), range(windows), range(heads)):
        q, k, v, got = (
            head_of(x, image, window, head, heads, tokens) for x in (query, key, value, mixed)
        )
        want = q @ k.T / width**0.5
        torch.testing.assert_close(score[image, window * heads + head], want)
        torch.testing.assert_close(got, functional.scaled_dot_product_attention(q, k, v))


def test_the_bias_belongs_to_heads_and_the_mask_to_windows() -> None:
    images, windows, heads, tokens = 2, 3, 2, 4
    score, bias = drawn(images, windows * heads, tokens, tokens), drawn(heads, tokens, tokens)
    region = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1], [2, 1, 2, 0]])
    node = ScoreBias(name="b", inputs=("s",), bias=bias, region=region)
    found = node.forward(score).unflatten(1, (windows, heads))
    for window, head, row, column in itertools.product(
        *map(range, (windows, heads, tokens, tokens))
    ):
        want = score[:, window * heads + head, row, column] + bias[head, row, column]
        if region[window, row] != region[window, column]:
            want = want - 100
        torch.testing.assert_close(found[:, window, head, row, column], want)


def test_gathered_rows_lie_side_by_side() -> None:
    x, index = drawn(2, 6, 3), torch.tensor([[5, 0], [2, 2], [1, 4]])
    found = Gather(name="g", inputs=("x",), index=index, fill=torch.ones(3)).forward(x)
    assert found.shape == (2, 3, 6)
    for token, (left, right) in enumerate(index.tolist()):
        assert torch.equal(found[:, token], torch.cat([x[:, left], x[:, right]], dim=1))


def test_no_row_is_the_fill_whatever_the_last_row_holds() -> None:
    x, fill = drawn(2, 4, 3), torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)
    x[:, -1] = torch.inf
    index = torch.tensor([[0, -1], [-1, -1], [1, 2]])
    found = Gather(name="g", inputs=("x",), index=index, fill=fill).forward(x)
    assert found.dtype == torch.float32
    assert torch.equal(found[:, 0], torch.cat([x[:, 0], fill.float().expand(2, -1)], dim=1))
    assert torch.equal(found[:, 1], fill.float().repeat(2).expand(2, -1))
    assert torch.equal(found[:, 2], x[:, 1:3].flatten(1))


@pytest.mark.parametrize("patch", [(2, 2), (4, 3), (1, 6)])
def test_a_patch_embedding_is_a_convolution_and_a_product_of_its_rows(patch) -> None:
    image, weight, bias = drawn(2, 3, 8, 12), drawn(5, 3 * patch[0] * patch[1]), drawn(5)
    node = PatchEmbedding(name="e", inputs=("i",), weight=weight, bias=bias, patch=patch)
    found = node.forward(image)
    kernel = weight.reshape(5, 3, *patch)
    want = functional.conv2d(image, kernel, bias, stride=patch).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close((node.rows(image) @ weight.T + bias).reshape(found.shape), found)


def test_a_linear_layer_takes_another_weight() -> None:
    x, weight, bias = drawn(2, 4, 3), drawn(5, 3).double(), drawn(5).double()
    node = Linear(name="l", inputs=("x",), weight=weight, bias=bias)
    assert node.forward(x).dtype == torch.float32
    torch.testing.assert_close(node.forward(x), functional.linear(x, weight.float(), bias.float()))
    torch.testing.assert_close(node.apply(x, torch.zeros(5, 3)), bias.float().expand(2, 4, 5))
    assert node.rows(x).shape == (8, 3)


def test_the_other_nodes_are_what_they_are_called() -> None:
    x, other = drawn(2, 6, 4), drawn(2, 6, 4, seed=1)
    norm = LayerNorm(name="n", inputs=("x",), gamma=drawn(4), beta=drawn(4), eps=0.1)
    want = functional.layer_norm(x, (4,), norm.gamma, norm.beta, 0.1)
    assert torch.equal(norm.forward(x), want)
    assert torch.equal(Part(name="q", inputs=("x",), start=1, stop=3).forward(x), x[..., 1:3])
    assert torch.equal(Add(name="a", inputs=("x", "y")).forward(x, other), x + other)
    embed = Embed(name="e", inputs=("x",), prefix=drawn(2, 4), position=drawn(6, 4))
    found = embed.forward(x)
    assert torch.equal(found[:, :2], embed.prefix.expand(2, -1, -1))
    assert torch.equal(found[:, 2:], x + embed.position)
    first = Pool(name="p", inputs=("x",), mode="token", prefix=2, tokens=6)
    mean = Pool(name="p", inputs=("x",), mode="avg", prefix=2, tokens=6)
    assert torch.equal(first.forward(x), x[:, :1])
    torch.testing.assert_close(mean.forward(x)[:, 0], x[:, 2:].mean(1))


@pytest.mark.parametrize("seed", range(3))
def test_no_node_changes_its_operands(seed: int) -> None:
    x = drawn(2, 6, 4, seed=seed)
    copy = x.clone()
    nodes = [
        Gather(name="g", inputs=("x",), index=torch.tensor([[-1], [2]]), fill=torch.ones(4)),
        Part(name="p", inputs=("x",), start=0, stop=2),
        Scores(name="s", inputs=("x", "x"), heads=2, windows=3),
        Softmax(name="q", inputs=("x",)),
        Add(name="a", inputs=("x", "x")),
        Pool(name="o", inputs=("x",), mode="avg", prefix=1, tokens=6),
    ]
    for node in nodes:
        node.forward(*([x] * len(node.inputs)))
        assert torch.equal(x, copy), node
