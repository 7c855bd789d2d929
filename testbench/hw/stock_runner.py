"""Runs a unit under cocotb as cocotb's own runner builds and starts Verilator, for comparison.

All signals are public, and nothing is kept: `bench.simulate` does the same several times faster.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from cocotb_tools.runner import get_runner
from numpy.typing import NDArray

from rootshift.hw import verilog
from rootshift.sim.native.toolchain import verilator

from .bench import ENVIRONMENT, streams


def simulate(
    component: wiring.Component,
    module: str,
    *,
    params: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Build `component` and run the tests of `module`, as `bench.simulate` does.

    Returns: `build_s`, and `results`, what the bench put into `bench.results`.
    Raises: RuntimeError with the end of the log, where the bench left no results.
    """
    name = type(component).__name__
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        job = {
            "params": dict(params),
            "ports": verilog.ports(component),
            "streams": streams(component),
            "result": str(folder / "result.json"),
            "arrays": str(folder / "arrays.npz"),
        }
        np.savez(job["arrays"], **arrays)
        (folder / "job.json").write_text(json.dumps(job))
        before = dict(os.environ)
        kit = verilator()
        os.environ["PATH"] = os.pathsep.join([str(kit / "bin"), os.environ["PATH"]])
        os.environ["VERILATOR_ROOT"] = str(kit)
        # The wheel's makefile lacks the option that g++ and clang++ take a header by.
        os.environ["MAKEFLAGS"] = " -- CFG_CXXFLAGS_PCH_I=-include"
        try:
            began = time.perf_counter()
            (folder / "top.v").write_text(verilog.convert(component, name))
            runner = get_runner("verilator")
            where = {"hdl_toplevel": name, "build_dir": folder / "build"}
            runner.build(
                sources=[folder / "top.v"],
                timescale=("1ns", "1ns"),
                log_file=folder / "log",
                **where,
            )
            built = time.perf_counter()
            runner.test(
                test_module=module,
                extra_env={ENVIRONMENT: str(folder / "job.json")},
                test_dir=folder,
                log_file=folder / "log",
                **where,
            )
        except RuntimeError as error:
            log = (folder / "log").read_text(errors="replace")
            raise RuntimeError(f"{module}: {error}:\n{log[-4000:]}") from None
        finally:
            os.environ.clear()
            os.environ.update(before)
        if not (folder / "result.json").is_file():
            log = (folder / "log").read_text(errors="replace")
            raise RuntimeError(f"{module}: the simulator left no results:\n{log[-4000:]}")
        found = json.loads((folder / "result.json").read_text())
    return {"build_s": built - began, "results": found["results"]}
