"""The terms of the word buffers' area."""

from math import log2

from ... import latency
from ...config import CODE_BANKS, AcceleratorConfig
from ...formats import RESIDUAL_WIDTH
from ...isa import WORD_ADDRESS_WIDTH
from .memory import Mapping, Memory, chosen_by, mapped
from .structure import bits, plain_queue
from .terms import Terms


def _word_buffer(
    depth: int,
    width: int,
    parts: int,
    banks: int,
    readers: int,
    writers: int,
    stages: int,
    parity: bool,
    family: str,
) -> Terms:
    rows = -(-depth // banks)
    kept = width + parity * parts
    bank = _bank(rows, kept, parts, stages, family)
    # Of a reader's addresses and of its words.
    waiting, _ = plain_queue(latency.words_waiting(stages), WORD_ADDRESS_WIDTH + width, family)
    # Addresses of readers and of writes beside the depth, where that is more than to look at bits.
    beyond = (readers + 1) * bool(depth & (depth - 1)) * (family == "ecp5")
    # The two registers of writes, and those of the reads that have their turn.
    late = WORD_ADDRESS_WIDTH + width + parts + 1
    late += bits(rows) + kept + banks * (parts + 1 + bits(rows))
    # Of what is written and of what each reader is given, and the addresses of these.
    late += parity * (readers * stages + 1) * WORD_ADDRESS_WIDTH
    parities = parity * ((readers + 1) * kept / 3 + readers * WORD_ADDRESS_WIDTH)
    return Terms(
        (
            readers * waiting.lut + banks * bank.lut + beyond * WORD_ADDRESS_WIDTH + parities,
            1,
            readers * width * (banks > 1),
            width,
        ),
        (late + banks * bank.ff + readers * (10 + bits(banks)), 1),
        block_ram=banks * bank.block_ram,
        # The registers of `pipeline_stages` cut the way from the memory.
        delay=(1.0, 1 / stages, log2(1 + bank.lut / width)),
    )


def _bank(rows: int, width: int, parts: int, stages: int, family: str) -> Mapping:
    """A `WordBank`: from two stages on in blocks, with a register behind each."""
    cut = latency.block_words(width // parts) if stages > 1 else rows
    blocks = [
        mapped(Memory(min(cut, rows - first), width, parts=parts, unrelated=True), family)
        for first in range(0, rows, cut)
    ]
    behind = len(blocks) * (stages > 1) + (stages > 2)
    return Mapping(
        "block",
        block_ram=sum(block.block_ram for block in blocks),
        lut=sum(block.lut for block in blocks) + width * chosen_by(len(blocks), family),
        ff=sum(block.ff for block in blocks) + width * behind,
    )


def code_buffer(config: AcceleratorConfig, family: str) -> Terms:
    """Of the code buffer."""
    width = config.rows * config.activation_width
    parts = config.rows // config.lanes
    stages = config.pipeline_stages
    return _word_buffer(
        config.code_depth, width, parts, CODE_BANKS, 3, 4, stages, config.buffer_parity, family
    )


def residual_buffer(config: AcceleratorConfig, family: str) -> Terms:
    """Of the residual buffer."""
    width, stages = config.lanes * RESIDUAL_WIDTH, config.pipeline_stages
    return _word_buffer(
        config.residual_depth, width, 1, 1, 2, 1, stages, config.buffer_parity, family
    )
