"""Golden operators held against the layers of a calibrated network, one by one on its own codes."""

import numpy as np
import torch

from rootshift.formats import LOGIT_WIDTH, NORM_FRACTION, RESIDUAL_WIDTH, output_range
from rootshift.operator_base import Operator
from rootshift.operators import (
    Embed,
    Gather,
    Gemm,
    LayerNorm,
    Patchify,
    Pool,
    Requantize,
    ResidualAdd,
    ScoreBias,
    Scores,
)
from rootshift.quant import nodes
from rootshift.sim.golden.model import execute

from .exported import Exported, Trace, traced
from .levels import half_a_step


def check_operators(made: Exported, pixels: np.ndarray) -> int:
    """Run each operator on the network's own codes; returns how many were compared.

    All are but patchify, and the scores, on which the codes behind the softmax depend.
    """
    trace = traced(made.quantized, pixels[None])
    tensors = {"pixels": pixels}
    compared = 0
    for op in made.artifact.operators:
        got, _ = execute(op, *(tensors[name] for name in op.inputs))
        tensors[op.name] = got
        if isinstance(op, Patchify | Scores | ScoreBias):
            continue
        check_operator(made, op, got, trace)
        compared += 1
        if op.output_width < LOGIT_WIDTH:
            want = onward(made, op, trace)
            assert want.shape == got.shape
            tensors[op.name] = want.astype(got.dtype)
    return compared


def check_operator(made: Exported, op: Operator, got: np.ndarray, trace: Trace) -> None:
    """One operator's output on what the network gives its inputs."""
    if isinstance(op, Gemm):
        check_gemm(op, got, trace.values[op.name][0])
    elif isinstance(op, Gather):
        np.testing.assert_array_equal(got, onward(made, op, trace), op.name)
    elif op.output_width == RESIDUAL_WIDTH:
        error = np.abs(got - trace.values[op.name][0] / op.scale)
        assert error.max() <= stream_bound(made, op, trace), op.name
    else:
        check_codes(op.name, got, onward(made, op, trace))


def stream_bound(made: Exported, op: Operator, trace: Trace) -> float:
    """Largest error, in steps, of a row of the stream made of rounded rows."""
    match op:
        case Embed() | ResidualAdd():
            # Two operands rounded half a step each, and the sum once more where it is shifted.
            return 1.51
        case LayerNorm():
            (source,) = op.inputs
            deviation = trace.values[source][0].std(-1).min() / made.artifact[source].scale
            gain = float(np.abs(op.gain.astype(float)).max()) * 2.0 ** (NORM_FRACTION - op.shift)
            # Rounded operands move mean, deviation and value; the gain has 16 bits.
            return half_a_step(op) + gain * 0.5 / deviation * (2 + np.sqrt(op.gain.size)) + 1
        case Pool():
            return 1.01
    raise TypeError(f"{op.name}: no bound for {op.kind}")


def check_gemm(op: Gemm, got: np.ndarray, real: np.ndarray) -> None:
    """The output is the layer's, but for rounding bias, factor and result.

    The bias is rounded to an accumulator step, which is `multiplier * 2^-shift` output steps.
    """
    low, high = output_range(op.width)
    want = np.clip(real.astype(np.float64) / op.scale + op.zero, low, high)
    multiplier = op.multiplier.astype(np.float64)
    if op.width == LOGIT_WIDTH:
        np.testing.assert_allclose(
            got, want, atol=0.6 * (multiplier * 2.0**-op.shift).max(), rtol=1e-4
        )
        return
    bound = 0.5 + 0.5 * multiplier * 2.0**-op.shift + np.abs(want - op.zero) / multiplier
    # What the network itself loses in float32.
    bound += 1e-3 + 1e-6 * np.abs(real).max() / op.scale
    excess = np.abs(got - want) - bound
    assert excess.max() <= 0, f"{op.name} at {np.unravel_index(excess.argmax(), excess.shape)}"


def check_codes(name: str, got: np.ndarray, want: np.ndarray) -> None:
    """Codes differ by at most one, and rarely: where the real value is near a boundary."""
    difference = np.abs(got.astype(np.int64) - want)
    assert difference.max() <= 1, f"{name}: {difference.max()} codes apart"
    # Few values: a handful of boundaries must be allowed.
    assert difference.sum() <= 4 + 0.05 * difference.size, f"{name}: {difference.mean():.1%} apart"


def onward(made: Exported, op: Operator, trace: Trace) -> np.ndarray:
    """What the next operator takes: the network's own value, so that differences do not add up."""
    if isinstance(op, Requantize):
        return trace.codes[op.name][0]
    value = trace.values[op.name][0]
    if op.output_width == RESIDUAL_WIDTH:
        return np.clip(np.rint(value / op.scale), *output_range(RESIDUAL_WIDTH))
    name = op.name
    readers = made.quantized.network.readers
    while isinstance(readers[name][0], nodes.Gather):
        name = readers[name][0].name
    (reader,) = readers[name]
    quantizer = made.quantized.activation[reader.sites[reader.inputs.index(name)]]
    return quantizer.codes(torch.from_numpy(value)).numpy().astype(np.int64)
