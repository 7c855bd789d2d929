"""The terms of each unit's area, from what it is made of.

A unit's LUTs and flip-flops are `known + sum(factor * term)`: the first entry of its terms is
known, the factors of the others are fitted to synthesis runs, none below zero.
"""

from math import log2

from ... import latency
from ...config import AcceleratorConfig
from ...formats import (
    ACCUMULATOR_WIDTH,
    CHANNEL_BYTES,
    GELU_INDEX_WIDTH,
    MULTIPLIER_WIDTH,
    NORM_CHANNEL_BYTES,
    NORM_WIDTH,
    RESIDUAL_WIDTH,
    ROOT_WIDTH,
    SCORE_WIDTH,
    ZERO_WIDTH,
    psum_width,
)
from ...isa import CHECK_WIDTH, WORD_ADDRESS_WIDTH
from .memory import Memory, mapped
from .structure import Sizes, bits, delayed, gearbox, multiplier, plain_queue, product, queue
from .terms import Terms, Unit
from .word_buffers import code_buffer, residual_buffer

FAMILIES = ("ecp5", "xc7", "xcup")
FITTED = {"ecp5": "ecp5", "xc7": "xc7", "xcup": "xc7"}
"""Family -> that whose runs its factors come from: UltraScale+ has the LUTs of 7-series."""

RECIPROCAL_WIDTH = ROOT_WIDTH + 1
"""Of the reciprocal root, as it is multiplied by."""


def _fetch(config: AcceleratorConfig, family: str) -> Terms:
    return Terms((0, 1, config.bus_width), (0, 1, config.bus_width))


def _arbiter(config: AcceleratorConfig, family: str) -> Terms:
    width = config.bus_width + 3
    memory, counters = queue(latency.BUS_READ_ROOM + 1, width, family)
    # What is written late is the same for all queues.
    shared = 2 * width if family == "ecp5" and memory.kind == "block" else 0
    return Terms(
        (3 * memory.lut, 1, 3 * memory.around, config.bus_width),
        (3 * (memory.ff + counters) - shared, 1),
        block_ram=3 * memory.block_ram,
    )


def _patchify(config: AcceleratorConfig, family: str) -> Terms:
    beat = config.bus_width // 8
    rows, chunk = config.rows, min(beat, config.rows)
    digits, _ = plain_queue(2, WORD_ADDRESS_WIDTH + rows * config.activation_width, family)
    return Terms(
        (digits.lut, 1, config.bus_width, 8 * chunk * bits(beat), 8 * rows),
        (digits.ff + 16 * rows, 1, config.bus_width),
        delay=(1.0, log2(config.bus_width)),
    )


def _weights(config: AcceleratorConfig, family: str) -> Terms:
    beat = config.bus_width // 8
    column = -(-config.rows * config.stationary_width // 8)
    records, columns = gearbox(beat, CHANNEL_BYTES), gearbox(beat, column)
    codes = config.rows * config.stationary_width
    return Terms(
        (0, 1, records[1] + columns[1], codes),
        (records[0] + columns[0], 1, bits(config.cols), log2(beat)),
    )


def _vectors(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    width = sizes.address + sizes.digit_bits + 6
    memory, _ = queue(latency.words_waiting(config.pipeline_stages) + 1, width, family)
    return Terms((memory.lut, 1, width), (memory.ff, 1, width))


def _array(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    rows, cols = config.rows, config.cols
    codes, weights = config.activation_width, config.stationary_width
    narrow, wide = min(codes, weights), max(codes, weights)
    sums = [psum_width(row, codes, weights) for row in range(1, rows + 1)]
    code_sums = [psum_width(row, codes) for row in range(1, rows + 1)]
    tag = sizes.address + sizes.digit_bits + 4
    stages = rows + cols
    kind = config.array_multiplier
    step, wanted = latency.array_block(kind, rows, cols, codes, weights), kind == "dsp"
    blocks = [min(step, cols - first) for first in range(0, cols, step)]
    # Cells of LUTs, DSP blocks, bits of adders and registers outside those, bits of weights.
    cells = dsp = added = held = 0
    for width in blocks:
        apart = (width - 1) * sums[-1]
        made = wanted * multiplier(apart + weights, codes, family, signed=False)
        dsp += rows * made
        cells += rows * width * (not made)
        # On 7-series a block takes in the adder and its register, and an operand's where the
        # weight is the whole of it.
        packed = made > 0 and family == "xc7"
        if made and family == "ecp5" and (over := apart + weights - 18) > 0:
            # The products of both parts are added; of a single bit the part is no block's.
            added += rows * (over + codes + codes * (over == 1))
        held += rows * weights * (2 * width - (packed and width == 1))
        if not packed:
            added += apart * (rows - 1) + sum(sums[1:])
            held += apart * (rows - 1) + sum(sums[:-1])
    packed = dsp > 0 and family == "xc7"
    # What is only delayed: codes on their way in, sums on their way out with their last register
    # where they have one outside of a block, and what goes along.
    skew = [delayed(row - packed, family) for row in range(1, rows + 1)]
    columns = (cols - col // step for col in range(cols))
    deskew = [delayed(column - packed, family) for column in columns]
    along, late = delayed(stages, family), delayed(cols - len(blocks) + 1, family)
    shift_lut = codes * sum(lut for lut, _ in skew) + sums[-1] * sum(lut for lut, _ in deskew)
    shift_ff = codes * sum(ff for _, ff in skew) + sums[-1] * sum(ff for _, ff in deskew)
    held += sum(code_sums[:-1]) + code_sums[-1] * late[1]
    held += rows * codes * (len(blocks) - 1 + packed)
    return Terms(
        (
            shift_lut + tag * along[0] + code_sums[-1] * late[0],
            added + sum(code_sums[1:]),
            cells * (narrow - 2) * wide,
            cells * wide,
            cells,
            stages,
        ),
        (held + shift_ff + tag * along[1] + 2 * stages, 1, rows * codes * packed),
        dsp=dsp,
        delay=(1.0, wide * (cells > 0), float(dsp > 0)),
    )


def _accumulators(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    cols = config.cols
    activations, weights = sizes.digits
    word = cols * sizes.total + sizes.code_total
    memory = mapped(Memory(config.token_depth, word, transparent=True), family)
    # Bits of a sum that its digits can move it to.
    moved = sizes.psum + (activations - 1) * config.activation_width
    moved = min(moved + (weights - 1) * config.stationary_width, sizes.total)
    code_moved = min(sizes.code_sum + (activations - 1) * config.activation_width, sizes.code_total)
    late = cols * moved + code_moved
    again = config.pipeline_stages > 1
    return Terms(
        (
            memory.lut,
            word,
            cols * moved * (activations > 1),
            cols * moved * (weights > 1),
        ),
        (memory.ff + (late + word) * (1 + again) + 2 * sizes.address + 7, 1),
        block_ram=memory.block_ram,
        delay=(1.0, 1 / config.pipeline_stages),
    )


def _total_queue(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    tag = sizes.address + 2
    width = config.cols * sizes.total + sizes.code_total + tag
    array, stages = (config.rows, config.cols), config.pipeline_stages
    depth = latency.totals_waiting(*array, sizes.parts, config.token_depth, stages)
    memory, counters = queue(depth, width, family)
    totals, select = config.cols * sizes.total, bits(sizes.parts)
    if family == "ecp5":
        choose: tuple[float, ...] = (totals, totals * select)
    else:
        # A LUT of six inputs has the number of the part and what is left for totals.
        more = max(sizes.parts - (6 - select), 0)
        choose = (config.lanes * sizes.total * (1 + -(-more // max(5 - select, 1))),)
    return Terms(
        (memory.lut, 1, *choose),
        (memory.ff + counters + bits(sizes.parts), 1),
        block_ram=memory.block_ram,
        delay=(1.0, sizes.parts),
    )


def _requantizer(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    lanes, groups = config.lanes, 2 * sizes.parts
    memory = mapped(Memory(groups, 8 * CHANNEL_BYTES), family)
    sent = sizes.address + bits(groups) + 1
    along = delayed(6, family)
    blocks = product(sizes.code_total, ZERO_WIDTH, family, signed=False)
    blocks += product(ACCUMULATOR_WIDTH, MULTIPLIER_WIDTH, family)
    return Terms(
        (
            lanes * memory.lut + sent * along[0],
            1,
            lanes,
            lanes * memory.around,
            lanes * sizes.total,
        ),
        (lanes * (memory.ff + sizes.total) + sent * along[1] + sizes.code_total, 1, lanes),
        dsp=lanes * blocks,
        block_ram=lanes * memory.block_ram,
    )


def _store(config: AcceleratorConfig, family: str) -> Terms:
    lanes, beat = config.lanes, config.bus_width // 8
    table = mapped(Memory(1 << GELU_INDEX_WIDTH, config.activation_width, reads=lanes), family)
    branches, _ = plain_queue(8, lanes * RESIDUAL_WIDTH, family)
    words = gearbox(beat, 2 * lanes)
    logits = gearbox(4 * lanes, beat)
    sent, _ = plain_queue(2, 8 * beat, family)
    entries = gearbox(beat, 1)
    scores = (config.cols - lanes) * SCORE_WIDTH
    kept = words[0] + logits[0] + entries[0]
    moved = words[1] + logits[1] + entries[1]
    return Terms(
        (
            table.lut + branches.lut + sent.lut,
            1,
            moved,
            lanes,
            config.rows * config.activation_width,
        ),
        (table.ff + scores + kept + lanes * config.activation_width, 1, lanes, log2(beat)),
        block_ram=table.block_ram,
        delay=(1.0, log2(config.bus_width)),
    )


def _layernorm(config: AcceleratorConfig, family: str) -> Terms:
    lanes, depth, beat = config.lanes, config.embedding_depth, config.bus_width // 8
    room = latency.norm_room(depth, lanes, config.pipeline_stages)
    rows, counters = queue(room, lanes * RESIDUAL_WIDTH, family)
    words = -(-depth // lanes)
    storage = mapped(Memory(words, 8 * NORM_CHANNEL_BYTES * lanes, unrelated=True), family)
    load = gearbox(beat, NORM_CHANNEL_BYTES * lanes)
    channels = depth.bit_length()
    total = (depth << (RESIDUAL_WIDTH - 1)).bit_length() + 1
    squares = (depth << (2 * RESIDUAL_WIDTH - 2)).bit_length()
    largest = (depth * depth << (2 * RESIDUAL_WIDTH - 2)) + (1 << 40)
    variance = 2 * -(-largest.bit_length() // 2)
    numbers, _ = plain_queue(2, total + RECIPROCAL_WIDTH + bits(variance // 2 + 1), family)
    difference = max(RESIDUAL_WIDTH + channels, total) + 1
    lane = product(RESIDUAL_WIDTH, RESIDUAL_WIDTH, family)
    lane += product(RESIDUAL_WIDTH, channels, family)
    lane += product(difference, RECIPROCAL_WIDTH, family)
    lane += product(NORM_WIDTH, 16, family)
    held = _tree(lanes, RESIDUAL_WIDTH) + _tree(lanes, 2 * RESIDUAL_WIDTH - 1)
    held += lanes * 2 * config.activation_width
    # Sums of parts, and products, which a DSP block of 7-series takes in; on UltraScale+ Yosys
    # leaves them outside.
    held += lanes * (difference + RECIPROCAL_WIDTH)
    if family != "xc7":
        held += lanes * (RESIDUAL_WIDTH + channels + difference)
    row = product(total, total, family, kept=variance) + product(
        squares, channels, family, signed=False
    )
    # 7-series: of what is read from LUTs the gain has its register in a DSP block, the offset in a
    # shift register.
    kept = storage.ff if family != "xc7" or storage.kind == "block" else 0
    return Terms(
        (
            rows.lut + storage.lut + numbers.lut,
            1,
            load[1],
            lanes * (difference + config.activation_width),
            rows.around,
            config.rows * config.activation_width,
        ),
        (rows.ff + kept + counters + load[0] + held, 1, lanes),
        dsp=lanes * lane + row,
        block_ram=rows.block_ram + storage.block_ram,
        delay=(1.0, variance),
    )


def _tree(count: int, width: int) -> int:
    """Register bits of an adder tree."""
    held = 0
    while count > 1:
        count, width = -(-count // latency.SUM_FAN_IN), width + bits(latency.SUM_FAN_IN)
        held += count * width
    return held


def _softmax(config: AcceleratorConfig, family: str) -> Terms:
    lanes, depth = config.cols, config.token_depth
    scores, counters = queue(depth + latency.SOFTMAX_SLACK, lanes * SCORE_WIDTH + 1, family)
    constants, _ = plain_queue(4, lanes * (SCORE_WIDTH + 1), family)
    sums = (depth << 16).bit_length()
    tables = 2 * -(-lanes // 2)
    return Terms(
        (
            scores.lut + constants.lut,
            1,
            lanes,
            lanes * sums,
            lanes * config.log_width,
            scores.around,
        ),
        (scores.ff + constants.ff + counters + lanes * (2 * sums + config.log_width), 1, lanes),
        block_ram=tables + scores.block_ram,
    )


def _attention(config: AcceleratorConfig, family: str) -> Terms:
    sizes = Sizes(config)
    queries, channels = config.cols, config.rows
    word = channels * sizes.bucket + sizes.count
    banks = mapped(Memory(sizes.zero + 1, word, sync=False), family)
    # Bits that are read where they are written: LUTs with one address do.
    single = family != "ecp5" and sizes.zero + 1 > 32
    occurred = 1 if single else mapped(Memory(sizes.zero + 1, 1, sync=False), family).lut
    kept = mapped(Memory(2 * config.token_depth, queries * config.log_width), family)
    sums, counts = sizes.bucket + sizes.headroom, sizes.count + sizes.headroom
    lanes, span = sizes.drain_lanes, sizes.drain_lanes * sizes.drain_groups
    difference = max(sums + 1, counts + ZERO_WIDTH) + 1
    blocks = product(counts, ZERO_WIDTH, family, signed=False)
    blocks += lanes * product(difference, MULTIPLIER_WIDTH, family)
    group = bits(sizes.drain_groups) if lanes & (lanes - 1) else 0
    constant = multiplier(group, bits(lanes + 1), family, signed=False) if group else 0
    horner = sizes.drains * (channels * sums + counts)
    # Of buckets: codes and addresses, values, words; of drains: sums, results that wait, codes.
    held = queries * (config.log_width + 2 * (1 + bits(sizes.zero + 1)))
    held += channels * config.activation_width + sizes.drains * word + horner * sizes.parities
    waiting = sizes.parities * sizes.drains * (span * sums + counts)
    held += waiting + lanes * sizes.parities * sums + span * (config.activation_width + 1)
    return Terms(
        (
            kept.lut + 2 * queries * (banks.lut + occurred),
            1,
            queries * word,
            # What gives the buckets a choice of zero takes a LUT of its own where it has 4 inputs.
            horner * (2 if family == "ecp5" else 1) + waiting,
            lanes * (2 + sizes.parities) * difference,
        ),
        (kept.ff + held, 1, lanes * sizes.parities, lanes * sizes.parities * difference),
        dsp=sizes.parities * blocks + constant,
        block_ram=kept.block_ram,
        delay=(1.0, bits(sizes.zero + 1)),
    )


def _sequencer(config: AcceleratorConfig, family: str) -> Terms:
    beats, counters = queue(512 // (config.bus_width // 8) + 1, config.bus_width, family)
    # Each bit of the CRC is the parity of half of a beat's bits and of the check before.
    check = config.program_crc * CHECK_WIDTH
    return Terms(
        (beats.lut + check * (config.bus_width + CHECK_WIDTH) / 2 / 3, 1, config.bus_width),
        (beats.ff + counters + 2 * check, 1, config.bus_width),
        block_ram=beats.block_ram,
    )


def _constant(config: AcceleratorConfig, family: str) -> Terms:
    return Terms((0, 1), (0, 1))


ARRAY = ("rows", "cols", "activation_width", "weight_width", "token_depth")
STAGES = "pipeline_stages"
UNITS = {
    "fetch": Unit(("bus_width",), _fetch),
    "patchify": Unit(("rows", "activation_width", "bus_width"), _patchify),
    "weights": Unit(
        ("rows", "cols", "lanes", "activation_width", "weight_width", "bus_width"), _weights
    ),
    "gemm (vectors)": Unit((*ARRAY, STAGES), _vectors),
    "array": Unit((*ARRAY, "array_multiplier"), _array),
    "accumulators": Unit((*ARRAY, "channel_depth", STAGES), _accumulators),
    "total queue": Unit((*ARRAY, "channel_depth", "lanes", STAGES), _total_queue),
    "requantizer": Unit((*ARRAY, "channel_depth", "lanes"), _requantizer),
    "store": Unit(("cols", "rows", "lanes", "activation_width", "bus_width"), _store),
    "layernorm": Unit(
        ("rows", "lanes", "embedding_depth", "activation_width", "bus_width", STAGES), _layernorm
    ),
    "log2 softmax": Unit(("cols", "token_depth", "log_width", "base"), _softmax),
    "attention": Unit(
        ("rows", "cols", "log_width", "activation_width", "token_depth", "base"), _attention
    ),
    "code buffer": Unit(
        ("rows", "lanes", "activation_width", "code_depth", "buffer_parity", STAGES), code_buffer
    ),
    "residual buffer": Unit(("lanes", "residual_depth", "buffer_parity", STAGES), residual_buffer),
    "sequencer": Unit(("bus_width", "program_crc"), _sequencer),
    "controller": Unit((), _constant),
    "CSR": Unit((), _constant),
    "read arbiter": Unit(("bus_width",), _arbiter),
    "write DMA": Unit(("bus_width",), _fetch),
}
