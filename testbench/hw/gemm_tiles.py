"""Runs whole matrix products on the gemm datapath: cuts them into beats, puts outputs together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootshift.formats import output_range

from .harness import Bench

Array = NDArray[np.integer]


def weight_beats(weight: Array, rows: int, cols: int) -> Array:
    """Weights [N, K] -> beats [groups * tiles * rows, cols], tile by tile, last row first."""
    n, k = weight.shape
    padded = np.zeros((-(-n // cols) * cols, -(-k // rows) * rows), np.int64)
    padded[:n, :k] = weight
    tiles = padded.reshape(-1, cols, padded.shape[1] // rows, rows)
    return tiles.transpose(0, 2, 3, 1)[:, :, ::-1].reshape(-1, cols)


def vector_beats(x: Array, groups: int, rows: int) -> dict[str, Array]:
    """Codes [T, K] -> the beats of `Gemm.i`: for each group, for each tile of K, every token."""
    t, k = x.shape
    tiles = -(-k // rows)
    padded = np.zeros((t, tiles * rows), np.int64)
    padded[:, :k] = x
    codes = padded.reshape(t, tiles, rows).transpose(1, 0, 2)
    group, tile, address = np.indices((groups, tiles, t)).reshape(3, -1)
    return {
        "codes": np.broadcast_to(codes, (groups, *codes.shape)).reshape(-1, rows),
        "first": address == 0,
        "start": tile == 0,
        "last": tile == tiles - 1,
        "address": address,
        "group": group,
    }


def parameter_beats(
    bias: Array, weight_zero: Array | int, multiplier: Array | int, cols: int
) -> dict[str, Array]:
    """Parameters per channel [N] -> the beats of `Gemm.parameters`; bias gives N."""
    channel = np.arange(len(bias))
    return {
        "bias": bias,
        "weight_zero": np.broadcast_to(weight_zero, channel.shape),
        "multiplier": np.broadcast_to(multiplier, channel.shape),
        "group": channel // cols,
        "lane": channel % cols,
    }


def matrix(beats: dict[str, Array], tokens: int, channels: int) -> Array:
    """Output beats -> [T, N]; a place that no beat filled holds the smallest int64."""
    cols = beats["y"].reshape(len(beats["address"]), -1).shape[1]
    groups = -(-channels // cols)
    y = np.full((tokens, groups, cols), np.iinfo(np.int64).min)
    y[beats["address"], beats["group"]] = beats["y"].reshape(-1, cols)
    return y.reshape(tokens, -1)[:, :channels]


async def run_gemm(
    bench: Bench, x: Array, layer: Mapping[str, Any], **patterns: Any
) -> tuple[Array, int]:
    """Run one product on a bench of `Gemm` whose `params` hold `rows`, `cols`, perhaps `tag_width`.

    Parameters
    ----------
    x : array
        Codes [T, K].
    layer : mapping
        `weight` [N, K], `weight_zero`, `bias`, `multiplier` [N], `shift`, `zero` and `width`, as
        golden's `gemm` takes them.
    patterns
        `idle`, `pressure` and `seed` of `Bench.run`.

    Returns
    -------
    tuple
        The outputs [T, N], and how many values saturated.
    """
    rows, cols = bench.params["rows"], bench.params["cols"]
    n = len(layer["bias"])
    groups = -(-n // cols)
    low, high = output_range(layer["width"])
    ports = {"shift": layer["shift"], "zero": layer["zero"], "low": low, "high": high}
    for port, value in {**ports, "clear_stb": 1}.items():
        bench.set(port, value)
    # Channels that only fill the last group up give the zero point and never saturate.
    fill = (0, groups * cols - n)
    wide = {name: np.pad(layer[name], fill) for name in ("bias", "weight_zero", "multiplier")}
    await bench.run({"parameters": parameter_beats(**wide, cols=cols)}, {})
    bench.set("clear_stb", 0)
    vectors = vector_beats(x, groups, rows)
    if bench.params.get("tag_width"):
        vectors["tag"] = vectors["address"] % 8
    sources = {"weights": weight_beats(layer["weight"], rows, cols), "i": vectors}
    got = (await bench.run(sources, {"o": groups * len(x)}, **patterns))["o"]
    if bench.params.get("tag_width"):
        bench.compare("tag", got["tag"], got["address"] % 8)
    return matrix(got, len(x), n), bench.get("saturated")
