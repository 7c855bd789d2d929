"""Lowers attention: scores, softmax and values, head by head."""

from itertools import product

import numpy as np

from ...buffers import CodeTensor
from ...errors import ProgramError
from ...formats import SCORE_WIDTH, code_max
from ...isa import Destination, Mode
from .graph import Attention
from .packing import Columns, pack_parameters
from .products import Products


def lower_attention(products: Products, step: Attention, image: int) -> None:
    """Head after head of image after image, from `image` on: the scores of a head run while the
    values before are mixed."""
    config, emitter, scores, mixing = products.config, products.emitter, step.scores, step.attention
    query, key = (products.plan.tensors[name] for name in scores.inputs)
    value, mixed = products.plan.tensors[mixing.inputs[1]], products.plan.tensors[mixing.name]
    stride, heads, rows = query.tokens, scores.heads, config.rows
    tokens = stride // products.batch
    score_tiles, tiles = query.tiles // heads, value.tiles // heads
    width = products.artifact.shapes()[mixing.name][1] // heads
    groups = -(-tokens // config.cols)
    for tensor in (query, key):
        if products.surplus(tensor):
            raise ProgramError(
                f"{scores.name}: input {tensor.name} must have 0 in its fill channels, "
                "so it cannot come from a table"
            )

    def parameters() -> bytes:
        columns = Columns(
            weight_zero=np.full(config.cols, scores.query_zero, np.int64),
            bias=np.zeros(config.cols, np.int64),
            multiplier=np.full(config.cols, scores.multiplier, np.int64),
            shift=scores.shift,
            width=SCORE_WIDTH,
            zero=0,
        )
        return pack_parameters(columns, config.cols, emitter.beat).tobytes()

    def head_base(tensor: CodeTensor, number: int, head: int) -> int:
        return products.base[tensor.name] + head * (tensor.words // heads) + number * tokens

    for number, head in product(range(products.batch), range(heads)):
        q, k, v, o = (head_base(tensor, number, head) for tensor in (query, key, value, mixed))
        emitter.fetch(f"{scores.name}.parameters", parameters, Destination.WEIGHTS)
        shape = {"groups": groups, "tiles": score_tiles, "stride": stride, "shared": 1}
        event = emitter.command("WEIGHTS", {"buffer": 1, "base": q, "channels": tokens} | shape)
        event = emitter.command("GEMM", {"base": k, "tokens": tokens} | shape, fed_by=event)
        event = emitter.command(
            "STORE",
            {
                "mode": Mode.SCORES,
                "tokens": tokens,
                "groups": groups,
                "chunks": groups * config.cols // config.lanes,
                "log2_scale": step.softmax.offset,
            },
            fed_by=event,
            operators=(scores.name, step.softmax.name),
            image=image + number,
            head=head,
        )
        emitter.command(
            "ATTENTION",
            {
                "base": v,
                "stride": stride,
                "keys": tokens,
                "queries": tokens,
                "tiles": tiles,
                "last": width - (tiles - 1) * rows,
                "out": o,
                "value_zero": mixing.value_zero,
                "zero": mixing.zero,
                "multiplier_even": mixing.multiplier_even,
                "multiplier_odd": mixing.multiplier_odd,
                "shift": mixing.shift,
                "high": code_max(mixing.width),
            },
            fed_by=event,
            operators=(mixing.name,),
            image=image + number,
            channels=mixed.channels[head * tiles * rows : (head + 1) * tiles * rows],
            head=head,
        )
