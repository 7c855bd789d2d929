"""The report of a simulated inference, put together from its numbers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...artifact import Artifact
from ...pages import Header, Page, asset, decimals, definitions, escape, grouped, percent, prefixed
from ...pages import table as table_of
from ...program import Program
from ..costs import LayerCosts
from ..energy import Energy
from ..timeline import Timeline
from . import sections
from .figures import collect
from .sections import STATES, View, joules, many, rate

CLOCK_MHZ = 100.0
"""What the page assumes where nothing is said."""


def write_report(
    path: str | Path,
    artifact: Artifact,
    program: Program,
    timeline: Timeline,
    engine: str,
    costs: Sequence[LayerCosts] | None = None,
    energy: Energy | None = None,
    *,
    bandwidth: float = 1.0,
    clock: float = CLOCK_MHZ,
    command: str | None = None,
) -> None:
    """Write the page; equal arguments give equal bytes.

    Parameters:
        engine: what made the timeline, such as "rtl" or "cycles".
        costs: of `sim.costs.costs`, which are counted here where they are left out.
        energy: of `sim.energy.energy`; the page is without it where it is None.
        bandwidth: beats per cycle that the memory can move, 1 at most.
        clock: MHz, until the page's reader says otherwise.
        command: the command line that makes the page again.
    Raises: OutputError where the file cannot be written; ValueError where the timeline is not of
    the program's commands, or the bandwidth not over 0 and at most 1.
    """
    if not 0 < bandwidth <= 1:
        raise ValueError(f"bandwidth must be over 0 and at most 1, not {bandwidth!r}")
    data = collect(artifact, program, timeline, engine, costs, energy, bandwidth)
    config = program.config
    page = Page(
        f"{data['model']} {data['bits']} on {config.rows} x {config.cols}",
        f"One simulated run of {many(data['images'], 'image')}, engine {engine}, "
        f"Rootshift {data['rootshift']}",
    )
    view = View(page, data, program)
    _facts(view, clock)
    sections.utilization(view)
    sections.cycles(view)
    sections.roofline(view)
    sections.traffic(view)
    sections.energy(view)
    sections.timeline(view)
    _units(view)
    _table(view)
    _again(view, artifact, command)
    page.style(asset(__package__, "timeline.css"))
    page.script(asset(__package__, "timeline.js"))
    page.data("report-data", data | {"colours": view.colours()})
    page.write(path)


def _facts(view: View, clock: float) -> None:
    """The large figures, and what was run."""
    data, config = view.data, view.program.config
    size = data["traffic"]["read_bytes"] + data["traffic"]["write_bytes"]
    images, cycles = data["images"], data["cycles"]
    hertz = clock * 1e6
    view.page.add(
        '<p class="tools"><label>Clock <input id="clock" type="number" min="1" max="5000" '
        f'step="any" value="{clock:g}" size="6"> MHz</label> <span class="subtitle">'
        "assumed: what a design reaches is known after place and route</span></p>"
    )
    energy = data["energy"]
    view.page.facts(
        [
            ("Cycles", grouped(cycles), f"{grouped(round(cycles / images))} per image"
             if images > 1 else "from start strobe to interrupt"),
            ("Utilization", percent(data["utilization"]),
             "MACs of the model per cycle and cell"),
            ("Array busy", percent(data["busy"]), "cycles in which it took a vector"),
            ("Frames per second", rate(images / cycles, hertz, ""), "at the assumed clock"),
            ("Time of the run", f'<span data-cycles="{cycles}">'
             f"{prefixed(cycles / hertz, 's')}</span>", "at the assumed clock"),
            ("Throughput", rate(2 * data["macs"] / cycles, hertz, "op/s"),
             "a MAC is two operations"),
            ("Memory traffic", prefixed(size, "B"),
             f"{decimals(size / cycles)} bytes per cycle"
             + (f", {prefixed(size / images, 'B')} per image" if images > 1 else "")),
            ("MACs", prefixed(data["macs"]), f"{prefixed(data['macs'] / images)} per image"
             if images > 1 else "of the model"),
            *([("Energy", joules(energy["total"] / images), "per image, an estimate: "
                f"{decimals(2 * data['macs'] / energy['total'])} TOPS/W")] if energy else []),
        ]
    )  # fmt: skip
    shape = " x ".join(map(str, data["input"]))
    view.page.add(
        definitions(
            {
                "Model": f"{escape(data['model'])}, {escape(data['bits'])}, input {shape}, "
                f"{many(images, 'image')} in the run",
                "Accelerator": f"array {config.rows} x {config.cols}, {config.lanes} lanes, "
                f"bus {config.bus_width} bits, codes of {config.activation_width} (A), "
                f"{config.weight_width} (W) and {config.log_width} (L) bits",
                "Memory": f"up to {decimals(view.beat * data['bandwidth'])} bytes per "
                "cycle each way",
            }
        )
    )


def _units(view: View) -> None:
    """Busy and stalled cycles of each unit."""
    view.page.section(
        "units",
        "Units",
        "Counters of the registers: cycles in which a unit had work, moved something (busy) or "
        "did not (stall), and their shares of the run.",
    )
    cycles = view.data["cycles"]
    rows = [
        [name, each["busy"], each["busy"] / cycles, each["stall"], each["stall"] / cycles]
        for name, each in view.data["units"].items()
    ]
    headers = [
        Header("unit"), Header("busy"), Header("share", percent), Header("stall"),
        Header("share", percent),
    ]  # fmt: skip
    view.page.add(table_of(headers, rows, name="units"))


def _table(view: View) -> None:
    """Every number of every layer."""
    view.page.section(
        "layers",
        "All layers",
        "A click on a name sorts, a third one brings the program's order back.",
    )
    keys: list[tuple[str, str, Callable[[Any], str] | None]] = [
        ("name", "layer", None), ("cycles", "cycles", None), ("busy", "busy", None),
        ("weights", "weights", None), ("activations", "activations", None),
        ("output", "output", None), ("idle", "idle", None), ("waits_for", "idle for", None),
        ("macs", "MACs", None), ("macs_per_cycle", "MACs/cycle", decimals),
        ("utilization", "utilization", percent), ("traffic", "bytes", None),
        ("macs_per_byte", "MACs/byte", decimals),
    ]  # fmt: skip
    kinds = list(view.layers[0]["bytes"])
    rows = [
        [layer[key] for key, _, _ in keys] + [layer["bytes"][kind] for kind in kinds]
        for layer in view.layers
    ]
    data, size = view.data, sum(layer["traffic"] for layer in view.layers)
    sums = {key: sum(layer[key] for layer in view.layers) for key in (*STATES, "macs")}
    whole: Mapping[str, Any] = sums | {
        "name": "all",
        "cycles": data["cycles"],
        "waits_for": "",
        "macs_per_cycle": sums["macs"] / data["cycles"],
        "utilization": data["utilization"],
        "traffic": size,
        "macs_per_byte": sums["macs"] / size if size else None,
    }
    total = [whole[key] for key, _, _ in keys] + [
        sum(layer["bytes"][kind] for layer in view.layers) for kind in kinds
    ]
    headers = [Header(name, write) for _, name, write in keys]
    headers += [Header(f"{kind} B") for kind in kinds]
    if data["energy"]:
        headers.append(Header("energy", joules))
        energies = [sum(layer["energy"].values()) for layer in view.layers]
        rows = [[*row, each] for row, each in zip(rows, energies, strict=True)]
        total.append(sum(energies))
    view.page.add(table_of(headers, rows, total, "all layers"))


def _again(view: View, artifact: Artifact, command: str | None) -> None:
    """What makes the page again."""
    view.page.section("again", "To make it again")
    if command:
        view.page.add(f"<pre>{escape(command)}</pre>")
    facts = {"Rootshift": view.data["rootshift"], "engine": view.data["engine"]}
    view.page.add(definitions({key: escape(value) for key, value in facts.items()}))
    source = {
        key: escape(value)
        for key, value in artifact.source.items()
        if isinstance(value, str | int | float)
    }
    view.page.add(f"<h3>Where the artifact comes from</h3>{definitions(source)}")
    view.page.details(
        "Configuration (config.toml)", f"<pre>{escape(view.program.config.to_toml())}</pre>"
    )
