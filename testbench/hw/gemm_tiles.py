"""Runs whole matrix products on the gemm datapath: cuts them into beats, puts outputs together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootshift.formats import code_max, fixed_point, output_range

from .harness import Bench

Array = NDArray[np.integer]


def digit(codes: Array, width: int, index: int) -> Array:
    """Digit of `width` bits of unsigned codes, 0 the least significant."""
    return (codes >> (width * index)) & code_max(width)


def digit_count(code_width: int, digit_width: int) -> int:
    """Digits of `digit_width` bits in a code."""
    return -(-code_width // digit_width)


def any_shift(rng: np.random.Generator, scale: NDArray[np.floating]) -> tuple[Array, int]:
    """Multipliers and a shift for scales, not always the largest: each shift moves other bits."""
    multiplier, shift = fixed_point(scale)
    less = int(rng.integers(min(shift, 12) + 1))
    return multiplier.astype(np.int64) >> less, shift - less


def weight_beats(weight: Array, rows: int, cols: int, width: int = 8, digits: int = 1) -> Array:
    """Weights [N, K] -> beats [groups * digits * tiles * cols, rows], a tile's last column first.

    `width` and `digits` are those of the weight digits.
    """
    n, k = weight.shape
    padded = np.zeros((-(-n // cols) * cols, -(-k // rows) * rows), np.int64)
    padded[:n, :k] = weight
    split = np.stack([digit(padded, width, j) for j in range(digits)])
    tiles = split.reshape(digits, -1, cols, padded.shape[1] // rows, rows)
    return tiles.transpose(1, 0, 3, 2, 4)[:, :, :, ::-1].reshape(-1, rows)


def vector_beats(
    x: Array, groups: int, rows: int, width: int = 8, digits: tuple[int, int] = (1, 1)
) -> dict[str, Array]:
    """Codes [T, K] -> the beats of `Gemm.i`.

    For each group, for each weight digit, for each tile of K, every token with each activation
    digit in turn, so that these share a tile of weights. `width` is that of an activation digit,
    `digits` the numbers of activation and of weight digits.
    """
    t, k = x.shape
    tiles = digit_count(k, rows)
    padded = np.zeros((t, tiles * rows), np.int64)
    padded[:, :k] = x
    split = np.stack([digit(padded, width, i) for i in range(digits[0])])
    codes = split.reshape(digits[0], t, tiles, rows)
    order = np.indices((groups, digits[1], tiles, digits[0], t)).reshape(5, -1)
    group, weight_digit, tile, activation_digit, address = order
    return {
        "codes": codes[activation_digit, address, tile],
        "first": (activation_digit == 0) & (address == 0),
        "start": (weight_digit == 0) & (tile == 0) & (activation_digit == 0),
        "last": (weight_digit == digits[1] - 1)
        & (tile == tiles - 1)
        & (activation_digit == digits[0] - 1),
        "activation_digit": activation_digit,
        "weight_digit": weight_digit,
        "address": address,
        "group": group,
    }


def parameter_beats(
    bias: Array, weight_zero: Array | int, multiplier: Array | int, lanes: int
) -> dict[str, Array]:
    """Parameters per channel [N] -> the beats of `Gemm.parameters`; bias gives N."""
    channel = np.arange(len(bias))
    return {
        "bias": bias,
        "weight_zero": np.broadcast_to(weight_zero, channel.shape),
        "multiplier": np.broadcast_to(multiplier, channel.shape),
        "group": channel // lanes,
        "lane": channel % lanes,
    }


def matrix(beats: dict[str, Array], tokens: int, channels: int) -> Array:
    """Output beats -> [T, N]; a place that no beat filled holds the smallest int64.

    Groups beyond the channels, which a last group of columns may have, are left out.
    """
    lanes = beats["y"].reshape(len(beats["address"]), -1).shape[1]
    groups = max(-(-channels // lanes), int(beats["group"].max()) + 1)
    y = np.full((tokens, groups, lanes), np.iinfo(np.int64).min)
    y[beats["address"], beats["group"]] = beats["y"].reshape(-1, lanes)
    return y.reshape(tokens, -1)[:, :channels]


async def run_gemm(
    bench: Bench, x: Array, layer: Mapping[str, Any], **patterns: Any
) -> tuple[Array, int]:
    """Run one product on a bench of `Gemm`.

    Parameters
    ----------
    bench : Bench
        Its `params` hold `rows`, `cols`, `activation_width`, `weight_width`, perhaps `lanes` and
        `tag_width`.
    x : array
        Codes [T, K].
    layer : mapping
        `weight` [N, K], `weight_zero`, `bias`, `multiplier` [N], `shift`, `zero` and `width`, as
        golden's `gemm` takes them; `input_width` and `weight_width`, bits of the codes,
        where they are more than the array's.
    patterns
        `idle`, `pressure` and `seed` of `Bench.run`.

    Returns
    -------
    tuple
        The outputs [T, N], and how many values saturated.
    """
    rows, cols = bench.params["rows"], bench.params["cols"]
    lanes = bench.params.get("lanes") or cols
    widths = [bench.params[name] for name in ("activation_width", "weight_width")]
    code_widths = [layer.get("input_width", widths[0]), layer.get("weight_width", widths[1])]
    digits = tuple(map(digit_count, code_widths, widths))
    n = len(layer["bias"])
    groups = -(-n // cols)
    low, high = output_range(layer["width"])
    ports = {"shift": layer["shift"], "zero": layer["zero"], "low": low, "high": high}
    for port, value in {**ports, "clear_stb": 1}.items():
        bench.set(port, value)
    # Channels that only fill the last group up have multiplier 0: they count as nothing.
    fill = 0, groups * cols - n
    wide = {name: np.pad(layer[name], fill) for name in ("bias", "weight_zero", "multiplier")}
    await bench.run({"parameters": parameter_beats(**wide, lanes=lanes)}, {})
    bench.set("clear_stb", 0)
    vectors = vector_beats(x, groups, rows, widths[0], digits)
    if bench.params.get("tag_width"):
        vectors["tag"] = vectors["address"] % 8
    weights = weight_beats(layer["weight"], rows, cols, widths[1], digits[1])
    outputs = groups * len(x) * (cols // lanes)
    got = (await bench.run({"weights": weights, "i": vectors}, {"o": outputs}, **patterns))["o"]
    if bench.params.get("tag_width"):
        bench.compare("tag", got["tag"], got["address"] % 8)
    return matrix(got, len(x), n), bench.get("saturated")


def parameter_section(
    bias: Array,
    weight_zero: Array,
    multiplier: Array,
    *,
    shift: int,
    zero: int,
    width: int,
    beat_bytes: int,
) -> bytes:
    """A set of parameters [cols] as it lies in the weight stream, whole beats."""
    records = [shift | width << 8 | (zero & 0xFFFF) << 16]
    for channel in zip(bias, weight_zero, multiplier, strict=True):
        b, z, factor = map(int, channel)
        records.append(b & 0xFFFFFFFF | (z & 0xFFFF) << 32 | factor << 48)
    return _whole_beats(b"".join(record.to_bytes(8, "little") for record in records), beat_bytes)


def column_section(columns: Array, width: int, beat_bytes: int) -> bytes:
    """The columns [columns, rows] of a group as they lie in the weight stream, whole beats."""
    size = -(-columns.shape[1] * width // 8)
    packed = (sum(int(code) << width * row for row, code in enumerate(c)) for c in columns)
    return _whole_beats(b"".join(word.to_bytes(size, "little") for word in packed), beat_bytes)


def stream_beats(image: bytes, beat_bytes: int) -> Array:
    """Bytes in whole beats -> [beats, beat_bytes]."""
    return np.frombuffer(image, np.uint8).reshape(-1, beat_bytes).astype(np.int64)


def name_codes(bench: Bench, stream: str, width: int, rows: int) -> None:
    """Let `bench` take the words of a stream as arrays of `rows` codes, row 0 lowest."""
    bench._fields[stream] = {"": (0, width, False, rows)}


def _whole_beats(image: bytes, beat_bytes: int) -> bytes:
    return image + bytes(-len(image) % beat_bytes)
