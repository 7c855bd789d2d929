"""Calibration: every quantizer of a vision transformer from a few images.

Two modes. `reference` repeats the published procedure (arXiv 2212.08254 and its code) number for
number, for comparison. `integer` gives what integer hardware computes: integral zero points, a
log code for zero, exact pixel codes, and an 8-bit table index in front of the MLP's activation.

Nothing is random: the same model and images give the same result.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ..bit_table import BitTable
from ..bits import Bits
from ..errors import CalibrationError
from ..formats import BASES
from ..methods import METHODS
from .chunks import MEMORY, ChunkStore
from .families import network_of
from .methods import CLASSES, Method, PublishedRepq
from .network import MODES, QuantizedNetwork
from .nodes import Linear
from .walk import EXACT, QUANTIZED, Walk, image_chunks

Progress = Callable[[int, int, str], None]


@torch.no_grad()
def calibrate(
    model: nn.Module,
    pixels: Tensor | Iterable[Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    bits: Bits | BitTable,
    *,
    method: str = "repq",
    mode: str = "integer",
    base: str = "sqrt2",
    device: torch.device | str = "cpu",
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> QuantizedNetwork:
    """Quantize `model`, which is left as it is.

    Parameters:
        model: nn.Module. A supported timm model with its weights.
        pixels: uint8 `[N, H, W, C]`, or any number of such tensors one after the other. Calibration
            images, scaled and cropped, at least one; RepQ-ViT takes 32.
        mean, std: sequence of float, `[C]`. Preprocessing `(pixel / 255 - mean) / std`.
        bits: Bits or BitTable. Widths of weights, activations and log codes. Pixels have 8 bits in
            either mode; in integer mode the patch embedding's weights and the activation table's
            index have 8 too.
        method: a name in `rootshift.methods.METHODS`.
        mode: {"integer", "reference"}. Methods without an integer form always calibrate in
            reference mode, which for `repq` is the published procedure.
        base: {"sqrt2", "2"}. Base of the softmax codes.
        device: where to compute; the result is on the CPU.
        memory: bytes of intermediate tensors to keep in memory; others go to temporary files.
        progress: callable, optional. Called after each step with steps done, steps in all, and the
            name of the step.

    Raises:
        ValueError: An unknown method, mode or base, or pixels of another shape than the model's.
        TypeError: Pixels are not a uint8 tensor.
        ModelError: The model is not supported.
        ConfigError: `bits` name a layer that the model does not have.
        CalibrationError: No image, or a tensor that holds NaN or infinity; the message names its
            layer.
    """
    _check_choice("method", method, tuple(METHODS))
    _check_choice("mode", mode, MODES)
    _check_choice("base", base, tuple(BASES))
    kind, integer = CLASSES[method], METHODS[method].integer
    if mode == "reference" and integer:
        if method != "repq":
            raise ValueError(f"method must be repq in reference mode, not {method!r}")
        kind = PublishedRepq
    network = network_of(model, mean, std, mode if integer else "reference")
    bits.check(network.layers())
    quantized = QuantizedNetwork(network.to(device), bits, base)
    with ChunkStore(memory) as store:
        walk = Walk(quantized, store, kind.PATHS, device)
        walk.start(image_chunks(network, pixels))
        if not walk.sizes:
            raise CalibrationError("calibration images must be at least one, not none")
        _visit(walk, kind(walk), progress)
    return quantized.to("cpu")


def _visit(walk: Walk, method: Method, progress: Progress | None) -> None:
    network = walk.network
    total = len(network.sites) + len(network.linears)
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, name)

    method.prepare()
    for node in network.nodes:
        for operand, site in enumerate(node.sites):
            if site is not None:
                walk.quantized.activation[site] = method.activation(node, operand)
                step(site)
        if EXACT in walk.paths:
            walk.keep(node, EXACT)
        if isinstance(node, Linear):
            method.weight(node)
        if QUANTIZED in walk.paths:
            walk.keep(node, QUANTIZED)
        if isinstance(node, Linear):
            method.finish(node)
            step(node.name)
        walk.leave(node)
    method.complete()


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
