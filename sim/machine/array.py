"""Units around the systolic array: fetch, patchify, weights and gemm."""

from dataclasses import dataclass

import numpy as np

from ...formats import code_max
from ...isa import Command, Destination
from ..golden.gemm import product
from ..golden.requantizer import requantizer
from .state import State, Steps


@dataclass(frozen=True)
class Parameters:
    """Settings and columns of one group."""

    shift: int
    width: int
    zero: int
    bias: np.ndarray
    weight_zero: np.ndarray
    multiplier: np.ndarray


def fetch(state: State, command: Command) -> Steps:
    """Memory to a stream."""
    stream = state.streams[Destination(command["destination"])]
    at, end = command["offset"], command["offset"] + command["beats"] * state.beat
    while at < end:
        size = min(state.room.bytes - len(stream), end - at) // state.beat * state.beat
        stream += state.read(at, size).tobytes()
        at += size
        yield size > 0


def patchify(state: State, command: Command) -> Steps:
    """Rows of patches to words, digit by digit."""
    rows, width = state.config.rows, state.config.activation_width
    if command["beats"]:
        state.pixels = state.read(command["offset"], command["beats"] * state.beat)
    run, across = command["run"], command["across"]
    words, digits = -(-run // rows), np.arange(command["digits"])
    for line in range(command["down"] * command["height"]):
        taken, state.pixels = np.split(state.pixels, [across * run])
        patch = np.pad(taken.reshape(across, run), [(0, 0), (0, words * rows - run)])
        # [patch, word, digit, row], the order of writing.
        codes = patch.reshape(across, words, 1, rows) >> (width * digits[:, None])
        codes &= code_max(width)
        row, y = divmod(line, command["height"])
        address = (
            command["base"]
            + digits * command["digit_stride"]
            + (y * words + np.arange(words)[:, None]) * command["stride"]
            + (row * across + np.arange(across)[:, None, None])
        )
        state.codes[state.address(state.codes, address)] = codes
        state.record("patchify", codes)
        yield True


def weights(state: State, command: Command) -> Steps:
    """Parameters and stationary columns of each group, uint8 [columns, K]."""
    config = state.config
    code_width = config.stationary_width
    column = -(-config.rows * code_width // 8)
    parameters = None
    for group in range(command["groups"]):
        if parameters is None or not command["shared"]:
            data, size = bytearray(), 8 + 8 * config.cols
            yield from state.take(Destination.WEIGHTS, size + state.padding(size), data)
            parameters = _parameters(data[:size])
        if command["buffer"]:
            tiles = _buffered(state, command, group)
        else:
            data, size = bytearray(), command["tiles"] * config.cols * column
            yield from state.take(Destination.WEIGHTS, size + state.padding(size), data)
            packed = np.frombuffer(data, np.uint8, size).reshape(-1, config.cols, column)
            bits = np.unpackbits(packed, axis=-1, bitorder="little")
            bits = bits[..., : config.rows * code_width]
            bits = bits.reshape(*packed.shape[:2], config.rows, code_width)
            tiles = (bits << np.arange(code_width, dtype=np.uint8)).sum(-1, dtype=np.uint8)[:, ::-1]
        yield from state.weights.put((parameters, tiles))


def _parameters(data: bytearray) -> Parameters:
    words = np.frombuffer(data, "<u8")
    setting, columns = int(words[0]), words[1:]
    zero = setting >> 16 & 0xFFFF
    return Parameters(
        shift=setting & 0x3F,
        width=setting >> 8 & 0x3F,
        zero=zero - (zero >> 15 << 16),
        bias=(columns & 0xFFFFFFFF).astype(np.uint32).view(np.int32),
        weight_zero=(columns >> 32 & 0xFFFF).astype(np.uint16).view(np.int16),
        multiplier=(columns >> 48).astype(np.uint16),
    )


def _buffered(state: State, command: Command, group: int) -> np.ndarray:
    """Columns out of the code buffer: [tiles, columns, rows]."""
    column = state.config.cols * group + np.arange(state.config.cols)
    used = column[column < command["channels"]]
    tile = np.arange(command["tiles"])[:, None] * command["stride"]
    tiles = np.zeros((command["tiles"], column.size, state.config.rows), np.uint8)
    words = state.address(state.codes, command["base"] + tile + used)
    tiles[:, : used.size] = state.codes[words]
    return tiles


def gemm(state: State, command: Command) -> Steps:
    """Products of each group, requantized: int32 [tokens, columns]."""
    config = state.config
    code_width = config.stationary_width
    token = np.arange(command["tokens"])
    tile = np.arange(command["tiles"]) * command["stride"]
    for _ in range(command["groups"]):
        yield from state.weights.wait()
        parameters, tiles = state.weights.items[0]
        # Codes are read anew in every group, as the array does.
        x = np.zeros((command["tokens"], command["tiles"] * config.rows), np.int64)
        for digit in range(command["activation_digits"]):
            words = command["base"] + digit * command["digit_stride"] + tile + token[:, None]
            codes = state.codes[state.address(state.codes, words)]
            x += codes.reshape(x.shape).astype(np.int64) << config.activation_width * digit
        held = tiles.reshape(command["weight_digits"], command["tiles"], config.cols, config.rows)
        shift = code_width * np.arange(command["weight_digits"])[:, None, None, None]
        stationary = (held.astype(np.int64) << shift).sum(0).transpose(1, 0, 2)
        total = product(x, stationary.reshape(config.cols, -1), parameters.weight_zero)
        y, saturated = _requantized(total, parameters)
        state.saturated["gemm"] += saturated
        state.weights.items.popleft()
        yield from state.outputs.put(y)


def _requantized(total: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, int]:
    """int32 [tokens, columns]; fill channels are 0."""
    y = np.zeros(total.shape, np.int32)
    used = np.flatnonzero(parameters.multiplier)
    # Sums of 32 bits: terms may exceed them, the total does not.
    whole = total[:, used].astype(np.int64) + parameters.bias[used]
    y[:, used], saturated = requantizer(
        whole.astype(np.uint32).view(np.int32),
        multiplier=parameters.multiplier[used],
        shift=parameters.shift,
        zero=parameters.zero,
        width=parameters.width,
    )
    return y, saturated
