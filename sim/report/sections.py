"""The sections of a report that show a run by its layers and commands."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...pages import (
    COLOURS,
    Column,
    Page,
    Part,
    Point,
    Roof,
    Series,
    area_chart,
    column_chart,
    decimals,
    escape,
    grouped,
    legend,
    percent,
    prefixed,
    scatter,
    total_bar,
)
from ...program import Program
from ..layers import END
from .figures import per_cycle

STATES = {
    "busy": "c0", "weights": "c1", "activations": "c2", "output": "c4", "idle": "neutral",
}  # fmt: skip
_STATE_NAMES = {
    "busy": "busy",
    "weights": "waits for weights",
    "activations": "waits for activations",
    "output": "waits for the output",
    "idle": "idle",
}
_IDLE = {
    "layernorm": ("idle for LayerNorm", "c3"),
    "attention": ("idle for attention", "c5"),
    "image": ("idle for the image", "c6"),
    "requantizer": ("idle for the requantizer", "c7"),
    END: ("after the last vector", "neutral"),
}


@dataclass(frozen=True)
class View:
    """A page on its way, and what is shown on it: `data` of `figures.collect`."""

    page: Page
    data: dict[str, Any]
    program: Program

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The layers of the data."""
        return self.data["layers"]

    @property
    def cells(self) -> int:
        """Of the array."""
        return self.program.config.rows * self.program.config.cols

    @property
    def beat(self) -> int:
        """Bytes of a beat of the bus."""
        return self.program.config.bus_width // 8

    @cached_property
    def roles(self) -> list[tuple[str, str]]:
        """Roles and their colours, in the order of the layers."""
        names = dict.fromkeys(layer["role"] for layer in self.layers if layer["name"] != END)
        return [
            (name, f"c{place}" if place < COLOURS else "faint") for place, name in enumerate(names)
        ]

    def colours(self) -> list[str]:
        """Of each layer: its role's."""
        known = dict(self.roles)
        return [
            "neutral" if layer["name"] == END else known[layer["role"]] for layer in self.layers
        ]

    def columns(self) -> list[Column]:
        """A column per layer; those of a block share a mark under the axis."""
        return [
            Column(layer["name"], layer["group"] or layer["role"], colour)
            for layer, colour in zip(self.layers, self.colours(), strict=True)
        ]


def utilization(view: View) -> None:
    """MACs of each layer beside what the array could have made."""
    view.page.section(
        "utilization",
        "Utilization by layer",
        "MACs of the model per cycle and cell of the array. Shift attention multiplies beside "
        "the array while scores are made, so that scores can pass 100 %; operands wider than "
        "the array's codes take several passes and stay below it.",
    )
    values = [layer["utilization"] for layer in view.layers]
    chart = column_chart(
        view.columns(), [Series("utilization", values)], "MACs per cycle and cell", percent,
        line=(1.0, "every cell, every cycle"),
        tick=lambda value: f"{decimals(100 * value)} %",
    )  # fmt: skip
    view.page.figure(legend(view.roles) + chart, "Utilization", "by layer, in program order")


def cycles(view: View) -> None:
    """What the array did, in all and by layer."""
    view.page.section(
        "cycles",
        "Where the cycles go",
        "What the array did in each cycle: it took a vector (busy), had one and waited, or had "
        "no command (idle; counted to the layer that it waited to begin).",
    )
    sums = {state: sum(layer[state] for layer in view.layers) for state in STATES}
    parts = [
        Part(_STATE_NAMES[state], sums[state], colour)
        for state, colour in STATES.items()
        if state != "idle"
    ]
    causes = dict.fromkeys([*_IDLE, *(layer["waits_for"] for layer in view.layers)])
    for cause in causes:
        name, colour = _IDLE.get(cause, (f"idle for {cause}", "faint"))
        idle = sum(layer["idle"] for layer in view.layers if layer["waits_for"] == cause)
        parts.append(Part(name, idle, colour))
    view.page.figure(
        total_bar(parts, lambda value: grouped(round(value))),
        "All cycles of the run",
        f"{grouped(view.data['cycles'])} in all",
    )
    series = {
        state: Series(_STATE_NAMES[state], [layer[state] for layer in view.layers], colour)
        for state, colour in STATES.items()
    }
    names = [(_STATE_NAMES[state], colour) for state, colour in STATES.items()]
    chart = column_chart(view.columns(), list(series.values()), "cycles")
    view.page.figure(legend(names) + chart, "Cycles", "by layer")
    del series["busy"]
    chart = column_chart(view.columns(), list(series.values()), "cycles")
    view.page.figure(
        legend(names[1:]) + chart,
        "Cycles lost",
        f"by layer, the same without busy: {grouped(view.data['cycles'] - sums['busy'])} in all",
    )


def roofline(view: View) -> None:
    """Layers under the bounds of array and bus."""
    rate = view.beat * view.data["bandwidth"]
    view.page.section(
        "roofline",
        "Roofline",
        f"Work of a layer per byte of its memory traffic, and per cycle. The flat roofs are "
        f"the {view.cells} cells of the array, and twice as many where shift attention works "
        f"beside it; the slope is the bus, {decimals(rate)} bytes per cycle. Traffic counts to "
        "the layer that needs it, though it may have been fetched before.",
    )
    points = [
        Point(
            layer["name"], layer["macs_per_byte"], layer["macs_per_cycle"], colour,
            f"{decimals(layer['macs_per_byte'])} MACs per byte\n"
            f"{decimals(layer['macs_per_cycle'])} MACs per cycle\n"
            f"{prefixed(layer['macs'])} MACs, {prefixed(layer['traffic'], 'B')}",
        )
        for layer, colour in zip(view.layers, view.colours(), strict=True)
        if layer["macs_per_byte"] and layer["macs_per_cycle"]
    ]  # fmt: skip
    if not points:
        view.page.add("<p>No layer both multiplies and has traffic.</p>")
        return
    roofs = [
        Roof(f"array: {view.cells} MACs per cycle", rate, view.cells),
        Roof(f"with shift attention: {2 * view.cells}", rate, 2 * view.cells),
    ]
    chart = scatter(points, roofs, "MACs per byte of memory traffic", "MACs per cycle")
    view.page.figure(legend(view.roles) + chart, "Roofline", "one point per layer, log scales")


def traffic(view: View) -> None:
    """What crossed the bus, by kind, by layer and over time."""
    data = view.data
    traffic = data["traffic"]
    view.page.section(
        "traffic",
        "Memory traffic",
        f"{prefixed(traffic['read_bytes'], 'B')} read in "
        f"{grouped(traffic['read_bursts'])} bursts, "
        f"{prefixed(traffic['write_bytes'], 'B')} written in "
        f"{grouped(traffic['write_bursts'])}. Kinds and layers are counted from the program's "
        "commands. Commands themselves are read all along, belong to no layer, and stand with the "
        "end.",
    )
    kinds = list(view.layers[0]["bytes"])
    colours = {kind: f"c{place}" for place, kind in enumerate(kinds)}
    sums = {kind: sum(layer["bytes"][kind] for layer in view.layers) for kind in kinds}
    view.page.figure(
        total_bar(
            [Part(kind, sums[kind], colours[kind]) for kind in kinds if sums[kind]],
            lambda value: prefixed(value, "B"),
        ),
        "Bytes by kind",
    )
    series = [
        Series(kind, [layer["bytes"][kind] for layer in view.layers], colours[kind])
        for kind in kinds
        if sums[kind]
    ]
    chart = column_chart(view.columns(), series, "bytes", lambda value: prefixed(value, "B"))
    names = [(each.name, each.colour) for each in series]
    view.page.figure(legend(names) + chart, "Bytes", "by layer and kind")
    rates = [
        Series(name, per_cycle(data[name], data["window"], data["cycles"], view.beat), colour)
        for name, colour in (("reads", "c0"), ("writes", "c1"))
    ]
    chart = area_chart(
        data["cycles"], rates, "cycle", "bytes per cycle",
        line=(view.beat * data["bandwidth"], "all that the memory can move one way"),
    )  # fmt: skip
    view.page.figure(
        legend([("reads", "c0"), ("writes", "c1")]) + chart,
        "Bandwidth over time",
        f"means over {many(data['window'], 'cycle')} or more",
    )


def energy(view: View) -> None:
    """The estimate, where there is one."""
    energy = view.data["energy"]
    if energy is None:
        return
    images, parts = view.data["images"], list(energy["parts"])
    colours = {part: f"c{place}" for place, part in enumerate(parts)}
    static = (
        f"{joules(energy['static'])} of them leakage and clock."
        if energy["static"]
        else "Leakage and clock are left out."
    )
    view.page.section(
        "energy",
        "Energy",
        "An estimate to compare configurations with: counts of operations and accesses times "
        f"energies of a published table. {joules(energy['total'] / images)} per image. "
        f"{static} The end has what reading the commands takes.",
    )
    whole = [Part(part, energy["parts"][part], colours[part]) for part in parts]
    if energy["static"]:
        whole.append(Part("leakage and clock", energy["static"], "neutral"))
    view.page.figure(total_bar(whole, joules), "Energy by part", "of the whole run")
    series = [
        Series(part, [layer["energy"][part] for layer in view.layers], colours[part])
        for part in parts
    ]
    chart = column_chart(view.columns(), series, "energy", joules)
    names = [(part, colours[part]) for part in parts]
    view.page.figure(legend(names) + chart, "Energy", "by layer, of the whole run")


def timeline(view: View) -> None:
    """Where the script draws the commands."""
    options = "".join(
        f'<option value="{place}">{escape(layer["name"])}</option>'
        for place, layer in enumerate(view.layers)
        if layer["name"] != END
    )
    view.page.section(
        "timeline",
        "Timeline of commands",
        "A bar per command, from the cycle in which its unit took it to that in which it had "
        "finished; colours are those of the layer it works for, grey works for none. Below "
        "them, the share of the bus's beats.",
    )
    buttons = "".join(
        f'<button type="button" id="{name}" title="{title}">{sign}</button>'
        for name, title, sign in (
            ("zoom-in", "Zoom in (+)", "+"), ("zoom-out", "Zoom out (-)", "−"),
            ("pan-left", "Earlier (left)", "◀"), ("pan-right", "Later (right)", "▶"),
            ("zoom-all", "The whole run (0)", "All"),
        )
    )  # fmt: skip
    view.page.add(
        f'<div class="tools">{buttons} <label>Layer <select id="zoom-layer">'
        f'<option value="">the whole run</option>{options}</select></label> '
        '<span id="where"></span></div>'
    )
    view.page.figure(
        legend(view.roles)
        + '<div id="gantt" tabindex="0" role="img" aria-label="Commands of each unit over '
        'cycles"><canvas></canvas></div><noscript>The timeline needs scripts.</noscript>',
        f"{grouped(len(view.program.commands) - 1)} commands by unit",
        "drag to move, double click or Ctrl and wheel to zoom, or two fingers; + − 0 and "
        "arrows when it has the focus",
    )


def joules(picojoules: float) -> str:
    """pJ with a prefix that fits."""
    return prefixed(picojoules * 1e-12, "J")


def rate(per_cycle: float, hertz: float, unit: str) -> str:
    """What happens per cycle, per second; the page's script follows the clock."""
    value = per_cycle * hertz
    shown = prefixed(value, unit) if unit else decimals(value)
    return f'<span data-rate="{per_cycle!r}" data-unit="{unit}">{shown}</span>'


def many(count: int, what: str) -> str:
    """A number of things."""
    return f"{grouped(count)} {what}{'' if count == 1 else 's'}"
