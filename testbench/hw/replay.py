"""Replays the operators of an encoder block, with real tensors, on the RTL units.

`replay` runs in the caller's process and starts one simulation per unit; the `drive_*` coroutines
run inside the simulator, one per kind of operator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.formats import SCORE_WIDTH
from rootshift.hw.units import units
from rootshift.sim.golden.gemm import split_heads
from rootshift.sim.vectors import block_tensors

from .bench import simulate
from .gemm_tiles import run_gemm
from .harness import Bench

UNIT_OF = {
    "gemm": "gemm",
    "scores": "gemm",
    "layernorm": "layernorm",
    "log2_softmax": "log2_softmax",
    "shift_attention": "shift_attention",
    "gelu_table": "gelu_table",
    "residual_add": "residual_add",
}
"""Kind of operator -> unit that executes it."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Replayed:
    """One unit's simulation.

    Fields: names of the `operators`; values `compared` and `mismatches`, and where the `first` one
    is; simulated `cycles`; seconds to build and to run.
    """

    unit: str
    operators: tuple[str, ...]
    compared: int
    mismatches: int
    first: str | None
    cycles: int
    build_seconds: float
    run_seconds: float


def replay(
    artifact: Artifact,
    pixels: np.ndarray,
    config: AcceleratorConfig,
    *,
    blocks: Sequence[int] = (0,),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Replayed]:
    """Run every operator of some encoder blocks on its unit and compare every output with golden.

    Parameters: `pixels` uint8 [H, W, C]; each operator gets golden's inputs.
    Raises: BenchError where a simulation fails otherwise than by another value.
    """
    prefixes = tuple(f"blocks.{block}." for block in blocks)
    tensors: Arrays = {}
    for block in blocks:
        tensors |= block_tensors(artifact, pixels, block)
    components = units(config)
    results = []
    for done, (unit, component) in enumerate(components.items()):
        if progress is not None:
            progress(done, len(components), unit)
        operators = [
            op
            for op in artifact.operators
            if op.name.startswith(prefixes) and UNIT_OF[op.kind] == unit
        ]
        arrays: Arrays = {}
        for op in operators:
            arrays |= {f"{op.name}/{key}": value for key, value in op.tensors().items()}
            arrays |= {f"{op.name}/{at}": tensors[name] for at, name in enumerate(op.inputs)}
            arrays[f"{op.name}/output"] = tensors[op.name]
        jobs = [{"name": op.name, "kind": op.kind, **op.parameters()} for op in operators]
        parameters = {"jobs": jobs, "rows": config.rows, "cols": config.cols, "lanes": config.lanes}
        found = simulate(component, __name__, params=parameters, arrays=arrays, optimize="-O2")
        wrong = found["results"]["mismatches"]
        results.append(
            Replayed(
                unit=unit,
                operators=tuple(op.name for op in operators),
                compared=sum(tensors[op.name].size for op in operators),
                mismatches=sum(count for count, _ in wrong.values()),
                first=next((where for _, where in wrong.values()), None),
                cycles=found["cycles"],
                build_seconds=found["build_s"],
                run_seconds=found["run_s"],
            )
        )
    return results


@cocotb.test()
async def operators_equal_golden(dut: Any) -> None:
    """Every job of the simulation, one after the other on one unit."""
    bench = await Bench.start(dut)
    wrong = bench.results.setdefault("mismatches", {})
    for job in bench.params["jobs"]:
        prefix = f"{job['name']}/"
        arrays = {k[len(prefix) :]: v for k, v in bench.arrays.items() if k.startswith(prefix)}
        output, expected = await DRIVERS[job["kind"]](bench, job, arrays), arrays["output"]
        different = np.argwhere(output != expected)
        if len(different):
            at = tuple(int(index) for index in different[0])
            where = f"{job['name']}{list(at)}: must be {expected[at]}, not {output[at]}"
            wrong[job["name"]] = [len(different), where]
        else:
            bench.compare(job["name"], output, expected)


async def drive_gemm(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    return (await run_gemm(bench, arrays["0"], arrays | job))[0]


async def drive_scores(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
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
    outputs = []
    for query, key in zip(queries, keys, strict=True):
        by_key, _ = await run_gemm(bench, key, layer | {"weight": query})
        outputs.append(by_key.T)
    return np.stack(outputs)


async def drive_layernorm(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    x, lanes = arrays["0"], bench.params["lanes"]
    channels = x.shape[1]
    for port in ("shift", "epsilon"):
        bench.set(port, job[port])
    bench.set("channels", channels)
    parameters = {key: in_beats(arrays[key][None], lanes) for key in ("gain", "offset")}
    beats = len(parameters["gain"])
    parameters["last"] = np.arange(beats) == beats - 1
    got = await bench.run(
        {"parameters": parameters, "i": in_beats(x, lanes)}, {"o": beats * len(x)}
    )
    return got["o"]["codes"].reshape(len(x), -1)[:, :channels]


async def drive_log2_softmax(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    """Tiles of as many queries as lanes; the last tile of a head repeats its last query."""
    bench.set("offset", job["offset"])
    scores, tile = arrays["0"], bench.params["cols"]
    heads, queries, keys = scores.shape
    padded = pad_rows(scores, tile).reshape(-1, tile, keys)
    beats = {
        "scores": padded.transpose(0, 2, 1).reshape(-1, tile),
        "last": np.tile(np.arange(keys) == keys - 1, len(padded)),
    }
    got = await bench.run({"i": beats}, {"o": len(beats["last"])})
    codes = got["o"]["codes"].reshape(heads, -1, keys, tile).transpose(0, 1, 3, 2)
    return codes.reshape(heads, -1, keys)[:, :queries]


async def drive_shift_attention(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    """For each head: tiles of queries by tiles of value channels, the keys streaming."""
    queries_per_tile, channels_per_tile = bench.params["cols"], bench.params["rows"]
    for port in ("value_zero", "zero", "multiplier_even", "multiplier_odd", "shift"):
        bench.set(port, job[port])
    bench.set("rows_used", queries_per_tile)
    bench.set("cols_used", channels_per_tile)
    codes = pad_rows(arrays["0"], queries_per_tile)
    heads, _, keys = codes.shape
    values = split_heads(arrays["1"], heads)
    width = values.shape[2]
    values = np.swapaxes(pad_rows(np.swapaxes(values, 1, 2), channels_per_tile), 1, 2)
    code_tiles = codes.reshape(heads, -1, queries_per_tile, keys).transpose(0, 1, 3, 2)
    value_tiles = values.reshape(heads, keys, -1, channels_per_tile).transpose(0, 2, 1, 3)
    down, across = code_tiles.shape[1], value_tiles.shape[1]
    order = [(h, q, c) for h in range(heads) for q in range(down) for c in range(across)]
    beats = {
        "codes": np.concatenate([code_tiles[h, q] for h, q, _ in order]),
        "values": np.concatenate([value_tiles[h, c] for h, _, c in order]),
        "last": np.tile(np.arange(keys) == keys - 1, len(order)),
    }
    got = await bench.run({"i": beats}, {"o": len(order) * queries_per_tile})
    mixed = got["o"]["codes"].reshape(heads, down, across, queries_per_tile, channels_per_tile)
    mixed = mixed.transpose(1, 3, 0, 2, 4).reshape(down * queries_per_tile, heads, -1)
    return mixed[: arrays["0"].shape[1], :, :width].reshape(arrays["0"].shape[1], -1)


async def drive_gelu_table(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    await bench.run({"table": arrays["table"]}, {}, drain=1)
    return await elementwise(bench, in_beats(arrays["0"], bench.params["lanes"]), arrays["0"].shape)


async def drive_residual_add(bench: Bench, job: dict[str, Any], arrays: Arrays) -> np.ndarray:
    bench.set("shift", job["shift"])
    lanes = bench.params["lanes"]
    beats = {
        "residual": in_beats(arrays["0"], lanes),
        "branch": in_beats(arrays["1"], lanes),
    }
    return await elementwise(bench, beats, arrays["0"].shape)


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
}
