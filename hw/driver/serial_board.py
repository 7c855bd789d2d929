"""A board on a serial port: opens the port, sends requests, takes answers. Linux."""

import os
import select
import termios
import time
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType

import numpy as np

from ...errors import LinkError
from ...host_link import (
    ANSWER,
    CRC_BYTES,
    HEADER,
    START,
    Classified,
    Identity,
    Kind,
    crc,
    describe,
    frame,
    split_registers,
)

BAUD = 3_000_000
TIMEOUT = 2.0
QUIET = 0.05
"""Seconds of silence after which nothing is left of what was on the line before."""


class SerialBoard:
    """A board that speaks `rootshift/host_link.py`; a context manager.

    Parameters:
        port: path of the serial port, such as /dev/ttyUSB0, or of a pseudo-terminal.
        baud: bits per second, as the design was made for.
        timeout: seconds to wait for an answer.
    Raises: LinkError where the port cannot be opened or has no such rate. Every method raises it
    where the board does not answer in time, answers wrongly, or with an error.
    """

    def __init__(self, port: str, baud: int = BAUD, timeout: float = TIMEOUT) -> None:
        self.port, self._timeout = port, timeout
        try:
            self._file = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise LinkError(f"port {port}: cannot be opened: {error.strerror}") from None
        try:
            self._set_up(baud)
            while self._waits(QUIET):
                self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "SerialBoard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        os.close(self._file)

    @cached_property
    def identity(self) -> Identity:
        """What the board says of itself."""
        return Identity.decode(self._ask(Kind.IDENTIFY))

    def status(self) -> Mapping[str, Mapping[str, int]]:
        """Register -> its fields, of STATUS, ERROR and CYCLES as the last run left them."""
        return split_registers(self._ask(Kind.STATUS))

    def classify(self, pixels: np.ndarray) -> Classified:
        """Run the model on one image, uint8 [H, W, C] as the board's `identity` says.

        Raises also: TypeError or ValueError where the pixels have another type or shape.
        """
        shape = self.identity.preprocessing.shape
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
        if pixels.shape != shape:
            raise ValueError(f"pixels must have shape {list(shape)}, not {list(pixels.shape)}")
        return Classified.decode(self._ask(Kind.CLASSIFY, pixels.tobytes()), self.identity.classes)

    def _set_up(self, baud: int) -> None:
        """Bytes as they are, 8N1, no flow control."""
        rate = getattr(termios, f"B{baud}", None)
        if rate is None:
            rates = sorted(int(n[1:]) for n in dir(termios) if n[0] == "B" and n[1:].isdigit())
            names = ", ".join(str(n) for n in rates if n >= 9600)
            raise LinkError(f"baud rate must be one of {names}, not {baud}")
        try:
            control = termios.CS8 | termios.CREAD | termios.CLOCAL
            characters = termios.tcgetattr(self._file)[6]
            modes = [0, 0, control, 0, rate, rate, characters]
            termios.tcsetattr(self._file, termios.TCSANOW, modes)
        except termios.error as error:
            raise LinkError(f"port {self.port}: is no serial port: {error.args[-1]}") from None

    def _ask(self, kind: Kind, payload: bytes = b"") -> bytes:
        """Payload of the answer to a request."""
        self._write(frame(kind, payload))
        deadline = time.monotonic() + self._timeout
        header = self._take(HEADER.size, deadline)
        start, answer, length = HEADER.unpack(header)
        if start != START:
            raise LinkError(f"port {self.port}: what answers is no such board: {header!r}")
        rest = self._take(length + CRC_BYTES, deadline)
        payload, check = rest[:length], int.from_bytes(rest[length:], "big")
        if check != crc(header[1:] + payload):
            raise LinkError(f"port {self.port}: the answer was damaged on its way: wrong CRC")
        if answer == Kind.ERROR:
            raise LinkError(f"port {self.port}: {describe(payload)}")
        if answer != kind | ANSWER:
            raise LinkError(f"port {self.port}: answer must be to {kind.name}, not {answer:#x}")
        return payload

    def _take(self, count: int, deadline: float) -> bytes:
        """The next `count` bytes."""
        found = b""
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not self._waits(left):
                raise LinkError(f"port {self.port}: no answer within {self._timeout:g} s")
            found += self._read(count - len(found))
        return found

    def _waits(self, seconds: float) -> bool:
        """Whether there is something to read before so many seconds have passed."""
        return bool(select.select([self._file], [], [], seconds)[0])

    def _read(self, count: int = 4096) -> bytes:
        try:
            found = os.read(self._file, count)
        except OSError as error:
            raise LinkError(f"port {self.port}: {error.strerror}") from None
        if not found:
            raise LinkError(f"port {self.port}: the board is gone")
        return found

    def _write(self, content: bytes) -> None:
        deadline = time.monotonic() + self._timeout
        while content:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [self._file], [], left)[1]:
                raise LinkError(f"port {self.port}: takes nothing")
            try:
                content = content[os.write(self._file, content) :]
            except OSError as error:
                raise LinkError(f"port {self.port}: {error.strerror}") from None
