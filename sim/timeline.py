"""When each command of a run was at work: what a run of the RTL and the cycle model both give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np


class ArrayState(IntEnum):
    """What the array does in a cycle; a column of `Timeline.array`."""

    IDLE = 0
    BUSY = 1
    WEIGHTS = 2
    ACTIVATIONS = 3
    OUTPUT = 4


@dataclass(frozen=True)
class UnitCycles:
    """Cycles in which a unit worked, and in which it waited: its counters BUSY and STALL."""

    busy: int
    stall: int


@dataclass(frozen=True)
class Traffic:
    """What went over the memory bus; `write_bytes` counts strobed bytes alone."""

    read_bursts: int
    read_beats: int
    read_bytes: int
    write_bursts: int
    write_beats: int
    write_bytes: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """One run, from the start strobe (cycle 0) to the interrupt.

    Fields:
        cycles: from the start strobe to the first cycle with the interrupt high.
        begun: int64 [commands], the cycle in which its unit took each command but END, in program
            order.
        done: int64 [commands], the cycle in which each had finished (its unit's `done_stb`).
        units: name of a counter of the registers (`csr.UNITS`) -> its cycles.
        array: int64 [products + 1, states], cycles in each `ArrayState` up to and with the last
            vector of each GEMM, and after the last one.
        traffic: on the memory bus.
        window: cycles of a place of the next two.
        reads, writes: int64 [windows], beats that the bus moved from cycle `n * window` on.
    """

    cycles: int
    begun: np.ndarray
    done: np.ndarray
    units: Mapping[str, UnitCycles]
    array: np.ndarray
    traffic: Traffic
    window: int
    reads: np.ndarray = field(repr=False)
    writes: np.ndarray = field(repr=False)
