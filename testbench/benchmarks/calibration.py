"""Calibration: time beside the published procedure, equality with it, memory, agreement of levels.

    python testbench/benchmarks/calibration.py [--bits W4A4] [--repeats 3] [--methods METHOD ...]
    python testbench/benchmarks/calibration.py --equality [--bits W4A4]
    python testbench/benchmarks/calibration.py --memory MODEL [--images 256] [--methods METHOD ...]
    python testbench/benchmarks/calibration.py --agreement [MODEL ...] [--methods METHOD ...]

Time and equality are those of DeiT-T on 32 real images, and need the real data beside the checkout
(see `docs/results.md`); memory and agreement take random weights and images. Prints one JSON
object; progress goes to standard error.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import calibration_memory
import level_agreement
import numpy as np
import plain_repq
import torch
from deit_tiny import MODEL, WEIGHTS, calibration_images
from plain_repq import percentile, percentile_at_exact_rank

from rootshift.bits import Bits
from rootshift.methods import METHODS
from rootshift.quant.calibrate import calibrate
from rootshift.quant.models import load_model, preprocessing_of
from rootshift.quant.network import QuantizedNetwork
from rootshift.quant.quantizers import LogQuantizer

INTEGER_METHODS = [name for name, method in METHODS.items() if method.integer]
AGREEMENT_MODELS = (
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_224",
    "deit_small_patch16_224",
)
RANKS = {"float32, as torch.quantile": percentile, "exact": percentile_at_exact_rank}
"""How the plain procedure places a percentile between two of the sorted values."""
PLAIN = "plain"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--equality", action="store_true")
    what.add_argument("--memory", metavar="MODEL")
    what.add_argument("--agreement", nargs="*", metavar="MODEL")
    parser.add_argument("--methods", nargs="+", choices=INTEGER_METHODS, metavar="METHOD")
    parser.add_argument("--bits", help="W4A4 by default, W8A8 for agreement")
    parser.add_argument("--images", type=int, default=256, help="images to measure memory on")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    bits = options.bits or ("W4A4" if options.agreement is None else "W8A8")
    methods = options.methods or (["repq"] if options.memory else INTEGER_METHODS)
    result: dict[str, Any] = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "bits": bits,
    }
    if options.memory:
        try:
            result["memory"] = [
                told(calibration_memory.peak(options.memory, options.images, method, bits))
                for method in methods
            ]
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)  # it said why
    elif options.agreement is not None:
        result["agreement"] = [
            told(level_agreement.agreement(model, method, bits))
            for model in options.agreement or AGREEMENT_MODELS
            for method in options.methods or ["repq"]
        ]
    elif options.equality:
        result["equality"] = equality(bits)
    else:
        result["times"] = times(bits, methods, options.repeats)
    print(json.dumps(result, indent=1))


def deit_tiny(bits: str) -> tuple[Any, ...]:
    """What either procedure takes: the model, 32 images, their mean and spread, and the bits."""
    model = load_model(MODEL, WEIGHTS)
    preprocessing = preprocessing_of(model)
    pixels = np.concatenate(list(calibration_images(preprocessing).batches(32)))
    mean, std = preprocessing.mean, preprocessing.std
    return model, torch.from_numpy(pixels), mean, std, Bits.parse(bits)


def times(bits: str, methods: Sequence[str], repeats: int) -> dict[str, Any]:
    """Seconds of each way of calibrating DeiT-T: all, their median, and how often it fits into
    that of the plain procedure."""
    given = deit_tiny(bits)
    ways: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain_repq.calibrate(*given),
        "reference mode": lambda: calibrate(*given, mode="reference"),
    }
    for method in methods:
        ways[method] = lambda method=method: calibrate(*given, method=method)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    # In turn, so that a slow spell of the machine meets all of them.
    for _ in range(repeats):
        for way, action in ways.items():
            start = time.perf_counter()
            action()
            seconds[way].append(round(time.perf_counter() - start, 3))
            told({way: seconds[way][-1]})
    plain = float(np.median(seconds[PLAIN]))
    return {
        way: {
            "seconds": found,
            "median": float(np.median(found)),
            "plain_over_this": round(plain / float(np.median(found)), 2),
        }
        for way, found in seconds.items()
    }


def equality(bits: str) -> dict[str, Any]:
    """Scales and zero points of reference mode beside those of the plain procedure, which is run
    with each kind of `RANKS`.

    A difference of 1e-7 moves a value over a rounding boundary, and what is behind it by 1e-3 and
    more, so that arrays are equal up to the first that is not, and far from it behind that.
    """
    given = deit_tiny(bits)
    ours = arrays(calibrate(*given, mode="reference"))
    return {
        rank: told(compared(ours, plain_repq.arrays(plain_repq.calibrate(*given, function))))
        for rank, function in RANKS.items()
    }


def arrays(quantized: QuantizedNetwork) -> dict[str, np.ndarray]:
    """Scale and zero point of every quantizer, under the names of `plain_repq.arrays`."""
    quantizers = dict(quantized.activation)
    quantizers |= {f"{name}.weight": found for name, (_, found) in quantized.weight.items()}
    found = {}
    for name, quantizer in quantizers.items():
        found[f"{name}.scale"] = quantizer.scale
        if not isinstance(quantizer, LogQuantizer):
            found[f"{name}.zero_point"] = quantizer.zero
    return {name: tensor.reshape(tensor.shape[:1]).numpy() for name, tensor in found.items()}


def compared(ours: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> dict[str, Any]:
    """How many arrays are equal bit for bit, and the greatest relative difference of all; that of
    a zero point is relative to 1 at least.

    Raises: ValueError where one has a quantizer that the other lacks.
    """
    if ours.keys() != plain.keys():
        lacking = sorted(ours.keys() ^ plain.keys())
        raise ValueError(f"both must have the same quantizers, not these in one: {lacking}")
    differences = {}
    for name, expected in plain.items():
        floor = 1.0 if name.endswith("zero_point") else np.finfo(np.float32).tiny
        apart = np.abs(ours[name] - expected) / np.maximum(np.abs(expected), floor)
        if ours[name].tobytes() != expected.tobytes():
            differences[name] = float(apart.max())
    return {
        "arrays": len(plain),
        "equal": len(plain) - len(differences),
        "greatest_difference": max(differences.values(), default=0.0),
        "first_difference": next(iter(differences.items()), None),
    }


def told(found: dict[str, Any]) -> dict[str, Any]:
    """The figures, which are also shown as progress."""
    print(found, file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
