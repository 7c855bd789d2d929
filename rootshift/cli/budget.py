"""Bits of the weights, layer by layer, for a budget of bytes or of cycles."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..artifact import Artifact
from ..bit_table import PATCH_EMBEDDING, BitTable, PartialBits, layer_of
from ..bits import Bits
from ..config import AcceleratorConfig
from ..errors import ConfigError
from ..formats import PIXEL_WIDTH
from ..operators import Gemm
from ..sim.allocation import Option, allocate
from ..sim.cycles.model import model_cycles
from ..sim.layers import layers
from .progress import progress_bar
from .sources import accelerator_config

if TYPE_CHECKING:
    from ..quant.quantize import Calibration
    from ..quant.sensitivity import Sensitivity

_METHOD = "repq"
"""Its quantizers are those whose errors were measured."""
_TRIES = 5


@dataclass(frozen=True)
class Budget:
    """What a choice of bits is made from; `default` has the widths of everything but weights."""

    calibration: "Calibration"
    found: "Sequence[Sensitivity]"
    default: Bits
    options: argparse.Namespace

    def quantized(self, bits: Bits | BitTable) -> tuple[Artifact, float]:
        """The artifact of these bits, and its divergence from the float model on the calibration
        images."""
        from ..quant.families import network_of
        from ..quant.sensitivity import divergence

        options, preprocessing = self.options, self.calibration.preprocessing
        with progress_bar(f"calibrate {bits}") as progress:
            network = self.calibration.quantized(
                bits, method=_METHOD, base=options.base, device=options.device, progress=progress
            )
        exact = network_of(self.calibration.model, preprocessing.mean, preprocessing.std)
        away = divergence(exact, network, self.calibration.pixels())
        return self.calibration.artifact(network, _METHOD), away

    def chosen(
        self, cost: Callable[[str, int], float], budget: float, unit: str, fixed: float
    ) -> BitTable:
        """The table of least error whose layers, and what is `fixed`, cost at most `budget`."""
        options: dict[str, list[Option]] = {}
        for each in self.found:
            if each.field == "weights":
                option = Option(each.width, cost(each.layer, each.width), each.divergence)
                options.setdefault(each.layer, []).append(option)
        found = allocate(options, budget, unit, fixed)
        lines = tuple(
            (layer, PartialBits(weights=width))
            for layer, width in found.widths.items()
            if width != self.default.weights
        )
        return BitTable(self.default, lines)


def for_bytes(budget: Budget) -> tuple[BitTable, dict[str, Any]]:
    """Bits of each layer's weight such that all weights take at most `--weight-bytes`."""
    uniform, uniform_away = budget.quantized(budget.default)
    sizes = _sizes(uniform)
    fixed = sizes[PATCH_EMBEDDING] * PIXEL_WIDTH / 8
    table = budget.chosen(
        lambda layer, width: sizes[layer] * width / 8,
        budget.options.weight_bytes,
        "bytes of weights",
        fixed,
    )
    artifact, away = budget.quantized(table)
    return table, _figures(budget, artifact, away, uniform_away)


def for_cycles(budget: Budget) -> tuple[BitTable, dict[str, Any]]:
    """Bits of each layer's weight such that the cycle model counts at most `--cycles`.

    A weight wider than the array's digit takes more passes; what a pass of each layer costs comes
    from the cycle model, which has the last word.
    """
    uniform, uniform_away = budget.quantized(budget.default)
    config = accelerator_config(budget.options, uniform)
    digit = max(config.activation_width, config.weight_width)

    def passes(width: int) -> int:
        return -(-width // digit)

    total, spent = _cycles(uniform, config)
    passed = passes(budget.default.weights)
    each = {layer: cycles / passed for layer, cycles in spent.items()}
    limit, over = budget.options.cycles, 0
    for _ in range(_TRIES):
        table = budget.chosen(
            lambda layer, width: each[layer] * passes(width),
            limit,
            "cycles",
            total - sum(spent.values()) + over,
        )
        artifact, away = budget.quantized(table)
        cycles, _ = _cycles(artifact, config)
        if cycles <= limit:
            figures = _figures(budget, artifact, away, uniform_away)
            return table, {"cycles": cycles} | figures
        over += cycles - limit
    raise ConfigError(f"--cycles must leave more room: the last choice takes {cycles}, not {limit}")


def _figures(
    budget: Budget, artifact: Artifact, away: float, uniform_away: float
) -> dict[str, Any]:
    return {
        "weight_bytes": artifact.weight_bytes,
        "divergence": away,
        "uniform_bits": str(budget.default),
        "uniform_divergence": uniform_away,
    }


def _cycles(artifact: Artifact, config: AcceleratorConfig) -> tuple[int, dict[str, int]]:
    """Cycles of an image, and those of each layer that has a weight."""
    from ..hw.compiler import compile_program

    program = compile_program(artifact, config)
    timeline = model_cycles(program)
    found: dict[str, int] = {}
    products = {op.name for op in artifact.operators if isinstance(op, Gemm)}
    for layer in layers(artifact, program, timeline):
        if layer.name in products and layer.name != PATCH_EMBEDDING:
            name = layer_of(layer.name)
            found[name] = found.get(name, 0) + layer.cycles
    return timeline.cycles, found


def _sizes(artifact: Artifact) -> dict[str, int]:
    """Weights of each layer."""
    found: dict[str, int] = {}
    for op in artifact.operators:
        if isinstance(op, Gemm):
            name = layer_of(op.name)
            found[name] = found.get(name, 0) + op.weight.size
    return found
