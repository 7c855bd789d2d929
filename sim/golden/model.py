"""The golden integer model: executes an artifact, pixels to outputs, keeping what is asked for."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...operator_base import Operator
from ...operators import PIXELS
from .gather import gather
from .gelu_table import gelu_table
from .gemm import gemm, scores
from .layernorm import layernorm
from .log2_softmax import log2_softmax
from .patchify import patchify
from .requantizer import requantize
from .residual_add import embed, pool, residual_add
from .score_bias import score_bias
from .shift_attention import shift_attention

_ROWS = 256
"""Rows of the largest matrices worth computing at once."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "patchify": patchify,
    "gemm": gemm,
    "scores": scores,
    "score_bias": score_bias,
    "log2_softmax": log2_softmax,
    "shift_attention": shift_attention,
    "layernorm": layernorm,
    "gelu_table": gelu_table,
    "residual_add": residual_add,
    "embed": embed,
    "pool": pool,
    "requantize": requantize,
    "gather": gather,
}
"""Kind of operator -> golden function; its keyword arguments are fields of the operator."""


def execute(operator: Operator, *inputs: np.ndarray) -> tuple[np.ndarray, int]:
    """Output of one operator and the number of saturated values (0 where nothing can saturate)."""
    function = FUNCTIONS[operator.kind]
    arguments = {
        name: getattr(operator, name)
        for name, parameter in signature(function).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    result = function(*inputs, **arguments)
    return result if isinstance(result, tuple) else (result, 0)


@dataclass
class Inference:
    """What one run gives.

    Fields: `outputs` of the artifact by name, integers [images, ...]; `tensors` the kept tensors,
    [images, ...]; `saturated` operator name -> number of clamped values.
    """

    outputs: dict[str, np.ndarray]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    saturated: Counter[str] = field(default_factory=Counter)

    @property
    def logits(self) -> np.ndarray:
        """int32 [images, classes] of a classifier; ValueError where the outputs are features."""
        (output, *others) = self.outputs.values()
        if others or output.dtype != np.int32:
            raise ValueError(f"outputs must be logits, not the features {', '.join(self.outputs)}")
        return output.reshape(len(output), -1)


def join(parts: Sequence[Inference], keep: Collection[str]) -> Inference:
    """One inference of the images of several, in order."""
    return Inference(
        {name: np.concatenate([p.outputs[name] for p in parts]) for name in parts[0].outputs},
        {name: np.concatenate([part.tensors[name] for part in parts]) for name in keep},
        sum((part.saturated for part in parts), Counter()),
    )


class GoldenModel:
    """Integer reference of the whole model; integers only, equal on every machine.

    Parameters: `artifact`.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        tokens = max(shape[0] for shape in artifact.shapes().values() if len(shape) == 2)
        # Small models go through several images at a time; more would only leave the cache.
        self._images = max(1, _ROWS // tokens)
        self._last_use = {
            name: position
            for position, operator in enumerate(artifact.operators)
            for name in operator.inputs
        }

    def run(self, pixels: np.ndarray, keep: Collection[str] = ()) -> Inference:
        """Infer images.

        Parameters: `pixels` uint8 [images, H, W, C]; `keep` names of tensors to give back.
        Raises: TypeError or ValueError where `pixels` has another type or shape, KeyError for an
        unknown name in `keep`.
        """
        shape = self.artifact.preprocessing.shape
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
        if pixels.ndim != 4 or pixels.shape[1:] != shape:
            want = ["images", *shape]
            raise ValueError(
                f"pixels must have shape [{', '.join(map(str, want))}], not {list(pixels.shape)}"
            )
        if not len(pixels):
            raise ValueError("pixels must hold at least one image, not 0")
        unknown = set(keep) - self.artifact.shapes().keys()
        if unknown:
            raise KeyError(f"no tensor is named {min(unknown)}")
        parts = [
            self._infer(pixels[start : start + self._images], keep)
            for start in range(0, len(pixels), self._images)
        ]
        return join(parts, keep)

    def _infer(self, pixels: np.ndarray, keep: Collection[str]) -> Inference:
        tensors = {PIXELS: pixels}
        outputs = [output.name for output in self.artifact.outputs]
        found = {PIXELS: pixels}
        saturated: Counter[str] = Counter()
        for position, operator in enumerate(self.artifact.operators):
            inputs = [tensors[name] for name in operator.inputs]
            output, clamped = execute(operator, *inputs)
            tensors[operator.name] = output
            if clamped:
                saturated[operator.name] += clamped
            if operator.name in keep or operator.name in outputs:
                found[operator.name] = output
            for name in operator.inputs:
                if self._last_use[name] == position:
                    tensors.pop(name, None)
        return Inference(
            {name: found[name] for name in outputs},
            {name: found[name] for name in keep},
            saturated,
        )
