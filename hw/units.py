"""The units of one accelerator, sized by its configuration."""

from amaranth.lib import wiring

from ..config import AcceleratorConfig
from ..formats import CODE_WIDTHS
from .gelu_table import GeluTable
from .gemm import Gemm
from .layernorm import LayerNorm
from .log2_softmax import Log2Softmax
from .residual_add import ResidualAdd
from .shift_attention import ShiftAttention


def units(config: AcceleratorConfig) -> dict[str, wiring.Component]:
    """Name -> component of every unit that a model needs.

    `gemm` holds the systolic array, the accumulator buffer and the requantizer; pixels and weights
    of the patch embedding, which have 8 bits, enter a narrower array as digits. In scores the
    queries are the stationary operand: its weights are as wide as the wider of both codes, and
    softmax and shift attention have a lane or a row for each of its columns.
    """
    weight_width = max(config.activation_width, config.weight_width)
    widest = CODE_WIDTHS[-1]
    gemm = Gemm(
        rows=config.rows,
        cols=config.cols,
        activation_width=config.activation_width,
        weight_width=weight_width,
        activation_digits=-(-widest // config.activation_width),
        weight_digits=-(-widest // weight_width),
        depth=config.token_depth,
        k_max=config.channel_depth,
        groups=-(-config.channel_depth // config.cols),
    )
    return {
        "gemm": gemm,
        "layernorm": LayerNorm(
            lanes=config.lanes,
            depth=config.embedding_depth,
            code_width=config.activation_width,
        ),
        "log2_softmax": Log2Softmax(
            lanes=config.cols,
            depth=config.token_depth,
            code_width=config.log_width,
            base=config.base,
        ),
        "shift_attention": ShiftAttention(
            rows=config.cols,
            cols=config.rows,
            code_width=config.log_width,
            value_width=config.activation_width,
            depth=config.token_depth,
            base=config.base,
            # Two rows side by side drain faster than a tile of DeiT's 197 keys enters.
            drains=min(2, config.cols),
        ),
        "gelu_table": GeluTable(lanes=config.lanes, code_width=config.activation_width),
        "residual_add": ResidualAdd(lanes=config.lanes),
    }
