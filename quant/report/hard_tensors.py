"""The section on tensors that are hard to quantize: LayerNorm, softmax and the MLP's function.

RepQ-ViT (arXiv 2212.08254) begins with these: channels of a LayerNorm's output that differ in
range, and probabilities whose distribution is a power law.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...pages import (
    WIDTH,
    Bins,
    Header,
    Line,
    Stop,
    band_chart,
    choices,
    decimals,
    escape,
    histogram,
    legend,
    line_chart,
    percent,
    table,
)
from ..quantizers import LogQuantizer, Quantizer
from .measure import NormOutput, site_behind
from .statistics import Histogram
from .view import View, block_of

_WORST = 3
_LEAST = 1e-3
"""Share of probabilities that the figure need not tell apart."""


def hard_tensors(view: View) -> None:
    """The section."""
    view.page.section(
        "tensors",
        "Hard tensors",
        "What the quantizers of activations have to cope with, over the calibration images.",
    )
    _norms(view)
    _probabilities(view)
    _activations(view)


def levels_of(quantizer: Any) -> list[float]:
    """Values that a tensor-wide quantizer's codes stand for, ascending; empty for other kinds."""
    if not isinstance(quantizer, Quantizer) or quantizer.scale.ndim:
        return []
    if isinstance(quantizer, LogQuantizer):
        return sorted(quantizer.levels().tolist())
    levels = quantizer.dequantize(torch.arange(1 << quantizer.bits))
    return levels.unique().tolist()


def _norms(view: View) -> None:
    norms = [norm for norm in view.found.norms.values() if norm.site]
    if not norms:
        return
    view.page.add("<h3>LayerNorm outputs</h3>")
    before, after = ([norm.channels[at].variation() for norm in norms] for at in (0, 1))
    chart = line_chart(
        [Stop(norm.name, block_of(norm.name)) for norm in norms],
        [Line("float model", before, "neutral"), Line("quantized network", after, "c0")],
        "widest / median range",
        lambda value: f"{decimals(value)}×",
        height=230,
    )
    names = [("float model, before", "neutral"), ("quantized network, after", "c0")]
    view.page.figure(
        legend(names) + chart,
        "Variation between channels",
        "the widest channel's range over the median one's: what a scale for all of them costs",
    )
    order = sorted(range(len(norms)), key=lambda at: (-before[at], at))
    worst = [_panels(view, norms[at]) for at in order]
    lead = legend(
        [("range of each channel", "faint"), ("mean ± deviation, values", "c0"),
         ("levels of the quantizer", "levels")]
    )  # fmt: skip
    for at, panels in zip(order[:_WORST], worst, strict=False):
        view.page.figure(
            lead + panels, norms[at].name, f"varies {decimals(before[at])}× before, "
            f"{decimals(after[at])}× after; channels from the narrowest to the widest before"
        )  # fmt: skip
    if len(order) > _WORST:
        items = [
            (f"{norms[at].name}: {decimals(before[at])}×", _titled(norms[at].name, panels))
            for at, panels in zip(order[_WORST:], worst[_WORST:], strict=True)
        ]
        view.page.figure(choices("LayerNorm", items), "The others", "most varied first")
    headers = [
        Header("LayerNorm"), Header("quantizer"),
        Header("channels"),
        Header("widest before", decimals, "range of the widest channel in the float model"),
        Header("median before", decimals),
        Header("ratio before", decimals), Header("widest after", decimals),
        Header("median after", decimals), Header("ratio after", decimals),
        Header("reparameterized"),
    ]  # fmt: skip
    rows = [[norm.name, norm.site, *_ranges(norm)] for norm in norms]
    view.page.details("All LayerNorm outputs", table(headers, rows, name="LayerNorm outputs"))


def _ranges(norm: NormOutput) -> list[Any]:
    cells: list[Any] = []
    for channels in norm.channels:
        ranges = channels.ranges()
        cells += [float(ranges.max()), float(ranges.median()), channels.variation()]
    cells = [float(f"{cell:.5g}") for cell in cells]
    return [len(ranges), *cells, "yes" if norm.reparameterized else "no"]


def _panels(view: View, norm: NormOutput) -> str:
    """Channels and values, before and after."""
    before, after = norm.channels
    order = before.ranges().argsort(stable=True)
    levels = levels_of(view.quantized.activation.get(norm.site))
    limits = (levels[0], levels[-1]) if levels else None
    name = "channels by their range before"
    word = "reparameterized" if norm.reparameterized else "not reparameterized"
    parts = [
        ("Channels before: float model", band_chart(before.band(order), name, "value")),
        (
            f"Channels after: {word}, with the quantizer's range",
            band_chart(after.band(order), name, "value", limits),
        ),
        ("Values before", histogram(norm.values[0].bins(), "value")),
        (
            "Values after, with the quantizer's levels",
            histogram(norm.values[1].bins(), "value", levels),
        ),
    ]
    return _grid_of(parts)


def _probabilities(view: View) -> None:
    items = []
    for name, values in view.found.probabilities.items():
        site = site_behind(view.network, name)
        quantizer = view.quantized.activation.get(site) if site else None
        levels = [math.log2(value) for value in levels_of(quantizer) if value > 0]
        figure = histogram(
            _trimmed(values), "log2 of the probability", levels,
            logarithmic=False, colour="c4", width=WIDTH, height=240,
        )  # fmt: skip
        use = view.found.sites.get(site)
        share = f", {percent(use.summary()['zero'])} become 0" if use and levels else ""
        text = f"{many_levels(levels)}{share}" if levels else "levels unknown"
        items.append((name, _titled(name, figure, text)))
    if items:
        view.page.add("<h3>Softmax probabilities</h3>")
        view.page.figure(
            legend([("probabilities", "c4"), ("levels of the codes", "levels")])
            + choices("Softmax", items),
            "Attention over a logarithmic axis",
            "a mark is a level of the codes, and what lies far left of the last one becomes 0; the "
            f"least {percent(_LEAST)} are counted into the first bin",
        )


def many_levels(levels: Sequence[float]) -> str:
    """How many levels there are over 0, and the least."""
    return f"{len(levels)} levels down to 2^{decimals(min(levels))}"


def _activations(view: View) -> None:
    items = []
    for name, values in view.found.activations.items():
        site = site_behind(view.network, name)
        levels = levels_of(view.quantized.activation.get(site)) if site else []
        text = f"{len(levels)} levels" if levels else "levels unknown"
        figure = histogram(values.bins(), "value", levels, colour="c2", width=WIDTH, height=240)
        items.append((name, _titled(name, figure, text)))
    if items:
        view.page.add("<h3>Outputs of the MLP's function</h3>")
        view.page.figure(
            legend([("values", "c2"), ("levels of the quantizer", "levels")])
            + choices("Layer", items),
            "Two unlike tails",
            "outputs in the float model: a narrow tail below 0 and a long one above",
        )


def _trimmed(values: Histogram) -> Bins:
    """Bins without a long empty tail to the left."""
    bins = values.bins()
    limit, first, under = _LEAST * sum(bins.counts), 0, 0
    while under + bins.counts[first] <= limit:
        under += bins.counts[first]
        first += 1
    counts = [under + bins.counts[first], *bins.counts[first + 1 :]]
    return Bins(bins.start + first * bins.width, bins.width, counts)


def _titled(name: str, content: str, text: str = "") -> str:
    more = f" <span class='note'>{escape(text)}</span>" if text else ""
    return f"<h4>{escape(name)}{more}</h4>{content}"


def _grid_of(parts: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><h4>{escape(title)}</h4>{content}</div>" for title, content in parts)
    return f'<div class="panels">{cells}</div>'
