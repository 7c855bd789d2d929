"""The report of an exploration, put together from its records."""

import os
import shlex
from collections import Counter
from pathlib import Path

from ....pages import Page, asset, decimals, definitions, escape, grouped
from ..metrics import METRICS
from ..record import Status
from ..results import Exploration, column_of
from .columns import collect, knob_values, limits_of, value_text
from .effect_table import effect_table

SCRIPTS = ("points.js", "colours.js", "scatter.js", "parallel.js", "table.js", "panel.js")
"""In the order in which they run."""
_SIZES = (25, 50, 100, 200)


def write_exploration_report(path: str | Path, exploration: Exploration) -> None:
    """Write the page; equal arguments give equal bytes.

    The commands on it name the folder of `path`, so that they run from the folder above.
    Raises: OutputError where the file cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent.name or "."
    space, made = exploration.space, exploration.made
    page = Page(
        f"Exploration of {space.model.name}",
        f"{grouped(len(exploration.records))} points of quantization and hardware, sampler "
        f"{space.search.sampler}, Rootshift {made.get('version', '')}",
    )
    _facts(page, exploration)
    _front(page)
    _parallel(page)
    page.section(
        "knobs",
        "What each knob buys",
        "Complete points that differ in one knob alone, in pairs: its value against the knob's "
        "reference. The mark is the median of their changes, the bar reaches from the first to "
        "the third quartile, the line from the least to the greatest; green is better, orange "
        "worse. Behind them, the best of the points on a front that have the value.",
    )
    page.add(effect_table(exploration))
    _points(page)
    _made(page, exploration)
    page.style(asset(__package__, "explore.css"))
    for name in SCRIPTS:
        page.script(asset(__package__, name))
    page.data("exploration-data", collect(exploration) | {"folder": shlex.quote(folder)})
    page.write(path)


def _facts(page: Page, exploration: Exploration) -> None:
    """The large figures, and what was explored."""
    space, records, made = exploration.space, exploration.records, exploration.made
    many = Counter(record.status for record in records)
    known = [f"{grouped(many[status])} {status}" for status in Status if many[status]]
    fronts = exploration.fronts()
    on_fronts = [f"{target} {grouped(len(each))}" for target, each in fronts.items() if target]
    facts = [
        ("Points", grouped(len(records)), ", ".join(known) or "none"),
        ("On a front", grouped(sum(map(len, fronts.values()))),
         ", ".join(on_fronts) or "of the complete points"),
    ]  # fmt: skip
    best = [record for each in fronts.values() for record in each]
    for objective in space.objectives:
        metric = METRICS[objective.metric]
        having = [record for record in best if metric.name in record.metrics]
        if having:
            choose = max if objective.maximize else min
            record = choose(having, key=lambda each, name=metric.name: each.metrics[name])
            facts.append(
                (("Least", "Greatest")[objective.maximize] + f" {metric.name}",
                 f"{decimals(record.metrics[metric.name], 4)} {metric.unit}".strip(),
                 f"point {record.number}")
            )  # fmt: skip
    counts = made.get("counts", {})
    steps = [name for name in counts if not name.endswith(" kept")]
    for name in steps:
        kept = counts.get(f"{name} kept", 0)
        facts.append(
            (f"Computed {name}", grouped(counts[name]), f"{grouped(kept)} more from the cache")
        )
    if "seconds" in made:
        workers = made.get("workers")
        note = f"engine {made.get('engine')}" + (f", {workers} workers" if workers else "")
        facts.append(("Time", _duration(made["seconds"]), note))
    page.facts(facts)
    limits = [f"{name} {limit}" for name, limit in limits_of(exploration).items()]
    if space.constraints.fits:
        limits.append("fits its target at its clock")
    goals = [
        f"{'maximize' if each.maximize else 'minimize'} {each.metric}" for each in space.objectives
    ]
    page.add(
        definitions(
            {
                "Objectives": escape(", ".join(goals)),
                "Constraints": escape("; ".join(limits) or "none"),
                "Space": escape(_sizes(exploration)),
                "Images": escape(_images(exploration)),
            }
        )
    )


def _sizes(exploration: Exploration) -> str:
    """How many points the space has, and by which knobs."""
    space = exploration.space
    sizes = [f"{column_of(knob)} {len(each)}" for knob, each in space.knobs.items() if each[1:]]
    share = f"all {grouped(space.size)}" if space.size == len(exploration.records) else (
        f"{grouped(len(exploration.records))} of {grouped(space.size)}"
    )  # fmt: skip
    values = f"; values: {', '.join(sizes)}" if sizes else ""
    return f"{share} points of the grid{values}"


def _images(exploration: Exploration) -> str:
    images = exploration.space.images
    name = "those of the model" if images.labels is None else Path(images.labels).name
    first = "" if images.first is None else f", the first {grouped(images.first)}"
    return f"{name}{first}; {grouped(images.few)} for the first look at accuracy"


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, as far as they count."""
    if seconds < 60:
        return f"{decimals(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _front(page: Page) -> None:
    """Where the scripts draw two metrics, and the selected point."""
    page.section(
        "front",
        "Fronts",
        "Large points are on the front of their target: no complete point is at least as good in "
        "all objectives and better in one. The steps join the best of the points shown on these "
        "two axes.",
    )
    axes = "".join(
        f'<label>{name} <select id="{name}-axis"></select></label>'
        f'<label><input type="checkbox" id="{name}-log"> log</label>'
        for name in ("x", "y")
    )
    page.add(
        f'<div class="tools axes">{axes}<label>Colour <select id="colour"></select></label></div>'
        '<div class="checks" data-statuses role="group" aria-label="Points shown"></div>'
        '<div class="state" data-state></div>'
    )
    page.add(
        '<div class="split"><figure><ul class="legend" id="colours"></ul>'
        '<ul class="legend" id="fronts"></ul>'
        '<div id="scatter" class="layers" tabindex="0" role="application" aria-label="Points on '
        'two metrics; left and right go along the front, up and down along all, Enter selects">'
        '<svg aria-hidden="true"></svg><canvas></canvas><svg aria-hidden="true"></svg></div>'
        '<p class="note" id="scatter-says" aria-live="polite"></p>'
        "<noscript>The figures of this page need scripts.</noscript></figure>"
        '<aside id="point" aria-label="Selected point" aria-live="polite"><h3>No point selected'
        '</h3><p class="note">A click on a point, a line or a row shows its knobs, its figures '
        "and the command that makes its RTL. With the figure in focus, arrows go from point to "
        "point, Enter selects.</p></aside></div>"
    )


def _parallel(page: Page) -> None:
    """Where the scripts draw all knobs and metrics."""
    page.section(
        "parallel",
        "Knobs and metrics",
        "A line per point. Drag along an axis, or focus it and use the arrows (with Shift for the "
        "upper end), to keep the points in a range; a click takes the value under it, or lets all "
        "through again. What is kept here is what all of the page shows.",
    )
    page.add(
        '<details class="choose"><summary>Axes</summary><div class="checks" '
        'id="parallel-axes" role="group" aria-label="Axes"></div></details>'
        '<div class="state" data-state></div>'
        '<div class="scroll" id="parallel-lines"><div class="layers"><canvas></canvas>'
        '<canvas></canvas><svg role="group" aria-label="Axes of knobs and metrics"></svg>'
        "</div></div>"
    )


def _points(page: Page) -> None:
    """Where the scripts list the points."""
    page.section(
        "points",
        "All points",
        "Names sort. Filters of numbers are low..high, either end open, or one number; those of "
        "texts are a value or a part of it, several with | between them.",
    )
    turns = (
        ("page-first", "First page", "«"), ("page-before", "Page before", "‹"),
        ("page-next", "Next page", "›"), ("page-last", "Last page", "»"),
    )  # fmt: skip
    buttons = "".join(
        f'<button type="button" id="{name}" title="{title}" aria-label="{title}">{sign}</button>'
        for name, title, sign in turns
    )
    sizes = "".join(f"<option>{size}</option>" for size in _SIZES)
    page.add(
        '<div class="state" data-state></div><div id="point-brief" hidden></div>'
        f'<div class="tools">{buttons} <span id="page-where" aria-live="polite"></span>'
        f'<label>Rows <select id="page-size">{sizes}</select></label>'
        '<button type="button" id="csv">Save as CSV</button></div>'
        '<div class="scroll" tabindex="0" role="region" aria-label="All points">'
        '<table id="points-table"><thead></thead><tbody></tbody></table></div>'
    )


def _made(page: Page, exploration: Exploration) -> None:
    """What the results come from, to have them again."""
    space, made = exploration.space, exploration.made
    page.section("made", "How it was made")
    fixed = {
        column_of(knob): values[0]
        for knob, values in knob_values(space.knobs, exploration.records).items()
        if len(values) == 1
    }
    weights = Path(space.model.weights).name
    same = ", ".join(f"{name} {value_text(value)}" for name, value in fixed.items())
    page.add(
        definitions(
            {
                "Model": f"{escape(space.model.name)}, weights {escape(weights)}",
                "Same in all points": escape(same or "none"),
                "Search": f"sampler {escape(space.search.sampler)}, seed {space.search.seed}",
                "Rootshift": escape(made.get("version", "")),
                "Digest of the code": escape(made.get("code", "")),
            }
        )
    )
    page.details("The space as TOML", f"<pre>{escape(space.text)}</pre>")
