"""Cycles and places of the accelerator's parts: the hardware is made with them, and the cycle model
counts with them.

A latency is the cycles from the acceptance of a beat to the cycle in which what comes of it is
offered, where nothing waits. `docs/accelerator.md` says what the parts do.
"""

from .formats import QUOTIENT_WIDTH, ROOT_WIDTH

# Memory bus.
BURST = 16
"""Most beats of a burst."""
BUS_READ_BURSTS = 8
"""Most bursts that the read arbiter has on the bus, of all readers."""
BUS_READ_ROOM = 64
"""Beats that the read arbiter keeps for each reader."""
READER_BURSTS = 4
"""Most bursts that one reader has asked for and not taken whole."""
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
DONE_TO_INTERRUPT = 1
"""From the first cycle in which nothing is at work any more to the interrupt."""

# Buffers.
WORD_BUFFER = 2
"""From an address to its word."""
WORDS_WAITING = 4
"""Words kept per reader: three cover the way from address to word and back, in full flow."""

# Products.
ACCUMULATORS = 2
"""From the last sums of a token to its totals."""
TOTAL_QUEUE = 2
"""From totals to their first part, where no others wait."""
REQUANTIZER = 7
"""From totals to outputs."""
RESIDUAL_ADD = 2
"""From a word of the residual buffer and a branch to their sum."""

# Softmax.
SOFTMAX_SUM = 7
"""From a row's last key to its constant."""
SOFTMAX_CODE = 2
"""From a key whose row has its constant to its code."""
SOFTMAX = SOFTMAX_SUM + 1 + SOFTMAX_CODE
"""From a row's last key to its first code: the constant passes a queue."""
SOFTMAX_SLACK = 16
"""Keys that may enter beyond the row that is leaving: the latency, and room for uneven arrival."""
SOFTMAX_CONSTANTS = 4
"""Rows whose constants may wait; rows of one key would need one place per key to keep up."""

# Shift attention.
BUCKET_WORD = 2
"""From the look at a bucket to its word."""
BUCKETS = 1 + BUCKET_WORD
"""From a tile's last key to the first bucket: the key fills the bank."""
DRAIN_STAGES = 5
"""From the head of a row's results to its codes: correction, difference, products, sum, shift."""

# LayerNorm.
NORM_STAGES = 9
"""From a word that waits for its row's numbers to its codes."""
SUM_FAN_IN = 4
"""Summands of one stage of an adder tree: two levels of adders."""
ROOT_DIGITS = 2
"""Binary digits of the root, and of its reciprocal, that are found per cycle."""


def array(rows: int, cols: int) -> int:
    """From a vector of activations to its sums, in a systolic array."""
    return rows + cols


def tree_stages(count: int) -> int:
    """Stages of the adder tree of `count` summands."""
    stages = 0
    while count > 1:
        count, stages = -(-count // SUM_FAN_IN), stages + 1
    return stages


def norm_statistics(lanes: int) -> int:
    """From the last word of a LayerNorm row to its radicand.

    Mask, squares, adder tree, totals, then products, variance, exponent, shift.
    """
    return 2 + tree_stages(lanes) + 5


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


def norm_row(lanes: int) -> int:
    """From the last word of a LayerNorm row to its first codes."""
    return norm_statistics(lanes) + reciprocal_root() + 1 + NORM_STAGES


def norm_room(depth: int, lanes: int) -> int:
    """Words that wait for their row's numbers, at most: of a whole row, and those that enter from
    its last word to its first codes.

    Parameters: `depth`, channels of the longest row, `lanes` of a word.
    """
    return -(-depth // lanes) + norm_row(lanes)


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
