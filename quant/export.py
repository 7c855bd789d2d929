"""From a calibrated network to the integer program of an artifact.

Operators are named after their node; `docs/numerics.md` says what each computes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import attention_operators as attention
from .. import operators as contract
from ..artifact import Artifact
from ..artifact_outputs import Output
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
from ..preprocessing import Preprocessing
from . import nodes
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
    stream_steps,
)
from .network import QuantizedNetwork
from .quantizers import Quantizer, UniformQuantizer

_PIXEL_CODES = UniformQuantizer(torch.tensor(1.0), torch.tensor(0.0), PIXEL_WIDTH)


def export(
    quantized: QuantizedNetwork, preprocessing: Preprocessing, source: Mapping[str, Any]
) -> Artifact:
    """The integer program of a network calibrated in integer mode.

    Raises: CalibrationError naming the layer where a parameter does not fit its width;
    ArtifactError where a worst-case sum does not.
    """
    if quantized.mode != "integer":
        raise CalibrationError(f"mode must be 'integer' to export, not {quantized.mode!r}")
    network = quantized.network
    features = tuple(Output(each.tensor, each.grid, each.prefix) for each in network.features)
    return Artifact(
        source=source,
        bits=quantized.bits,
        preprocessing=preprocessing,
        operators=_Program(quantized).operators,
        outputs=features or (Output(network.nodes[-1].name),),
    )


class _Program:
    """The operators of a network in execution order."""

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self._quantized = quantized
        self._network = quantized.network
        self._steps = stream_steps(self._network, quantized.stream_absmax)
        self._made: dict[str, Operator] = {}
        emit = {
            nodes.PatchEmbedding: self._patch_embedding,
            nodes.Linear: self._linear,
            nodes.LayerNorm: self._layernorm,
            nodes.Scores: self._scores,
            nodes.ScoreBias: self._score_bias,
            nodes.Softmax: self._softmax,
            nodes.Mix: self._mix,
            nodes.Activation: self._activation,
            nodes.Add: self._residual_add,
            nodes.Embed: self._embed,
            nodes.Gather: self._gather,
            nodes.Pool: self._pool,
        }
        for node in self._network.nodes:
            if not isinstance(node, nodes.Part):  # its linear layer makes it
                emit[type(node)](node)

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(self._made.values())

    def _append(self, kind: type[Operator], node: nodes.Node | str, **fields: Any) -> None:
        """Append an operator for a node, or one of another name."""
        if isinstance(node, nodes.Node):
            fields = {"inputs": node.inputs} | fields
        name = node.name if isinstance(node, nodes.Node) else node
        self._made[name] = kind(name=name, **fields)

    def _site(self, node: nodes.Node, operand: int = 0) -> Any:
        return self._quantized.activation[node.sites[operand]]

    def _reader(self, name: str) -> Quantizer | None:
        """The quantizer that reads a tensor, if one does, moved or in parts or not."""
        for reader in self._network.readers[name]:
            if isinstance(reader, nodes.Gather | nodes.Part):
                return self._reader(reader.name)
            site = reader.sites[reader.inputs.index(name)]
            return self._quantized.activation[site] if site else None
        return None

    def _output(self, name: str) -> tuple[float, int, int]:
        """Step, zero point and width of a tensor of codes or of the residual stream."""
        if name in self._steps:
            return self._steps[name], 0, RESIDUAL_WIDTH
        quantizer = self._reader(name)
        return quantizer.scale.item(), integer_zero(quantizer, name), quantizer.bits

    def _patch_embedding(self, node: nodes.PatchEmbedding) -> None:
        patches = f"{node.name.rpartition('.')[0]}.patches"
        height, width = node.patch
        self._append(
            contract.Patchify,
            patches,
            inputs=node.inputs,
            scale=1.0,
            patch_height=height,
            patch_width=width,
        )
        self._gemm(node, node.name, patches, _PIXEL_CODES)

    def _linear(self, node: nodes.Linear) -> None:
        source, codes = node.inputs[0], self._site(node)
        if source in self._steps:
            source = node.sites[0]
            self._requantize(source, node.inputs[0], codes)
        readers = self._network.readers[node.name]
        if readers and all(isinstance(reader, nodes.Part) for reader in readers):
            for part in readers:
                self._gemm(node, part.name, source, codes, slice(part.start, part.stop))
        else:
            self._gemm(node, node.name, source, codes)

    def _requantize(self, name: str, source: str, codes: UniformQuantizer) -> None:
        scale = codes.scale.item()
        multiplier, shift = factor(self._steps[source] / scale, name)
        self._append(
            contract.Requantize,
            name,
            inputs=(source,),
            scale=scale,
            multiplier=multiplier,
            shift=shift,
            zero=integer_zero(codes, name),
            width=codes.bits,
        )

    def _gemm(
        self,
        layer: nodes.Linear,
        name: str,
        source: str,
        x: UniformQuantizer,
        rows: slice = slice(None),
    ) -> None:
        """One layer or some of its rows."""
        codes, stored = self._quantized.weight[layer.name]
        quantizer = UniformQuantizer(stored.scale[rows], stored.zero[rows], stored.bits)
        real_bias = layer.bias[rows]
        part = channels(codes[rows], quantizer, real_bias, x.scale.item())
        bias = integer_bias(real_bias, part, x, name)
        if self._network.readers[layer.name] or self._network.features:
            step, zero, width = self._output(name)
        else:
            step, zero, width = logit_step(part, bias, x), 0, LOGIT_WIDTH
        multiplier, shift = factors(part.scale * (x.scale.item() / step), name)
        self._append(
            contract.Gemm,
            name,
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

    def _layernorm(self, node: nodes.LayerNorm) -> None:
        scale, zero, width = self._output(node.name)
        gain, offset, shift = layernorm_factors(
            node.gamma.numpy() / scale, node.beta.numpy() / scale + zero, node.name
        )
        step = self._steps[node.inputs[0]]
        self._append(
            contract.LayerNorm,
            node,
            scale=scale,
            gain=gain,
            offset=offset,
            shift=shift,
            epsilon=max(1, round(node.eps * gain.size**2 / step**2)),
            width=width,
        )

    def _scores(self, node: nodes.Scores) -> None:
        query, key = self._site(node, 0), self._site(node, 1)
        part = self._network.by_name[node.inputs[0]]
        head_width = (part.stop - part.start) // node.heads
        octaves = query.scale.item() * key.scale.item() * math.log2(math.e) * head_width**-0.5
        multiplier, shift = factor(octaves * 2**SCORE_FRACTION, node.name)
        self._append(
            attention.Scores,
            node,
            scale=2.0**-SCORE_FRACTION,
            input_width=query.bits,
            windows=node.windows,
            heads=node.heads,
            head_width=head_width,
            query_zero=integer_zero(query, node.inputs[0]),
            multiplier=multiplier,
            shift=shift,
        )

    def _score_bias(self, node: nodes.ScoreBias) -> None:
        steps = torch.round(node.bias.double() * math.log2(math.e) * 2**SCORE_FRACTION)
        limit = np.iinfo(np.int16).max
        if steps.abs().max() > limit:
            raise CalibrationError(
                f"{node.name}: relative position bias must be at most "
                f"{limit * 2.0**-SCORE_FRACTION * math.log(2):.1f}, not {node.bias.abs().max():g}"
            )
        self._append(
            attention.ScoreBias,
            node,
            scale=2.0**-SCORE_FRACTION,
            bias=steps.numpy().astype(np.int16),
            region=node.region.numpy().astype(np.uint8),
        )

    def _softmax(self, node: nodes.Softmax) -> None:
        codes = self._reader(node.name)
        offset = round(math.log2(codes.scale.item()) * 2**SCORE_FRACTION)
        self._append(
            attention.Log2Softmax,
            node,
            # The offset rounds the scale to 2^-8 octaves; the values are weighted with that scale.
            scale=2.0 ** (offset * 2.0**-SCORE_FRACTION),
            log_width=codes.bits,
            base=codes.base,
            offset=offset,
        )

    def _mix(self, node: nodes.Mix) -> None:
        codes, value = self._site(node, 0), self._site(node, 1)
        step, zero, width = self._output(node.name)
        headroom = attention_headroom(zero_code(codes.bits, codes.base), codes.base)
        weight = self._made[node.inputs[0]].scale * value.scale.item() / step * 2.0**-headroom
        even, odd, shift = parity_factors(weight, codes.base, node.name)
        self._append(
            attention.ShiftAttention,
            node,
            scale=step,
            input_width=value.bits,
            windows=node.windows,
            log_width=codes.bits,
            base=codes.base,
            value_zero=integer_zero(value, node.inputs[1]),
            multiplier_even=even,
            multiplier_odd=odd,
            shift=shift,
            zero=zero,
            width=width,
        )

    def _activation(self, node: nodes.Activation) -> None:
        index, codes = self._site(node), self._reader(node.name)
        with torch.no_grad():
            grid = node.function(index.dequantize(torch.arange(1 << GELU_INDEX_WIDTH)))
        self._append(
            contract.GeluTable,
            node,
            scale=codes.scale.item(),
            table=codes.codes(grid).to(torch.uint8).numpy(),
            width=codes.bits,
        )

    def _residual_add(self, node: nodes.Add) -> None:
        step = self._steps[node.name]
        before = self._steps[node.inputs[0]]
        self._append(contract.ResidualAdd, node, scale=step, shift=round(math.log2(step / before)))

    def _embed(self, node: nodes.Embed) -> None:
        step = self._steps[node.name]
        table: Tensor = torch.cat([node.prefix, node.position])
        self._append(
            contract.Embed,
            node,
            scale=step,
            position=residual_codes(table, step),
            prefix=len(node.prefix),
        )

    def _gather(self, node: nodes.Gather) -> None:
        step, _, width = self._output(node.name)
        if width == RESIDUAL_WIDTH:
            fill = residual_codes(node.fill, step)
        else:
            fill = self._reader(node.name).codes(node.fill.float()).numpy().astype(np.int16)
        index = node.index.numpy().astype(np.int32)
        self._append(contract.Gather, node, scale=step, index=index, fill=fill, width=width)

    def _pool(self, node: nodes.Pool) -> None:
        step = self._steps[node.name]
        multiplier, shift = factor(1 / (node.tokens - node.prefix), node.name)
        self._append(
            contract.Pool,
            node,
            scale=step,
            mode=node.mode,
            prefix=node.prefix,
            multiplier=multiplier,
            shift=shift,
        )
