"""From a calibrated vision transformer to the integer program of an artifact.

Operators are named after their layer; `docs/numerics.md` says what each computes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..artifact import Artifact
from ..errors import CalibrationError
from ..formats import (
    GELU_INDEX_WIDTH,
    LOGIT_WIDTH,
    PIXEL_WIDTH,
    RESIDUAL_WIDTH,
    SCORE_FRACTION,
    attention_headroom,
    zero_code,
)
from ..operator_base import Operator
from ..operators import (
    PIXELS,
    Embed,
    GeluTable,
    Gemm,
    LayerNorm,
    Log2Softmax,
    Patchify,
    Pool,
    ResidualAdd,
    Scores,
    ShiftAttention,
)
from ..preprocessing import Preprocessing
from .fixed import (
    channels,
    factor,
    factors,
    integer_bias,
    integer_zero,
    layernorm_factors,
    logit_step,
    parity_factors,
    residual_codes,
    residual_steps,
)
from .quantizers import UniformQuantizer
from .vit import QuantizedViT

_PIXEL_CODES = UniformQuantizer(torch.tensor(1.0), torch.tensor(0.0), PIXEL_WIDTH)


def export(vit: QuantizedViT, preprocessing: Preprocessing, source: Mapping[str, Any]) -> Artifact:
    """The integer program of a model calibrated in integer mode.

    Raises: CalibrationError naming the layer where a parameter does not fit its width;
    ArtifactError where a worst-case sum does not.
    """
    if vit.mode != "integer":
        raise CalibrationError(f"mode must be 'integer' to export, not {vit.mode!r}")
    program = _Program(vit)
    program.embedding()
    for index in range(vit.architecture.depth):
        program.attention(f"blocks.{index}")
        program.mlp(f"blocks.{index}")
    program.classifier()
    return Artifact(
        source=source,
        bits=vit.bits,
        preprocessing=preprocessing,
        operators=tuple(program.operators),
    )


class _Program:
    """Operators in execution order; `residual` and `step` follow the residual stream."""

    def __init__(self, vit: QuantizedViT) -> None:
        self.vit = vit
        self.shape = vit.architecture
        self.steps = residual_steps(vit.residual_absmax, self.shape.depth, vit.position)
        self.step = self.steps["embed"]
        self.residual = "embed"
        self.operators: list[Operator] = []

    def embedding(self) -> None:
        vit, shape = self.vit, self.shape
        patches = Patchify(
            name="patch_embed.patches",
            inputs=(PIXELS,),
            scale=1.0,
            patch_height=shape.patch[0],
            patch_width=shape.patch[1],
        )
        self.operators.append(patches)
        self._gemm("patch_embed.proj", patches.name, _PIXEL_CODES, self.step)
        table = torch.cat([vit.prefix, vit.position])
        self.operators.append(
            Embed(
                name="embed",
                inputs=("patch_embed.proj",),
                scale=self.step,
                position=residual_codes(table, self.step),
                prefix=shape.prefix_tokens,
            )
        )

    def attention(self, block: str) -> None:
        name, site = f"{block}.attn", self.vit.activation
        source = site[f"{name}.qkv.input"]
        self._layernorm(f"{block}.norm1", self.residual, source)
        width = self.shape.heads * self.shape.head_dim
        for position, (letter, operand) in enumerate((("q", "1.A"), ("k", "1.B"), ("v", "2.B"))):
            self._gemm(
                f"{name}.qkv",
                f"{block}.norm1",
                source,
                site[f"{name}.matmul{operand}"],
                output=f"{name}.{letter}",
                rows=slice(position * width, (position + 1) * width),
            )
        self._scores(name)
        self._mix(name)
        output = self.steps[f"{name}.residual"]
        self._gemm(f"{name}.proj", f"{name}.mix", site[f"{name}.proj.input"], output)
        self._add(name, "proj")

    def mlp(self, block: str) -> None:
        name, site = f"{block}.mlp", self.vit.activation
        source, hidden = site[f"{name}.fc1.input"], site[f"{name}.fc2.input"]
        index = site[f"{name}.act.input"]
        self._layernorm(f"{block}.norm2", self.residual, source)
        self._gemm(f"{name}.fc1", f"{block}.norm2", source, index)
        function = self.vit.activation_module[int(block.rpartition(".")[2])]
        with torch.no_grad():
            grid = function(index.dequantize(torch.arange(1 << GELU_INDEX_WIDTH)))
        self.operators.append(
            GeluTable(
                name=f"{name}.act",
                inputs=(f"{name}.fc1",),
                scale=hidden.scale.item(),
                table=hidden.codes(grid).to(torch.uint8).numpy(),
                width=hidden.bits,
            )
        )
        self._gemm(f"{name}.fc2", f"{name}.act", hidden, self.steps[f"{name}.residual"])
        self._add(name, "fc2")

    def classifier(self) -> None:
        multiplier, shift = factor(1 / (self.shape.tokens - self.shape.prefix_tokens), "pool")
        self.operators.append(
            Pool(
                name="pool",
                inputs=(self.residual,),
                scale=self.step,
                mode=self.shape.pool,
                prefix=self.shape.prefix_tokens,
                multiplier=multiplier,
                shift=shift,
            )
        )
        source = self.vit.activation["head.input"]
        self._layernorm("norm", "pool", source)
        self._gemm("head", "norm", source, None)

    def _layernorm(self, name: str, residual: str, output: UniformQuantizer) -> None:
        norm, scale = self.vit.norms[name], output.scale.item()
        gain, offset, shift = layernorm_factors(
            norm.gamma.numpy() / scale,
            norm.beta.numpy() / scale + integer_zero(output, name),
            name,
        )
        self.operators.append(
            LayerNorm(
                name=name,
                inputs=(residual,),
                scale=scale,
                gain=gain,
                offset=offset,
                shift=shift,
                epsilon=max(1, round(norm.eps * gain.size**2 / self.step**2)),
                width=output.bits,
            )
        )

    def _gemm(
        self,
        layer: str,
        source: str,
        x: UniformQuantizer,
        y: UniformQuantizer | float | None,
        *,
        output: str | None = None,
        rows: slice = slice(None),
    ) -> None:
        """One layer or some of its rows; `y` is a quantizer, a residual step, or None (logits)."""
        name = output or layer
        codes, stored = self.vit.weight[layer]
        quantizer = UniformQuantizer(stored.scale[rows], stored.zero[rows], stored.bits)
        real_bias = self.vit.linears[layer].bias[rows]
        part = channels(codes[rows], quantizer, real_bias, x.scale.item())
        bias = integer_bias(real_bias, part, x, name)
        match y:
            case UniformQuantizer():
                step, zero, width = y.scale.item(), integer_zero(y, name), y.bits
            case float():
                step, zero, width = y, 0, RESIDUAL_WIDTH
            case None:
                step, zero, width = logit_step(part, bias, x), 0, LOGIT_WIDTH
        multiplier, shift = factors(part.scale * (x.scale.item() / step), name)
        self.operators.append(
            Gemm(
                name=name,
                inputs=(source,),
                scale=step,
                input_width=x.bits,
                weight_width=quantizer.bits,
                weight=part.weight,
                weight_zero=part.zero.astype(np.int16),
                bias=bias,
                multiplier=multiplier,
                shift=shift,
                zero=zero,
                width=width,
            )
        )

    def _scores(self, name: str) -> None:
        query = self.vit.activation[f"{name}.matmul1.A"]
        key = self.vit.activation[f"{name}.matmul1.B"]
        octaves = query.scale.item() * key.scale.item() * math.log2(math.e)
        octaves *= self.shape.head_dim**-0.5
        multiplier, shift = factor(octaves * 2**SCORE_FRACTION, f"{name}.scores")
        self.operators.append(
            Scores(
                name=f"{name}.scores",
                inputs=(f"{name}.q", f"{name}.k"),
                scale=2.0**-SCORE_FRACTION,
                input_width=query.bits,
                heads=self.shape.heads,
                head_width=self.shape.head_dim,
                query_zero=integer_zero(query, f"{name}.q"),
                multiplier=multiplier,
                shift=shift,
            )
        )

    def _mix(self, name: str) -> None:
        """Softmax to log codes, and the codes times the values."""
        softmax = self.vit.activation[f"{name}.matmul2.A"]
        value = self.vit.activation[f"{name}.matmul2.B"]
        output = self.vit.activation[f"{name}.proj.input"]
        offset = round(math.log2(softmax.scale.item()) * 2**SCORE_FRACTION)
        # The offset rounds the scale to 2^-8 octaves; the values are weighted with that scale.
        scale = 2.0 ** (offset * 2.0**-SCORE_FRACTION)
        headroom = attention_headroom(zero_code(softmax.bits, softmax.base), softmax.base)
        weight = scale * value.scale.item() / output.scale.item() * 2.0**-headroom
        even, odd, shift = parity_factors(weight, softmax.base, f"{name}.mix")
        self.operators += [
            Log2Softmax(
                name=f"{name}.softmax",
                inputs=(f"{name}.scores",),
                scale=scale,
                log_width=softmax.bits,
                base=softmax.base,
                offset=offset,
            ),
            ShiftAttention(
                name=f"{name}.mix",
                inputs=(f"{name}.softmax", f"{name}.v"),
                scale=output.scale.item(),
                input_width=value.bits,
                log_width=softmax.bits,
                base=softmax.base,
                value_zero=integer_zero(value, f"{name}.v"),
                multiplier_even=even,
                multiplier_odd=odd,
                shift=shift,
                zero=integer_zero(output, f"{name}.mix"),
                width=output.bits,
            ),
        ]

    def _add(self, name: str, branch: str) -> None:
        output = f"{name}.residual"
        step = self.steps[output]
        self.operators.append(
            ResidualAdd(
                name=output,
                inputs=(self.residual, f"{name}.{branch}"),
                scale=step,
                shift=round(math.log2(step / self.step)),
            )
        )
        self.residual, self.step = output, step
