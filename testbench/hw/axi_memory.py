"""A memory behind an AXI4 manager port, and the rules of AXI4 that the manager must keep.

`AxiMemory` has the face of a stream's driver, so `Bench.run` steps it with the streams: it samples
settled wires at the falling edge and drives after the rising edge. Its pattern (see `patterns`)
says when it takes addresses and data and when it answers, each channel with a seed of its own.
"""

import random
from collections import deque
from typing import Any

import numpy as np

from .harness import Bench
from .patterns import pattern
from .streams import DEPOSIT, Checker, ProtocolError

PAGE = 4096
ADDR_WIDTH = 40
BASES = (0xFF_FFFF_8000, 0x55_5554_8000, 0xAA_AAAB_0000)
"""Where a memory may lie: over the top of the addresses, and at each value of their bits."""
INCR = 0b01
MOVER_SIZE = 1 << 16
"""Bytes of the memory of a data mover's bench."""
NORMAL = 0b0011
"""Normal memory, non-cacheable and bufferable."""
NOISE = {"r": {"rdata": -1, "rresp": 0b11, "rlast": 1}, "b": {"bresp": 0b11}}
"""What is on the wires of a channel without `valid`."""
ADDRESS_FIELDS = ("id", "addr", "len", "size", "burst", "cache", "prot")
PAYLOADS = {
    "ar": tuple(f"ar{field}" for field in ADDRESS_FIELDS),
    "aw": tuple(f"aw{field}" for field in ADDRESS_FIELDS),
    "w": ("wdata", "wstrb", "wlast"),
}
CHANNELS = ("ar", "r", "aw", "w", "b")


def bursts_of(address: int, beats: int, bytes_: int, longest: int) -> list[tuple[int, int]]:
    """`(address, beats)` of the fewest bursts of a run that cross no 4 KiB boundary."""
    bursts = []
    while beats:
        length = min(beats, longest, (PAGE - address % PAGE) // bytes_)
        bursts.append((address, length))
        address, beats = address + length * bytes_, beats - length
    return bursts


def beats_to_page_end(rng: random.Random, bytes_: int) -> int:
    """About a power of two, so that each bit of it counts."""
    return min(
        (1 << rng.randrange((PAGE // bytes_).bit_length() - 1)) + rng.randint(0, 4), PAGE // bytes_
    )


class Wire:
    """One port of the bus, as an integer."""

    def __init__(self, dut: Any, name: str, width: int) -> None:
        handle = getattr(dut, name)._handle
        self.bits, self._write, self._width = (
            handle.get_signal_val_binstr,
            handle.set_signal_val_binstr,
            width,
        )
        self._last: int | None = None

    def get(self) -> int:
        return int(self.bits(), 2)

    def forget(self) -> None:
        """Somebody else has driven it."""
        self._last = None

    def set(self, value: int) -> None:
        value &= (1 << self._width) - 1
        if value != self._last:
            self._last = value
            self._write(DEPOSIT, f"{value:0{self._width}b}")


class AxiMemory:
    """Memory of bytes from `base` on, behind the port called `bus`.

    Parameters
    ----------
    bench : Bench
        Of the unit; the memory joins its drivers, under the name `bus`.
    data_width : int
        Bits of a beat.
    base : int
        Address of the first byte; an access outside the memory fails the test. Past the top of the
        address space it goes on at 0.
    contents : bytes
        What it holds at first.
    burst, outstanding : int
        The manager's limits, which are checked.

    Attributes
    ----------
    contents : bytearray
        What it holds.
    errors : dict
        Address of a beat -> response; a write's response is the greatest of its beats.
    latency : int
        Cycles from the acceptance of AR to the first beat of R, and from the last of AW and the
        last beat of W to B; 1 or more.
    order : str
        `any`; `address` takes no beat of W before its AW, `data` no AW before its last beat of W.
    shy : bool
        Raises ready only after valid has waited a cycle.
    ahead : bool
        Beats of R that nobody takes are no reason for a run to go on.
    bursts : list
        `("ar" or "aw", address, beats)` of each burst since `reset`.
    written : list
        `(address, data, strobes)` of each beat written since `reset`.
    moves : dict
        Channel -> cycles in which it moved, since `load`.
    """

    def __init__(
        self,
        bench: Bench,
        bus: str,
        *,
        data_width: int,
        base: int,
        contents: bytes,
        burst: int,
        outstanding: int,
    ) -> None:
        self.bytes = data_width // 8
        self.base, self.contents = base, bytearray(contents)
        self.burst, self.outstanding = burst, outstanding
        self.errors: dict[int, int] = {}
        self.latency, self.order, self.shy, self.ahead = 1, "any", False, False
        prefix = f"{bus}__"
        self.wires = {
            port.removeprefix(prefix): Wire(bench.dut, port, width)
            for port, (_, width) in bench.ports.items()
            if port.startswith(prefix)
        }
        self.channels = [name for name in CHANNELS if f"{name}valid" in self.wires]
        self.space = 1 << bench.ports[f"{prefix}{self.channels[0]}addr"][1]
        self.checkers = {name: Checker(f"{bus} {name}", False) for name in PAYLOADS}
        self.cycle = 0
        self.reset()
        bench.sources[bus] = self

    def reset(self) -> None:
        """Forget all that is under way."""
        for checker in self.checkers.values():
            checker.reset()
        self.bursts: list[tuple[str, int, int]] = []
        self.written: list[tuple[int, int, int]] = []
        self._reads: deque[tuple[int, int, bool]] = deque()
        self._writes: deque[tuple[int, int]] = deque()
        self._beats: list[tuple[int, int]] = []
        self._data: deque[list[tuple[int, int]]] = deque()
        self._answers: deque[tuple[int, int]] = deque()
        self._open = 0
        self._driven: dict[str, bool] = {}
        self._waiting = dict.fromkeys(self.channels, False)
        for wire in self.wires.values():
            wire.forget()
        for name in self.channels:
            self._drive(name, False)
        self.load([], "always", 0)

    def load(self, beats: list[int], idle: str, seed: int) -> None:
        """Set the pattern; the list is there for the face only."""
        self._patterns = {
            name: pattern(idle, seed * 8 + index) for index, name in enumerate(CHANNELS)
        }
        self.moves: dict[str, list[int]] = {name: [] for name in self.channels}

    @property
    def left(self) -> int:
        """Bursts that are not answered in full."""
        reads = 0 if self.ahead else sum(last for _, _, last in self._reads)
        return reads + len(self._writes) + len(self._data) + len(self._answers)

    @property
    def underway(self) -> int:
        """Beats of W taken and not yet written: their burst is not whole, or has no address."""
        return len(self._beats) + sum(map(len, self._data))

    def sample(self, cycle: int) -> bool:
        """Look at the settled wires; return whether anything moved."""
        self.cycle = cycle
        self._moved = {name: self._look(name) for name in self.channels}
        for name in self.channels:
            if self._moved[name]:
                self.moves[name].append(cycle)
        if self._moved.get("ar"):
            self._accept_read()
        if self._moved.get("r") and self._reads.popleft()[2]:
            self._open -= 1
        if self._moved.get("aw"):
            self._writes.append(self._accept_burst("aw"))
        if self._moved.get("w"):
            self._accept_data()
        if self._moved.get("b"):
            self._answers.popleft()
            self._open -= 1
        self._write()
        return any(self._moved.values())

    def drive(self) -> None:
        """Set the wires for the next cycle; what was offered is never taken back."""
        for name in self.channels:
            act = next(self._patterns[name])
            if name in ("r", "b"):
                offered = self._driven[name] and not self._moved[name]
                queue = self._reads if name == "r" else self._answers
                self._drive(name, offered or bool(act and queue and queue[0][0] <= self.cycle))
            else:
                self._drive(name, act and self._willing(name))

    def _willing(self, name: str) -> bool:
        if self.shy and not self._waiting[name]:
            return False
        if name == "w" and self.order == "address":
            return len(self._writes) > len(self._data)
        if name == "aw" and self.order == "data":
            return len(self._data) > len(self._writes)
        return True

    def _look(self, name: str) -> bool:
        valid = self.wires[f"{name}valid"].bits() == "1"
        ready = self.wires[f"{name}ready"].bits() == "1"
        if name in PAYLOADS:
            payload = None
            if valid:
                payload = ",".join([self.wires[port].bits() for port in PAYLOADS[name]])
            self.checkers[name].observe(self.cycle, valid, ready, payload)
        self._waiting[name] = valid and not ready
        return valid and ready

    def _drive(self, name: str, act: bool) -> None:
        if name in ("r", "b"):
            self.wires[f"{name}valid"].set(act)
            if act and not (self._driven.get(name) and not self._moved[name]):
                if name == "r":
                    _, address, last = self._reads[0]
                    self.wires["rdata"].set(int.from_bytes(self.beat(address), "little"))
                    self.wires["rlast"].set(last)
                    self.wires["rresp"].set(self.errors.get(address, 0))
                else:
                    self.wires["bresp"].set(self._answers[0][1])
            elif not act:
                for port, noise in NOISE[name].items():
                    self.wires[port].set(noise)
        else:
            self.wires[f"{name}ready"].set(act)
        self._driven[name] = act

    def _accept_burst(self, name: str) -> tuple[int, int]:
        """Hold a burst to the rules; return its address and beats."""
        field = {part: self.wires[name + part].get() for part in ADDRESS_FIELDS}
        address, beats = field["addr"], field["len"] + 1
        size = beats * self.bytes
        self._must(field["burst"] == INCR, name, f"burst must be INCR, not {field['burst']}")
        self._must(1 << field["size"] == self.bytes, name, f"size is {field['size']}")
        self._must(field["id"] == 0, name, f"id must be 0, not {field['id']}")
        self._must(field["cache"] == NORMAL, name, f"cache is {field['cache']}")
        self._must(field["prot"] == 0, name, f"prot must be 0, not {field['prot']}")
        self._must(address % self.bytes == 0, name, f"{address:#x} is not aligned")
        self._must(beats <= self.burst, name, f"{beats} beats are more than {self.burst}")
        self._must(address % PAGE + size <= PAGE, name, f"{address:#x} + {size} crosses 4 KiB")
        inside = self.place(address) + size <= len(self.contents)
        self._must(inside, name, f"{address:#x} is outside the memory")
        self._open += 1
        self._must(self._open <= self.outstanding, name, "too many bursts outstanding")
        self.bursts.append((name, address, beats))
        return address, beats

    def _accept_read(self) -> None:
        address, beats = self._accept_burst("ar")
        due = self.cycle + self.latency - 1
        for beat in range(beats):
            self._reads.append((due, address + beat * self.bytes, beat == beats - 1))

    def _accept_data(self) -> None:
        self._beats.append((self.wires["wdata"].get(), self.wires["wstrb"].get()))
        if self.wires["wlast"].get():
            self._data.append(self._beats)
            self._beats = []
        elif len(self._writes) > len(self._data):
            beats = self._writes[len(self._data)][1]
            self._must(len(self._beats) < beats, "w", f"no wlast after {beats} beats")

    def _write(self) -> None:
        """Carry out each write whose address and data are both there."""
        while self._writes and self._data:
            address, beats = self._writes.popleft()
            data = self._data.popleft()
            self._must(len(data) == beats, "w", f"wlast after {len(data)} beats of {beats}")
            response = 0
            for value, strobes in data:
                self.written.append((address, value, strobes))
                self._store(address, value, strobes)
                response = max(response, self.errors.get(address, 0))
                address += self.bytes
            self._answers.append((self.cycle + self.latency - 1, response))

    def beat(self, address: int) -> bytes:
        """Return the bytes of the beat at `address`."""
        at = self.place(address)
        return bytes(self.contents[at : at + self.bytes])

    def _store(self, address: int, value: int, strobes: int) -> None:
        for byte in range(self.bytes):
            if strobes >> byte & 1:
                self.contents[self.place(address) + byte] = value >> 8 * byte & 255

    def place(self, address: int) -> int:
        """Where in `contents` an address lies, from its base on over the top."""
        return (address - self.base) % self.space

    def _must(self, true: bool, channel: str, what: str) -> None:
        if not true:
            raise ProtocolError(f"{channel} in cycle {self.cycle}: {what}")


def mover_memory(bench: Bench) -> AxiMemory:
    """The memory of a data mover's bench: random bytes, behind the bus of its parameters."""
    params = bench.params
    contents = np.random.default_rng(params["seed"]).bytes(MOVER_SIZE)
    limits = {"burst": params["burst"], "outstanding": params["outstanding"]}
    return AxiMemory(
        bench, "m_axi", data_width=params["data_width"], base=BASES[0], contents=contents, **limits
    )
