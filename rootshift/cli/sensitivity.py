"""`rootshift sensitivity`: the error of each quantizer, and bits layer by layer for a budget."""

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bit_table import read_bits
from ..bits import Bits
from ..errors import ConfigError
from ..formats import CODE_WIDTHS
from .budget import Budget, for_bytes, for_cycles
from .generate import write_all
from .progress import progress_bar
from .quantize import add_calibration_arguments, add_features_argument, loaded
from .sources import add_config_arguments, place

if TYPE_CHECKING:
    from ..quant.quantize import Calibration
    from ..quant.sensitivity import Sensitivity

_WORST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_calibration_arguments(parser)
    add_features_argument(parser)
    parser.add_argument(
        "--widths",
        nargs="+",
        type=int,
        default=list(CODE_WIDTHS),
        metavar="BITS",
        help="widths to measure, and to choose from",
    )
    parser.add_argument(
        "--bits", default="W4A4", help="widths of what no budget chooses: activations, log codes"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--weight-bytes", type=int, metavar="N", help="choose bits of weights for N bytes"
    )
    budget.add_argument(
        "--cycles", type=int, metavar="N", help="choose bits of weights for N cycles an image"
    )
    add_config_arguments(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, model, images, quantizers, worst of them (at the widths of `--bits`); with a
    budget also bits (the TOML file), weight_bytes, cycles where they were the budget, and
    divergence of the chosen widths beside uniform ones."""
    default = _checked(options)
    calibration = loaded(options)
    found = _measured(calibration, sorted(set(options.widths)), options)
    result: dict[str, Any] = {
        "out": options.out,
        "model": options.model,
        "images": len(calibration.images),
        "quantizers": len({each.quantizer for each in found}),
        "worst": _worst(found, default),
    }
    files, table = _tables(found), None
    if options.weight_bytes is not None or options.cycles is not None:
        budget = Budget(calibration, found, default, options)
        table, figures = for_bytes(budget) if options.cycles is None else for_cycles(budget)
        files["bits.toml"] = table.to_toml().encode()
        result |= {"bits": str(Path(options.out) / "bits.toml")} | figures
    write_all(Path(options.out), files)

    from ..quant.report import write_sensitivity_report

    write_sensitivity_report(
        Path(options.out) / "sensitivity.html",
        found,
        default if table is None else table,
        options.model,
        len(calibration.images),
        options.features is not None,
    )
    return result


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    lines = [
        f"{result['model']}: {result['quantizers']} quantizers, each alone, on {result['images']} "
        f"images -> {result['out']}",
        f"{'quantizer':40s} {'bits':>4s} {'divergence':>11s} {'noise':>9s}",
    ]
    lines += [
        f"{row['quantizer']:40s} {row['width']:4d} {row['divergence']:11.6f} {row['noise']:9.6f}"
        for row in result["worst"]
    ]
    if "bits" in result:
        lines.append(
            f"{result['weight_bytes'] / 1e6:.2f} MB of weights"
            + (f", {result['cycles']} cycles" if "cycles" in result else "")
            + f" -> {result['bits']}; divergence {result['divergence']:.4f}, "
            f"of {result['uniform_bits']} {result['uniform_divergence']:.4f}"
        )
    return "\n".join(lines)


def _checked(options: argparse.Namespace) -> Bits:
    default = read_bits(options.bits).default
    for width in options.widths:
        if width not in CODE_WIDTHS:
            raise ConfigError(f"--widths must be from 3 to 8, not {width}")
    for name in ("weight_bytes", "cycles"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    return default


def _measured(
    calibration: "Calibration", widths: Sequence[int], options: argparse.Namespace
) -> "list[Sensitivity]":
    from ..quant.families import network_of
    from ..quant.sensitivity import sensitivities

    preprocessing = calibration.preprocessing
    network = network_of(calibration.model, preprocessing.mean, preprocessing.std)
    with progress_bar("sensitivity") as progress:
        return sensitivities(
            network,
            calibration.pixels(),
            widths,
            base=options.base,
            device=options.device,
            progress=progress,
        )


def _worst(found: "Sequence[Sensitivity]", default: Bits) -> list[dict[str, Any]]:
    """The quantizers that add most at the default widths, or at the nearest ones measured."""
    nearest: dict[str, Sensitivity] = {}
    for each in found:
        want = getattr(default, each.field)
        known = nearest.get(each.quantizer)
        if known is None or abs(each.width - want) < abs(known.width - want):
            nearest[each.quantizer] = each
    ranked = sorted(nearest.values(), key=lambda each: -each.divergence)
    return [each.to_json() for each in ranked[:_WORST]]


def _tables(found: "Sequence[Sensitivity]") -> dict[str, bytes]:
    """The measurements as JSON and CSV."""
    rows = [each.to_json() for each in found]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return {
        "sensitivity.json": (json.dumps(rows, indent=1) + "\n").encode(),
        "sensitivity.csv": text.getvalue().encode(),
    }
