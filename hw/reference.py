"""The reference page of the units, `docs/units.md`, from their own documentation.

python -m rootshift.hw.reference > docs/units.md
"""

import inspect
import re

from amaranth.lib import wiring

from .accumulator_buffer import AccumulatorBuffer
from .csr import CsrBank
from .gelu_table import GeluTable
from .gemm import Gemm
from .layernorm import LayerNorm
from .log2_softmax import Log2Softmax
from .read_dma import ReadDma
from .requantizer import Requantizer
from .residual_add import ResidualAdd
from .shift_attention import ShiftAttention
from .systolic_array import SystolicArray
from .write_dma import WriteDma

UNITS: tuple[type[wiring.Component], ...] = (
    SystolicArray,
    AccumulatorBuffer,
    Requantizer,
    Gemm,
    LayerNorm,
    Log2Softmax,
    ShiftAttention,
    GeluTable,
    ResidualAdd,
    ReadDma,
    WriteDma,
    CsrBank,
)

_INTRODUCTION = """\
# Units

Made from the class documentation in `hw/` by `python -m rootshift.hw.reference`; edit it there.

All units have one clock `clk` and a synchronous reset `rst`. Streams are ready/valid: a payload
holds until it is accepted, and `valid` never waits for `ready`. In Verilog a member of a member is
joined by two underscores: the stream `i` is `i__payload`, `i__valid`, `i__ready`. What each unit
computes is on the page [numerics](numerics.md).
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(section(unit) for unit in UNITS)])


def section(unit: type[wiring.Component]) -> str:
    """One unit: its docstring, the headings as bold lines and the lists as lists."""
    lines = []
    text = (inspect.getdoc(unit) or "").split("\n")
    for line, following in zip(text, [*text[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", following):
            lines.append(f"**{line}**\n")
        elif entry := re.fullmatch(r"(\w[\w, ]*) : (.+)", line):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif not re.fullmatch(r"-{3,}", line):
            lines.append(re.sub(r"^    ", "  ", line))
    return f"## {unit.__name__}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
