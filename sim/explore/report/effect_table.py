"""The table of what each knob buys."""

from collections.abc import Mapping, Sequence
from math import log

from ....pages import decimals, escape, grouped
from ....pages.svg import number, path, rect
from ..point import Value
from ..record import Record, Status
from ..results import Exploration, column_of
from .columns import knob_values, on_front, value_text
from .effects import Effect, Knob, effects

_WIDE, _HIGH, _EDGE = 84, 18, 4


def effect_table(exploration: Exploration) -> str:
    """HTML: a group of rows per knob, a row per value, a column per objective."""
    space = exploration.space
    records = [record for record in exploration.records if record.status is Status.COMPLETE]
    knobs = knob_values(space.knobs, records)
    better = {each.metric: each.maximize for each in space.objectives}
    found = effects(records, knobs, list(better))
    if not found:
        return "<p>No two complete points have different values of a knob.</p>"
    reach = {
        metric: _reach([e for knob in found for v in knob.effects.values() if (e := v[metric])])
        for metric in better
    }
    front = [(at, exploration.records[at]) for at in on_front(exploration)]
    bodies = []
    for knob in found:
        lines = [
            f'<tr><th scope="rowgroup" colspan="{4 + 2 * len(better)}">'
            f"{escape(column_of(knob.name))} "
            f"<span>against {escape(value_text(knob.reference))}</span></th></tr>"
        ]
        for value in knobs[knob.name]:
            many = sum(record.point.get(knob.name) == value for record in records)
            on = [(at, record) for at, record in front if record.point.get(knob.name) == value]
            lines.append(_row(knob, value, many, on, better, reach))
        bodies.append("<tbody>\n" + "\n".join(lines) + "\n</tbody>")
    head = "".join(
        f'<th scope="col" class="text">{escape(each)}</th><th scope="col">best</th>'
        for each in better
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="What each knob buys">'
        '<table class="effects"><thead><tr><th scope="col" class="text">knob</th>'
        f'<th scope="col">points</th><th scope="col">front</th>'
        f'<th scope="col">pairs</th>{head}</tr></thead>\n' + "\n".join(bodies) + "\n</table></div>"
    )


def _row(
    knob: Knob,
    value: Value,
    many: int,
    front: Sequence[tuple[int, Record]],
    better: Mapping[str, bool],
    reach: Mapping[str, float],
) -> str:
    """A value: how many points have it, those of a front, and the effect on each objective."""
    known = knob.effects.get(value, {})
    pairs = max((each.pairs for each in known.values() if each), default=0)
    cells = [
        f'<th scope="row" class="text">{escape(value_text(value))}</th>',
        f"<td>{grouped(many)}</td><td>{grouped(len(front))}</td>",
        f"<td>{'' if value == knob.reference else grouped(pairs)}</td>",
    ]
    for metric, maximize in better.items():
        shown = '<span class="soft">reference</span>'
        if value != knob.reference:
            shown = _shown(known[metric], maximize, reach[metric])
        cells.append(f'<td class="effect">{shown}</td><td>{_best(front, metric, maximize)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _reach(found: Sequence[Effect]) -> float:
    """Half of the axis on which the effects of all knobs on one metric are drawn."""
    return max((abs(_place(e, v)) for e in found for v in (e.least, e.greatest)), default=0) or 1.0


def _place(effect: Effect, value: float) -> float:
    """A change on an axis whose middle is none: halving is as far from it as doubling."""
    return log(value) if effect.factor else value


def _shown(effect: Effect | None, maximize: bool, reach: float) -> str:
    if effect is None:
        return '<span class="soft">no pair</span>'

    def across(value: float) -> float:
        return _WIDE / 2 + _place(effect, value) / reach * (_WIDE / 2 - _EDGE)

    middle, low, high = across(effect.median), across(effect.low), across(effect.high)
    gain = (effect.median - effect.none) * (1 if maximize else -1)
    colour = "c2" if gain > 0 else "c1" if gain < 0 else "neutral"
    parts = [
        path([(_WIDE / 2, 0), (_WIDE / 2, _HIGH)], "zero"),
        path([(across(effect.least), _HIGH / 2), (across(effect.greatest), _HIGH / 2)], "reach"),
        rect(min(low, high), 4, max(abs(high - low), 1.5), _HIGH - 8, colour),
        path([(middle, 2), (middle, _HIGH - 2)], "middle"),
    ]
    tip = (
        f"median of {grouped(effect.pairs)} pair{'s' if effect.pairs > 1 else ''}: "
        f"{written(effect, effect.median)}\n"
        f"quartiles: {written(effect, effect.low)} to {written(effect, effect.high)}\n"
        f"all: {written(effect, effect.least)} to {written(effect, effect.greatest)}"
    )
    text = f"<b>{written(effect, effect.median)}</b> <i>{_spread(effect)}</i>"
    return (
        f'<span class="pair" data-tip="{escape(tip)}"><svg viewBox="0 0 {_WIDE} {number(_HIGH)}" '
        f'aria-hidden="true">{"".join(parts)}</svg><span>{text}</span></span>'
    )


def _spread(effect: Effect) -> str:
    """The quartiles, where they differ as written."""
    low, high = written(effect, effect.low), written(effect, effect.high)
    return "" if low == high else f"{low} to {high}"


def written(effect: Effect, value: float) -> str:
    """A change as text: ×0.52, or +1.3."""
    if effect.factor:
        return f"×{decimals(value)}"
    return f"{'+' if value > 0 else ''}{decimals(value)}".replace("-", "−")


def _best(members: Sequence[tuple[int, Record]], metric: str, maximize: bool) -> str:
    """The best of some points, and a link that selects it."""
    having = [(at, record) for at, record in members if metric in record.metrics]
    if not having:
        return "–"
    sign = 1 if maximize else -1
    at, record = max(having, key=lambda each: sign * each[1].metrics[metric])
    value = decimals(record.metrics[metric], 4)
    return f'{value} <a href="#front" data-point="{at}">#{record.number}</a>'
