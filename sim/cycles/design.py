"""What the cycle model knows of the accelerator: instruction set, sizes and latencies."""

import ctypes as c

from ... import isa, latency
from ...config import CODE_BANKS, AcceleratorConfig
from ...formats import (
    CHANNEL_BYTES,
    GELU_INDEX_WIDTH,
    MULTIPLIER_WIDTH,
    NORM_CHANNEL_BYTES,
    RESIDUAL_WIDTH,
    zero_code,
)
from ...program import LOGIT_BYTES


def isa_flags() -> list[str]:
    """Definitions that `isa.h` takes: operands with their places, and by name the numbers that are
    the same in every accelerator."""
    operands, bit = [], isa.OPCODE_WIDTH
    for number in range(isa.WAITS):
        operands.append(f"OPERAND(WAIT_UNIT_{number},{bit},{isa.UNIT_WIDTH},0)")
        bit += isa.UNIT_WIDTH
        operands.append(f"OPERAND(WAIT_COUNT_{number},{bit},{isa.COUNT_WIDTH},0)")
        bit += isa.COUNT_WIDTH
    for instruction in isa.INSTRUCTIONS:
        for name, (place, operand) in instruction.places.items():
            where = f"{instruction.name}_{name.upper()},{place},{operand.width}"
            operands.append(f"OPERAND({where},{int(operand.signed)})")
    numbers = {
        "OPCODE_BITS": isa.OPCODE_WIDTH,
        "COMMAND_BYTES": isa.COMMAND_BYTES,
        "UNITS": len(isa.Unit),
        "TABLE_ENTRIES": 1 << GELU_INDEX_WIDTH,
        "MULTIPLIER_BITS": MULTIPLIER_WIDTH,
        "CODE_BANKS": CODE_BANKS,
        "CHANNEL_BYTES": CHANNEL_BYTES,
        "NORM_CHANNEL_BYTES": NORM_CHANNEL_BYTES,
        "RESIDUAL_BYTES": RESIDUAL_WIDTH // 8,
        "LOGIT_BYTES": LOGIT_BYTES,
    }
    numbers |= {f"UNIT_{unit.name}": unit.value for unit in isa.Unit}
    numbers |= {f"OP_{each.name}": each.opcode for each in isa.INSTRUCTIONS}
    numbers |= {f"MODE_{mode.name}": mode.value for mode in isa.Mode}
    numbers |= {f"TO_{to.name}": to.value for to in isa.Destination}
    units = {
        each.opcode: isa.NO_UNIT if each.unit is None else each.unit.value
        for each in isa.INSTRUCTIONS
    }
    return [
        "-DISA_OPERANDS=" + " ".join(operands),
        "-DISA_NUMBERS=" + " ".join(f"NUMBER({name},{value})" for name, value in numbers.items()),
        "-DISA_UNIT_OF="
        + ",".join(str(units.get(opcode, isa.NO_UNIT)) for opcode in range(max(units) + 1)),
    ]


def design(config: AcceleratorConfig) -> dict[str, int]:
    """Sizes and cycles that the model counts with, by the names of `Design` in `design.h`."""
    lanes, bus_bytes = config.lanes, config.bus_width // 8
    section = -(-CHANNEL_BYTES * (config.cols + 1) // bus_bytes)
    zero = zero_code(config.log_width, config.base)
    drains = latency.drains(config.cols)
    root_steps, quotient_steps = latency.root_steps()
    stages = config.pipeline_stages
    requantizer, norm_codes = latency.requantizer(stages), latency.norm_codes(stages)
    drain_groups = -(-config.rows // latency.drain_lanes(config.rows, drains, zero))
    parts = config.cols // lanes
    piece_beats = latency.PIECE_BYTES // bus_bytes
    piece_commands = latency.PIECE_BYTES // isa.COMMAND_BYTES
    return {
        "rows": config.rows,
        "cols": config.cols,
        "lanes": lanes,
        "bus_bytes": bus_bytes,
        "column_bytes": -(-config.rows * config.stationary_width // 8),
        "section_beats": section,
        "section_records": section * bus_bytes // CHANNEL_BYTES,
        "zero": zero,
        "burst_beats": latency.BURST,
        "read_bursts": latency.BUS_READ_BURSTS,
        "reader_bursts": latency.READER_BURSTS,
        "write_bursts": latency.WRITER_BURSTS,
        "piece_beats": piece_beats,
        "beats_ahead": latency.PIECES_AHEAD * piece_beats,
        "piece_commands": piece_commands,
        "commands_ahead": latency.PIECES_AHEAD * piece_commands,
        "command_queue": latency.COMMAND_QUEUE,
        "reset_end": latency.START_TO_RUN,
        "interrupt": latency.DONE_TO_INTERRUPT,
        "done": latency.DONE_TO_COUNT,
        "word": latency.word_buffer(stages),
        "address": latency.CREDIT_QUEUE,
        "words_waiting": latency.words_waiting(stages),
        "totals": latency.totals(config.rows, config.cols, stages),
        "totals_waiting": latency.totals_waiting(
            config.rows, config.cols, parts, config.token_depth, stages
        ),
        "requantizer": requantizer,
        "outputs_waiting": latency.credits_needed(requantizer),
        "residual": latency.word_buffer(stages) + latency.RESIDUAL_ADD,
        "norm_statistics": latency.norm_statistics(lanes, stages),
        "norm_rows_waiting": latency.norm_rows_waiting(lanes, stages),
        "root_steps": root_steps,
        "quotient_steps": quotient_steps,
        "norm_codes": norm_codes,
        "norm_waiting": latency.credits_needed(norm_codes),
        "norm_room": latency.norm_room(config.embedding_depth, lanes, stages),
        "score_places": config.token_depth + latency.SOFTMAX_SLACK,
        "constants": latency.SOFTMAX_CONSTANTS,
        "softmax_sum": latency.SOFTMAX_SUM,
        "softmax_code": latency.SOFTMAX_CODE,
        "log_codes": latency.LOG_CODES,
        "drains": drains,
        "drain_groups": drain_groups,
        "bucket_word": latency.BUCKET_WORD,
        "drain_results": latency.DRAIN_RESULTS,
        "row": drain_groups - 1 + latency.drain_row(stages),
        "rows_waiting": latency.rows_waiting(drain_groups, stages),
    }


def design_layout(config: AcceleratorConfig) -> c.Structure:
    """`design` as the library takes it."""
    values = design(config)
    layout = type("DesignLayout", (c.Structure,), {"_fields_": [(n, c.c_int64) for n in values]})
    return layout(**values)


def design_flag() -> str:
    """The definition of `Design`'s fields, in the order in which they are handed over."""
    return "-DDESIGN_FIELDS=" + " ".join(f"FIELD({name})" for name in design(AcceleratorConfig()))
