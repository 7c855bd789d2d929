"""The bench inside the simulator: clock, reset, streams and the scoreboard of one unit."""

import atexit
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from numpy.typing import NDArray

from . import layout
from .bench import ENVIRONMENT
from .streams import Checker, ProtocolError, Sink, Source, Wires


class Bench:
    """One unit under test.

    Attributes
    ----------
    params, arrays : dict
        What `simulate` was given.
    results : dict
        JSON values that `simulate` returns as `results`; all tests of a simulation share it.
    cycle : int
        Clock cycles since the start.
    sources, sinks : dict
        By stream name; their `cycles` list when each beat of the last `run` moved.
    """

    # Of all cocotb tests of one simulation, since they share one result file.
    _totals: dict[str, Any] = {"compared": 0, "cycles": 0, "results": {}}  # noqa: RUF012

    def __init__(self, dut: Any) -> None:
        job = json.loads(Path(os.environ[ENVIRONMENT]).read_text())
        self.dut = dut
        self.params: dict[str, Any] = job["params"]
        self.arrays: dict[str, NDArray[Any]] = {}
        if job["arrays"]:
            with np.load(job["arrays"]) as file:
                self.arrays = dict(file)
        self.results: dict[str, Any] = self._totals["results"]
        self.cycle = 0
        self.sources: dict[str, Source] = {}
        self.sinks: dict[str, Sink] = {}
        self.ports: dict[str, tuple[str, int]] = job["ports"]
        self._result = Path(job["result"])
        atexit.register(self._save)
        self._fields = {name: info["fields"] for name, info in job["streams"].items()}
        for port, (direction, _) in self.ports.items():
            if direction == "i" and port != "clk":
                self.set(port, 0)
        for name, info in job["streams"].items():
            wires, checker = Wires(dut, name, info["ports"]), Checker(name, info["always_ready"])
            if info["input"]:
                self.sources[name] = Source(wires, checker)
            else:
                self.sinks[name] = Sink(wires, checker)
        self._rise, self._fall = RisingEdge(dut.clk), FallingEdge(dut.clk)

    @classmethod
    async def start(cls, dut: Any) -> "Bench":
        """Return a bench whose clock runs and whose unit has been reset behind random inputs."""
        bench = cls(dut)
        Clock(dut.clk, 10, unit="ns").start()
        await bench.disturb()
        return bench

    async def disturb(self, cycles: int = 100, seed: int = 0) -> None:
        """Give random inputs for so many cycles, then reset: nothing of them may be left."""
        inputs = {
            port: width
            for port, (way, width) in self.ports.items()
            if way == "i" and port not in ("clk", "rst")
        }
        generator = random.Random(seed)
        for _ in range(cycles):
            for port, width in inputs.items():
                self.set(port, generator.getrandbits(width))
            await self.step()
        for port in inputs:
            self.set(port, 0)
        # The ends write at once, what is set comes with the edge.
        await self.step()
        await self.reset()

    async def reset(self, cycles: int = 2) -> None:
        """Hold `rst` for so many cycles; beats on their way are dropped."""
        for end in (*self.sources.values(), *self.sinks.values()):
            end.reset()
        self.set("rst", 1)
        await self.step(cycles)
        self.set("rst", 0)
        await self.step(1)

    async def step(self, cycles: int = 1) -> None:
        """Let so many cycles pass with every stream left as it is."""
        for _ in range(cycles):
            await self._rise
            self.cycle += 1

    def set(self, port: str, value: int) -> None:
        """Drive an input that is no stream; signed values are given as they are."""
        width = self.ports[port][1]
        getattr(self.dut, port).value = f"{int(value) & ((1 << width) - 1):0{width}b}"

    def get(self, port: str, *, signed: bool = False) -> int:
        """Read any port, as it is after the last rising edge."""
        width = self.ports[port][1]
        value = int(str(getattr(self.dut, port).value), 2)
        return value - (1 << width) if signed and value >> (width - 1) else value

    async def run(
        self,
        sources: Mapping[str, Any],
        sinks: Mapping[str, int],
        *,
        idle: str | Mapping[str, str] = "always",
        pressure: str | Mapping[str, str] = "always",
        seed: int = 0,
        drain: int = 16,
        stuck: int = 5000,
    ) -> dict[str, Any]:
        """Send the beats of `sources`, take the beats of `sinks`, check every stream meanwhile.

        Parameters
        ----------
        sources : mapping
            Per input stream the beats, as `layout.pack` takes them. Streams left out stay idle.
        sinks : mapping
            Per output stream the number of beats to expect; one more is an error. Streams left
            out are taken and must give none.
        idle, pressure : str or mapping
            Pattern (see `patterns`) of all sources or sinks, or one per stream.
        seed : int
            Of the random patterns, different per stream.
        drain : int
            Cycles to watch for surplus beats at the end.
        stuck : int
            Cycles without a beat on any stream after which the run is given up.

        Returns
        -------
        dict
            Per stream of `sinks`, the array of a payload with one field, else a dict of arrays.

        Raises
        ------
        ProtocolError
            A stream broke the protocol, gave a surplus beat, or nothing moved for `stuck` cycles.
        """
        for index, (name, source) in enumerate(self.sources.items()):
            beats = layout.pack(self._fields[name], sources[name]) if name in sources else []
            source.load(beats, _choose(idle, name), seed * 64 + index)
        for index, (name, sink) in enumerate(self.sinks.items()):
            sink.load(sinks.get(name, 0), _choose(pressure, name), seed * 64 + 32 + index)
        ends = [*self.sources.values(), *self.sinks.values()]
        for end in ends:
            end.drive()
        began, still, quiet = self.cycle, 0, 0
        while quiet < drain:
            await self._fall
            moved = False
            for end in ends:
                moved |= end.sample(self.cycle)
            still = 0 if moved else still + 1
            left = [end.left for end in ends]
            if min(left, default=0) < 0:
                self._fail("a surplus beat")
            if any(left):
                if still > stuck:
                    self._fail(f"nothing moved for {stuck} cycles")
            else:
                quiet += 1
            await self._rise
            self.cycle += 1
            for end in ends:
                end.drive()
        self._totals["cycles"] += self.cycle - began
        return {name: self._unpack(name) for name in sinks}

    def most_inside(self, source: str, sink: str) -> int:
        """Most beats of the last `run` that had been taken from one stream and not been given to
        the other, which has one for each."""
        taken, given = np.array(self.sources[source].cycles), np.array(self.sinks[sink].cycles)
        left = np.searchsorted(given, taken, side="right")
        return int((np.arange(1, len(taken) + 1) - left).max())

    def compare(self, what: str, got: Any, expected: Any) -> None:
        """Hold arrays against golden; every element counts as one compared value.

        Raises
        ------
        AssertionError
            Names `what`, how many values differ, and the first of them.
        """
        got, expected = np.asarray(got), np.asarray(expected)
        if got.shape != expected.shape:
            raise AssertionError(f"{what}: shape must be {expected.shape}, not {got.shape}")
        if not np.array_equal(got, expected):
            wrong = np.argwhere(got != expected)
            at = tuple(int(i) for i in wrong[0])
            raise AssertionError(
                f"{what}: {len(wrong)} of {got.size} values differ, the first at {list(at)}: "
                f"must be {expected[at]}, not {got[at]}"
            )
        self._totals["compared"] += got.size

    def _unpack(self, name: str) -> Any:
        fields = layout.unpack(self._fields[name], self.sinks[name].beats)
        return fields[""] if set(fields) == {""} else fields

    def _fail(self, why: str) -> None:
        ends = {**self.sources, **self.sinks}
        state = ", ".join(f"{name} has {end.left} beats left" for name, end in ends.items())
        raise ProtocolError(f"{why} at cycle {self.cycle}: {state}")

    def _save(self) -> None:
        self._result.write_text(json.dumps(self._totals))


def _choose(patterns: str | Mapping[str, str], name: str) -> str:
    return patterns if isinstance(patterns, str) else patterns.get(name, "always")
