"""What engines do, each a function of its arguments alone, so that any process can do it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...accuracy import first_five
from ...artifact import Artifact
from ...config import AcceleratorConfig
from ...errors import ConfigError, ProgramError
from ..costs import costs, total
from ..cycles.model import model_cycles
from ..energy import energy
from ..golden.model import GoldenModel
from ..layers import mac_utilization
from ..native.memory import MemoryTiming
from .point import Quantization

if TYPE_CHECKING:
    from ...quant.quantize import Calibration

Figures = dict[str, float]
"""Metric -> value, of those that the program's run tells: a part of `METRICS`."""


def quantize(calibration: "Calibration", quantization: Quantization) -> Artifact:
    """The model in integers; raises CalibrationError, ConfigError or ArtifactError."""
    found = calibration.quantized(
        quantization.bits, method=quantization.method, base=quantization.base
    )
    return calibration.artifact(found, quantization.method)


def classify(artifact: Artifact, pixels: np.ndarray) -> list[list[int]]:
    """The first five classes of each image, best first; `pixels` uint8 [images, H, W, C]."""
    return first_five(GoldenModel(artifact).run(pixels).logits).tolist()


def program_of(config: AcceleratorConfig) -> tuple[object, ...]:
    """What the commands of a program depend on: configurations of one value run the same ones."""
    fields = ("token_depth", "channel_depth", "embedding_depth", "residual_depth")
    return tuple(value for name, value in vars(config).items() if name not in fields)


def run(
    artifact: Artifact, batch: int, machines: Sequence[tuple[AcceleratorConfig, MemoryTiming]]
) -> list[Figures | str]:
    """One batch of images on each machine, by the cycle model; or why it cannot run there.

    Parameters: `machines`, of configurations that are equal by `program_of`.
    """
    from ...hw.compiler import compile_program

    first = machines[0][0]
    try:
        program = compile_program(artifact, first, images=batch, batch=batch)
    except (ConfigError, ProgramError) as error:
        return [str(error)] * len(machines)
    counts = [total(costs(artifact, program))]
    timed: dict[tuple[int, int, str], Figures] = {}
    found: list[Figures | str] = []
    for config, memory in machines:
        here = replace(program, config=config)
        key = config.token_depth, config.embedding_depth, str(memory)
        if key not in timed:
            timeline = model_cycles(here, memory=memory)
            timed[key] = {
                "cycles": timeline.cycles,
                "mac_utilization": mac_utilization(artifact, here, timeline),
                "read_bytes": timeline.traffic.read_bytes,
                "write_bytes": timeline.traffic.write_bytes,
            }
        found.append(timed[key] | {"energy_uj": energy(counts, config, batch).microjoules})
    return found
