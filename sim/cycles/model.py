"""The cycle model: when each command of a program is at work, without its values."""

import ctypes as c
import functools
from pathlib import Path

import numpy as np

from ...csr import UNITS
from ...errors import ToolError
from ...isa import COMMAND_BYTES
from ...program import Program
from ..native.layout import WINDOW, TimingLayout, copied, every_window, timing_layout
from ..native.memory import MemoryTiming
from ..native.toolchain import shared_library
from ..timeline import ArrayState, Timeline, Traffic, UnitCycles
from .design import design_flag, design_layout, isa_flags

IDEAL = MemoryTiming()
LIMIT = 1 << 32
_PADDING = b"\0" * 8


@functools.cache
def library() -> c.CDLL:
    """The model, compiled at the first use and kept on disk.

    Raises: ToolError where the compiler is missing or fails, OutputError where the cache cannot be
    written.
    """
    source = Path(__file__).with_name("model.cpp")
    lib = c.CDLL(str(shared_library("cycles", [source], [*isa_flags(), design_flag()])))
    pointer, integers = c.c_void_p, c.POINTER(c.c_int64)
    lib.cycles_open.restype = pointer
    lib.cycles_open.argtypes = [pointer, c.c_char_p, c.c_int64, c.POINTER(TimingLayout)]
    lib.cycles_close.argtypes = [pointer]
    lib.cycles_run.restype = c.c_int64
    lib.cycles_run.argtypes = [pointer, c.c_int64, c.c_int]
    lib.cycles_commands.argtypes = [pointer, integers, integers]
    lib.cycles_array.restype = c.c_int64
    lib.cycles_array.argtypes = [pointer, c.c_int64, integers]
    lib.cycles_units.argtypes = [pointer, integers]
    lib.cycles_traffic.argtypes = [pointer, integers]
    lib.cycles_windows.restype = c.c_uint64
    lib.cycles_windows.argtypes = [pointer, c.c_int, c.POINTER(c.POINTER(c.c_uint32))]
    return lib


def model_cycles(
    program: Program,
    *,
    memory: MemoryTiming = IDEAL,
    limit: int = LIMIT,
    every_cycle: bool = False,
) -> Timeline:
    """The timeline of a run that ends well: what the RTL does with this program and this memory.

    Parameters:
        memory: when the memory takes and answers; its `burst`, which can only end a run, is not
            looked at.
        limit: cycles after which an interrupt is no longer waited for.
        every_cycle: work off every part in every cycle, as a check of the model on itself; slower.
    Raises: as `library`; ToolError where no interrupt comes within `limit` cycles, as in a program
    whose commands wait for each other.
    """
    lib, commands = library(), len(program.commands)
    image = program.image[: commands * COMMAND_BYTES] + _PADDING
    self = lib.cycles_open(
        c.byref(design_layout(program.config)), image, commands, timing_layout(memory)
    )
    try:
        cycles = lib.cycles_run(self, limit, every_cycle)
        if not 0 <= cycles <= limit:
            raise ToolError(f"an interrupt must come within {limit} cycles: none came")
        return _timeline(lib, self, cycles, commands - 1)
    finally:
        lib.cycles_close(self)


def _timeline(lib: c.CDLL, self: int, cycles: int, commands: int) -> Timeline:
    begun, done = np.zeros((2, commands), np.int64)
    lib.cycles_commands(self, _integers(begun), _integers(done))
    array = np.zeros(lib.cycles_array(self, cycles, None), np.int64)
    lib.cycles_array(self, cycles, _integers(array))
    units, traffic = np.zeros((len(UNITS), 2), np.int64), np.zeros(6, np.int64)
    lib.cycles_units(self, _integers(units))
    lib.cycles_traffic(self, _integers(traffic))
    return Timeline(
        cycles=cycles,
        begun=begun,
        done=done,
        units={name: UnitCycles(*pair) for name, pair in zip(UNITS, units.tolist(), strict=True)},
        array=array.reshape(-1, len(ArrayState)),
        traffic=Traffic(*traffic.tolist()),
        window=WINDOW,
        reads=every_window(_windows(lib, self, False), cycles),
        writes=every_window(_windows(lib, self, True), cycles),
    )


def _windows(lib: c.CDLL, self: int, writes: bool) -> np.ndarray:
    beats = c.POINTER(c.c_uint32)()
    count = lib.cycles_windows(self, writes, c.byref(beats))
    return copied(beats, (count,), np.int64)


def _integers(array: np.ndarray) -> "c._Pointer[c.c_int64]":
    return array.ctypes.data_as(c.POINTER(c.c_int64))
