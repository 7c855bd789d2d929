"""The layouts of `timing.h`, as ctypes passes them, and arrays out of a library's memory."""

import ctypes as c

import numpy as np

from .memory import CHANNELS, MemoryTiming

WINDOW = 1024
"""Cycles in which beats are counted together: `rootshift::Windows::CYCLES`."""


class TimingLayout(c.Structure):
    """`rootshift::Timing`."""

    _fields_ = (
        ("seed", c.c_uint64),
        ("read_latency", c.c_uint32),
        ("write_latency", c.c_uint32),
        ("extra_latency", c.c_uint32),
        ("bandwidth", c.c_uint32),
        ("hold", c.c_uint32 * len(CHANNELS)),
        ("burst", c.c_uint32),
    )


def timing_layout(timing: MemoryTiming) -> TimingLayout:
    """`timing` as a library takes it."""
    return TimingLayout(
        seed=timing.seed,
        read_latency=timing.read_latency,
        write_latency=timing.write_latency,
        extra_latency=timing.extra_latency,
        bandwidth=timing.beat_credit,
        hold=(c.c_uint32 * len(CHANNELS))(*timing.thresholds),
        burst=timing.burst,
    )


def copied(pointer: c._Pointer, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """An array of its own, of integers that a library keeps."""
    if not all(shape):  # the pointer of an empty vector may be null
        return np.zeros(shape, dtype)
    return np.ctypeslib.as_array(pointer, shape).astype(dtype)


def every_window(beats: np.ndarray, cycles: int) -> np.ndarray:
    """Beats per `WINDOW`, with those windows of a run of so many cycles in which none moved."""
    return np.pad(beats, (0, max(0, -(-cycles // WINDOW) - len(beats))))
