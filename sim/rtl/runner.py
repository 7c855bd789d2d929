"""Runs a program on the RTL: memory in, start, interrupt, memory and registers out."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import csr
from ...errors import OutputError, ToolError
from ...isa import Unit
from ..native.layout import copied, timing_layout
from ..native.memory import Fault, MemoryTiming
from ..timeline import ArrayState, Traffic
from . import library
from .build import Model, build_model
from .result import Beats, RtlError, RunResult

SLICE = 1 << 17
"""Cycles between two looks at the keyboard's interrupt and calls of `progress`."""
ALIGNMENT = 16
LIMIT = 1 << 32
IDEAL = MemoryTiming()


class RtlModel:
    """A design that is built and loaded; makes as many independent runs as wanted.

    Parameters:
        component, name, waves, made_from: as `build_model` takes them.
    Raises: as `build_model`; ToolError on a machine whose bytes are not little endian.
    """

    def __init__(
        self,
        component: Any,
        *,
        name: str = "rootshift",
        waves: str = "",
        made_from: str | None = None,
    ) -> None:
        if sys.byteorder != "little":
            raise ToolError("RTL runs need a machine with little endian numbers")
        self.model: Model = build_model(component, name, waves=waves, made_from=made_from)
        self.library = library.load(self.model.library, waves=bool(waves))

    def run(self, image: bytes, base: int, size: int, **options: Any) -> RunResult:
        """Reset the design, put `image` into its memory, and run the program to its interrupt.

        Parameters: as `RtlSession` (`image`, `base`, `size`) and `RtlSession.run` take them.
        Raises: as these.
        """
        with RtlSession(self, image, base, size) as session:
            return session.run(**options)


class RtlSession:
    """One design from its reset on, with its memory; `run` may be called again and again.

    Parameters:
        model: the design.
        image: what the memory begins with; the rest of it is zero.
        base, size: the memory's bytes, multiples of 16. What lies beyond answers DECERR.
    Raises: ValueError where a number is not legal or `image` is longer than `size`.
    """

    def __init__(self, model: RtlModel, image: bytes, base: int, size: int) -> None:
        for name, value in (("base", base), ("size", size)):
            if value % ALIGNMENT or value < 0:
                raise ValueError(f"{name} must be a multiple of {ALIGNMENT}, not {value}")
        if not len(image) <= size:
            raise ValueError(f"image must be at most {size} bytes long, not {len(image)}")
        self.model, self.base = model, base
        self.memory = np.zeros(size, np.uint8)
        """uint8 [size], the memory itself: may be read and written between runs."""
        self.memory[: len(image)] = np.frombuffer(image, np.uint8)
        self._timing = IDEAL
        self._library = model.library
        self._self: int | None = self._library.rtl_open(self.memory.ctypes.data, base, size)

    def __enter__(self) -> "RtlSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the design; nothing but `memory` may be used afterwards."""
        if self._self is not None:
            self._library.rtl_close(self._self)
            self._self = None

    def reset(self) -> None:
        """Reset the design, in whatever it is doing; `memory` keeps its bytes."""
        self._library.rtl_reset(self._self)

    def write(self, offset: int, value: int) -> None:
        """Write a word of the registers. Raises: RtlError where the answer is not OKAY."""
        self._check("write", offset, self._library.rtl_write(self._self, offset, value))

    def read(self, offset: int) -> int:
        """Read a word of the registers. Raises: RtlError where the answer is not OKAY."""
        value = ctypes.c_uint32()
        response = self._library.rtl_read(self._self, offset, ctypes.byref(value))
        self._check("read", offset, response)
        return value.value

    def run(
        self,
        *,
        probes: Iterable[str] | None = None,
        limit: int = LIMIT,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> RunResult:
        """Start the program and wait for the interrupt.

        Parameters:
            probes: names of those to record, all where it is None.
            limit: cycles after which an interrupt is no longer waited for.
            progress: called now and then with the cycles so far.
            options: how it runs, as `start` takes them.

        Raises:
            RtlError: no interrupt within `limit` cycles, or a register access failed.
            ValueError: an unknown probe.
        """
        names = list(self.model.model.probes)
        wanted = names if probes is None else list(probes)
        for probe in wanted:
            if probe not in names:
                raise ValueError(f"probe must be one of {', '.join(names)}, not {probe!r}")
        self.start(probes=wanted, **options)
        outcome, seconds = self._advance(limit, progress)
        result = self._result(wanted, seconds)
        if outcome == library.GOING:
            state = ", ".join(name for name, value in result.status.items() if value) or "idle"
            raise RtlError(
                f"an interrupt must come within {limit} cycles: none came (status: {state}; "
                f"{result.traffic.read_beats} beats read, {result.traffic.write_beats} written)",
                result,
            )
        if outcome == library.INTERRUPTED:
            self._write("INTERRUPT", done=1, error=1)
            if self._library.rtl_irq(self._self):
                raise RtlError("the interrupt must fall when acknowledged: it stayed", result)
        return result

    def trace(
        self,
        path: str | Path,
        begin: int,
        end: int,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> int:
        """Start the program, write the waves of some cycles, and stop behind them.

        Parameters:
            path: file for the signals, in the format that the model was built for; ten units of
                time are a cycle, in whose middle the clock rises.
            begin, end: the first cycle, 1 at least, and the one after the last.
            progress: called now and then with the cycles so far.
            options: how it runs, as `start` takes them.

        Returns: the last cycle that was simulated, less than `end` where the interrupt came before.

        Raises:
            RtlError: a register access failed.
            ValueError: a model that was built without waves.
            OutputError: the file cannot be written.
        """
        if not self.model.model.waves:
            raise ValueError(
                'waves must be asked for when the model is built: RtlModel(waves="vcd")'
            )
        try:
            Path(path).write_bytes(b"")  # so that a wrong path is told here, by name
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
        self.start(probes=(), **options)
        self._library.rtl_trace(self._self, str(path).encode(), begin, end)
        try:
            self._advance(end - 1, progress)
        finally:
            self._library.rtl_trace(self._self, b"", 0, 0)
        return self._library.rtl_cycle(self._self)

    def start(
        self,
        *,
        probes: Iterable[str] = (),
        entry: int | None = None,
        memory: MemoryTiming = IDEAL,
        faults: Sequence[Fault] = (),
        watchdog: int = 1 << 20,
    ) -> None:
        """Write the registers and the start strobe: cycle 0 of a run.

        Parameters:
            probes: names of those to record.
            entry: byte address of the program, the memory's first where it is None.
            memory: when the memory takes and answers.
            faults: addresses that answer with an error.
            watchdog: cycles without progress that the design allows, 0 for any.

        Raises: RtlError where a register access failed.
        """
        names = list(self.model.model.probes)
        self._write("ENTRY", address=self.base if entry is None else entry)
        self._write("INTERRUPT_ENABLE", done=1, error=1)
        self._write("WATCHDOG", limit=watchdog)
        wanted = sum(1 << names.index(probe) for probe in set(probes))
        self._library.rtl_record(self._self, wanted, Unit.GEMM)
        (word,) = csr.pack("CONTROL", start=1, clear_counters=1)
        offset = csr.find_register("CONTROL").offset
        self._timing = memory
        layouts = timing_layout(memory), library.fault_layouts(faults), len(faults)
        response = self._library.rtl_start(self._self, offset, word, *layouts)
        self._check("write", offset, response)

    def _advance(self, limit: int, progress: Callable[[int], None] | None) -> tuple[int, float]:
        """What ended the run, and the seconds it took."""
        begin, left, outcome = time.perf_counter(), limit, library.GOING
        while left > 0 and outcome == library.GOING:
            outcome = self._library.rtl_advance(self._self, min(left, SLICE))
            left -= SLICE
            if progress:
                progress(self._library.rtl_cycle(self._self))
        return outcome, time.perf_counter() - begin

    def _result(self, wanted: list[str], seconds: float) -> RunResult:
        # Before any register is read: accesses take cycles.
        cycles = self._library.rtl_cycle(self._self)
        violation = self._library.rtl_violation(self._self).decode() or None
        traffic = library.TrafficLayout()
        self._library.rtl_traffic(self._self, traffic)
        memory = self.memory.tobytes()
        error = self._read("ERROR")
        counters = {
            register.name: self._read(register.name)
            for register in csr.REGISTERS
            if register.access is csr.Access.COUNTER or register.name == "SATURATED"
        }
        return RunResult(
            memory=memory,
            cycles=cycles,
            status=self._read("STATUS"),
            cause=csr.ErrorCause(error["cause"]),
            address=error["address"],
            counters=counters,
            traffic=Traffic(**{name: getattr(traffic, name) for name, _ in traffic._fields_}),
            violation=violation,
            beats={name: self._beats(name) for name in wanted},
            begun=self._strobes("begun"),
            done=self._strobes("done"),
            array=self._array(),
            reads=self._moved(writes=False),
            writes=self._moved(writes=True),
            timing=self._timing,
            seconds=seconds,
        )

    def _beats(self, name: str) -> Beats:
        widths = self.model.model.probes
        words = ctypes.POINTER(ctypes.c_uint32)()
        cycles = ctypes.POINTER(ctypes.c_uint64)()
        count = self._library.rtl_beats(
            self._self, list(widths).index(name), ctypes.byref(words), ctypes.byref(cycles)
        )
        return Beats(
            copied(words, (count, -(-widths[name] // 32)), np.uint32),
            widths[name],
            copied(cycles, (count,), np.int64),
        )

    def _strobes(self, which: str) -> np.ndarray:
        pairs = ctypes.POINTER(ctypes.c_uint64)()
        count = getattr(self._library, f"rtl_{which}")(self._self, ctypes.byref(pairs))
        return copied(pairs, (count, 2), np.int64)

    def _moved(self, *, writes: bool) -> np.ndarray:
        beats = ctypes.POINTER(ctypes.c_uint32)()
        count = self._library.rtl_moved(self._self, writes, ctypes.byref(beats))
        return copied(beats, (count,), np.int64)

    def _array(self) -> np.ndarray:
        counts = ctypes.POINTER(ctypes.c_uint32)()
        rows = self._library.rtl_array(self._self, ctypes.byref(counts))
        table = copied(counts, (rows, library.STATES), np.int64)
        return table[:, : len(ArrayState)]

    def _write(self, register: str, **fields: int) -> None:
        words = csr.pack(register, **fields)
        for offset, word in zip(csr.find_register(register).offsets, words, strict=True):
            self.write(offset, word)

    def _read(self, register: str) -> dict[str, int]:
        offsets = csr.find_register(register).offsets
        return csr.unpack(register, [self.read(offset) for offset in offsets])

    def _check(self, what: str, offset: int, response: int) -> None:
        if response:
            said = "nothing" if response < 0 else f"response {response}"
            raise RtlError(f"a register must answer OKAY to a {what} at {offset:#05x}, not {said}")
