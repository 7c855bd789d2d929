"""Calibration: every quantizer of a vision transformer from a few images, after RepQ-ViT.

Two modes. `reference` repeats the published procedure (arXiv 2212.08254 and its code) number for
number, for comparison. `integer` gives what integer hardware computes: integral zero points, a
log code for zero, exact pixel codes, and an 8-bit table index in front of the MLP's activation.

Nothing is random: the same model and images give the same result.
"""

from collections.abc import Callable, Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ..bits import Bits
from ..errors import CalibrationError
from ..formats import BASES, GELU_INDEX_WIDTH, PIXEL_WIDTH
from .quantizers import Quantizer, UniformQuantizer
from .reparameterize import Reparameterization, reparameterize
from .rounding import centered, compensate, round_against, second_moment
from .search import search_log, search_uniform
from .supported import check_supported
from .vit import QuantizedViT

MODES = ("integer", "reference")
ROUNDINGS = ("nearest", "second-moment")

Progress = Callable[[int, int, str], None]


@torch.no_grad()
def calibrate(
    model: VisionTransformer,
    pixels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    bits: Bits,
    *,
    mode: str = "integer",
    base: str = "sqrt2",
    rounding: str = "nearest",
    progress: Progress | None = None,
) -> QuantizedViT:
    """Quantize `model`, which is left as it is.

    Parameters:
        model: VisionTransformer. A supported timm model with its weights.
        pixels: Tensor, uint8, `[N, H, W, C]`. Calibration images, scaled and cropped, at least
            one; RepQ-ViT takes 32.
        mean, std: sequence of float, `[C]`. Preprocessing `(pixel / 255 - mean) / std`.
        bits: Bits. Widths of weights, activations and log codes. Pixels have 8 bits in either mode;
            in integer mode the patch embedding's weights and the activation table's index have 8
            too.
        mode: {"integer", "reference"}
        base: {"sqrt2", "2"}. Base of the softmax codes.
        rounding: {"nearest", "second-moment"}. How weights are brought to their grid; see
            `rounding.py`. Integer mode only.
        progress: callable, optional. Called after each step with steps done, steps in all, and the
            name of the step.

    Raises:
        ValueError: An unknown mode, base or rounding, or pixels of another shape than the model's.
        TypeError: Pixels are not a uint8 tensor.
        ModelError: The model is not supported.
        CalibrationError: No image, or a tensor that holds NaN or infinity; the message names its
            layer.
    """
    _check_choice("mode", mode, MODES)
    _check_choice("base", base, tuple(BASES))
    _check_choice("rounding", rounding, ROUNDINGS if mode == "integer" else ROUNDINGS[:1])
    check_supported(model)
    vit = QuantizedViT(model, mean, std, bits, mode, base)
    vit.check_pixels(pixels)
    if len(pixels) == 0:
        raise CalibrationError("calibration images must be at least one, not none")

    if mode == "reference":
        _calibrate_as_published(vit, pixels, progress)
    elif rounding == "nearest":
        vit.walk(pixels, _Fit(vit, progress))
    else:
        vit.walk(pixels.repeat(2, 1, 1, 1), _FitToFloat(vit, progress))
    return vit


def _calibrate_as_published(vit: QuantizedViT, pixels: Tensor, progress: Progress | None) -> None:
    """Channel-wise quantizers throughout the walk; reparameterized, and their weights searched
    again, only when it is over."""
    fit = _Fit(vit, progress, reparameterize_at_once=False)
    vit.walk(pixels, fit)
    for site, (_, layer) in vit.norm_sites().items():
        vit.activation[site] = fit.reparameterize(site, vit.activation[site]).quantizer
        fit.weight(layer)


class _Fit:
    """Stages that search each quantizer on data quantized up to there, store it, and apply it."""

    def __init__(
        self, vit: QuantizedViT, progress: Progress | None, reparameterize_at_once: bool = True
    ) -> None:
        self._vit = vit
        self._progress = progress
        self._norm_sites = vit.norm_sites()
        self._at_once = reparameterize_at_once
        self._done = 0
        self._steps = len(vit.activation_sites()) + len(vit.linears)
        self._steps += 0 if reparameterize_at_once else len(self._norm_sites)

    def activation(self, name: str, x: Tensor) -> Tensor:
        quantizer, change = self.quantizer(name, x)
        return quantizer.fake(x if change is None else change.apply(x))

    def linear(self, name: str, x: Tensor) -> Tensor:
        self.weight(name)
        return self._vit.quantized_linear(name, x)

    def residual(self, name: str, x: Tensor) -> None:
        low, high = torch.aminmax(x)
        self._vit.residual_absmax[name] = max(-float(low), float(high))

    def quantizer(self, name: str, x: Tensor) -> tuple[Quantizer, Reparameterization | None]:
        """Search the quantizer of an activation; behind a LayerNorm, reparameterize the site."""
        vit, change = self._vit, None
        if name.endswith("matmul2.A"):
            found = search_log(x, vit.bits.log, vit.base, vit.mode == "integer", name)
        elif name not in self._norm_sites:
            found = search_uniform(x, self._activation_bits(name), None, name)
        else:
            found = search_uniform(x, vit.bits.activations, "last", name)
            if self._at_once:
                change = self.reparameterize(name, found)
                found = change.quantizer
        vit.activation[name] = found
        self._step(name)
        return found, change

    def reparameterize(self, site: str, channels: UniformQuantizer) -> Reparameterization:
        """Fold channel-wise quantizers behind a LayerNorm into both of its sides."""
        norm, layer = self._norm_sites[site]
        precision = self._vit.linears[layer].weight.dtype
        change = reparameterize(channels, self._vit.mode == "integer", precision)
        change.fold(self._vit.norms[norm], self._vit.linears[layer])
        return change

    def weight(self, name: str) -> None:
        """Search the quantizer of a weight and round to nearest."""
        weight = self._vit.linears[name].weight.float()
        grid = search_uniform(weight, self._weight_bits(name), "first", f"{name}.weight")
        self._store(name, grid.codes(weight), grid)

    def _store(self, name: str, codes: Tensor, grid: UniformQuantizer) -> None:
        layer = self._vit.linears[name]
        if not layer.bias.isfinite().all():
            raise CalibrationError(f"{name}.bias: values must be finite, not NaN or infinite")
        if name == "patch_embed.proj" and self._vit.mode == "integer":
            # The pixel that preprocessing maps to 0 contributes nothing, rounded weights or not.
            error = layer.weight - grid.dequantize(codes).double()
            layer.bias = layer.bias + error @ self._vit.pixel_mean()
        self._vit.set_weight(name, codes, grid)
        self._step(name)

    def _activation_bits(self, name: str) -> int:
        if name == "patch_embed.proj.input":
            return PIXEL_WIDTH
        return GELU_INDEX_WIDTH if name.endswith("act.input") else self._vit.bits.activations

    def _weight_bits(self, name: str) -> int:
        if name == "patch_embed.proj" and self._vit.mode == "integer":
            return PIXEL_WIDTH
        return self._vit.bits.weights

    def _step(self, name: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._steps, name)


class _FitToFloat(_Fit):
    """As `_Fit`, with weights fitted to what their inputs are, on a batch whose first half runs
    in float and gives each linear layer's mean output; the second half is quantized."""

    def activation(self, name: str, x: Tensor) -> Tensor:
        exact, before = x.chunk(2)
        quantizer, change = self.quantizer(name, before)
        if change is not None:
            exact, before = change.apply(exact), change.apply(before)
        self._before = before
        return torch.cat([exact, quantizer.fake(before)])

    def linear(self, name: str, x: Tensor) -> Tensor:
        vit = self._vit
        exact, after = x.chunk(2)
        if name == "patch_embed.proj":
            # Its inputs are exact, so there is nothing to compensate.
            self._fit_weight(name, vit.patches(after), disturbance=None)
        else:
            self._fit_weight(name, after, disturbance=self._before - after)
        target = vit.float_linear(name, exact)
        result = vit.quantized_linear(name, after)
        shift = (target - result).reshape(-1, target.shape[-1]).double().mean(0)
        vit.linears[name].bias = vit.linears[name].bias + shift
        return torch.cat([target, result + shift.float()])

    def residual(self, name: str, x: Tensor) -> None:
        super().residual(name, x.chunk(2)[1])

    def _fit_weight(self, name: str, x: Tensor, disturbance: Tensor | None) -> None:
        layer = self._vit.linears[name]
        rows = centered(x.reshape(-1, x.shape[-1]))
        moment = second_moment(rows, rows)
        if not moment.isfinite().all():
            raise CalibrationError(f"{name}: inputs must have a finite second moment")
        weight = layer.weight
        if disturbance is not None:
            lost = second_moment(rows, disturbance.reshape(rows.shape)) @ weight.T
            weight = compensate(weight, moment, lost)
        grid = search_uniform(weight.float(), self._weight_bits(name), "first", f"{name}.weight")
        self._store(name, round_against(weight, grid, moment), grid)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
