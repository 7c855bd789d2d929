"""Drives the units of an accelerator through whole operators: tiles to beats, beats to tensors.

One coroutine per kind of operator, run inside the simulator on a bench of the operator's unit. It
takes the bench, whose `params` hold the unit's sizes, the operator's parameters and its arrays:
operands by position, "0" and "1", the others by name.
"""

from typing import Any

import numpy as np

from rootshift.formats import SCORE_WIDTH, code_max
from rootshift.sim.golden.gemm import split_heads

from .gemm_tiles import run_gemm
from .harness import Bench

Arrays = dict[str, np.ndarray]
Result = tuple[np.ndarray, int]
"""Output of an operator, and how many values saturated."""


async def clear_saturated(bench: Bench) -> None:
    """Let a unit count saturated values from zero."""
    bench.set("clear_stb", 1)
    await bench.step(1)
    bench.set("clear_stb", 0)


async def drive_gemm(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    return await run_gemm(bench, arrays["0"], arrays | job)


async def drive_scores(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    """Queries are stationary, keys move, head by head."""
    queries, keys = (split_heads(arrays[at], job["heads"]) for at in "01")
    tokens = np.ones(queries.shape[1], int)
    layer = {
        "bias": 0 * tokens,
        "weight_zero": job["query_zero"] * tokens,
        "multiplier": job["multiplier"] * tokens,
        "shift": job["shift"],
        "zero": 0,
        "width": SCORE_WIDTH,
    }
    outputs, saturated = [], 0
    for query, key in zip(queries, keys, strict=True):
        by_key, clamped = await run_gemm(bench, key, layer | {"weight": query})
        outputs.append(by_key.T)
        saturated += clamped
    return np.stack(outputs), saturated


async def drive_layernorm(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    x, lanes = arrays["0"], bench.params["lanes"]
    channels = x.shape[1]
    for port in ("shift", "epsilon"):
        bench.set(port, job[port])
    bench.set("channels", channels)
    bench.set("high", code_max(job["width"]))
    parameters = {key: in_beats(arrays[key][None], lanes) for key in ("gain", "offset")}
    beats = len(parameters["gain"])
    parameters["last"] = np.arange(beats) == beats - 1
    await clear_saturated(bench)
    got = await bench.run(
        {"parameters": parameters, "i": in_beats(x, lanes)}, {"o": beats * len(x)}
    )
    return got["o"]["codes"].reshape(len(x), -1)[:, :channels], bench.get("saturated")


async def drive_log2_softmax(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    """Tiles of as many queries as lanes; the last tile of a head repeats its last query."""
    bench.set("offset", job["offset"])
    scores, tile = arrays["0"], bench.params["lanes"]
    heads, queries, keys = scores.shape
    padded = pad_rows(scores, tile).reshape(-1, tile, keys)
    beats = {
        "scores": padded.transpose(0, 2, 1).reshape(-1, tile),
        "last": np.tile(np.arange(keys) == keys - 1, len(padded)),
    }
    got = await bench.run({"i": beats}, {"o": len(beats["last"])})
    codes = got["o"]["codes"].reshape(heads, -1, keys, tile).transpose(0, 1, 3, 2)
    return codes.reshape(heads, -1, keys)[:, :queries], 0


async def drive_shift_attention(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    """For each head: tiles of queries by tiles of value channels, the keys streaming."""
    for port in ("value_zero", "zero", "multiplier_even", "multiplier_odd", "shift"):
        bench.set(port, job[port])
    bench.set("high", code_max(job["width"]))
    await clear_saturated(bench)
    codes, rows, cols = arrays["0"], bench.params["rows"], bench.params["cols"]
    heads, queries, keys = codes.shape
    values = split_heads(arrays["1"], heads)
    channels = values.shape[2]
    code_tiles = [tiles(codes[head].T, rows) for head in range(heads)]
    value_tiles = [tiles(values[head], cols) for head in range(heads)]
    order = [(h, q, c) for h in range(heads) for q in code_tiles[h] for c in value_tiles[h]]
    tall = np.array([min(rows, queries - q) for _, q, _ in order])
    wide = np.array([min(cols, channels - c) for _, _, c in order])
    last = np.tile(np.arange(keys) == keys - 1, len(order))
    beats = {
        "codes": np.concatenate([code_tiles[h][q] for h, q, _ in order]),
        "values": np.concatenate([value_tiles[h][c] for h, _, c in order]),
        "last": last,
        "rows_used": np.repeat(tall, keys) * last,
        "cols_used": np.repeat(wide, keys) * last,
    }
    got = await bench.run({"i": beats}, {"o": int(tall.sum())})
    found = got["o"]["codes"].reshape(-1, cols)
    mixed, at = np.zeros((queries, heads, channels), np.int64), 0
    for (h, q, c), height, width in zip(order, tall, wide, strict=True):
        mixed[q : q + height, h, c : c + width] = found[at : at + height, :width]
        at += height
    return mixed.reshape(queries, -1), bench.get("saturated")


def tiles(x: np.ndarray, size: int) -> dict[int, np.ndarray]:
    """[keys, N] -> first column of each tile: [keys, size], the last tile padded with zeros."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % size)))
    return {at: padded[:, at : at + size] for at in range(0, x.shape[1], size)}


async def drive_gelu_table(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    await bench.run({"table": arrays["table"]}, {}, drain=1)
    beats = in_beats(arrays["0"], bench.params["lanes"])
    return await elementwise(bench, beats, arrays["0"].shape), 0


async def drive_residual_add(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    return await add(bench, arrays["0"], arrays["1"], job["shift"])


async def drive_embed(bench: Bench, job: dict[str, Any], arrays: Arrays) -> Result:
    """The rows behind the prefix: positions plus patches."""
    return await add(bench, arrays["position"][job["prefix"] :], arrays["0"], 0)


async def add(bench: Bench, residual: np.ndarray, branch: np.ndarray, shift: int) -> Result:
    """One residual addition, [T, N] each."""
    lanes = bench.params["lanes"]
    bench.set("shift", shift)
    await clear_saturated(bench)
    beats = {"residual": in_beats(residual, lanes), "branch": in_beats(branch, lanes)}
    return await elementwise(bench, beats, residual.shape), bench.get("saturated")


async def elementwise(bench: Bench, beats: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Run `i` to `o`, one beat each, rows padded to whole beats."""
    count = len(next(iter(beats.values()))) if isinstance(beats, dict) else len(beats)
    got = await bench.run({"i": beats}, {"o": count})
    return got["o"].reshape(shape[0], -1)[:, : shape[1]]


def in_beats(x: np.ndarray, lanes: int) -> np.ndarray:
    """[T, N] -> [beats, lanes], every row padded with zeros to whole beats."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % lanes)))
    return padded.reshape(-1, lanes)


def pad_rows(x: np.ndarray, tile: int) -> np.ndarray:
    """[heads, T, N] -> T rounded up to whole tiles, the last row repeated."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % tile), (0, 0)), mode="edge")


DRIVERS = {
    "gemm": drive_gemm,
    "scores": drive_scores,
    "layernorm": drive_layernorm,
    "log2_softmax": drive_log2_softmax,
    "shift_attention": drive_shift_attention,
    "gelu_table": drive_gelu_table,
    "residual_add": drive_residual_add,
    "embed": drive_embed,
}
