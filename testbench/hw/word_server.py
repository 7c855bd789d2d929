"""The other side of a unit's `ReadPort`: answers addresses with words, with or without delays."""

from collections import deque
from collections.abc import Sequence

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from rootshift.isa import WORD_ADDRESS_WIDTH
from rootshift.latency import word_buffer, words_waiting

from .harness import Bench
from .patterns import pattern
from .streams import Checker, ProtocolError, Wires

ADDRESSES = 1 << WORD_ADDRESS_WIDTH
"""As many words as a command can name."""


class WordServer:
    """Serves the port `name` of the unit under test as a `WordBuffer` of so many `stages` does, for
    as long as it runs. With `endless` room it takes every address, and it is the unit that must not
    have more words on their way than the buffer would keep.

    Attributes
    ----------
    words : sequence of int
        What the buffer holds, each word as the bits on the wires; again and again up to the last
        address.
    asked : list of int
        Addresses accepted since the last `play`.
    taken : list of int
        Cycles in which the unit took a word, since the last `play`.
    accepted : list of int
        Cycles in which an address was accepted, since the last `play`.
    owed : int
        Words asked for that the unit has not taken.
    most : int
        The most that were owed since the start.
    """

    def __init__(self, bench: Bench, name: str, stages: int = 1, *, endless: bool = False) -> None:
        self._latency, self._room = word_buffer(stages), words_waiting(stages)
        self._endless, self.most = endless, 0
        self.words: Sequence[int] = ()
        self._bench, self._name = bench, name
        ports = list(bench.ports)
        self._address = Wires(bench.dut, f"{name}__address", ports)
        self._word = Wires(bench.dut, f"{name}__word", ports)
        self._checker = Checker(f"{name}.address", False)
        self._waiting: deque[tuple[int, int]] = deque()
        self._ready = self._offered = False
        self.play()
        self._word.offer(None)
        self._address.take(False)
        cocotb.start_soon(self._serve())

    def play(self, idle: str = "always", pressure: str = "always", seed: int = 0) -> None:
        """Offer words whenever the pattern `idle` acts, accept addresses whenever `pressure`."""
        lazy = pressure.startswith("lazy")
        self._idle = pattern(idle, seed)
        # A port that waits for valid before it is ready would be a pattern of its own.
        self._pressure = pattern("random:0.3" if lazy else pressure, seed + 1)
        self.asked: list[int] = []
        self.taken: list[int] = []
        self.accepted: list[int] = []

    @property
    def owed(self) -> int:
        return len(self._waiting)

    async def _serve(self) -> None:
        fall, rise = FallingEdge(self._bench.dut.clk), RisingEdge(self._bench.dut.clk)
        while True:
            await fall
            cycle = self._bench.cycle
            self._sample(cycle)
            await rise
            room = self._endless or self.owed < self._room
            ready = room and next(self._pressure)
            if ready != self._ready:
                self._ready = ready
                self._address.take(ready)
            there = bool(self._waiting) and self._waiting[0][0] <= cycle + 1
            if not self._offered and there and next(self._idle):
                self._offered = True
                self._word.offer(self._waiting[0][1])
            elif not self._offered and self._word.valid():
                self._word.offer(None)

    def _sample(self, cycle: int) -> None:
        valid = self._address.valid()
        payload = self._address.payload() if valid else None
        self._checker.observe(cycle, valid, self._ready, payload)
        accepted = self._offered and self._word.ready()
        if accepted:
            self._waiting.popleft()
            self._offered = False
            self.taken.append(cycle)
        if valid and self._ready:
            address = int(payload, 2)
            self.asked.append(address)
            self.accepted.append(cycle)
            word = self.words[address % len(self.words)]
            self._waiting.append((cycle + self._latency, word))
            self.most = max(self.most, self.owed)
            if self.owed > self._room:
                raise ProtocolError(f"{self._name}: {self.owed} words owed in cycle {cycle}")
