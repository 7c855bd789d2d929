"""Where the cycles of a run went: the array's states, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...artifact import Artifact
from ...operators import PIXELS
from ...program import Program
from .result import ArrayState, RunResult

WAITS_FOR = {
    "layernorm": "layernorm",
    "log2_softmax": "attention",
    "shift_attention": "attention",
    "patchify": "image",
}
"""Kind of the operator that makes a product's input -> what an idle array waits for."""
REQUANTIZER, END = "requantizer", "end"


@dataclass(frozen=True)
class Layer:
    """One product of the model, over all images of a run.

    Fields:
        name: of the operator; `scores` stands for all heads.
        macs: multiplications of its operator, those of the shift attention behind scores included.
        busy, weights, activations, output: cycles in which the array took a vector, or waited with
            one for weights, for activations, for room behind the requantizer.
        idle: cycles before it in which the array had no command.
        waits_for: what makes its input and so let the array idle: layernorm, attention (softmax and
            shift attention), image, or requantizer (the rest of the product before).
    """

    name: str
    macs: int
    busy: int
    weights: int
    activations: int
    output: int
    idle: int
    waits_for: str

    @property
    def cycles(self) -> int:
        """All of them."""
        return self.busy + self.weights + self.activations + self.output + self.idle


def layers(artifact: Artifact, program: Program, run: RunResult) -> list[Layer]:
    """The products in the order of their first command, and last what follows the last one.

    The cycles add up to those of the run.
    """
    shapes = artifact.shapes()
    stores = [p.operators[0] for p in program.commands if p.command.name == "STORE"]
    states: dict[str, np.ndarray] = {}
    for name, row in zip(stores, run.array[:-1], strict=True):
        states[name] = states.get(name, 0) + row
    found = [
        _layer(artifact, shapes, name, program.images, total) for name, total in states.items()
    ]
    # From the last vector to the interrupt, and what the array's probe does not see of the start.
    rest = run.cycles - sum(layer.cycles for layer in found)
    return [*found, Layer(END, 0, 0, 0, 0, 0, rest, END)]


def exposed(found: Sequence[Layer], waits_for: str) -> int:
    """Cycles in which the array idled for one kind of unit."""
    return sum(layer.idle for layer in found if layer.waits_for == waits_for)


def _layer(artifact: Artifact, shapes: dict, name: str, images: int, states: np.ndarray) -> Layer:
    operator = artifact[name]
    users = [operator]
    if operator.kind == "scores":
        # Its products with the values are made beside the array, in the same cycles.
        users += [
            op
            for op in artifact.operators
            if op.kind == "shift_attention" and artifact[op.inputs[0]].inputs[0] == name
        ]
    macs = sum(op.macs(*(shapes[source] for source in op.inputs)) for op in users) * images
    source = operator.inputs[0]
    kind = "patchify" if source == PIXELS else artifact[source].kind
    return Layer(
        name,
        macs,
        *(int(states[state]) for state in (
            ArrayState.BUSY, ArrayState.WEIGHTS, ArrayState.ACTIVATIONS, ArrayState.OUTPUT,
            ArrayState.IDLE,
        )),
        WAITS_FOR.get(kind, REQUANTIZER),
    )  # fmt: skip
