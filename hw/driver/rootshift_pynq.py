"""Driver of a Rootshift accelerator for Python on the board: PYNQ, or anything like it.

Needs numpy and, beside this file, `rootshift.json`, which `rootshift generate` has written with the
program; nothing else of Rootshift. On a PYNQ board:

    from pynq import Overlay
    import rootshift_pynq

    overlay = Overlay("rootshift.bit")
    accelerator = overlay.rootshift_0.open("program.bin")
    result = accelerator.infer(pixels)
    print(result.labels, result.cycles)

Elsewhere, `Rootshift(mmio, allocate)` takes anything that reads and writes registers, and anything
that gives memory which the accelerator can reach.
"""

from __future__ import annotations  # Python 3.8 is on boards, too

import importlib
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 4096
"""Bytes; the program's memory begins at a multiple of it."""
WORD = 32
DESCRIPTION = Path(__file__).with_name("rootshift.json")
COUNTERS = ("CYCLES", "GEMM_STALL", "BUSY", "STALL", "SATURATED")


class RootshiftError(Exception):
    """Base of all that the driver raises beside TypeError and ValueError of wrong arguments."""


class DeviceError(RootshiftError):
    """What answers is no accelerator of this kind, version or configuration, or is still busy."""


class ProgramError(RootshiftError):
    """The program is not the one of `rootshift.json`, is not loaded, or cannot lie there."""


class RunTimeout(RootshiftError):  # noqa: N818
    """The run has not ended in time; it goes on."""


class RunError(RootshiftError):
    """The accelerator has stopped a run.

    Members: `cause`, a name such as "read_decerr" or "watchdog"; `address` of the access or of the
    command, or of the word in a buffer.
    """

    def __init__(self, cause: str, address: int) -> None:
        super().__init__(f"the run was stopped: {cause} at {address:#x}")
        self.cause, self.address = cause, address


class Result(NamedTuple):
    """A run.

    Fields: `logits`, int32 [images, classes]; `labels`, int [images], of the greatest logits;
    `cycles` from start to interrupt; `counters`, register -> field -> count.
    """

    logits: np.ndarray
    labels: np.ndarray
    cycles: int
    counters: dict[str, dict[str, int]]


class Rootshift:
    """An accelerator and its memory.

    Parameters:
        mmio: registers: `read(offset)` gives a word of 32 bits, `write(offset, value)` sets one,
            as `pynq.MMIO` does.
        allocate: `allocate(shape=, dtype=)` gives a numpy array that the accelerator can reach,
            with `device_address` or `physical_address`, `flush()` and `invalidate()`, as
            `pynq.allocate` does; called once, by `load`.
        description: path of `rootshift.json`.
        wait: called with the seconds left while a run is on its way, to sleep until the interrupt
            (which it leaves to this driver to acknowledge) or for some time; without it the driver
            polls, and no interrupt is raised.
    Raises: DeviceError where the device is not what the description says; FileNotFoundError where
    there is no description.
    """

    def __init__(
        self,
        mmio: Any,
        allocate: Callable[..., Any],
        description: str | Path = DESCRIPTION,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.description = json.loads(Path(description).read_text(encoding="utf-8"))
        self._mmio, self._allocate, self._wait = mmio, allocate, wait
        self._memory: Any = None
        self._address = 0
        self.check()

    def check(self) -> None:
        """Hold identity, version and configuration of the device against the description.

        Raises: DeviceError that says what differs.
        """
        told = self.description
        magic, version = self.read("IDENTITY")["magic"], self.read("VERSION")
        major, minor = told["version"]
        if magic != told["identity"]:
            raise DeviceError(
                f"identity must be {told['identity']:#x}, not {magic:#x}: there is no Rootshift "
                "accelerator at this address"
            )
        if version["major"] != major or version["minor"] < minor:
            raise DeviceError(
                f"version of the registers must be {major}.{minor}, or newer with the same first "
                f"number, not {version['major']}.{version['minor']}"
            )
        device, program = self._words("CONFIG"), told["config"]
        if device != program:
            names = self._fields("CONFIG", program)
            differing = ", ".join(
                f"{name} must be {names[name]}, not {value}"
                for name, value in self._fields("CONFIG", device).items()
                if value != names[name]
            )
            raise DeviceError(f"the program is for another configuration: {differing}")

    def load(self, program: str | Path | bytes) -> None:
        """Put a program, `program.bin` or its path, into memory; once is enough.

        Raises: ProgramError where it is not the one of the description, or its memory is not
        aligned or out of reach; DeviceError during a run.
        """
        told = self.description
        image = program if isinstance(program, bytes) else Path(program).read_bytes()
        if len(image) != told["bytes"] or zlib.adler32(image) != told["adler32"]:
            raise ProgramError("program must be the program.bin that came with rootshift.json")
        if self.busy:
            raise DeviceError("a program cannot be loaded during a run")
        if self._memory is None:
            memory = self._allocate(shape=(len(image),), dtype=np.uint8)
            address = getattr(memory, "device_address", None)
            address = int(memory.physical_address if address is None else address)
            if address % ALIGNMENT:
                raise ProgramError(f"memory must be a multiple of {ALIGNMENT}, not {address:#x}")
            if address + len(image) > 1 << told["address_width"]:
                raise ProgramError(
                    f"memory must end below 2^{told['address_width']}, not begin at {address:#x}"
                )
            self._memory, self._address = memory, address
        self._memory[:] = np.frombuffer(image, np.uint8)
        self._memory.flush()

    def infer(self, pixels: np.ndarray, timeout: float = 10.0) -> Result:
        """Run the program on images, all that it has room for.

        Parameters: `pixels` uint8 [images, height, width, channels], or without the first axis for
        a program of one image; `timeout` in seconds.
        Raises: TypeError or ValueError for other pixels; ProgramError before `load`; RunError where
        the run was stopped; RunTimeout.
        """
        self._put(np.asarray(pixels))
        self.start()
        self.finish(timeout)
        return Result(*self._logits(), self.read("CYCLES")["count"], self.counters())

    def start(self) -> None:
        """Start a run, counters at zero, and return at once.

        Raises: ProgramError before `load`; DeviceError where a run is on its way, or one that was
        stopped still waits for the bus.
        """
        if self._memory is None:
            raise ProgramError("a program must be loaded before a run")
        if self.busy:
            raise DeviceError("a run is on its way, or a stopped one waits for the bus")
        events = {"done": 1, "error": 1}
        self.write("INTERRUPT", **events)
        self.write("INTERRUPT_ENABLE", **(events if self._wait else {}))
        self.write("ENTRY", address=self._address)
        self.write("CONTROL", start=1, clear_counters=1)

    def finish(self, timeout: float = 10.0) -> None:
        """Wait until the run has ended, `timeout` seconds at most.

        Raises: RunError where it was stopped; RunTimeout.
        """
        end = time.monotonic() + timeout
        while True:
            status = self.read("STATUS")
            if status["error"]:
                self.write("INTERRUPT", done=1, error=1)
                error = self.read("ERROR")
                raise RunError(self._value("ERROR", "cause", error["cause"]), error["address"])
            if status["done"]:
                self.write("INTERRUPT", done=1, error=1)
                return
            left = end - time.monotonic()
            if left <= 0:
                raise RunTimeout(f"the run must end within {timeout} s; it goes on")
            if self._wait:
                self._wait(left)

    @property
    def busy(self) -> bool:
        """Whether a run is on its way, or a stopped one waits for the bus."""
        return bool(self.read("STATUS")["busy"])

    def counters(self) -> dict[str, dict[str, int]]:
        """Register -> field -> count, of the last run."""
        return {name: self.read(name) for name in COUNTERS}

    def read(self, register: str) -> dict[str, int]:
        """The fields of a register by name."""
        return self._fields(register, self._words(register))

    def write(self, register: str, **fields: int) -> None:
        """Write all words of a register, lowest first; fields left out are 0."""
        place = self.description["registers"][register]
        image = 0
        for name, value in fields.items():
            image |= value << place["fields"][name]["bit"]
        for word in range(place["words"]):
            self._mmio.write(place["offset"] + 4 * word, image >> WORD * word & 0xFFFFFFFF)

    def _words(self, register: str) -> list[int]:
        # Low words first: they keep the high word of that moment.
        place = self.description["registers"][register]
        return [int(self._mmio.read(place["offset"] + 4 * n)) for n in range(place["words"])]

    def _fields(self, register: str, words: list[int]) -> dict[str, int]:
        image = sum(word << WORD * n for n, word in enumerate(words))
        return {
            name: image >> field["bit"] & (1 << field["width"]) - 1
            for name, field in self.description["registers"][register]["fields"].items()
        }

    def _value(self, register: str, field: str, value: int) -> str:
        values = self.description["registers"][register]["fields"][field]["values"]
        return next((name for name, code in values.items() if code == value), str(value))

    def _put(self, pixels: np.ndarray) -> None:
        told = self.description
        shape = (told["images"], *told["shape"])
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
        if pixels.shape == shape[1:] and shape[0] == 1:
            pixels = pixels[None]
        if pixels.shape != shape:
            raise ValueError(f"pixels must have shape {list(shape)}, not {list(pixels.shape)}")
        if self._memory is None:
            raise ProgramError("a program must be loaded before a run")
        if self.busy:
            raise DeviceError("images cannot be changed during a run")
        area = told["input"]
        for n, image in enumerate(pixels):
            start = area["offset"] + n * area["stride"]
            self._memory[start : start + area["bytes"]] = np.frombuffer(image.tobytes(), np.uint8)
        self._memory.flush()

    def _logits(self) -> tuple[np.ndarray, np.ndarray]:
        self._memory.invalidate()
        area, rows = self.description["output"], []
        for n in range(self.description["images"]):
            start = area["offset"] + n * area["stride"]
            row = bytes(self._memory[start : start + area["bytes"]])
            rows.append(np.frombuffer(row, "<i4").astype(np.int32))
        logits = np.stack(rows)
        return logits, logits.argmax(axis=1)


def _default_ip() -> Any:
    """PYNQ's base class of drivers, or None where this is no PYNQ board."""
    try:
        return importlib.import_module("pynq").DefaultIP
    except ImportError:
        return None


_BASE = _default_ip()
if _BASE is not None:

    class RootshiftIP(_BASE):  # type: ignore[misc, valid-type]
        """What an overlay gives for the accelerator's IP."""

        bindto = ["rootshift:accelerator:rootshift_axi:1.0"]  # noqa: RUF012

        def open(self, program: str | Path | bytes, **options: Any) -> Rootshift:
            """The accelerator with this program loaded; `options` as `Rootshift` takes them."""
            allocate = importlib.import_module("pynq").allocate
            accelerator = Rootshift(self.mmio, allocate, **options)
            accelerator.load(program)
            return accelerator
