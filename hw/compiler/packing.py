"""Constants as the units read them: `docs/accelerator.md`, The weight stream, The other streams."""

from dataclasses import dataclass

import numpy as np

from ...formats import code_max


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Parameters of output channels side by side, in the order of their places.

    Fields: `weight_zero`, `bias` (modulo 2^32) and `multiplier`, int64 [columns], all 0 in a fill
    channel;
    `shift`, `width` and `zero` of the output.
    """

    weight_zero: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: int
    width: int
    zero: int


def at_places(values: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """`values[places]` along axis 0, 0 where a place is -1 and up to `size` places."""
    found = np.zeros((size, *values.shape[1:]), values.dtype)
    used = np.flatnonzero(places >= 0)
    found[used] = values[places[used]]
    return found


def padded(data: np.ndarray, multiple: int) -> np.ndarray:
    """uint8 [rows, n] with zeros up to a multiple of n."""
    return np.pad(data, [(0, 0), (0, -data.shape[1] % multiple)])


def as_bytes(rows: np.ndarray) -> np.ndarray:
    """Integers [rows, n] as uint8 [rows, bytes], little endian."""
    rows = np.ascontiguousarray(rows)
    return rows.astype(rows.dtype.newbyteorder("<")).view(np.uint8).reshape(len(rows), -1)


def pack_parameters(columns: Columns, cols: int, beat: int) -> np.ndarray:
    """Settings and columns of every group of `cols`: uint8 [groups, bytes], whole beats."""
    low16, low32 = 0xFFFF, 0xFFFFFFFF
    words = (
        (columns.bias & low32)
        | (columns.weight_zero & low16) << 32
        | columns.multiplier.astype(np.int64) << 48
    )
    words = words.reshape(-1, cols)
    setting = columns.shift | columns.width << 8 | (columns.zero & low16) << 16
    settings = np.full((len(words), 1), setting, np.int64)
    return padded(as_bytes(np.concatenate([settings, words], axis=1)), beat)


def pack_tiles(
    weight: np.ndarray, rows: int, cols: int, code_width: int, digits: int, beat: int
) -> np.ndarray:
    """Stationary tiles of every group of columns: uint8 [groups, bytes], whole beats.

    Parameters: `weight` uint8 [groups * cols, tiles * rows]; `code_width`, V; `digits` of a weight.
    Order: weight digit, tile of K, column from the last to the first, row.
    """
    tiles = weight.reshape(-1, cols, weight.shape[1] // rows, rows)[:, ::-1].transpose(0, 2, 1, 3)
    digit = np.arange(digits)[:, None, None, None] * code_width
    codes = (tiles[:, None] >> digit & code_max(code_width)).astype(np.uint8)
    bits = np.unpackbits(codes[..., None], axis=-1, count=code_width, bitorder="little")
    column = np.packbits(bits.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little")
    return padded(column.reshape(len(tiles), -1), beat)


def pack_layernorm(gain: np.ndarray, offset: np.ndarray, lanes: int, beat: int) -> bytes:
    """Records of `lanes` gains and offsets."""
    extra = -gain.size % lanes
    gains = np.pad(gain, (0, extra)).astype("<i2").reshape(-1, lanes)
    offsets = np.pad(offset, (0, extra)).astype("<i4").reshape(-1, lanes)
    record = np.concatenate([as_bytes(gains), as_bytes(offsets)], axis=1)
    return padded(record.reshape(1, -1), beat).tobytes()


def pack_rows(rows: np.ndarray, lanes: int, beat: int) -> bytes:
    """int16 [T, D] as residual words."""
    data = as_bytes(padded(rows, lanes).astype("<i2"))
    return padded(data.reshape(1, -1), beat).tobytes()
