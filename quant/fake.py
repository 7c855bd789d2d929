"""Fake level: an artifact's quantizers with float arithmetic between them.

What the integer operators of `docs/numerics.md` approximate: the codes of activations and softmax
are rounded as in the artifact, everything between them (LayerNorm, softmax, scores, residual
stream) is float and is not rounded. Integer level minus fake level is the cost of integers alone.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..artifact import Artifact
from ..formats import BASES, NORM_FRACTION, SCORE_FRACTION, SCORE_MIN, output_range, zero_code
from ..operator_base import Operator
from ..operators import (
    PIXELS,
    Embed,
    Gather,
    GeluTable,
    Gemm,
    LayerNorm,
    Log2Softmax,
    Patchify,
    Pool,
    Requantize,
    ResidualAdd,
    ScoreBias,
    Scores,
    ShiftAttention,
)


class FakeModel:
    """An artifact in float arithmetic.

    Tensors hold codes as float32, residuals and logits in steps of the operator's scale.
    Parameters: `artifact`.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._arrays = {
            f"{operator.name}.{key}": torch.from_numpy(value.astype("float32"))
            for operator in artifact.operators
            for key, value in operator.tensors().items()
        }

    def logits(self, pixels: Tensor) -> Tensor:
        """Real logits, float32 [images, classes], of uint8 pixels [images, H, W, C].

        Raises: ArtifactError where the artifact is not a classifier.
        """
        self.artifact.require_classifier()
        (logits,) = self.features(pixels).values()
        return logits.flatten(1)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> dict[str, Tensor]:
        """Name -> real values of each output, float32 [images, rows, channels]; of feature maps
        `Output.feature_map` takes the places. `pixels` as for `logits`."""
        tensors = {PIXELS: pixels.float()}
        for operator in self.artifact.operators:
            inputs = [tensors[name] for name in operator.inputs]
            tensors[operator.name] = self._execute(operator, *inputs)
        names = [output.name for output in self.artifact.outputs]
        return {name: tensors[name] * self.artifact[name].scale for name in names}

    def _array(self, operator: Operator, key: str) -> Tensor:
        return self._arrays[f"{operator.name}.{key}"]

    def _execute(self, op: Operator, *inputs: Tensor) -> Tensor:
        match op:
            case Patchify():
                return _patchify(op, *inputs)
            case Gemm():
                return self._gemm(op, *inputs)
            case LayerNorm():
                return self._layernorm(op, *inputs)
            case Scores():
                return _scores(op, *inputs)
            case ScoreBias():
                return self._score_bias(op, *inputs)
            case Log2Softmax():
                return _log2_softmax(op, *inputs)
            case ShiftAttention():
                return _shift_attention(op, *inputs)
            case GeluTable():
                return self._array(op, "table")[inputs[0].long()]
            case ResidualAdd():
                return inputs[0] * 2.0**-op.shift + inputs[1]
            case Embed():
                return self._embed(op, *inputs)
            case Pool():
                return _pool(op, *inputs)
            case Requantize():
                return _codes(inputs[0] * (op.multiplier * 2.0**-op.shift) + op.zero, op.width)
            case Gather():
                return self._gather(op, *inputs)
        raise TypeError(f"{op.name}: no fake arithmetic for {op.kind}")

    def _gemm(self, op: Gemm, x: Tensor) -> Tensor:
        centered = self._array(op, "weight") - self._array(op, "weight_zero")[:, None]
        acc = functional.linear(x, centered, self._array(op, "bias"))
        y = acc * (self._array(op, "multiplier") * 2.0**-op.shift)
        return _codes(y + op.zero, op.width) if op.width <= 8 else y

    def _layernorm(self, op: LayerNorm, x: Tensor) -> Tensor:
        count = x.shape[-1]
        normalized = functional.layer_norm(x, (count,), eps=op.epsilon / count**2)
        gain = self._array(op, "gain") * 2.0 ** (NORM_FRACTION - op.shift)
        # The offset carries the half that turns the shift's floor into rounding.
        offset = self._array(op, "offset") * 2.0**-op.shift - 0.5
        y = normalized * gain + offset
        return _codes(y, op.width) if op.width <= 8 else y

    def _score_bias(self, op: ScoreBias, score: Tensor) -> Tensor:
        """Octaves; a masked key is below all others by more than float32's range."""
        biased = score.unflatten(1, (op.windows, op.heads))
        biased = biased + self._array(op, "bias") * 2.0**-SCORE_FRACTION
        region = self._array(op, "region")
        masked = region[:, None, :, None] != region[:, None, None, :]
        return biased.masked_fill(masked, SCORE_MIN * 2.0**-SCORE_FRACTION).flatten(1, 2)

    def _gather(self, op: Gather, x: Tensor) -> Tensor:
        last = self._array(op, "fill").expand(len(x), 1, -1)
        rows = torch.cat([x, last], dim=1)
        # The last row is also number -1.
        return rows[:, torch.from_numpy(op.index.astype("int64"))].flatten(2)

    def _embed(self, op: Embed, patches: Tensor) -> Tensor:
        position = self._array(op, "position").expand(len(patches), -1, -1)
        rows = position[:, op.prefix :] + patches
        return torch.cat([position[:, : op.prefix], rows], dim=1)


def _codes(value: Tensor, width: int) -> Tensor:
    return value.round_().clamp_(*output_range(width))


def _heads(x: Tensor, windows: int, heads: int) -> Tensor:
    """[images, windows * T, heads * d] -> [images, windows * heads, T, d]."""
    split = x.unflatten(1, (windows, -1)).unflatten(-1, (heads, -1))
    return split.transpose(2, 3).flatten(1, 2)


def _patchify(op: Patchify, pixels: Tensor) -> Tensor:
    size = (op.patch_height, op.patch_width)
    return functional.unfold(pixels.permute(0, 3, 1, 2), size, stride=size).transpose(1, 2)


def _scores(op: Scores, query: Tensor, key: Tensor) -> Tensor:
    """Exact scores in octaves."""
    query, key = (_heads(x, op.windows, op.heads) for x in (query - op.query_zero, key))
    acc = query @ key.transpose(-1, -2)
    return acc * (op.multiplier * 2.0 ** (-op.shift - SCORE_FRACTION))


def _log2_softmax(op: Log2Softmax, score: Tensor) -> Tensor:
    octaves = torch.log_softmax(score * math.log(2), dim=-1) / math.log(2)
    code = (op.offset * 2.0**-SCORE_FRACTION - octaves) * BASES[op.base]
    return code.round_().clamp_(0, zero_code(op.log_width, op.base))


def _shift_attention(op: ShiftAttention, code: Tensor, value: Tensor) -> Tensor:
    steps, zero = BASES[op.base], zero_code(op.log_width, op.base)
    powers = torch.exp2(torch.arange(zero + 1) / -steps)
    powers[-1] = 0.0
    heads = code.shape[1] // op.windows
    mixed = powers[code.long()] @ _heads(value - op.value_zero, op.windows, heads)
    headroom = (zero - 1) // steps
    factor = op.multiplier_even * 2.0 ** (headroom - op.shift)
    merged = mixed.unflatten(1, (op.windows, heads)).transpose(2, 3).flatten(3).flatten(1, 2)
    return _codes(merged * factor + op.zero, op.width)


def _pool(op: Pool, x: Tensor) -> Tensor:
    return x[:, :1] if op.mode == "token" else x[:, op.prefix :].mean(1, keepdim=True)
