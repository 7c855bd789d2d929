"""Gathers that the accelerator needs no command for: views of what lies in its buffers.

`docs/accelerator.md`, section Views.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .artifact import Artifact
from .formats import LOGIT_WIDTH, RESIDUAL_WIDTH
from .operator_base import Operator
from .operators import Gather, Gemm, LayerNorm


def users(artifact: Artifact) -> dict[str, list[Operator]]:
    """Tensor -> operators that read it, in order."""
    found: dict[str, list[Operator]] = {name: [] for name in artifact.shapes()}
    for operator in artifact.operators:
        for name in dict.fromkeys(operator.inputs):
            found[name].append(operator)
    return found


@dataclass(frozen=True)
class Views:
    """What a distilled classifier gathers, if all of it needs no command.

    Fields: `front`, a Gather of the first rows of a stream, which a LayerNorm reads where they lie
    -> the stream; `joined`, a Gather of all rows of that LayerNorm side by side, which the product
    of logits reads as one row of more words -> the LayerNorm. No other operator reads any of them.
    """

    front: Mapping[str, str]
    joined: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.front or name in self.joined

    def stored(self, name: str) -> str:
        """The tensor of the code buffer that one who reads `name` takes."""
        return self.joined.get(name, name)


def views(artifact: Artifact) -> Views:
    """The views among the Gathers of `artifact`."""
    readers = users(artifact)
    front, joined = {}, {}
    for pool in artifact.operators:
        chain = [pool]
        while len(chain) < 4 and len(readers[chain[-1].name]) == 1:
            chain += readers[chain[-1].name]
        match chain:
            case [
                Gather(width=width),
                LayerNorm() as norm,
                Gather() as pair,
                Gemm(width=logits),
            ] if width == RESIDUAL_WIDTH and logits == LOGIT_WIDTH:
                rows = np.arange(len(pool.index), dtype=np.int32)
                if np.array_equal(pool.index, rows[:, None]) and np.array_equal(
                    pair.index, rows[None]
                ):
                    front[pool.name] = pool.inputs[0]
                    joined[pair.name] = norm.name
    return Views(front, joined)
