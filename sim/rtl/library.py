"""The C ABI of runner.cpp, bound by ctypes."""

import ctypes as c
from collections.abc import Sequence
from pathlib import Path

from ...errors import ToolError
from ..native.layout import TimingLayout
from ..native.memory import ACCESSES, RESPONSES, Fault

GOING, INTERRUPTED, VIOLATED = range(3)
"""What `rtl_advance` returns."""
STATES = 8
"""Columns of the array's table, one for each value of its 3 bits."""


class FaultLayout(c.Structure):
    """`rtl::Fault`."""

    _fields_ = (
        ("start", c.c_uint64),
        ("end", c.c_uint64),
        ("response", c.c_uint32),
        ("accesses", c.c_uint32),
    )


class TrafficLayout(c.Structure):
    """`rtl::Traffic`."""

    _fields_ = tuple(
        (f"{way}_{what}", c.c_uint64)
        for way in ("read", "write")
        for what in ("bursts", "beats", "bytes")
    )


_WORDS, _LONGS = c.POINTER(c.c_uint32), c.POINTER(c.c_uint64)
FUNCTIONS = {
    "open": (c.c_void_p, c.c_void_p, c.c_uint64, c.c_uint64),
    "reset": (None, c.c_void_p),
    "close": (None, c.c_void_p),
    "write": (c.c_int, c.c_void_p, c.c_uint32, c.c_uint32),
    "read": (c.c_int, c.c_void_p, c.c_uint32, _WORDS),
    "start": (
        c.c_int,
        c.c_void_p,
        c.c_uint32,
        c.c_uint32,
        c.POINTER(TimingLayout),
        c.POINTER(FaultLayout),
        c.c_uint64,
    ),
    "record": (None, c.c_void_p, c.c_uint64, c.c_uint32),
    "advance": (c.c_int, c.c_void_p, c.c_uint64),
    "irq": (c.c_int, c.c_void_p),
    "cycle": (c.c_uint64, c.c_void_p),
    "violation": (c.c_char_p, c.c_void_p),
    "traffic": (None, c.c_void_p, c.POINTER(TrafficLayout)),
    "beats": (c.c_uint64, c.c_void_p, c.c_uint32, c.POINTER(_WORDS), c.POINTER(_LONGS)),
    "begun": (c.c_uint64, c.c_void_p, c.POINTER(_LONGS)),
    "done": (c.c_uint64, c.c_void_p, c.POINTER(_LONGS)),
    "moved": (c.c_uint64, c.c_void_p, c.c_int, c.POINTER(_WORDS)),
    "array": (c.c_uint64, c.c_void_p, c.POINTER(_WORDS)),
    "draw": (c.c_uint32, c.c_uint64, c.c_uint32, c.c_uint64),
}
"""Name without its prefix -> result and arguments."""
TRACE = {"trace": (None, c.c_void_p, c.c_char_p, c.c_uint64, c.c_uint64)}


def load(path: Path, *, waves: bool) -> c.CDLL:
    """The library at `path` with typed functions. Raises: ToolError where it cannot be loaded."""
    try:
        library = c.CDLL(str(path))
    except OSError as error:
        raise ToolError(f"{path}: cannot be loaded: {error}") from None
    for name, (result, *arguments) in (FUNCTIONS | (TRACE if waves else {})).items():
        function = getattr(library, f"rtl_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def fault_layouts(faults: Sequence[Fault]) -> c.Array:
    """`faults` as the library takes them."""
    return (FaultLayout * len(faults))(
        *(
            FaultLayout(fault.start, fault.end, RESPONSES[fault.response], ACCESSES[fault.access])
            for fault in faults
        )
    )
