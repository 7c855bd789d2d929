"""The layers of a run: which commands belong to each, and where its cycles went."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..artifact import Artifact
from ..errors import ProgramError
from ..operators import PIXELS, Operator
from ..program import Placed, Program
from ..views import views
from .timeline import ArrayState, Timeline

WAITS_FOR = {
    "layernorm": "layernorm",
    "log2_softmax": "attention",
    "shift_attention": "attention",
    "patchify": "image",
}
"""Kind of the operator that makes a product's input -> what an idle array waits for."""
REQUANTIZER, END = "requantizer", "end"
PROGRAM = "program"
"""Who owns what belongs to no product: the reading of the commands."""
_PRODUCTS, _PREPARES = ("gemm", "scores"), ("patchify", "layernorm", "pool", "gather")
_NAMED = "STORE", "PATCHIFY", "EMBED", "POOL", "LAYERNORM", "ATTENTION"


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


def layers(artifact: Artifact, program: Program, timeline: Timeline) -> list[Layer]:
    """The products in the order of their first command, and last what follows the last one.

    The cycles add up to those of the run.
    """
    stores = [p.operators[0] for p in program.commands if p.command.name == "STORE"]
    states: dict[str, np.ndarray] = {}
    for name, row in zip(stores, timeline.array[:-1], strict=True):
        states[name] = states.get(name, 0) + row
    found = [_layer(artifact, program, name, total) for name, total in states.items()]
    # From the last vector to the interrupt, and what the array's probe does not see of the start.
    rest = timeline.cycles - sum(layer.cycles for layer in found)
    return [*found, Layer(END, 0, 0, 0, 0, 0, rest, END)]


def mac_utilization(artifact: Artifact, program: Program, timeline: Timeline) -> float:
    """The model's multiplications over the places for them, `cycles * rows * cols`."""
    config = program.config
    macs = artifact.macs() * program.images
    return macs / (timeline.cycles * config.rows * config.cols)


def exposed(found: Sequence[Layer], waits_for: str) -> int:
    """Cycles in which the array idled for one kind of unit."""
    return sum(layer.idle for layer in found if layer.waits_for == waits_for)


def product_macs(artifact: Artifact, program: Program, name: str) -> int:
    """Multiplications of a product on one image, with those of the shift attention behind it."""
    users = [artifact[name]]
    if users[0].kind == "scores":
        users += [
            operator
            for operator in artifact.operators
            if operator.kind == "shift_attention" and artifact[operator.inputs[0]].inputs[0] == name
        ]
    return sum(
        operator.macs(*(program.shapes[source] for source in operator.inputs)) for operator in users
    )


def owners(artifact: Artifact, program: Program) -> list[str]:
    """The layer that each command works for: a product, or `PROGRAM`.

    What prepares a product's input (patchify, pool, LayerNorm) belongs to the first product that
    reads it; what follows a product (requantizer, GELU table, softmax and shift attention, residual
    update, positions, logits) belongs to that product. A FETCH belongs to who its segment is for.

    Raises: ProgramError where products do not have a WEIGHTS, a GEMM and a STORE each, or a command
    does not name the operator that it works for.
    """
    alike: dict[str, list[Placed]] = {}
    for placed in program.commands:
        name = placed.command.name
        if name in _NAMED and not placed.operators:
            raise ProgramError(f"{name} must name the operator that it works for")
        alike.setdefault(name, []).append(placed)
    stores = [placed.operators[0] for placed in alike.get("STORE", [])]
    # One of each is a product.
    at = {"WEIGHTS": 0, "GEMM": 0, "STORE": 0}
    for name in at:
        if len(alike.get(name, [])) != len(stores):
            raise ProgramError(
                f"each STORE must have one {name}, not {len(alike.get(name, []))} "
                f"for {len(stores)} of them"
            )
    kinds = {operator.name: operator.kind for operator in artifact.operators}
    readers: dict[str, Operator] = {}
    for operator in artifact.operators:
        for source in operator.inputs:
            readers.setdefault(source, operator)
    products = {
        name: _product(artifact, readers, name)
        for name in {placed.operators[0] for kind in _NAMED for placed in alike.get(kind, [])}
    }
    segments = sorted((offset, name) for name, (offset, _) in program.segments.items())
    offsets = [offset for offset, _ in segments]
    found = []
    for placed in program.commands:
        name, owner = placed.command.name, PROGRAM
        if name in at:
            owner = stores[at[name]]
            at[name] += 1
        elif name in _NAMED:
            owner = products[placed.operators[0]]
        elif name == "FETCH":
            segment = segments[bisect_right(offsets, placed.command["offset"]) - 1][1]
            operator = segment.rpartition(".")[0]
            if operator in kinds:
                owner = _product(artifact, readers, operator)
        elif name == "TABLE" and at["STORE"] < len(stores):
            # It is of the product whose STORE comes next.
            owner = stores[at["STORE"]]
        found.append(owner)
    return found


def _product(artifact: Artifact, readers: Mapping[str, Operator], name: str) -> str:
    """The product that an operator prepares or follows."""
    operator = artifact[name]
    while operator.kind not in _PRODUCTS:
        ahead = operator.kind in _PREPARES
        operator = readers[operator.name] if ahead else artifact[operator.inputs[0]]
    return operator.name


def _layer(artifact: Artifact, program: Program, name: str, states: np.ndarray) -> Layer:
    source = views(artifact).stored(artifact[name].inputs[0])
    kind = "patchify" if source == PIXELS else artifact[source].kind
    return Layer(
        name,
        product_macs(artifact, program, name) * program.images,
        *(int(states[state]) for state in (
            ArrayState.BUSY, ArrayState.WEIGHTS, ArrayState.ACTIVATIONS, ArrayState.OUTPUT,
            ArrayState.IDLE,
        )),
        WAITS_FOR.get(kind, REQUANTIZER),
    )  # fmt: skip
