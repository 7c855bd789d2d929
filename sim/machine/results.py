"""Units behind the array: store, layernorm and attention."""

import numpy as np

from ...formats import code_max
from ...isa import Command, Destination, Mode
from ..golden.gelu_table import gelu_table
from ..golden.layernorm import layernorm
from ..golden.log2_softmax import log2_softmax
from ..golden.residual_add import pool, residual_add
from ..golden.shift_attention import shift_attention
from .state import State, Steps

ROWS_AT_ONCE = 16
WORDS_AT_ONCE = 32


def store(state: State, command: Command) -> Steps:
    """Outputs of the array to where they go, group by group."""
    config, mode = state.config, Mode(command["mode"])
    parts = config.cols // config.lanes
    logits = []
    for group in range(command["groups"]):
        yield from state.outputs.wait()
        y = state.outputs.items.popleft()
        beats = y.reshape(command["tokens"], parts, config.lanes)
        state.record("gemm", beats)
        kept = beats[:, : max(0, command["chunks"] - group * parts)]
        chunk = group * parts + np.arange(kept.shape[1])
        if mode == Mode.SCORES:
            yield from _scores(state, command, y)
        elif mode == Mode.RESIDUAL:
            _add(state, command, chunk, kept)
        elif mode == Mode.LOGITS:
            logits.append(kept.reshape(-1))
        else:
            _codes(state, command, chunk, kept, mode)
        yield True
    if mode == Mode.LOGITS:
        start, size = command["offset"], command["bytes"]
        row = np.concatenate(logits).astype("<i4").tobytes()
        state.memory[start : start + size] = row[:size].ljust(size, b"\0")


def _codes(
    state: State, command: Command, chunk: np.ndarray, values: np.ndarray, mode: Mode
) -> None:
    if mode == Mode.GELU:
        values = gelu_table(values & 0xFF, table=state.table)
        state.record("gelu_table", values)
    write_codes(state, command["base"], command["stride"], chunk, values)


def write_codes(
    state: State, base: int, stride: int, chunk: np.ndarray, values: np.ndarray
) -> None:
    """Chunks of codes [tokens, chunks, lanes] into words, zeros above each."""
    lanes, places = state.config.lanes, state.config.rows // state.config.lanes
    token = np.arange(len(values))
    for number, codes in zip(chunk, np.moveaxis(values, 1, 0), strict=True):
        tile, place = divmod(int(number), places)
        words = state.address(state.codes, base + tile * stride + token)
        state.codes[words, place * lanes :] = 0
        cut = codes & code_max(state.config.activation_width)
        state.codes[words, place * lanes : (place + 1) * lanes] = cut


def _add(state: State, command: Command, chunk: np.ndarray, branch: np.ndarray) -> None:
    token = np.arange(command["tokens"])[:, None]
    words = command["base"] + token * command["stride"] + chunk
    words = state.address(state.residual, words)
    total, saturated = residual_add(state.residual[words], branch, shift=command["shift"])
    state.residual[words] = total
    state.record("residual", total)
    state.saturated["residual_add"] += saturated


def _scores(state: State, command: Command, scores: np.ndarray) -> Steps:
    codes = log2_softmax(
        scores.T,
        offset=command["log2_scale"],
        log_width=state.config.log_width,
        base=state.config.base,
    )
    state.record("log2_softmax", codes.T)
    yield from state.log_codes.put(codes)


def embed(state: State, command: Command) -> Steps:
    """Words of the residual buffer from the stream."""
    lanes, words = state.config.lanes, command["words"]
    for first in range(0, words, WORDS_AT_ONCE):
        count, data = min(WORDS_AT_ONCE, words - first), bytearray()
        last = first + count == words
        extra = state.padding(2 * lanes * words) if last else 0
        yield from state.take(Destination.EMBED, 2 * lanes * count + extra, data)
        rows = np.frombuffer(data, "<i2", count * lanes).reshape(count, lanes)
        address = command["base"] + first + np.arange(count)
        state.residual[state.address(state.residual, address)] = rows
        state.record("residual", rows)
        yield True


def table(state: State, command: Command) -> Steps:
    """The GELU table from the stream."""
    data = bytearray()
    yield from state.take(Destination.GELU_TABLE, state.table.size, data)
    state.table = np.frombuffer(bytes(data), np.uint8)


def mean(state: State, command: Command) -> Steps:
    """Mean of rows, chunk by chunk."""
    row = np.arange(command["rows"]) * command["stride"]
    for chunk in range(command["chunks"]):
        words = state.address(state.residual, command["base"] + row + chunk)
        value = pool(
            state.residual[words],
            mode="avg",
            prefix=0,
            multiplier=command["multiplier"],
            shift=command["shift"],
        )
        out = state.address(state.residual, np.array([command["out"] + chunk]))
        state.residual[out] = value
        state.record("residual", value)
        yield True


def norm(state: State, command: Command) -> Steps:
    """Parameters from the stream, then rows of the residual buffer to codes."""
    lanes, channels = state.config.lanes, command["channels"]
    chunks = -(-channels // lanes)
    size = 6 * lanes * chunks
    if not command["keep"]:
        state.norm = bytearray()
        yield from state.take(Destination.LAYERNORM, size + state.padding(size), state.norm)
    records = np.frombuffer(state.norm, np.uint8, size).reshape(chunks, 6 * lanes)
    gain = np.ascontiguousarray(records[:, : 2 * lanes]).view("<i2").reshape(-1)[:channels]
    offset = np.ascontiguousarray(records[:, 2 * lanes :]).view("<i4").reshape(-1)[:channels]
    for first in range(0, command["rows"], ROWS_AT_ONCE):
        row = np.arange(first, min(first + ROWS_AT_ONCE, command["rows"]))
        words = command["base"] + row[:, None] * command["row_stride"] + np.arange(chunks)
        values = state.residual[state.address(state.residual, words)].reshape(len(row), -1)
        codes, saturated = layernorm(
            values[:, :channels],
            gain=gain,
            offset=offset,
            shift=command["shift"],
            epsilon=command["epsilon"],
            width=command["high"].bit_length(),
        )
        codes = np.pad(codes, [(0, 0), (0, chunks * lanes - channels)])
        beats = codes.reshape(len(row), chunks, lanes)
        write_codes(state, command["out"] + first, command["stride"], np.arange(chunks), beats)
        state.record("layernorm", beats)
        state.saturated["layernorm"] += saturated
        yield True


def attention(state: State, command: Command) -> Steps:
    """Values of one head mixed by log codes, a tile of queries after the other."""
    config, keys = state.config, np.arange(command["keys"])
    for first in range(0, command["queries"], config.cols):
        yield from state.log_codes.wait()
        codes = state.log_codes.items[0]
        query = np.arange(first, min(first + config.cols, command["queries"]))
        for tile in range(command["tiles"]):
            words = command["base"] + tile * command["stride"] + keys
            value = state.codes[state.address(state.codes, words)]
            used = command["last"] if tile + 1 == command["tiles"] else config.rows
            mixed, saturated = shift_attention(
                codes[None, : query.size],
                value[:, :used],
                log_width=config.log_width,
                base=config.base,
                value_zero=command["value_zero"],
                multiplier_even=command["multiplier_even"],
                multiplier_odd=command["multiplier_odd"],
                shift=command["shift"],
                zero=command["zero"],
                width=command["high"].bit_length(),
            )
            mixed = np.pad(mixed, [(0, 0), (0, config.rows - used)])
            words = command["out"] + tile * command["stride"] + query
            state.codes[state.address(state.codes, words)] = mixed
            state.record("shift_attention", mixed)
            state.saturated["shift_attention"] += saturated
            yield True
        state.log_codes.items.popleft()
