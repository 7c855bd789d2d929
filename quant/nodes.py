"""Nodes of a network: the real-valued operators of a vision transformer, one class each.

A node is a tensor with its name, what makes it, and the names of its operands. Tensors have images
first: `[B, T, D]`, scores and probabilities `[B, windows * heads, T, T]`. One node becomes one
operator of the contract (`rootshift.operators`), of the same name.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(eq=False, kw_only=True)
class Node:
    """A tensor and how it is made.

    Fields: `name` of the tensor; `inputs`, names of its operands; `sites`, for each operand the
    name of the quantizer that it passes, or None.
    """

    light: ClassVar[bool] = True
    """Whether it is cheaper to make again than to keep."""

    name: str
    inputs: tuple[str, ...]
    sites: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        self.sites = self.sites or (None,) * len(self.inputs)

    def forward(self, *operands: Tensor) -> Tensor:
        """The tensor, in the precision of its operands."""
        raise NotImplementedError


@dataclass(eq=False, kw_only=True)
class Linear(Node):
    """`y = x @ weight.T + bias`: `weight [N, K]`, `bias [N]`."""

    light: ClassVar[bool] = False
    weight: Tensor
    bias: Tensor

    def forward(self, *operands: Tensor) -> Tensor:
        return self.apply(operands[0], self.weight)

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer with another weight, `[N, K]`."""
        return functional.linear(x, weight.to(x.dtype), self.bias.to(x.dtype))

    def rows(self, x: Tensor) -> Tensor:
        """Rows `[R, K]` that the weight multiplies."""
        return x.reshape(-1, x.shape[-1])


@dataclass(eq=False, kw_only=True)
class PatchEmbedding(Linear):
    """A linear layer over patches: image `[B, C, H, W]` -> `[B, patches, N]`.

    The columns of its weight run over (channel, row, column) of a patch of `patch` pixels."""

    patch: tuple[int, int]

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        # The published code convolves, and another order of its sums would not be bit-identical.
        weight = weight.to(x.dtype).reshape(len(weight), -1, *self.patch)
        bias = self.bias.to(x.dtype)
        return functional.conv2d(x, weight, bias, stride=self.patch).flatten(2).mT

    def rows(self, x: Tensor) -> Tensor:
        patches = functional.unfold(x, self.patch, stride=self.patch).mT
        return patches.reshape(-1, patches.shape[-1])


@dataclass(eq=False, kw_only=True)
class LayerNorm(Node):
    """Normalization over the last axis: `gamma [D]`, `beta [D]`, `eps` added to the variance."""

    gamma: Tensor
    beta: Tensor
    eps: float

    def forward(self, *operands: Tensor) -> Tensor:
        (x,) = operands
        gamma, beta = self.gamma.to(x.dtype), self.beta.to(x.dtype)
        return functional.layer_norm(x, gamma.shape, gamma, beta, self.eps)


@dataclass(eq=False, kw_only=True)
class Part(Node):
    """Channels `start` to `stop` of a linear layer's output: query, key or value."""

    start: int
    stop: int

    def forward(self, *operands: Tensor) -> Tensor:
        return operands[0][..., self.start : self.stop]


@dataclass(eq=False, kw_only=True)
class Scores(Node):
    """Query and key `[B, windows * T, D]` -> scaled scores `[B, windows * heads, T, T]`."""

    light: ClassVar[bool] = False
    heads: int
    windows: int = 1

    def forward(self, *operands: Tensor) -> Tensor:
        query, key = (split_heads(x, self.heads, self.windows) for x in operands)
        return (query @ key.mT).mul(query.shape[-1] ** -0.5)


@dataclass(eq=False, kw_only=True)
class ScoreBias(Node):
    """Relative positions and the mask of shifted windows, on scores `[B, windows * heads, T, T]`.

    Fields: `bias [heads, T, T]`; `region`, int64 `[windows, T]`: tokens of one window that are of
    different regions do not see each other, where timm subtracts 100.
    """

    bias: Tensor
    region: Tensor

    def forward(self, *operands: Tensor) -> Tensor:
        apart = self.region[:, None, :] != self.region[:, :, None]
        (x,) = operands
        total = self.bias.to(x.dtype) - 100.0 * apart[:, None]
        return x + total.flatten(0, 1)


@dataclass(eq=False, kw_only=True)
class Softmax(Node):
    """Probabilities over the keys."""

    def forward(self, *operands: Tensor) -> Tensor:
        return operands[0].softmax(dim=-1)


@dataclass(eq=False, kw_only=True)
class Mix(Node):
    """Probabilities `[B, windows * heads, T, T]` times values `[B, windows * T, D]`."""

    light: ClassVar[bool] = False
    heads: int
    windows: int = 1

    def forward(self, *operands: Tensor) -> Tensor:
        probability, value = operands
        mixed = probability @ split_heads(value, self.heads, self.windows)
        mixed = mixed.unflatten(1, (self.windows, self.heads)).transpose(2, 3)
        return mixed.flatten(3).flatten(1, 2)


@dataclass(eq=False, kw_only=True)
class Activation(Node):
    """Elementwise function of an MLP."""

    function: nn.Module

    def forward(self, *operands: Tensor) -> Tensor:
        return self.function(operands[0])


@dataclass(eq=False, kw_only=True)
class Add(Node):
    """Residual stream and branch."""

    light: ClassVar[bool] = False

    def forward(self, *operands: Tensor) -> Tensor:
        return operands[0] + operands[1]


@dataclass(eq=False, kw_only=True)
class Embed(Node):
    """Patches `[B, T - P, D]` with their positions, behind the prefix tokens `[P, D]` (class and
    registers, positions included)."""

    light: ClassVar[bool] = False
    prefix: Tensor
    position: Tensor

    def forward(self, *operands: Tensor) -> Tensor:
        (x,) = operands
        prefix, position = self.prefix.to(x.dtype), self.position.to(x.dtype)
        return torch.cat([prefix.expand(len(x), -1, -1), x + position], dim=1)


@dataclass(eq=False, kw_only=True)
class Gather(Node):
    """Rows of `[B, T, C]` by `index`, int64 `[tokens, group]`: those of one token side by side,
    `[B, tokens, group * C]`; index -1 is the row `fill [C]`."""

    index: Tensor
    fill: Tensor
    whole: bool = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole = bool((self.index >= 0).all())

    def forward(self, *operands: Tensor) -> Tensor:
        index = self.index.flatten()
        rows = operands[0][:, index]
        if not self.whole:
            rows = torch.where((index < 0)[:, None], self.fill.to(rows.dtype), rows)
        return rows.unflatten(1, tuple(self.index.shape)).flatten(2)


@dataclass(eq=False, kw_only=True)
class Pool(Node):
    """The first of `tokens` (`token`) or the mean of those behind the prefix (`avg`):
    `[B, 1, D]`."""

    mode: str
    prefix: int
    tokens: int

    def forward(self, *operands: Tensor) -> Tensor:
        x = operands[0]
        return x[:, :1] if self.mode == "token" else x[:, self.prefix :].mean(1, keepdim=True)


def split_heads(x: Tensor, heads: int, windows: int = 1) -> Tensor:
    """`[B, windows * T, D]` -> `[B, windows * heads, T, D / heads]`."""
    parts = x.unflatten(1, (windows, -1)).unflatten(3, (heads, -1))
    return parts.transpose(2, 3).flatten(1, 2)
