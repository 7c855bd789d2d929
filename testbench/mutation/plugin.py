"""Pytest plugins that run tests of a bench once for each mutant of the unit that they simulate."""

import inspect
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from amaranth.lib import wiring

from rootshift.hw import verilog

from ..hw import bench, compared
from ..hw.sources import with_sources
from ..hw.verilate import build
from .mutants import SELECT, Mutant, Mutants

PATIENCE = 5.0
"""A mutant hangs when it takes this many times as long as the unit, and `GRACE` seconds more."""
GRACE = 5.0

_WIRE = re.compile(r"^  wire (?:width (\d+) )?", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A mutant, and whether the test failed with it."""

    test: str
    mutant: Mutant
    netlist: str = field(repr=False)
    killed: bool


class Survey:
    """Give an instance to `pytest.main`: no unit is simulated, but measured.

    Attributes
    ----------
    bits : dict
        Node ID of a test -> bits of all wires of the unit that it simulates.
    """

    def __init__(self) -> None:
        self.bits: dict[str, int] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if simulates(item)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        def command(component: wiring.Component, optimize: str, text: str = "") -> list[str]:
            widths = _WIRE.findall(with_sources(component))
            self.bits[pyfuncitem.nodeid] = sum(int(width or 1) for width in widths)
            return ["true"]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench, "command", command)
            with suppress(bench.BenchError):
                pyfuncitem.obj(**arguments_of(pyfuncitem))
        return True


class Simulators:
    """Stands in for `bench.command`: simulators with mutants, built once for all of them.

    Attributes
    ----------
    number : int
        The mutant that runs; the unit as it is when 0.
    limit : float or None
        Seconds that a run may take.
    began : float
        When the last run began.
    built : list of Mutants
        One for each simulation of the test.
    """

    def __init__(self, count: int, seed: int, only: str = "") -> None:
        self.number = 0
        self.limit: float | None = None
        self.began = 0.0
        self.built: list[Mutants] = []
        self._count, self._seed, self._only = count, seed, only
        self._executables: list[Path] = []
        self._runs = 0

    def choose(self, number: int) -> None:
        """Begin the test once more, with another mutant."""
        self.number, self._runs = number, 0

    def command(self, component: wiring.Component, optimize: str, text: str = "") -> list[str]:
        if text:
            raise ValueError("text of Verilog has no mutants: the unit's own netlist is needed")
        if self._runs == len(self._executables):
            self._build(component)
        executable, built = self._executables[self._runs], self.built[self._runs]
        first = sum(len(each.mutants) for each in self.built[: self._runs])
        chosen = self.number - first if first < self.number <= first + len(built.mutants) else 0
        self._runs += 1
        self.began = time.perf_counter()
        stop = [] if self.limit is None else ["timeout", f"{self.limit:.0f}"]
        return [*stop, str(executable), f"+{SELECT}={chosen}"]

    def _build(self, component: wiring.Component) -> None:
        name = type(component).__name__
        seed = self._seed + len(self.built)
        mutants = Mutants.of(component, count=self._count, seed=seed, only=self._only)
        ports = list(verilog.ports(component))
        self.built.append(mutants)
        self._executables.append(build(mutants.verilog, name, ports) / name)


class MutationPlugin:
    """Give an instance to `pytest.main`.

    Parameters
    ----------
    tests : list of str
        Node IDs of tests that simulate.
    count : int
        Mutants of the unit of each of these.
    seed : int
        Of the choice of mutants.

    Attributes
    ----------
    tested : list of Tested
        What came of it, one per mutant.
    """

    def __init__(self, tests: list[str], *, count: int, seed: int) -> None:
        self.tested: list[Tested] = []
        self._tests, self._count, self._seed = tests, count, seed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._tests]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        arguments = arguments_of(pyfuncitem)
        with pytest.MonkeyPatch.context() as patch:
            simulators = Simulators(self._count, self._seed + 1000 * len(self.tested))
            patch.setattr(bench, "command", simulators.command)
            # Values that mutants spoil were not compared with golden.
            patch.setattr(compared, "record", lambda *_: None)
            patch.setenv("COCOTB_MAX_FAILURES", "1")
            pyfuncitem.obj(**arguments)
            simulators.limit = PATIENCE * (time.perf_counter() - simulators.began) + GRACE
            number = 0
            for built in simulators.built:
                for mutant in built.mutants:
                    number += 1
                    simulators.choose(number)
                    killed = fails(pyfuncitem.obj, arguments)
                    self.tested.append(
                        Tested(
                            test=pyfuncitem.name,
                            mutant=mutant,
                            netlist=built.netlist,
                            killed=killed,
                        )
                    )
        return True


def arguments_of(item: pytest.Function) -> dict[str, Any]:
    return {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}


def simulates(item: pytest.Item) -> bool:
    """Whether a test calls `simulate` itself."""
    function = inspect.unwrap(getattr(item, "function", None) or (lambda: None))
    return "simulate" in function.__code__.co_names


def fails(test: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    try:
        test(**arguments)
    except Exception:
        return True
    return False
