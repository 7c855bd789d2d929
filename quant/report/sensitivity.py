"""What each quantizer does alone: a section of the report, and a page of its own."""

from collections.abc import Sequence
from pathlib import Path

from ... import __version__
from ...bit_table import LETTERS, BitTable
from ...bits import Bits
from ...pages import Column, Header, Page, Series, column_chart, decimals, legend, table
from ..sensitivity import Sensitivity
from .view import block_of

_COLOURS = {"weights": "c8", "activations": "c0", "log": "c1"}


def write_sensitivity_report(
    path: str | Path,
    found: Sequence[Sensitivity],
    bits: Bits | BitTable,
    title: str,
    images: int,
    features: bool = False,
) -> None:
    """A page of measurements; equal arguments give equal bytes.

    Parameters: `bits`, the widths that the figure shows; `title`, of the model; `images`, how many
    were measured on; `features`, whether the model is a feature extractor.
    Raises: OutputError where it cannot be written.
    """
    page = Page(title, f"Sensitivity, {images} calibration images, Rootshift {__version__}")
    sensitivity(page, found, bits, features)
    page.write(path)


def sensitivity(
    page: Page, found: Sequence[Sensitivity], bits: Bits | BitTable, features: bool
) -> None:
    """A section on what each quantizer does alone.

    Parameters: `bits`, the widths that the figure shows; `features`, whether the model is a
    feature extractor.
    """
    unit = "share of the features' power" if features else "nats"
    page.section(
        "sensitivity",
        "Sensitivity",
        "Divergence of the output from the float model's where one quantizer alone is on, "
        f"in {unit}.",
    )
    widths = sorted({each.width for each in found})
    measured = {(each.quantizer, each.width): each for each in found}
    names = list(dict.fromkeys(each.quantizer for each in found))
    first = {name: next(each for each in found if each.quantizer == name) for name in names}
    used = {name: getattr(bits.of(first[name].layer), first[name].field) for name in names}
    # What was not measured at the model's own width is shown at the narrowest.
    chosen = {name: used[name] if (name, used[name]) in measured else widths[0] for name in names}
    items = [
        (name, measured[name, chosen[name]]) for name in names if (name, chosen[name]) in measured
    ]
    chart = column_chart(
        [Column(f"{name}, {each.width} bits", block_of(name), _COLOURS[each.field])
         for name, each in items],
        [Series("divergence", [max(each.divergence, 0.0) for _, each in items])],
        "divergence", decimals,
    )  # fmt: skip
    page.figure(
        legend([(field, _COLOURS[field]) for field in LETTERS]) + chart,
        "Divergence by quantizer",
        "each at the width that the model gives it",
    )
    headers = [Header("quantizer"), Header("layer"), Header("field"), Header("has bits")]
    headers += [Header(f"{width} bits", "{:.2e}".format) for width in widths]
    rows = [
        [name, first[name].layer, LETTERS[first[name].field], used[name]]
        + [
            float(f"{measured[name, width].divergence:.6g}") if (name, width) in measured else None
            for width in widths
        ]
        for name in names
    ]
    page.details("All quantizers at all widths", table(headers, rows, name="sensitivity"))
