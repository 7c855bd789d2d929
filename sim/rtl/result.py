"""What a run of the RTL gave: memory, registers, traffic, and the beats that the probes saw."""

from dataclasses import dataclass, field

import numpy as np

from ...csr import ErrorCause
from ..native.memory import MemoryTiming
from ..timeline import ArrayState, Traffic


class RtlError(Exception):
    """The design did not answer as it must: a register access failed, or no interrupt came.

    Attributes:
        result: the `RunResult` up to then, where a run was on its way, else None.
    """

    def __init__(self, message: str, result: "RunResult | None" = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Beats:
    """What one probe saw.

    Parameters:
        words: uint32 [n, words], the payload of each beat, the lowest bits first.
        width: bits of the payload.
        cycles: int64 [n], the cycle of each beat.
    """

    words: np.ndarray
    width: int
    cycles: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    def fields(
        self, width: int, count: int | None = None, *, offset: int = 0, signed: bool = False
    ) -> np.ndarray:
        """Integers of `width` bits that lie side by side in the payload, int64 [n, count].

        Parameters:
            width: bits of one, 1 to 64.
            count: how many; as many as there is room for where it is None.
            offset: bit of the payload at which the first begins.
            signed: two's complement, else unsigned (then of 63 bits at most).
        Raises: ValueError where they do not fit into the payload.
        """
        if not 1 <= width <= (64 if signed else 63):
            raise ValueError(f"width must be 1 to {64 if signed else 63}, not {width}")
        if count is None:
            count = (self.width - offset) // width
        if offset < 0 or count < 0 or offset + width * count > self.width:
            raise ValueError(
                f"{count} fields of {width} bits from bit {offset} on must fit into the "
                f"payload's {self.width} bits"
            )
        if not count or not len(self):
            return np.zeros((len(self), count), np.int64)
        return _gather(self.words, offset + width * np.arange(count), width, signed)


def _gather(words: np.ndarray, bits: np.ndarray, width: int, signed: bool) -> np.ndarray:
    """Fields that begin at `bits`, from the up to three words in which each lies."""
    padded = np.pad(words, ((0, 0), (0, 2))).astype(np.uint64)
    first, shift = bits // 32, (bits % 32).astype(np.uint64)
    low = padded[:, first] | padded[:, first + 1] << np.uint64(32)
    value = low >> shift
    # In two steps, as a shift by 64 is not defined.
    value |= padded[:, first + 2] << np.uint64(1) << (np.uint64(63) - shift)
    value <<= np.uint64(64 - width)
    whole = value.astype(np.int64) if signed else value
    return (whole >> whole.dtype.type(64 - width)).astype(np.int64)


@dataclass(frozen=True)
class RunResult:
    """One run, from the start strobe (cycle 0) to the interrupt.

    Parameters:
        memory: bytes of the whole memory at the end.
        cycles: from the start strobe to the first cycle with the interrupt high.
        status: `busy`, `done` and `error` of STATUS.
        cause: of the error, NONE where there was none.
        address: of the error: byte address of the access or of the command.
        counters: register -> field -> value, of all counters and of SATURATED.
        traffic: on the memory bus.
        violation: the first breach of AXI4's rules by the design, which ended the run, or None.
        beats: probe -> what it saw.
        begun, done: int64 [n, 2], cycle and unit number of every command that a unit took, and of
            every `done` strobe, in order.
        array: int64 [commands + 1, states], cycles in each `ArrayState` up to and with each of the
            GEMM unit's `done` strobes, and after the last one.
        reads, writes: int64 [windows], beats that R and W moved in each `WINDOW` of cycles, up to
            the last in which one moved.
        timing: when the memory took and answered.
        seconds: wall time of the cycles, without build and registers.
    """

    memory: bytes
    cycles: int
    status: dict[str, int]
    cause: ErrorCause
    address: int
    counters: dict[str, dict[str, int]]
    traffic: Traffic
    violation: str | None
    beats: dict[str, Beats] = field(default_factory=dict)
    begun: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    done: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    array: np.ndarray = field(default_factory=lambda: np.zeros((1, len(ArrayState)), np.int64))
    reads: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    writes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    timing: MemoryTiming = field(default_factory=MemoryTiming)
    seconds: float = 0.0

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles per second of wall time."""
        return self.cycles / self.seconds if self.seconds else 0.0
