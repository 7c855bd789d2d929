"""Drives, takes and checks the streams of a unit, inside the simulator's Python.

One coroutine serves all streams of the unit: it samples at the falling edge, when everything has
settled and is what the next rising edge will capture, and drives after the rising edge. Two
wake-ups per cycle, however many streams, keep it at tens of thousands of cycles per second.
"""

from collections.abc import Iterator
from typing import Any

from .patterns import pattern

# GPI's code of a plain write.
DEPOSIT = 0


class ProtocolError(AssertionError):
    """A stream broke Amaranth's rules; the message names the stream, the rule and the cycle."""


class Checker:
    """Holds one stream to the contract, cycle by cycle.

    Once valid, a beat stays valid and its payload stays the same until it is accepted; and with
    `always_ready` the sink side never lowers ready.
    """

    def __init__(self, name: str, always_ready: bool) -> None:
        self.name = name
        self.always_ready = always_ready
        self._waiting: str | None = None

    def observe(self, cycle: int, valid: bool, ready: bool, payload: str | None) -> None:
        """Take one sampled cycle; `payload` is the bits, or None when not valid."""
        if self.always_ready and not ready:
            raise ProtocolError(f"{self.name}: ready fell in cycle {cycle} though always_ready")
        if self._waiting is not None:
            if not valid:
                raise ProtocolError(
                    f"{self.name}: valid was dropped in cycle {cycle} before ready came"
                )
            if payload != self._waiting:
                raise ProtocolError(
                    f"{self.name}: the payload changed in cycle {cycle} while it waited for ready"
                )
        self._waiting = payload if valid and not ready else None

    def reset(self) -> None:
        """Forget the waiting beat: a reset may drop it."""
        self._waiting = None


class Wires:
    """The wires of one stream of the design, read and written as strings of bits.

    Through the handles' own accessors: cocotb's value objects, which would check and convert each
    access, cost more than all the rest of the bench.
    """

    def __init__(self, dut: Any, name: str, ports: list[str]) -> None:
        def handle(part: str) -> Any:
            return getattr(dut, f"{name}__{part}")._handle if f"{name}__{part}" in ports else None

        payload, self._valid, self._ready = handle("payload"), handle("valid"), handle("ready")
        self.width = payload.get_num_elems()
        self.payload = payload.get_signal_val_binstr
        self._write_payload = payload.set_signal_val_binstr

    def valid(self) -> bool:
        """Whether a beat is on the wires; always, where the stream has no such wire."""
        return self._valid is None or self._valid.get_signal_val_binstr() == "1"

    def ready(self) -> bool:
        """Whether the sink takes it; always, where the stream has no such wire."""
        return self._ready is None or self._ready.get_signal_val_binstr() == "1"

    def offer(self, payload: int | None) -> None:
        """Put a beat on the wires, or take valid away: the payload of an idle stream is noise."""
        noise = "1" * self.width
        self._write_payload(DEPOSIT, noise if payload is None else f"{payload:0{self.width}b}")
        if self._valid is not None:
            self._valid.set_signal_val_binstr(DEPOSIT, "0" if payload is None else "1")

    def take(self, ready: bool) -> None:
        """Raise or lower ready."""
        if self._ready is not None:
            self._ready.set_signal_val_binstr(DEPOSIT, "1" if ready else "0")


class Source:
    """Offers a list of beats to an input stream of the design."""

    def __init__(self, wires: Wires, checker: Checker) -> None:
        self.wires, self.checker = wires, checker
        self.reset()

    def reset(self) -> None:
        """Forget what was queued or offered."""
        self.checker.reset()
        self.load([], "always", 0)
        self.wires.offer(None)

    def load(self, beats: list[int], idle: str, seed: int) -> None:
        """Queue `beats`, offered whenever the pattern `idle` acts."""
        self._beats: Iterator[int] = iter(beats)
        self._next: int | None = next(self._beats, None)
        self._pattern = pattern(idle, seed)
        self._offered = False
        self.left = len(beats)
        self.cycles: list[int] = []

    def sample(self, cycle: int) -> bool:
        """Look at the settled wires; return whether a beat moved."""
        ready = self.wires.ready()
        valid = self._offered
        self.checker.observe(cycle, valid, ready, self.wires.payload() if valid else None)
        if not (valid and ready):
            return False
        self.cycles.append(cycle)
        self.left -= 1
        self._offered = False
        self._next = next(self._beats, None)
        return True

    def drive(self) -> None:
        """Set the wires for the next cycle; an offered beat is never taken back."""
        if self._offered:
            return
        if self._next is not None and next(self._pattern):
            self._offered = True
            self.wires.offer(self._next)
        elif self.wires.valid():
            self.wires.offer(None)


class Sink:
    """Takes beats from an output stream of the design and keeps them."""

    def __init__(self, wires: Wires, checker: Checker) -> None:
        self.wires, self.checker = wires, checker
        self.reset()

    def reset(self) -> None:
        """Forget what was expected or taken, and take nothing."""
        self.checker.reset()
        self.load(0, "always", 0)
        self._ready = False
        self.wires.take(False)

    def load(self, expected: int, pressure: str, seed: int) -> None:
        """Expect so many beats, taken whenever the pattern `pressure` acts."""
        kind, _, rest = pressure.partition(":")
        self._lazy = int(rest) if kind == "lazy" else None
        self._pattern = pattern("always" if kind == "lazy" else pressure, seed)
        self._valid_for = 0
        self.left = expected
        self.beats: list[int] = []
        self.cycles: list[int] = []

    def sample(self, cycle: int) -> bool:
        """Look at the settled wires; return whether a beat moved."""
        valid = self.wires.valid()
        ready = self.wires.ready()
        payload = self.wires.payload() if valid else None
        self.checker.observe(cycle, valid, ready, payload)
        if not (valid and ready):
            self._valid_for = self._valid_for + 1 if valid else 0
            return False
        self._valid_for = 0
        self.beats.append(int(payload, 2))
        self.cycles.append(cycle)
        self.left -= 1
        return True

    def drive(self) -> None:
        """Set ready for the next cycle."""
        ready = next(self._pattern)
        if self._lazy is not None:
            ready = self._valid_for >= self._lazy
        if ready != self._ready:
            self._ready = ready
            self.wires.take(ready)
