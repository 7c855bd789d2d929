"""Traces: the format, every command once and in its place, waits, and counters that add up."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift import __version__
from rootshift.artifact import Artifact
from rootshift.errors import OutputError
from rootshift.footprint import Space, footprint
from rootshift.isa import Command, Mode, Unit
from rootshift.program import Program
from rootshift.sim.buffer_fill import buffer_fill
from rootshift.sim.timeline import Timeline
from rootshift.sim.trace import waits, write_trace

from ..hw.compiled import built
from ..random_model import Size, random_artifact
from ..seeds import generator
from .timelines import random_timeline

Event = dict[str, Any]
CASES = {
    "small": ("4x4", "W4A4", Size(), {}),
    "digits and bands": ("8x4", "W6A3", Size(width=18, heads=3, depth=2), {"norm_bands": 3}),
    "batches": ("4x4", "W4A4", Size(prefix=3, pool="avg"), {"images": 4, "batch": 2}),
}
NEEDED = {
    "M": {"name": str, "args": dict},
    "X": {"name": str, "cat": str, "ts": int, "dur": int, "args": dict},
    "s": {"name": str, "cat": str, "ts": int, "id": int},
    "f": {"name": str, "cat": str, "ts": int, "id": int, "bp": str},
    "C": {"name": str, "ts": int, "args": dict},
}
"""Phase -> fields that the format asks for, beside process and thread."""


class Run:
    """A trace, read back, and what it was made from."""

    def __init__(self, case: str, folder: Path) -> None:
        array, bits, size, options = CASES[case]
        rng = generator(1, list(CASES).index(case))
        self.artifact: Artifact = random_artifact(rng, size, bits=bits)
        self.program: Program = built(self.artifact, array, **options)
        self.timeline: Timeline = random_timeline(self.program, rng)
        self.commands = [placed.command for placed in self.program.commands]
        self.path = folder / "run.json"
        write_trace(self.path, self.program, self.timeline, self.artifact, engine="none")
        self.trace = json.loads(self.path.read_bytes())
        self.events: list[Event] = self.trace["traceEvents"]
        self.threads = {
            event["args"]["name"]: event["tid"]
            for event in self.of("M")
            if event["name"] == "thread_name"
        }

    def of(self, phase: str) -> list[Event]:
        """Events of a phase."""
        return [event for event in self.events if event["ph"] == phase]

    def slices(self, track: str) -> list[Event]:
        """Slices of a track, by time."""
        return [event for event in self.of("X") if event["tid"] == self.threads[track]]

    def counter(self, name: str, series: str) -> tuple[np.ndarray, np.ndarray]:
        """Cycles and values of a counter."""
        steps = [e for e in self.of("C") if e["name"] == name]
        return np.array([e["ts"] for e in steps]), np.array([e["args"][series] for e in steps])


@pytest.fixture(scope="module", params=list(CASES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp("trace"))


class TestFormat:
    def test_events_have_their_fields(self, run: Run) -> None:
        for event in run.events:
            for name, kind in (NEEDED[event["ph"]] | {"pid": int, "tid": int}).items():
                assert type(event[name]) is kind, (name, event)

    def test_time_goes_forward_and_stays_in_the_run(self, run: Run) -> None:
        for before, after in pairwise(run.events):
            assert before["ts"] <= after["ts"]
        for event in run.events:
            assert 0 <= event["ts"] <= event["ts"] + event.get("dur", 0) <= run.timeline.cycles

    def test_tracks_are_named_and_sorted(self, run: Run) -> None:
        assert list(run.threads) == ["products", *Unit.__members__]
        order = {
            event["tid"]: event["args"]["sort_index"]
            for event in run.of("M")
            if event["name"] == "thread_sort_index"
        }
        ranks = [order[thread] for thread in run.threads.values()]
        assert ranks == sorted(set(ranks))
        # A thread of the process's own number would be taken for its main thread, and 0 for idle.
        assert not {0, run.events[0]["pid"]} & set(run.threads.values())

    def test_no_list_among_the_fields(self, run: Run) -> None:
        """Perfetto's reader of JSON refuses events whose own fields hold one."""
        for event in run.events:
            assert not any(isinstance(value, list) for value in event.values())

    def test_what_was_run_is_noted(self, run: Run) -> None:
        noted = run.trace["otherData"]
        assert noted["rootshift"] == __version__
        assert noted["engine"] == "none"
        assert noted["cycles"] == run.timeline.cycles
        assert noted["config"]["rows"] == run.program.config.rows
        assert noted["traffic"]["read_beats"] == run.timeline.traffic.read_beats
        assert run.trace["displayTimeUnit"] in ("ms", "ns")

    def test_the_same_run_gives_the_same_bytes(self, run: Run, tmp_path: Path) -> None:
        again = tmp_path / "again.json"
        write_trace(again, run.program, run.timeline, run.artifact, engine="none")
        assert again.read_bytes() == run.path.read_bytes()


class TestSlices:
    def test_every_command_is_one_slice_of_its_unit(self, run: Run) -> None:
        for unit in Unit:
            mine = [
                (int(begin), int(done - begin), command.name)
                for command, begin, done in zip(
                    run.commands, run.timeline.begun, run.timeline.done, strict=False
                )
                if command.instruction.unit is unit
            ]
            assert [(e["ts"], e["dur"], e["cat"]) for e in run.slices(unit.name)] == mine

    def test_slices_of_a_track_do_not_overlap(self, run: Run) -> None:
        for track in run.threads:
            for before, after in pairwise(run.slices(track)):
                assert before["ts"] + before["dur"] <= after["ts"]

    def test_names_tell_what_is_made(self, run: Run) -> None:
        names = {unit: Counter(e["name"] for e in run.slices(unit.name)) for unit in Unit}
        assert names[Unit.WEIGHTS] == names[Unit.GEMM]
        stores = [e["name"] for e in run.slices("STORE") if e["cat"] == "STORE"]
        assert Counter(stores) == names[Unit.GEMM]
        several = run.program.images > 1
        made = Counter()
        for placed in run.program.commands:
            for operator in placed.operators[:1]:
                head = placed.command.name == "ATTENTION" or "scores" in operator
                made[
                    f"{operator}{f' head {placed.head}' if head else ''}"
                    f"{f' image {placed.image}' if several else ''}"
                ] += 1
        found = names[Unit.PATCHIFY] + names[Unit.LAYERNORM] + names[Unit.ATTENTION]
        found += Counter(e["name"] for e in run.slices("STORE") if e["cat"] != "TABLE")
        assert found == made
        tables = {e["name"] for e in run.slices("STORE") if e["cat"] == "TABLE"}
        assert tables == {op.name for op in run.artifact.operators if op.kind == "gelu_table"}

    def test_a_fetch_is_named_by_what_it_brings(self, run: Run) -> None:
        fetches = [c for c in run.commands if c.name == "FETCH"]
        for command, event in zip(fetches, run.slices("FETCH"), strict=True):
            offset, size = run.program.segments[event["name"]]
            end = command["offset"] + command["beats"] * run.program.config.bus_width // 8
            assert offset <= command["offset"] < end <= offset + size

    def test_operands_are_told(self, run: Run) -> None:
        for event, command in zip(
            run.slices("GEMM"), (c for c in run.commands if c.name == "GEMM"), strict=True
        ):
            assert event["args"]["operands"] == dict(command.operands)
        modes = {e["args"]["operands"]["mode"] for e in run.slices("STORE") if e["cat"] == "STORE"}
        assert modes == set(Mode.__members__)

    def test_products_hold_their_gemms_and_cycles(self, run: Run) -> None:
        products, gemms = run.slices("products"), run.slices("GEMM")
        assert sum(e["args"]["GEMM commands"] for e in products) == len(gemms)
        for event in gemms:
            (around,) = (
                e
                for e in products
                if e["ts"] <= event["ts"] and event["ts"] + event["dur"] <= e["ts"] + e["dur"]
            )
            assert around["name"] == re.sub(" head [0-9]+", "", event["name"])
        total = sum(sum(e["args"]["cycles"].values()) for e in products)
        assert total == run.timeline.array[:-1].sum()
        kinds = {e["args"]["kind"] for e in products}
        assert kinds == {"gemm", "scores"}


class TestWaits:
    def test_flows_come_from_what_had_ended(self, run: Run) -> None:
        ends = {event["id"]: event for event in run.of("f")}
        assert len(ends) == len(run.of("s"))
        slices = [event for event in run.of("X") if event["tid"] != run.threads["products"]]
        for start in run.of("s"):
            end = ends[start["id"]]
            (source,) = (
                e
                for e in slices
                if e["tid"] == start["tid"] and e["ts"] <= start["ts"] < e["ts"] + e["dur"]
            )
            (target,) = (e for e in slices if e["tid"] == end["tid"] and e["ts"] == end["ts"])
            assert source["ts"] + source["dur"] <= target["ts"]
            who = source["args"]["command"].partition(",")[0]
            assert source["name"] in target["args"]["waits for"][who]
        assert len(ends) == sum(len(command.after) for command in run.commands)

    def test_a_count_names_the_command_that_ends_the_wait(self, run: Run) -> None:
        for command, ends in zip(run.commands, waits(run.commands), strict=True):
            assert ends.keys() == command.after.keys()
            for unit, end in ends.items():
                upto = [c.instruction.unit for c in run.commands[: end + 1]]
                assert upto[-1] is unit
                assert upto.count(unit) == command.after[unit]

    def test_counts_start_again_after_16_bits(self) -> None:
        tables = [Command("TABLE")] * 70000
        late = Command("GEMM", after={Unit.STORE: 69990 % (1 << 16)})
        assert waits([*tables, late])[-1] == {Unit.STORE: 69989}
        early = Command("GEMM", after={Unit.STORE: 0})
        assert waits([*tables, early])[-1] == {Unit.STORE: (1 << 16) - 1}
        assert waits([early]) == [{}]
        ahead = Command("GEMM", after={Unit.STORE: 2})
        assert waits([ahead, *tables[:2]])[0] == {Unit.STORE: 2}


class TestCounters:
    @pytest.mark.parametrize("space", list(Space))
    def test_fill_is_the_words_that_are_needed(self, run: Run, space: Space) -> None:
        """Against a picture of the whole run, a row per word and a column per cycle."""
        depth, cycles = space.depth(run.program.config), run.timeline.cycles
        live = np.zeros((depth, cycles), bool)
        written = np.full(depth, -1)
        for command, begin, done in zip(
            run.commands, run.timeline.begun, run.timeline.done, strict=False
        ):
            touched = footprint(command, run.program.config)
            for regions, write in ((touched.reads, False), (touched.writes, True)):
                for region in regions:
                    for word in region.words() if region.space is space else ():
                        written[word] = begin if write else written[word]
                        if written[word] >= 0:
                            live[word, written[word] : done] = True
        fill = buffer_fill(run.program, run.timeline)[space]
        shown = fill.words[np.searchsorted(fill.cycles, np.arange(cycles), "right") - 1]
        np.testing.assert_array_equal(shown, live.sum(axis=0))
        at, words = run.counter(space.value, "words")
        assert (at.tolist(), words.tolist()) == (fill.cycles.tolist(), fill.words.tolist())
        assert 0 < words.max() <= depth
        assert words[0] == words[-1] == 0

    def test_the_stream_fills_the_residual_buffer(self, run: Run) -> None:
        embed = next(op for op in run.artifact.operators if op.kind == "embed")
        tokens, channels = run.program.shapes[embed.name]
        batch = CASES["batches"][3]["batch"] if run.program.images > 1 else 1
        _, words = run.counter(Space.RESIDUAL.value, "words")
        assert words.max() == batch * tokens * -(-channels // run.program.config.lanes)

    def test_bandwidth_adds_up_to_the_traffic(self, run: Run) -> None:
        bus = run.program.config.bus_width // 8
        for unit, scale in (("beats", 1), ("bytes", bus)):
            for series, beats in (("read", run.timeline.reads), ("written", run.timeline.writes)):
                at, rate = run.counter(f"memory bus, {unit} per cycle", series)
                assert at[0] == rate[-1] == 0
                total = (rate[:-1] * np.diff(at)).sum()
                np.testing.assert_allclose(total, scale * beats.sum(), rtol=1e-3)

    def test_the_array_is_as_busy_as_its_products(self, run: Run) -> None:
        at, busy = run.counter("array", "busy, percent")
        total = (busy[:-1] * np.diff(at)).sum() / 100
        np.testing.assert_allclose(total, run.timeline.array[:-1, 1].sum(), rtol=1e-3)
        assert busy[-1] == 0
        assert busy.max() <= 100


class TestErrors:
    def test_a_file_in_the_way(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(OutputError, match=r"run\.json: cannot be written: Not a directory"):
            write_trace(tmp_path / "file" / "run.json", run.program, run.timeline)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_the_timeline_of_another_program(self, run: Run, tmp_path: Path) -> None:
        begun, done = run.timeline.begun[:-1], run.timeline.done[:-1]
        timeline = replace(run.timeline, begun=begun, done=done)
        with pytest.raises(ValueError, match=f"must be of the program's .* not {len(begun)}"):
            write_trace(tmp_path / "run.json", run.program, timeline)
        assert not list(tmp_path.iterdir())

    def test_a_trace_without_artifact(self, run: Run, tmp_path: Path) -> None:
        write_trace(tmp_path / "run.json", run.program, run.timeline)
        bare = json.loads((tmp_path / "run.json").read_bytes())
        assert not {"model", "engine"} & bare["otherData"].keys()
        assert len(bare["traceEvents"]) == len(run.events)
