"""Runs a unit under cocotb and Verilator: `simulate` from pytest, `Bench` inside the simulator.

A bench is a pytest function that calls `simulate` for each configuration and a `@cocotb.test()`
coroutine in the same file that calls `Bench.start`, `run` and `compare` for each pattern.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cocotb_tools.config as cocotb_config
import find_libpython
import numpy as np
from amaranth.lib import stream, wiring
from numpy.typing import NDArray

from rootshift.hw import verilog

from . import compared, layout
from .verilate import build

ENVIRONMENT = "ROOTSHIFT_BENCH"
ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "hw"
"""Where runs keep their files."""


class BenchError(AssertionError):
    """A cocotb test failed, or none ran; the message is the simulator's."""


def simulate(
    component: wiring.Component,
    module: str,
    *,
    params: Mapping[str, Any] | None = None,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    optimize: str = "-O1",
    timeout: float = 600,
    text: str = "",
) -> dict[str, Any]:
    """Build `component` and run every `@cocotb.test()` of the Python module called `module`.

    Parameters
    ----------
    component : wiring.Component
        The unit, with ports `clk` and `rst` added by Amaranth.
    module : str
        Import name of the bench, usually `__name__`.
    params : mapping
        JSON values, found as `bench.params` in the simulator.
    arrays : mapping
        Integer arrays, found as `bench.arrays` in the simulator.
    optimize : str
        Of the C++ compiler; -O1 builds quickest, -O3 pays beyond some 10^5 cycles of a large unit.
    timeout : float
        Seconds of wall-clock time.
    text : str
        Verilog with a module of the component's name that stands in for the component's own.

    Returns
    -------
    dict
        `compared` values, simulated `cycles`, `build_s` and `run_s`, and `results`, what the bench
        put into `bench.results`.

    Raises
    ------
    BenchError
        With the message of the first cocotb test that failed.
    """
    name = type(component).__name__
    began = time.perf_counter()
    simulator = command(component, optimize, text)
    built = time.perf_counter()
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as run:
        job = {
            "params": dict(params or {}),
            "ports": verilog.ports(component),
            "streams": streams(component),
            "result": str(Path(run, "result.json")),
            "arrays": str(Path(run, "arrays.npz")) if arrays else None,
        }
        if arrays:
            np.savez(job["arrays"], **arrays)
        Path(run, "job.json").write_text(json.dumps(job))
        log = _run(simulator, name, module, Path(run), timeout)
        _raise_failure(Path(run, "results.xml"), log, f"{name} in {module}")
        result = json.loads(Path(run, "result.json").read_text())
    result |= {"build_s": built - began, "run_s": time.perf_counter() - built}
    compared.record(name, result)
    return result


def command(component: wiring.Component, optimize: str, text: str = "") -> list[str]:
    """Build the simulator of a unit, and return the command line that runs it.

    Parameters are those of `simulate`. What measures benches has its own in this one's place.
    """
    name = type(component).__name__
    ports = list(verilog.ports(component))
    return [str(build(text or verilog.convert(component, name), name, ports, optimize) / name)]


def streams(component: wiring.Component) -> dict[str, dict[str, Any]]:
    """Return, per stream member of the unit, what the simulator's side needs to know about it."""
    found = {}
    ports = set(verilog.ports(component))
    for name, member in component.signature.members.items():
        signature = member.signature if member.is_signature else None
        if isinstance(signature, wiring.FlippedSignature):
            signature = signature.flip()
        if isinstance(signature, stream.Signature):
            found[name] = {
                "input": member.flow == wiring.In,
                "always_ready": signature.always_ready,
                "fields": layout.describe(signature.members["payload"].shape),
                "ports": sorted(port for port in ports if port.startswith(f"{name}__")),
            }
    return found


def _run(command: list[str], top: str, module: str, folder: Path, timeout: float) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb_config.pygpi_entry_point()}",
        "COCOTB_TOPLEVEL": top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_LOG_LEVEL": "WARNING",
        "GPI_LOG_LEVEL": "WARNING",
        "COCOTB_REWRITE_ASSERTION_FILES": "",
        ENVIRONMENT: str(folder / "job.json"),
    }
    log = folder / "log"
    with log.open("w") as file:
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            file.write(f"\nthe simulator was stopped after {timeout} s\n")
    return log.read_text(errors="replace")


def _raise_failure(results: Path, log: str, what: str) -> None:
    if not results.is_file():
        raise BenchError(f"{what}: the simulator left no results:\n{log[-4000:]}")
    cases = list(ET.parse(results).getroot().iter("testcase"))
    if not cases:
        raise BenchError(f"{what}: no cocotb test was found:\n{log[-4000:]}")
    for case in cases:
        failed = case.find("failure") if case.find("failure") is not None else case.find("error")
        if failed is not None:
            message = failed.get("error_msg") or failed.get("message") or failed.text or ""
            raise BenchError(f"{what}, {case.get('name')}: {message}\n{log[-4000:]}")
