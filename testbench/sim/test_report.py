"""Reports: pages that hold the run's own numbers, load nothing, and say the same every time."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.csr import UNITS
from rootshift.errors import OutputError
from rootshift.pages import grouped
from rootshift.program import Program
from rootshift.sim.costs import costs
from rootshift.sim.energy import EnergyTable, energy
from rootshift.sim.layers import layers
from rootshift.sim.report import write_report
from rootshift.sim.report.figures import per_cycle, role
from rootshift.sim.timeline import Timeline, UnitCycles

from ..hw.compiled import built
from ..random_model import Size, random_artifact
from ..seeds import generator
from .timelines import random_timeline

VOID = {"meta", "input", "br", "link", "img", "hr"}
LOADS = {"src", "href", "srcset", "poster", "action", "data", "xlink:href", "formaction"}


class Reader(HTMLParser):
    """A page read back: elements balanced, addresses, ids, texts of scripts and of table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: Counter[str] = Counter()
        self.scripts: list[tuple[dict[str, Any], str]] = []
        self.rows: list[list[str]] = []
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        """Open an element, note what it is."""
        if tag not in VOID:
            self.open.append(tag)
        self.note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        """Elements of SVG that close themselves."""
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        """Count an element and its attributes."""
        self.elements[tag] += 1
        found = dict(attrs)
        assert len(found) == len(attrs), f"{tag}: an attribute is given twice"
        self.attributes |= found.keys()
        self.addresses += [value for name, value in attrs if name in LOADS]
        if "id" in found:
            self.ids[found["id"]] += 1
        if tag == "script":
            self.scripts.append((found, ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Each closes what was opened last."""
        assert self.open, f"{tag} is closed and was not opened"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Texts."""
        if self.open and self.open[-1] == "script":
            head, text = self.scripts[-1]
            self.scripts[-1] = head, text + data
        elif {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def data(self) -> dict[str, Any]:
        """The embedded numbers."""
        (text,) = (text for head, text in self.scripts if head.get("id") == "report-data")
        return json.loads(text)


class Run:
    """A random model, its program, a run as it could have been, and the page of it."""

    def __init__(self, folder: Path, size: Size | None = None, **options: int) -> None:
        rng = generator(7, *options.values())
        self.artifact: Artifact = random_artifact(rng, size or Size(depth=2))
        self.program: Program = built(self.artifact, "4x4", **options)
        units = {
            name: UnitCycles(*map(int, pair))
            for name, pair in zip(UNITS, rng.integers(0, 9999, (len(UNITS), 2)), strict=True)
        }
        self.timeline: Timeline = replace(random_timeline(self.program, rng), units=units)
        self.path = folder / "report.html"

    def write(self, **options: Any) -> Reader:
        """Write the page and read it."""
        write_report(self.path, self.artifact, self.program, self.timeline, "rtl", **options)
        return Reader(self.path.read_text(encoding="utf-8"))


@pytest.fixture(params=[{}, {"images": 4, "batch": 2}], ids=["one image", "batches"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return Run(tmp_path, **request.param)


def test_the_page_is_whole_and_loads_nothing(run: Run) -> None:
    page = run.write()
    text = run.path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert not page.open
    assert max(page.ids.values()) == 1
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= page.ids.keys()
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|import\(", text)
    assert "default-src &#x27;none&#x27;" in text
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not {"link", "iframe", "img", "object", "embed"} & page.elements.keys()


def test_the_scripts_find_what_they_look_for(run: Run) -> None:
    page = run.write()
    code = "".join(text for head, text in page.scripts if "type" not in head)
    wanted = set(re.findall(r'getElementById\("([\w-]+)"\)', code))
    wanted |= set(re.findall(r'"((?:zoom|pan)-\w+)"', code))
    assert len(wanted) >= 9
    assert wanted <= page.ids.keys()


def test_the_numbers_are_those_of_the_run(run: Run) -> None:
    data, line = run.write().data(), run.timeline
    assert data["cycles"] == line.cycles
    assert data["commands"]["begun"] == line.begun.tolist()
    assert data["commands"]["done"] == line.done.tolist()
    assert (data["reads"], data["writes"]) == (line.reads.tolist(), line.writes.tolist())
    assert data["window"] == line.window
    assert {n: UnitCycles(**each) for n, each in data["units"].items()} == dict(line.units)
    assert data["traffic"]["read_beats"] == line.traffic.read_beats
    expected = layers(run.artifact, run.program, line)
    for found, layer in zip(data["layers"], expected, strict=True):
        for name in ("name", "macs", "busy", "weights", "activations", "output", "idle", "cycles"):
            assert found[name] == getattr(layer, name), layer.name
    assert sum(layer["cycles"] for layer in data["layers"]) == line.cycles
    config = run.program.config
    macs = run.artifact.macs() * run.program.images
    assert data["utilization"] == macs / (line.cycles * config.rows * config.cols)
    moved = sum(cost.read_bytes + cost.logit_bytes for cost in costs(run.artifact, run.program))
    assert sum(layer["traffic"] for layer in data["layers"]) == moved


def test_the_tables_hold_every_layer_and_unit(run: Run) -> None:
    page = run.write()
    rows = {row[0]: row[1:] for row in page.rows}
    for layer in layers(run.artifact, run.program, run.timeline):
        wanted = layer.cycles, layer.busy, layer.weights, layer.activations, layer.output
        assert rows[layer.name][:5] == [grouped(value) for value in wanted]
    assert rows["all"][0] == grouped(run.timeline.cycles)
    for name, unit in run.timeline.units.items():
        assert rows[name][::2] == [grouped(unit.busy), grouped(unit.stall)]


def test_commands_belong_to_their_layers(run: Run) -> None:
    data = run.write().data()
    commands, table = data["commands"], data["layers"]
    products = {layer["name"] for layer in table}
    for at, placed in enumerate(run.program.commands[:-1]):
        owner = table[commands["layer"][at]]["name"] if commands["layer"][at] >= 0 else None
        kind = commands["kinds"][commands["kind"][at]]
        what = commands["names"][commands["what"][at]]
        assert kind == placed.command.name
        assert commands["units"][commands["unit"][at]] == placed.command.instruction.unit.name
        assert owner, f"{at}: {placed.command}"
        if kind == "FETCH" and what.rpartition(".")[0] in products:
            assert what.rpartition(".")[0] == owner
        if kind == "STORE":
            assert owner == placed.operators[0]
    owners = {
        what: table[layer]["name"]
        for what, layer in zip(commands["what"], commands["layer"], strict=True)
    }
    named = {commands["names"][what].split()[0]: owner for what, owner in owners.items()}
    assert named["block0.norm1"] == "block0.q"
    assert named["block1.attention"] == "block1.scores"
    assert named["embed.position"] == named["patches"] == "patch_embed"
    assert named["block0.gelu.table"] == "block0.fc1"
    assert named["norm.parameters"] == "head"


def test_what_is_fetched_for_a_layer_is_its_traffic(run: Run) -> None:
    """Colours of the timeline and bytes of the figures come from different counts."""
    data = run.write().data()
    commands, beat = data["commands"], run.program.config.bus_width // 8
    fetched = dict.fromkeys(range(len(data["layers"])), 0)
    for at, placed in enumerate(run.program.commands[:-1]):
        if placed.command.name in ("FETCH", "PATCHIFY"):
            fetched[commands["layer"][at]] += placed.command["beats"] * beat
    for at, layer in enumerate(data["layers"]):
        others = layer["bytes"]["commands"] + layer["bytes"]["logits"]
        assert fetched[at] == layer["traffic"] - others, layer["name"]


@pytest.mark.parametrize("static", [0.0, 5.0])
def test_energy_is_that_of_its_layers(tmp_path: Path, static: float) -> None:
    run = Run(tmp_path)
    without = run.write()
    assert without.data()["energy"] is None
    assert "energy" not in without.ids
    counted = costs(run.artifact, run.program)
    spent = energy(counted, run.program.config, 1, EnergyTable(static_mw=static), 1e-3)
    page = run.write(costs=counted, energy=spent)
    assert "energy" in page.ids
    data = page.data()
    assert data["energy"]["total"] == spent.total
    assert data["energy"]["static"] == spent.static
    found = {layer["name"]: sum(layer["energy"].values()) for layer in data["layers"]}
    for layer in spent.layers:
        if layer.name in found:
            assert found[layer.name] == pytest.approx(layer.total, rel=1e-12)
    # What belongs to no layer, such as the reading of commands, is not lost.
    assert sum(found.values()) + spent.static == pytest.approx(spent.total, rel=1e-12)


def test_equal_runs_give_equal_bytes(run: Run) -> None:
    run.write(command="rootshift simulate A --report B")
    first = run.path.read_bytes()
    run.write(command="rootshift simulate A --report B")
    assert run.path.read_bytes() == first
    assert b"rootshift simulate A --report B" in first


def renamed(artifact: Artifact, old: str, new: str) -> Artifact:
    """The artifact with another name for one operator."""
    operators = tuple(
        replace(
            operator,
            name=new if operator.name == old else operator.name,
            inputs=tuple(new if name == old else name for name in operator.inputs),
        )
        for operator in artifact.operators
    )
    return replace(artifact, operators=operators)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</script><b a=\"'&amp;", "<!--<script>", "𝛼 層 <i>"]
)
def test_names_are_text(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path)
    plain = run.write().elements
    run.artifact = renamed(run.artifact, "block0.fc1", name)
    run.artifact = replace(run.artifact, source={"model": name, name: name})
    run.program = built(run.artifact, "4x4")
    page = run.write(command=name, costs=None)
    assert not page.open
    for tag in ("script", "b", "i", "option"):
        assert page.elements[tag] == plain[tag]
    assert name in {row[0] for row in page.rows}
    data = page.data()
    assert data["model"] == name
    assert name in {layer["name"] for layer in data["layers"]}


def test_what_cannot_be_written_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    for path in (tmp_path / "file" / "report.html", tmp_path):
        with pytest.raises(OutputError, match="cannot be written"):
            write_report(path, run.artifact, run.program, run.timeline, "rtl")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_run_of_another_program_is_refused(run: Run) -> None:
    short = replace(run.timeline, begun=run.timeline.begun[:-1], done=run.timeline.done[:-1])
    with pytest.raises(ValueError, match=r"timeline must be of the program's \d+ commands, not"):
        write_report(run.path, run.artifact, run.program, short, "rtl")
    assert not run.path.exists()


@pytest.mark.parametrize("bandwidth", [0.0, 1.5, -1.0, float("nan")])
def test_a_bandwidth_out_of_range_is_refused(run: Run, bandwidth: float) -> None:
    with pytest.raises(ValueError, match="bandwidth must be over 0 and at most 1, not"):
        run.write(bandwidth=bandwidth)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.11.attn.q", ("11", "attn.q")),
        ("block0.fc1", ("0", "fc1")),
        ("head", ("", "head")),
        ("patch_embed.proj", ("", "patch_embed.proj")),
        ("stages.2", ("2", "stages")),
        ("fc2", ("", "fc2")),
    ],
)
def test_layers_that_do_the_same_share_a_role(name: str, expected: tuple[str, str]) -> None:
    assert role(name) == expected


def test_the_last_window_is_as_long_as_the_run_lets_it() -> None:
    beats = np.array([10, 20, 5])
    assert per_cycle(beats, 100, 250, 8) == pytest.approx([0.8, 1.6, 0.8])
