"""Shared objects that are compiled once: what is new in the sources is seen, failures are told."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rootshift.errors import ToolError
from rootshift.sim.native import toolchain
from rootshift.sim.native.layout import TimingLayout, timing_layout
from rootshift.sim.native.memory import MemoryTiming, draw
from rootshift.sim.native.toolchain import CACHE_VARIABLE, shared_library

SOURCE = """\
#include "number.h"
#include "timing.h"
#define ABI extern "C" __attribute__((visibility("default")))
ABI unsigned number() { return NUMBER; }
ABI unsigned size() { return sizeof(rootshift::Timing); }
ABI unsigned bandwidth(const rootshift::Timing* timing) { return timing->bandwidth; }
ABI unsigned hold(const rootshift::Timing* timing) { return timing->hold[rootshift::B]; }
ABI unsigned drawn(const rootshift::Timing* timing, unsigned channel, unsigned long long count) {
    return rootshift::draw(timing->seed, channel, count);
}
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source and its header in a folder of their own, and an empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "number.h").write_text("constexpr unsigned NUMBER = 1;\n")
    path = tmp_path / "one.cpp"
    path.write_text(SOURCE)
    return path


def number(path: Path) -> int:
    return ctypes.CDLL(str(path)).number()


def test_a_library_is_compiled_again_where_anything_of_it_changed(source: Path) -> None:
    first = shared_library("one", [source])
    assert number(first) == 1
    made = first.stat().st_mtime_ns
    assert shared_library("one", [source]) == first
    assert first.stat().st_mtime_ns == made
    source.with_name("number.h").write_text("constexpr unsigned NUMBER = 2;\n")
    second = shared_library("one", [source])
    assert (number(second), number(first)) == (2, 1)
    third = shared_library("one", [source], ["-DUNUSED"])
    assert third not in (first, second)
    source.write_text(SOURCE.replace("return NUMBER", "return NUMBER + 7"))
    assert number(shared_library("one", [source])) == 9


def test_the_timing_is_laid_out_as_python_lays_it(source: Path) -> None:
    library = ctypes.CDLL(str(shared_library("one", [source])))
    library.hold.restype = library.drawn.restype = ctypes.c_uint32
    library.drawn.argtypes = ctypes.c_void_p, ctypes.c_uint, ctypes.c_ulonglong
    timing = MemoryTiming(hold={"b": 0.5}, bandwidth=0.25, seed=(1 << 64) - 3)
    layout = timing_layout(timing)
    assert library.size() == ctypes.sizeof(TimingLayout)
    assert library.bandwidth(ctypes.byref(layout)) == timing.beat_credit == 1 << 14
    assert library.hold(ctypes.byref(layout)) == timing.thresholds[4]
    assert library.drawn(ctypes.addressof(layout), 3, 1 << 40) == draw(timing.seed, 3, 1 << 40)


def test_processes_may_compile_at_once(source: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from rootshift.sim.native.toolchain import shared_library\n"
        "print(shared_library('one', [pathlib.Path(sys.argv[1])]))\n"
    )
    command = [sys.executable, "-c", script, str(source)]
    environment = {**os.environ, CACHE_VARIABLE: str(tmp_path / "cache")}
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0].strip() for process in both)
    assert first == second
    assert number(Path(first)) == 1
    assert [path.name for path in (tmp_path / "cache").glob("*/")] == [Path(first).parent.name]


def test_no_verilator_is_needed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain.identity.cache_clear()
    toolchain.tuning.cache_clear()
    assert number(shared_library("one", [source])) == 1
    with pytest.raises(ToolError, match="Verilator is needed to run RTL"):
        toolchain.verilate(["--version"])


def test_what_cannot_be_compiled_is_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write_text("int f() { return nothing; }\n")
    with pytest.raises(ToolError, match=r"failed with exit code 1:\n(.|\n)*one\.cpp:1:.*nothing"):
        shared_library("one", [source])
    assert not list(toolchain.cache_folder().glob("*/")), "a folder that was made aside is left"
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match="'no-such-compiler' is not on PATH: install g"):
        shared_library("one", [source])
