"""The reference page of the units, `docs/units.md`, from their own documentation.

python -m rootshift.hw.reference > docs/units.md
"""

import inspect
import re

from amaranth.lib import wiring

from .accumulator_buffer import AccumulatorBuffer
from .attention_unit import AttentionUnit
from .csr import CsrBank
from .fetch_unit import FetchUnit
from .gelu_table import GeluTable
from .gemm import Gemm
from .gemm_unit import GemmUnit
from .layernorm import LayerNorm
from .layernorm_unit import LayerNormUnit
from .log2_softmax import Log2Softmax
from .log_code_buffer import LogCodeBuffer
from .mean_pool import MeanPool
from .patchify_unit import PatchifyUnit
from .read_arbiter import ReadArbiter
from .read_dma import ReadDma
from .requantizer import Requantizer
from .residual_add import ResidualAdd
from .run_controller import RunController
from .sequencer import Sequencer
from .shift_attention import ShiftAttention
from .store_unit import StoreUnit
from .systolic_array import SystolicArray
from .top import Accelerator
from .weight_unit import WeightUnit
from .word_buffer import WordBuffer
from .write_dma import WriteDma

UNITS: dict[str, tuple[type[wiring.Component], ...]] = {
    "Top": (Accelerator,),
    "Control": (CsrBank, RunController, Sequencer),
    "Memory": (ReadArbiter, ReadDma, WriteDma),
    "Buffers": (WordBuffer, LogCodeBuffer),
    "Units that take commands": (
        FetchUnit,
        PatchifyUnit,
        WeightUnit,
        GemmUnit,
        StoreUnit,
        LayerNormUnit,
        AttentionUnit,
    ),
    "Arithmetic": (
        Gemm,
        SystolicArray,
        AccumulatorBuffer,
        Requantizer,
        LayerNorm,
        Log2Softmax,
        ShiftAttention,
        GeluTable,
        ResidualAdd,
        MeanPool,
    ),
}
"""Chapter -> its units."""

_INTRODUCTION = """\
# Units

Made from the class documentation in `hw/` by `python -m rootshift.hw.reference`; edit it there.

All units have one clock `clk` and a synchronous reset `rst`. Streams are ready/valid: a payload
holds until it is accepted, and `valid` never waits for `ready`. In Verilog a member of a member is
joined by two underscores: the stream `i` is `i__payload`, `i__valid`, `i__ready`. How the units
work together is on the page [accelerator](accelerator.md), what they compute on the page
[numerics](numerics.md).
"""


def markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, contents()]
    for chapter, units in UNITS.items():
        parts += [f"## {chapter}\n", *(section(unit) for unit in units)]
    return "\n".join(parts)


def contents() -> str:
    """The list of chapters and units, with links."""
    lines = []
    for chapter, units in UNITS.items():
        links = ", ".join(f"[{unit.__name__}](#{unit.__name__.lower()})" for unit in units)
        lines.append(f"- {chapter}: {links}\n")
    return "".join(lines)


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
    return f"### {unit.__name__}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
