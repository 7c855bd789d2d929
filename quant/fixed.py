"""Real parameters of a calibrated model to the integers of `docs/numerics.md`."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import CalibrationError
from ..formats import (
    ACCUMULATOR_WIDTH,
    BASES,
    MULTIPLIER_WIDTH,
    NORM_FRACTION,
    RESIDUAL_WIDTH,
    SHIFT_MAX,
    ZERO_WIDTH,
    code_max,
    fixed_point,
    signed_range,
)
from .network import Network
from .nodes import Add, Embed, Gather, Part, Pool
from .quantizers import UniformQuantizer

RESIDUAL_MARGIN = 1.5
"""Room above the largest residual of the calibration images."""

_FINEST_STEP = 2.0**-15


class Channels(NamedTuple):
    """Integer weights of a gemm: `weight` uint8 [N, K], `scale` float64 [N], `zero` int64 [N]."""

    weight: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def factors(scale: np.ndarray | float, name: str) -> tuple[np.ndarray, int]:
    """`fixed_point` of real factors; raises CalibrationError naming the layer."""
    try:
        return fixed_point(scale)
    except ValueError as error:
        raise CalibrationError(f"{name}: requantization {error}") from None


def factor(scale: float, name: str) -> tuple[int, int]:
    """Multiplier and shift of one real factor."""
    multiplier, shift = factors(scale, name)
    return int(multiplier), shift


def parity_factors(scale: float, base: str, name: str) -> tuple[int, int, int]:
    """Multipliers of even and odd log codes, and their shift; no odd ones for base 2."""
    even, shift = factor(scale, name)
    odd = round(scale * 2.0**shift / math.sqrt(2)) if BASES[base] == 2 else 0
    return even, odd, shift


def integer_zero(quantizer: UniformQuantizer, name: str) -> int:
    """Zero point of a per-tensor quantizer; raises CalibrationError beyond 16 bits."""
    zero = round(quantizer.zero.item())
    low, high = signed_range(ZERO_WIDTH)
    if not low <= zero <= high:
        raise CalibrationError(f"{name}: zero point must be in {low}..{high}, not {zero}")
    return zero


def channels(codes: Tensor, quantizer: UniformQuantizer, bias: Tensor, x_scale: float) -> Channels:
    """Weight codes whose scales, zero points and biases fit their integer widths.

    A channel whose scale is so small that multiplier, zero point or bias could not be written with
    it (a row of zeros, of equal weights, or of next to nothing) gets the smallest scale that can.
    """
    scale = quantizer.scale[:, 0].double().numpy()
    zero = quantizer.zero[:, 0].double().numpy()
    weight = codes.numpy()
    floor = np.maximum(
        scale.max() * 2.0 ** (1 - MULTIPLIER_WIDTH),
        np.maximum(
            np.abs(bias.numpy()) / (x_scale * 2.0 ** (ACCUMULATOR_WIDTH - 2)),
            scale * np.abs(zero) / signed_range(ZERO_WIDTH)[1],
        ),
    )
    # Any scale serves a row of zeros; the finest one keeps most of its bias.
    empty = (weight == zero[:, None]).all(1)
    coarse = np.where(empty, floor, np.maximum(scale, floor))
    ratio = np.where(empty, 0.0, scale / coarse)
    coarse_zero = np.rint(zero * ratio)
    moved = np.rint((weight - zero[:, None]) * ratio[:, None]) + coarse_zero[:, None]
    moved = np.clip(moved, 0, code_max(quantizer.bits)).astype(np.uint8)
    return Channels(moved, coarse, coarse_zero.astype(np.int64))


def integer_bias(bias: Tensor, part: Channels, x: UniformQuantizer, name: str) -> np.ndarray:
    """int32 [N]: the bias in accumulator steps, less the constant term of the input's zero."""
    centered = part.weight.astype(np.int64).sum(1) - part.weight.shape[1] * part.zero
    steps = np.rint(bias.numpy() / (x.scale.item() * part.scale))
    total = steps - integer_zero(x, name) * centered
    low, high = signed_range(ACCUMULATOR_WIDTH)
    if total.min() < low or total.max() > high:
        raise CalibrationError(
            f"{name}: bias must fit {ACCUMULATOR_WIDTH} bits, not {total.min():g}..{total.max():g}"
        )
    return total.astype(np.int32)


def logit_step(part: Channels, bias: np.ndarray, x: UniformQuantizer) -> float:
    """The finest power of two in which no logit can overflow and every multiplier fits."""
    centered = np.abs(part.weight.astype(np.int64) - part.zero[:, None]).sum(1)
    worst = centered * code_max(x.bits) + np.abs(bias.astype(np.int64))
    own = part.scale * x.scale.item()
    return _power_of_two(
        max((worst * own).max() * 2.0**-30, own.max() * 2.0 ** (1 - MULTIPLIER_WIDTH))
    )


def stream_steps(network: Network, absmax: Mapping[str, float]) -> dict[str, float]:
    """Power-of-two step of every tensor of the residual stream.

    A sum has the step of its branch, and none finer than that of the stream before it.
    Parameters: `absmax`, greatest magnitude of each tensor over the calibration images.
    Raises: CalibrationError where the stream grows beyond what its width can follow.
    """
    steps: dict[str, float] = {}
    full = signed_range(RESIDUAL_WIDTH)[1]

    def choose(name: str, largest: float, finest: float) -> float:
        step = max(finest, _power_of_two(max(largest, 1e-30) * RESIDUAL_MARGIN / full))
        if step > finest * full and finest > _FINEST_STEP:
            raise CalibrationError(
                f"{name}: residual stream must grow by less than {full}, not to {largest:g}"
            )
        return step

    def share(name: str, step: float) -> None:
        steps[name] = step
        node = network.by_name[name]
        if isinstance(node, Gather):
            share(node.inputs[0], step)

    for node in network.nodes:
        if not network.is_stream(node.name):
            continue
        match node:
            case Add(inputs=(before, branch)):
                largest = max(absmax[node.name], absmax[branch])
                steps[node.name] = choose(node.name, largest, steps[before])
                share(branch, steps[node.name])
            case Embed(inputs=(patches,), position=position):
                # Patches may take back most of what the table adds.
                reach = float(position.abs().max())
                largest = max(absmax[node.name], absmax[patches], reach)
                steps[node.name] = choose(node.name, largest, _FINEST_STEP)
                share(patches, steps[node.name])
            case Gather() | Pool() | Part():
                steps[node.name] = steps[node.inputs[0]]
            case _:
                steps[node.name] = choose(node.name, absmax[node.name], _FINEST_STEP)
    return steps


def residual_codes(value: Tensor, step: float) -> np.ndarray:
    """int16 steps of a constant of the residual stream."""
    codes = torch.round(value.double() / step)
    return codes.clamp(*signed_range(RESIDUAL_WIDTH)).numpy().astype(np.int16)


def layernorm_factors(
    gain: np.ndarray, offset: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Integer gain (int16) and offset (int32), each [N], and the largest shift that fits both.

    Parameters: `gain` and `offset` in output codes per unit of the normalized value.
    Raises: CalibrationError where even shift 0 does not fit.
    """
    for shift in range(SHIFT_MAX, -1, -1):
        scaled = np.rint(gain * 2.0 ** (shift - NORM_FRACTION))
        moved = np.rint(offset * 2.0**shift) + ((1 << shift) >> 1)
        if _within(scaled, 16) and _within(moved, ACCUMULATOR_WIDTH):
            return scaled.astype(np.int16), moved.astype(np.int32), shift
    raise CalibrationError(
        f"{name}: gain and offset must fit 16 and {ACCUMULATOR_WIDTH} bits, "
        f"not {np.abs(gain).max():g} and {np.abs(offset).max():g} codes"
    )


def _within(value: np.ndarray, width: int) -> bool:
    low, high = signed_range(width)
    return bool(value.min() >= low and value.max() <= high)


def _power_of_two(value: float) -> float:
    return 2.0 ** math.ceil(math.log2(value))
