"""timm's VisionTransformer, distilled DeiT included, as a network of nodes."""

from collections.abc import Sequence

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .extractors import Taken
from .network import FeatureMap, Network, precision_of
from .nodes import (
    Activation,
    Add,
    Embed,
    Gather,
    LayerNorm,
    Linear,
    Mix,
    Node,
    Part,
    PatchEmbedding,
    Pool,
    Scores,
    Softmax,
)


@torch.no_grad()
def vit_network(
    model: VisionTransformer,
    mean: Sequence[float],
    std: Sequence[float],
    mode: str = "integer",
    taken: Taken | None = None,
) -> Network:
    """Nodes of a supported model, with copies of its weights; `taken`, blocks whose outputs are
    wanted instead of logits."""
    builder = Builder(mode)
    x = builder.patch_embedding("patch_embed.proj", model.patch_embed.proj)
    x = builder.add(Embed(name="embed", inputs=(x,), **_embeddings(model)))
    embedding = model.patch_embed
    for index, block in enumerate(list(model.blocks)[: taken and taken.count]):
        name = f"blocks.{index}"
        x = builder.block(name, block, x)
        if taken is not None and index in taken.indices:
            norm = model.norm if taken.norm else None
            prefix = model.num_prefix_tokens
            builder.feature_map(f"{name}.norm", x, embedding.grid_size, prefix, norm)
    if taken is None:
        _classifier(builder, model, x)
    return builder.network((*embedding.img_size, embedding.proj.in_channels), mean, std)


class Builder:
    """Nodes of the parts that vision transformers have in common; each method gives the name of the
    tensor that its last node makes.

    Parameters: `mode`, which decides the precision of the parameters, as `precision_of` has it, and
    whether an activation function has a quantizer in front of it (the 8-bit index of its table) and
    the image one (none where pixels are codes).
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.integer = mode == "integer"
        self.precision = precision_of(mode)
        self.nodes: list[Node] = []
        self.features: list[FeatureMap] = []

    def add(self, node: Node) -> str:
        """Append a node."""
        self.nodes.append(node)
        return node.name

    def patch_embedding(self, name: str, module: nn.Conv2d) -> str:
        """Convolution whose stride is its kernel."""
        sites = (None if self.integer else f"{name}.input",)
        parameters = self._weights(module)
        node = PatchEmbedding(
            name=name, inputs=("pixels",), sites=sites, patch=module.kernel_size, **parameters
        )
        return self.add(node)

    def linear(
        self, name: str, module: nn.Linear, x: str, layer_scale: nn.Module | None = None
    ) -> str:
        """Linear layer with a quantizer at its input; LayerScale is folded, a missing bias is
        zeros."""
        parameters = self._weights(module, layer_scale)
        return self.add(Linear(name=name, inputs=(x,), sites=(f"{name}.input",), **parameters))

    def norm(self, name: str, module: nn.LayerNorm, x: str) -> str:
        """LayerNorm over channels."""
        gamma = module.weight.to(self.precision, copy=True)
        beta = module.bias.to(self.precision, copy=True)
        return self.add(LayerNorm(name=name, inputs=(x,), gamma=gamma, beta=beta, eps=module.eps))

    def heads(self, name: str, qkv: str, width: int) -> tuple[str, str, str]:
        """Query, key and value of a qkv layer, `width` channels each."""
        q, k, v = (
            self.add(
                Part(name=f"{name}.{part}", inputs=(qkv,), start=at * width, stop=(at + 1) * width)
            )
            for at, part in enumerate("qkv")
        )
        return q, k, v

    def scores(self, name: str, q: str, k: str, heads: int, windows: int = 1) -> str:
        """Query times key."""
        sites = (f"{name}.matmul1.A", f"{name}.matmul1.B")
        return self.add(
            Scores(name=f"{name}.scores", inputs=(q, k), sites=sites, heads=heads, windows=windows)
        )

    def softmax_mix(self, name: str, scores: str, v: str, heads: int, windows: int = 1) -> str:
        """Softmax, and its probabilities times the values."""
        p = self.add(Softmax(name=f"{name}.softmax", inputs=(scores,)))
        sites = (f"{name}.matmul2.A", f"{name}.matmul2.B")
        return self.add(
            Mix(name=f"{name}.mix", inputs=(p, v), sites=sites, heads=heads, windows=windows)
        )

    def gather(self, name: str, x: str, index: Tensor, width: int) -> str:
        """Rows of `width` channels by index, -1 being zeros."""
        fill = torch.zeros(width, dtype=self.precision)
        return self.add(Gather(name=name, inputs=(x,), index=index, fill=fill))

    def residual(self, name: str, x: str, branch: str) -> str:
        """Sum of the residual stream and a branch."""
        return self.add(Add(name=f"{name}.residual", inputs=(x, branch)))

    def attention(self, name: str, block: nn.Module, x: str) -> str:
        """Attention over all tokens."""
        module = block.attn
        qkv = self.linear(f"{name}.qkv", module.qkv, x)
        q, k, v = self.heads(name, qkv, module.qkv.out_features // 3)
        scores = self.scores(name, q, k, module.num_heads)
        mixed = self.softmax_mix(name, scores, v, module.num_heads)
        return self.linear(f"{name}.proj", module.proj, mixed, getattr(block, "ls1", None))

    def mlp(self, name: str, block: nn.Module, x: str) -> str:
        """Two linear layers and the function between them."""
        hidden = self.linear(f"{name}.fc1", block.mlp.fc1, x)
        site = f"{name}.act.input" if self.integer else None
        hidden = self.add(
            Activation(name=f"{name}.act", inputs=(hidden,), sites=(site,), function=block.mlp.act)
        )
        return self.linear(f"{name}.fc2", block.mlp.fc2, hidden, getattr(block, "ls2", None))

    def block(self, name: str, block: nn.Module, x: str) -> str:
        """Attention and MLP, each behind a LayerNorm and added to the stream."""
        attention, mlp = f"{name}.attn", f"{name}.mlp"
        branch = self.attention(attention, block, self.norm(f"{name}.norm1", block.norm1, x))
        x = self.residual(attention, x, branch)
        branch = self.mlp(mlp, block, self.norm(f"{name}.norm2", block.norm2, x))
        return self.residual(mlp, x, branch)

    def feature_map(
        self,
        name: str,
        x: str,
        grid: tuple[int, int],
        prefix: int = 0,
        norm: nn.Module | None = None,
    ) -> None:
        """Give `x` out as a feature map, or what the LayerNorm `norm`, called `name`, makes of
        it."""
        if isinstance(norm, nn.LayerNorm):
            x = self.norm(name, norm, x)
        self.features.append(FeatureMap(x, tuple(grid), prefix))

    def network(
        self, image: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
    ) -> Network:
        """The network of all nodes for images of height, width and channels `image`."""
        return Network(
            self.nodes, image=image, mean=mean, std=std, mode=self.mode, features=self.features
        )

    def _weights(
        self, module: nn.Module, layer_scale: nn.Module | None = None
    ) -> dict[str, Tensor]:
        weight = module.weight.to(self.precision, copy=True).flatten(1)
        bias = weight.new_zeros(len(weight))
        if module.bias is not None:
            bias += module.bias
        gain = getattr(layer_scale, "gamma", None)
        if gain is not None:
            gain = gain.to(self.precision)
            weight, bias = weight * gain[:, None], bias * gain
        return {"weight": weight, "bias": bias}


def _embeddings(model: VisionTransformer) -> dict[str, Tensor]:
    """Prefix tokens `[P, D]` with their positions, and positions `[patches, D]`."""
    names = ("cls_token", "dist_token", "reg_token")
    tokens = [token[0] for name in names if (token := getattr(model, name, None)) is not None]
    prefix = torch.cat(tokens) if tokens else torch.zeros(0, model.embed_dim)
    position = model.pos_embed[0]
    if model.no_embed_class:
        return {"prefix": prefix.clone(), "position": position.clone()}
    count = len(prefix)
    return {"prefix": prefix + position[:count], "position": position[count:].clone()}


def _classifier(builder: Builder, model: VisionTransformer, x: str) -> None:
    norm = model.norm if isinstance(model.fc_norm, nn.Identity) else model.fc_norm
    if isinstance(model, VisionTransformerDistilled):
        # Both heads are one layer on their two tokens side by side.
        x = builder.gather("pool", x, torch.tensor([[0], [1]]), model.embed_dim)
        x = builder.norm("norm", norm, x)
        x = builder.gather("head.tokens", x, torch.tensor([[0, 1]]), model.embed_dim)
        heads = (model.head, model.head_dist)
        both = nn.Linear(2 * model.embed_dim, model.num_classes)
        both.weight.copy_(torch.cat([head.weight for head in heads], 1) / 2)
        both.bias.copy_(sum(head.bias for head in heads) / 2)
        builder.linear("head", both, x)
        return
    prefix = model.num_prefix_tokens
    pool = Pool(
        name="pool",
        inputs=(x,),
        mode=model.global_pool,
        prefix=prefix,
        tokens=prefix + model.patch_embed.num_patches,
    )
    builder.linear("head", model.head, builder.norm("norm", norm, builder.add(pool)))
