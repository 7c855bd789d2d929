"""The sections on codes: how many are used, and what lies outside of them."""

from collections.abc import Mapping
from math import log2, prod
from typing import Any

from ...artifact import Artifact
from ...pages import (
    Column,
    Header,
    Series,
    column_chart,
    decimals,
    grouped,
    legend,
    percent,
    strip,
    table,
)
from ..quantizers import LogQuantizer
from .view import KINDS, View, block_of, many

_ROUND = 6


def codes(view: View) -> None:
    """Codes used, by activation site and by weight."""
    view.page.section(
        "codes",
        "Codes used",
        "Entropy says how many bits the codes carry: as many as they have where each occurs "
        "equally often. Bars show how often each code occurs, from 0 up.",
    )
    sites = {site: use.summary() for site, use in view.found.sites.items()}
    weights = {name: use.summary() for name, use in view.found.weights.items()}
    if sites:
        chart = column_chart(
            [Column(_tip(site, use), block_of(site), KINDS[view.kinds[site]])
             for site, use in sites.items()],
            [Series("entropy per bit", [use["entropy"] / log2(use["codes"])
                                        for use in sites.values()])],
            "entropy / bits", percent,
        )  # fmt: skip
        view.page.figure(_legend(view, sites) + chart, "Activations", "entropy over width")
    if weights:
        chart = column_chart(
            [Column(_tip(name, use), block_of(name), "c8") for name, use in weights.items()],
            [Series("entropy per bit", [use["entropy"] / log2(use["codes"])
                                        for use in weights.values()])],
            "entropy / bits", percent, height=200,
        )  # fmt: skip
        view.page.figure(chart, "Weights", "entropy over width, all output channels together")
    _site_table(view, sites)
    _weight_table(view, weights)


def saturation(
    view: View, artifact: Artifact | None = None, saturated: Mapping[str, int] | None = None
) -> None:
    """What quantizers clip, and where the integer level saturates."""
    view.page.section(
        "saturation",
        "Saturation",
        "Values that lie past the range of their codes by half a step or more. Methods that search "
        "for ranges clip the rarest on purpose.",
    )
    sites = {site: use.summary() for site, use in view.found.sites.items()}
    if sites:
        # Probabilities that become 0 are not clipped: the last code says so.
        below = [
            0.0 if isinstance(view.quantized.activation[site], LogQuantizer) else use["low"]
            for site, use in sites.items()
        ]
        chart = column_chart(
            [Column(f"{site} ({view.kinds[site]})", block_of(site)) for site in sites],
            [Series("low", below, "c0"),
             Series("high", [use["high"] for use in sites.values()], "c1")],
            "share of values", percent,
        )  # fmt: skip
        view.page.figure(
            legend([("below the range", "c0"), ("above it", "c1")]) + chart,
            "Clipped by the quantizers",
            "of activations on the calibration images",
        )
    if artifact is not None and saturated is not None:
        _integer(view, artifact, saturated)


def _integer(view: View, artifact: Artifact, saturated: Mapping[str, int]) -> None:
    sizes = {name: prod(shape) * view.found.images for name, shape in artifact.shapes().items()}
    rows = [
        [operator.name, operator.kind, sizes[operator.name], count, count / sizes[operator.name]]
        for operator in artifact.operators
        if (count := saturated.get(operator.name, 0))
    ]
    view.page.add(
        f"<h3>At integer level</h3><p>{grouped(sum(saturated.values()))} values saturated in "
        f"{many(len(rows), 'operator')} of {len(artifact.operators)}.</p>"
    )
    if rows:
        headers = [
            Header("operator"), Header("kind"), Header("values"), Header("saturated"),
            Header("share", percent),
        ]  # fmt: skip
        content = table(headers, rows, name="saturated values")
        view.page.details("Operators that saturate", content)


def _site_table(view: View, sites: Mapping[str, dict[str, Any]]) -> None:
    headers = [
        Header("quantizer"), Header("tensor"), *_HEADERS,
        Header("below", percent, "share below the range; of softmax, what becomes 0"),
        Header("above", percent, "share above the range"), Header("how often each code occurs"),
    ]  # fmt: skip
    rows = []
    for site, kind in view.kinds.items():
        use = sites.get(site)
        if use is None:
            rows.append([site, kind, *[None] * 7])
            continue
        bars = strip(view.found.sites[site].counts.tolist(), KINDS[kind])
        rows.append([site, kind, *_cells(use), _rounded(use["low"]), _rounded(use["high"]), bars])
    view.page.details("All activation quantizers", table(headers, rows, name="activation codes"))


def _weight_table(view: View, weights: Mapping[str, dict[str, Any]]) -> None:
    headers = [Header("layer"), Header("weights"), *_HEADERS, Header("how often each code occurs")]
    rows = [
        [name, use["values"], *_cells(use), strip(view.found.weights[name].counts.tolist(), "c8")]
        for name, use in weights.items()
    ]
    view.page.details("All weights", table(headers, rows, name="weight codes"))


_HEADERS = (
    Header("codes"),
    Header("used"),
    Header("entropy, bits", decimals),
    Header("first and last", percent, "share of the two codes at the ends"),
)


def _cells(use: Mapping[str, Any]) -> list[Any]:
    return [use["codes"], use["used"], _rounded(use["entropy"]), _rounded(use["ends"])]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_ROUND}g}")


def _tip(name: str, use: Mapping[str, Any]) -> str:
    return (
        f"{name}\n{use['used']} of {use['codes']} codes, {decimals(use['entropy'])} bits\n"
        f"first and last code: {percent(use['ends'])}"
    )


def _legend(view: View, sites: Mapping[str, Any]) -> str:
    found = {view.kinds[site] for site in sites}
    return legend([(kind, colour) for kind, colour in KINDS.items() if kind in found])
