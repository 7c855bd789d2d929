"""Refusals that families of vision transformers share: modules that the flow does not compute."""

from collections.abc import Iterator

import torch
from timm.layers import DropPath, Mlp, PatchEmbed
from torch import nn

Refusal = tuple[str, str]
"""A module's name, and what it must be and is not."""


def embedding_refusals(embedding: nn.Module, normalized: bool) -> Iterator[Refusal]:
    """Anything but whole patches of one image size, without overlap; with a LayerNorm behind it
    only where it may be `normalized`."""
    if type(embedding) is not PatchEmbed:
        yield "patch_embed", f"must be a PatchEmbed, not {type(embedding).__name__}"
        return
    projection = embedding.proj
    if projection.kernel_size != projection.stride or projection.groups != 1:
        yield (
            "patch_embed.proj",
            f"must have its stride equal to its kernel {projection.kernel_size}, "
            f"not {projection.stride}",
        )
    image, patch = embedding.img_size, embedding.patch_size
    if embedding.dynamic_img_pad or image is None:
        yield "patch_embed", "must take one image size, not dynamic ones"
    elif any(size % side for size, side in zip(image, patch, strict=True)):
        yield "patch_embed", f"must have whole patches of {patch} in its image {image}"
    if not normalized:
        yield from must_be_identity("patch_embed.norm", embedding.norm)
    elif type(embedding.norm) is not nn.Identity:
        yield from must_be_layernorm("patch_embed.norm", embedding.norm)


def drop_path_refusals(name: str, block: nn.Module) -> Iterator[Refusal]:
    """Anything that does something between a block's branches and its stream."""
    for child in ("drop_path1", "drop_path2"):
        yield from must_be(f"{name}.{child}", getattr(block, child), DropPath, nn.Identity)


def mlp_refusals(name: str, mlp: nn.Module) -> Iterator[Refusal]:
    """Anything but two linear layers with an elementwise function between them."""
    if type(mlp) is not Mlp:
        yield name, f"must be an Mlp, not {type(mlp).__name__}"
        return
    yield from must_be(f"{name}.fc1", mlp.fc1, nn.Linear)
    yield from must_be(f"{name}.fc2", mlp.fc2, nn.Linear)
    yield from must_be_identity(f"{name}.norm", mlp.norm)
    if not _is_elementwise(mlp.act):
        yield (
            f"{name}.act",
            f"must be elementwise and without weights, not {type(mlp.act).__name__}",
        )


def must_be(name: str, module: nn.Module, *kinds: type[nn.Module]) -> Iterator[Refusal]:
    """Modules of exactly one of `kinds`."""
    if type(module) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        yield name, f"must be {expected}, not {type(module).__name__}"


def must_be_identity(name: str, module: nn.Module) -> Iterator[Refusal]:
    """Modules that do nothing."""
    return must_be(name, module, nn.Identity)


def must_be_layernorm(name: str, module: nn.Module) -> Iterator[Refusal]:
    """LayerNorm over channels with both parameters."""
    # timm's own LayerNorm classes differ from torch's in how they run, not in what they compute.
    if not isinstance(module, nn.LayerNorm) or len(module.normalized_shape) != 1:
        yield name, f"must be LayerNorm over channels, not {type(module).__name__}"
    elif module.weight is None or module.bias is None:
        yield name, "must be LayerNorm with gain and bias"


def _is_elementwise(activation: nn.Module) -> bool:
    """Whether each output depends on its own input only, the same way at every position."""
    if any(True for _ in activation.parameters()):
        return False
    probe = torch.linspace(-6, 6, 48, dtype=torch.float32, device="cpu").reshape(2, 24)
    was_training = activation.training
    activation.eval()
    try:
        whole = activation(probe.clone())
        if whole.shape != probe.shape:
            return False
        flipped = activation(probe.flip(0, 1)).flip(0, 1)
        alone = activation(probe[:1, :1].clone())
    finally:
        activation.train(was_training)
    return torch.allclose(whole, flipped, atol=1e-6) and torch.allclose(
        whole[:1, :1], alone, atol=1e-6
    )
