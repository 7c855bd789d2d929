"""Cycles and places of the accelerator's parts: the hardware is made with them, and the cycle model
counts with them.

A latency is the cycles from the acceptance of a beat to the cycle in which what comes of it is
offered, where nothing waits. `docs/accelerator.md` says what the parts do.
"""

from .formats import QUOTIENT_WIDTH, ROOT_WIDTH, psum_width

# Memory bus.
BURST = 16
"""Most beats of a burst."""
BUS_READ_BURSTS = 8
"""Most bursts that the read arbiter has on the bus, of all readers."""
READER_BURSTS = 4
"""Most bursts that one reader has asked for and not taken whole."""
BUS_READ_ROOM = READER_BURSTS * BURST
"""Beats that the read arbiter keeps for each reader: all that one may have asked for."""
WRITER_BURSTS = 4
"""Most bursts that the writer has begun and that are not yet answered."""

# Control.
RESET_CYCLES = 2
"""Cycles of the reset with which a run begins."""
START_TO_RUN = RESET_CYCLES + 1
"""From the start strobe to the first cycle of the run."""
PIECE_BYTES = 256
"""Bytes of the program that the sequencer asks for at a time."""
PIECES_AHEAD = 2
"""Pieces that are asked for and not passed on to the units' queues, at most."""
COMMAND_QUEUE = 4
"""Commands that wait for each unit."""
DONE_TO_INTERRUPT = 2
"""From the first cycle in which nothing is at work any more to the interrupt."""

DONE_TO_COUNT = 1
"""From a unit's last cycle with a command to where the sequencer sees it done."""

# Products.
DSP_OPERAND = 24
"""Bits of the wider operand of a DSP block, without its sign; its adder has twice as many."""
TOTAL_QUEUE = 2
"""From totals to their first part, where no others wait."""
CREDIT_QUEUE = 1
"""From the end of a pipeline to the offer by the queue behind it."""
RESIDUAL_ADD = 2
"""From a word of the residual buffer and a branch to their sum."""

# Softmax.
SOFTMAX_SUM = 9 + CREDIT_QUEUE
"""From a row's last key to the offer of its constant, by a queue."""
SOFTMAX_CODE = 2
"""From a key whose row has its constant to its code."""
SOFTMAX = SOFTMAX_SUM + SOFTMAX_CODE
"""From a row's last key to its first code."""
SOFTMAX_SLACK = 16
"""Keys that may enter beyond the row that is leaving: the latency, and room for uneven arrival."""
SOFTMAX_CONSTANTS = SOFTMAX_SUM + 1
"""Rows whose constants are on their way or wait: even rows of one key keep up."""

# Shift attention.
LOG_CODES = 2
"""From the look at kept log codes to a key's."""
BUCKET_WORD = 2
"""From the look at a bucket to its word."""
BUCKETS = 1 + BUCKET_WORD
"""From a tile's last key to the first bucket: the key fills the bank."""
DRAIN_RESULTS = 1
"""From a row's last bucket to its results in registers."""

# LayerNorm.
SUM_FAN_IN = 4
"""Summands of one stage of an adder tree: two levels of adders."""
ROOT_DIGITS = 2
"""Binary digits of the root, and of its reciprocal, that are found per cycle."""


# Buffers.
BLOCK_WORDS = 2048
"""Words of a block of a buffer's bank: the most with which block RAMs hold nine bits of each (2 K x
9), so that words of any width leave little of them empty, and few blocks have to be joined."""
BLOCK_BITS = 1 << 14
"""Bits of a block RAM, without each ninth."""


def block_words(bits: int) -> int:
    """Words of a block, with two stages or more, where so many bits of a word are written by
    themselves: `BLOCK_WORDS`, or so many more as a block RAM of few bits has."""
    return next((BLOCK_BITS // width for width in (1, 2, 4) if bits <= width), BLOCK_WORDS)


def word_buffer(stages: int) -> int:
    """From an address of a scratchpad to its word: a queue of addresses, the register of the one
    whose turn it is, memory, a queue of words.

    Parameters: `stages`, registers between the memory and the queue of its reader.
    """
    return CREDIT_QUEUE + 1 + stages + CREDIT_QUEUE


def words_waiting(stages: int) -> int:
    """Words kept per reader of a scratchpad: all but one cover the way from address to word and
    back, in full flow.

    Parameters: `stages`, registers between the memory and the queue.
    """
    return word_buffer(stages) + 2


def credits_needed(cycles: int) -> int:
    """Beats in a pipeline and in the queue behind it with which one per cycle can pass.

    Parameters: `cycles` from the entry of a beat to its offer.
    """
    return cycles + 1


def accumulators(stages: int) -> int:
    """From the last sums of a token to its totals.

    Parameters: `stages`; one more than the first stands between the memory and the adders.
    """
    return 1 + min(stages, 2)


def product(stages: int, wide: bool = False) -> int:
    """Of a multiplication beside which DSP blocks stand.

    Parameters: `stages`, registers of a product; `wide`, that operands may need several blocks:
    their products are added up in a cycle more.
    """
    return stages + wide


def requantizer(stages: int) -> int:
    """From totals to outputs: parameters, then products by the zero point and by the multiplier,
    with their difference in between, then shift, zero point and limits, and a queue.

    Parameters: `stages`, registers of a product.
    """
    return 1 + product(stages, wide=True) + 1 + product(stages, wide=True) + 3 + CREDIT_QUEUE


def drain_stages(stages: int) -> int:
    """From the head of a row's results to its codes: correction, difference, products, sum, shift,
    zero point.

    Parameters: `stages`, registers of a product.
    """
    return product(stages, wide=True) + 1 + product(stages, wide=True) + 3


def drain_row(stages: int) -> int:
    """From the last of a row's results at their head to the row's offer: behind the stages it
    gathers in registers, then comes a queue.

    Parameters: `stages`, registers of a product.
    """
    return drain_stages(stages) + 1 + CREDIT_QUEUE


def rows_waiting(groups: int, stages: int) -> int:
    """Rows in the drain and in the queue behind it with which they can follow each other without
    a pause.

    Parameters: `groups`, cycles that a row takes to enter; `stages`, registers of a product.
    """
    return -(-(groups + drain_row(stages)) // groups)


def array(rows: int, cols: int) -> int:
    """From a vector of activations to its sums, in a systolic array."""
    return rows + cols


def totals(rows: int, cols: int, stages: int) -> int:
    """From the vector that ends sums to their totals, in the queue where they wait.

    Parameters: size of the array; `stages` as of `accumulators`.
    """
    return array(rows, cols) + accumulators(stages)


def totals_waiting(rows: int, cols: int, parts: int, depth: int, stages: int) -> int:
    """Totals in the array and waiting behind it, at most.

    Where they are requantized in `parts`, those of a whole group wait while the next accumulates.
    Parameters: size of the array; `depth`, most tokens of a group; `stages`.
    """
    flow = credits_needed(totals(rows, cols, stages) + TOTAL_QUEUE)
    return flow if parts == 1 else max(flow, depth)


def array_block(
    multiplier: str, rows: int, cols: int, activation_width: int, weight_width: int
) -> int:
    """Columns of a systolic array that share one multiplication per row: 1 or 2.

    Two columns of the kind "dsp" do where their weights, as far apart as a whole sum is wide, go
    into one operand of a DSP block, and their sums into its adder.

    Parameters: `multiplier`, "lut" or "dsp"; size of the array and widths of its codes.
    Source: AMD UG479, 7 Series DSP48E1 Slice: 25 x 18 bits with sign, 48 of sums; the DSP48E2
    (UG579) has 27 x 18, and the MULT18X18D of ECP5 18 x 18, of which a wider operand takes two.
    """
    operand = psum_width(rows, activation_width, weight_width) + weight_width
    return 2 if multiplier == "dsp" and cols > 1 and operand <= DSP_OPERAND else 1


def tree_stages(count: int) -> int:
    """Stages of the adder tree of `count` summands."""
    stages = 0
    while count > 1:
        count, stages = -(-count // SUM_FAN_IN), stages + 1
    return stages


def norm_statistics(lanes: int, stages: int) -> int:
    """From the last word of a LayerNorm row to the offer of its radicand.

    Mask, squares, adder tree, totals, then products, variance, exponent, shift, and a queue.

    Parameters: `lanes` of a word; `stages`, registers of a product.
    """
    way = 1 + product(stages) + tree_stages(lanes) + 1 + product(stages, wide=True) + 3
    return way + CREDIT_QUEUE


def norm_rows_waiting(lanes: int, stages: int) -> int:
    """Rows whose radicands are on their way or wait, with which the root never lacks one.

    Parameters: as those of `norm_statistics`.
    """
    return 1 + -(-norm_statistics(lanes, stages) // max(root_steps()))


def norm_codes(stages: int) -> int:
    """From a word that waits for its row's numbers to its codes: times channels, less sum, times
    reciprocal, shift, rounding, times gain, plus offset, shift, limits, and a queue.

    Parameters: `stages`, registers of a product.
    """
    wide = product(stages, wide=True)
    return product(stages) + 1 + wide + 2 + wide + 3 + CREDIT_QUEUE


def root_steps(digits: int = ROOT_DIGITS) -> tuple[int, int]:
    """Cycles in which a root is found, and in which its reciprocal is.

    Parameters: `digits` found per cycle.
    """
    return ROOT_WIDTH // digits, QUOTIENT_WIDTH // digits


def reciprocal_root(digits: int = ROOT_DIGITS) -> int:
    """From a radicand to the reciprocal of its root: each is loaded and then found.

    Parameters: `digits` found per cycle.
    """
    return 2 + sum(root_steps(digits))


def norm_row(lanes: int, stages: int) -> int:
    """From the last word of a LayerNorm row to its first codes.

    Parameters: `lanes` of a word; `stages`, registers of a product.
    """
    return norm_statistics(lanes, stages) + reciprocal_root() + 1 + norm_codes(stages)


def norm_room(depth: int, lanes: int, stages: int) -> int:
    """Words that wait for their row's numbers, at most: of a whole row, and those that enter from
    its last word to its first codes.

    Parameters: `depth`, channels of the longest row, `lanes` of a word; `stages`, registers of a
    product.
    """
    return -(-depth // lanes) + norm_row(lanes, stages)


def drains(queries: int) -> int:
    """Queries of a tile of shift attention, of so many, that are drained side by side.

    Two drain faster than a tile of DeiT's 197 keys enters.
    """
    return min(2, queries)


def drain_lanes(channels: int, drains: int, codes: int) -> int:
    """The fewest channels per cycle that let all queries pass before the next ones are complete.

    Parameters: `channels` of a query, queries `drains` that are drained side by side, `codes` that
    are not the one of zero.
    """
    return next(n for n in range(1, channels + 1) if -(-channels // n) * drains <= codes)
