"""Replays the operators of encoder blocks or of a whole model, with real tensors, on the RTL units.

Left out are the operators that only move data and have no values of their own: `patchify`, and
`pool` of a class token. `replay` runs in the caller's process and starts one simulation per unit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.units import units
from rootshift.operator_base import Operator
from rootshift.operators import Embed, Patchify, Pool
from rootshift.sim.golden.model import GoldenModel

from .bench import simulate
from .drivers import DRIVERS, Arrays
from .harness import Bench

UNIT_OF = {
    "gemm": "gemm",
    "scores": "gemm",
    "layernorm": "layernorm",
    "log2_softmax": "log2_softmax",
    "shift_attention": "shift_attention",
    "gelu_table": "gelu_table",
    "residual_add": "residual_add",
    "embed": "residual_add",
}
"""Kind of operator -> unit that executes it."""

SIZES = "rows", "cols", "lanes", "activation_width", "weight_width"
"""Parameters of a unit that its driver needs, where the unit has them."""


@dataclass(frozen=True)
class Replayed:
    """One unit's simulation.

    Fields: names of the `operators`; values `compared`, `saturated` ones among them, and
    `mismatches`, values and counts of saturated values that differ, and where the `first` one is;
    simulated `cycles`; seconds to build and to run.
    """

    unit: str
    operators: tuple[str, ...]
    compared: int
    saturated: int
    mismatches: int
    first: str | None
    cycles: int
    build_seconds: float
    run_seconds: float


def replay(
    artifact: Artifact,
    pixels: np.ndarray,
    config: AcceleratorConfig,
    *,
    blocks: Sequence[int] | None = (0,),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Replayed]:
    """Run operators on their units; compare every output, and how many values saturated.

    Parameters: `pixels` uint8 [H, W, C]; `blocks` numbers of encoder blocks, None for the whole
    model. Each operator gets golden's inputs.
    Raises: KeyError where the model has no such block, ValueError where it has an operator that
    computes and has no unit, BenchError where a simulation fails otherwise than by another value.
    """
    chosen = operators_of(artifact, blocks)
    names = dict.fromkeys(name for op in chosen for name in (*op.inputs, op.name))
    golden = GoldenModel(artifact).run(pixels[None], names)
    tensors = {name: golden.tensors[name][0] for name in names}
    components = units(config)
    results = []
    for done, (unit, component) in enumerate(components.items()):
        if progress is not None:
            progress(done, len(components), unit)
        operators = [op for op in chosen if UNIT_OF[op.kind] == unit]
        arrays: Arrays = {}
        for op in operators:
            arrays |= {f"{op.name}/{key}": value for key, value in op.tensors().items()}
            arrays |= {f"{op.name}/{at}": tensors[name] for at, name in enumerate(op.inputs)}
            arrays[f"{op.name}/output"] = computed(op, tensors[op.name])
        jobs = [
            {
                "name": op.name,
                "kind": op.kind,
                "expected_saturated": golden.saturated[op.name],
                **op.parameters(),
            }
            for op in operators
        ]
        parameters = {key: getattr(component, key) for key in SIZES if hasattr(component, key)}
        parameters["jobs"] = jobs
        found = simulate(component, __name__, params=parameters, arrays=arrays, optimize="-O2")
        wrong = found["results"]["mismatches"]
        results.append(
            Replayed(
                unit=unit,
                operators=tuple(op.name for op in operators),
                compared=sum(arrays[f"{op.name}/output"].size for op in operators),
                saturated=sum(golden.saturated[op.name] for op in operators),
                mismatches=sum(count for count, _ in wrong.values()),
                first=next((where for _, where in wrong.values()), None),
                cycles=found["cycles"],
                build_seconds=found["build_s"],
                run_seconds=found["run_s"],
            )
        )
    return results


def operators_of(artifact: Artifact, blocks: Sequence[int] | None) -> list[Operator]:
    """Operators of some encoder blocks, or all of the model but those that only move data."""
    if blocks is None:
        operators = [op for op in artifact.operators if not moves_data(op)]
    else:
        operators = []
        for block in blocks:
            found = [op for op in artifact.operators if op.name.startswith(f"blocks.{block}.")]
            if not found:
                raise KeyError(f"no block {block}")
            operators += found
    for op in operators:
        if op.kind not in UNIT_OF:
            raise ValueError(f"{op.name}: operator must have a unit, which {op.kind} has not")
    return operators


def moves_data(operator: Operator) -> bool:
    """Whether an operator's output is a choice of its input's values; the mean of `avg` is not."""
    return isinstance(operator, Patchify) or (
        isinstance(operator, Pool) and operator.mode == "token"
    )


def computed(operator: Operator, output: np.ndarray) -> np.ndarray:
    """What a unit computes of an output: of `embed`, the rows behind the constant prefix."""
    return output[operator.prefix :] if isinstance(operator, Embed) else output


@cocotb.test()
async def operators_equal_golden(dut: Any) -> None:
    """Every job of the simulation, one after the other on one unit."""
    bench = await Bench.start(dut)
    wrong = bench.results.setdefault("mismatches", {})
    for job in bench.params["jobs"]:
        name, prefix = job["name"], f"{job['name']}/"
        arrays = {k[len(prefix) :]: v for k, v in bench.arrays.items() if k.startswith(prefix)}
        output, saturated = await DRIVERS[job["kind"]](bench, job, arrays)
        expected, count = arrays["output"], job["expected_saturated"]
        differences = []
        different = np.argwhere(output != expected)
        if len(different):
            at = tuple(int(index) for index in different[0])
            differences.append(f"{name}{list(at)}: must be {expected[at]}, not {output[at]}")
        else:
            bench.compare(name, output, expected)
        if saturated != count:
            differences.append(f"{name}: saturated values must be {count}, not {saturated}")
        if differences:
            wrong[name] = [len(different) + (saturated != count), differences[0]]
