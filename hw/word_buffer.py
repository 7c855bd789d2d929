"""The on-chip scratchpad of words, and the ports by which units read and write it."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .. import latency
from ..isa import WORD_ADDRESS_WIDTH
from .checks import check_integer, check_stages, check_switch
from .credit_queue import CreditQueue
from .pipeline import delay
from .word_bank import WordBank, pick


class ReadPort(wiring.Signature):
    """Signature of a port to a word buffer, seen from the unit that reads.

    Members are `address`, Out(stream) of word addresses, and `word`, In(stream) of the words there,
    unsigned of `word_width` bits, one for each address, in the same order.
    """

    def __init__(self, word_width: int) -> None:
        super().__init__(
            {
                "address": Out(stream.Signature(WORD_ADDRESS_WIDTH)),
                "word": In(stream.Signature(word_width)),
            }
        )


def write_stream(word_width: int, parts: int) -> stream.Signature:
    """Signature of a stream of writes to a word buffer.

    A beat is a struct of `address` (of the word), `data` (the word) and `mask`, a bit for each of
    its `parts` parts, the lowest first: parts whose bit is 0 stay as they are.
    """
    return stream.Signature(
        data.StructLayout({"address": WORD_ADDRESS_WIDTH, "data": word_width, "mask": parts})
    )


def chunk_write(place: Value, chunk: Value, parts: int) -> tuple[Value, Value]:
    """Return `data` and `mask` that write `chunk` as part `place` and zeros into all parts above.

    So a word written chunk by chunk in ascending order is zero beyond the last one, without a write
    of its own. `place` must be below `parts`.
    """
    values = Cat(Mux(place >= part, chunk, 0) for part in range(parts))
    return values, Cat(place <= part for part in range(parts))


class WordBuffer(wiring.Component):
    """A buffer of words in banks, with a port for each unit that reads or writes.

    Word a lies in bank `a % banks`. Addresses wait in a queue of their reader. A bank reads one
    word per cycle, for the first of `readers` that waits for it; the others wait on. One word per
    cycle is written in all, for the first of `writers` that offers one. A read accepted after a
    write gives what was written; accepted in the same cycle, or before it, it may give either word.
    Reset leaves the words as they are.

    An access at `depth` or beyond is accepted and does nothing, a read gives zeros.

    With `parity` each part of a word is kept with one bit more, which makes the number of its ones
    even: as in a memory of zeros.

    Parameters
    ----------
    depth : int
        Words, 1 to 2^20.
    word_width : int
        Bits of a word, 1 to 4096.
    parts : int
        Parts of a word that are written one without the other, 1 to 256; divides `word_width`.
    banks : int
        1, 2, 4, 8 or 16.
    readers, writers : sequence of str
        Names of the units, the one of highest priority first; each at least one.
    stages : int
        Registers between a bank's memory and the queues of its readers, 1 to 3.
    parity : bool
        Whether words that are read are looked at for bits that have changed.

    Members
    -------
    read_x : In(ReadPort)
        For each x of `readers`: `address`, In(stream), and `word`, Out(stream), which may be left
        waiting at any time.
    write_x : In(stream)
        For each x of `writers`: struct of `address`, `data` and `mask`, as `write_stream` says.
    fault_stb : Out(1)
        An access at `depth` or beyond: a write was accepted, or a read had its turn, two cycles
        before.
    fault_address : Out(20)
        Its address, with `fault_stb`. Of several in one cycle that of the first reader, else of
        the writer.
    parity_stb : Out(1)
        A word that was read has a part with an odd number of ones, its parity included: told in the
        cycle after that in which the word enters the queue of its reader. Only with `parity`.
    parity_address : Out(20)
        Its address, with `parity_stb`; of several in one cycle that of the first reader. Only with
        `parity`.

    Latency: `3 + stages` cycles from the acceptance of an address to the word.
    Throughput: one word per cycle and reader, one write per cycle, while no two readers ask for the
    same bank. Two readers that count up both keep one word per cycle on two banks or more: where
    they meet, the second waits a single cycle and is one bank behind from then on.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range, names that are no identifiers, repeated
        or missing.

    Source: `docs/accelerator.md`, Buffers.
    """

    def __init__(
        self,
        *,
        depth: int,
        word_width: int,
        parts: int,
        banks: int,
        readers: Sequence[str],
        writers: Sequence[str],
        stages: int = 1,
        parity: bool = False,
    ) -> None:
        self.depth = check_integer("depth", depth, 1, 1 << WORD_ADDRESS_WIDTH)
        self.word_width = check_integer("word_width", word_width, 1, 4096)
        self.parts = check_integer("parts", parts, 1, 256)
        if word_width % parts:
            raise ValueError(f"parts must divide the {word_width} bits of a word, not {parts!r}")
        self.banks = check_integer("banks", banks, 1, 16)
        if banks & (banks - 1):
            raise ValueError(f"banks must be a power of two, not {banks!r}")
        self.readers = _check_names("readers", readers)
        self.writers = _check_names("writers", writers)
        self.stages = check_stages(stages)
        self.parity = check_switch("parity", parity)
        ports = {f"read_{name}": In(ReadPort(word_width)) for name in self.readers}
        ports |= {f"write_{name}": In(write_stream(word_width, parts)) for name in self.writers}
        for what in ("fault", "parity") if parity else ("fault",):
            ports |= {f"{what}_stb": Out(1), f"{what}_address": Out(WORD_ADDRESS_WIDTH)}
        super().__init__(ports)

    @property
    def LATENCY(self) -> int:  # noqa: N802
        """Cycles from the acceptance of an address to the word."""
        return latency.word_buffer(self.stages)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._bank_bits = self.banks.bit_length() - 1
        banks = [
            WordBank(
                depth=-(-self.depth // self.banks),
                word_width=self.word_width + self.parity * self.parts,
                parts=self.parts,
                stages=self.stages,
            )
            for _ in range(self.banks)
        ]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank
        # Of a read what was taken is looked at a cycle later: whose turn it is is long enough.
        self._odd: list[tuple[Value, Value]] = []
        accesses = [*self._read(m, banks), self._write(m, banks)]
        self._tell(m, accesses, self.fault_stb, self.fault_address)
        if self.parity:
            self._tell(m, self._odd, self.parity_stb, self.parity_address)
        return m

    def _tell(
        self, m: Module, found: list[tuple[Value, Value]], stb: Signal, address: Signal
    ) -> None:
        """Of what was found, and where, the first, a cycle later."""
        which = Signal(len(found))
        m.d.comb += which.eq(Cat(what for what, _ in found))
        m.d.sync += [
            stb.eq(which.any()),
            address.eq(pick(_first(which), [where for _, where in found])),
        ]

    def _read(self, m: Module, banks: list[WordBank]) -> list[tuple[Value, Value]]:
        """Give the banks to the readers; return, of each, a cycle later, whether it has taken an
        address beyond the depth, and which."""
        asking: list[tuple[Value, Value, Value]] = []
        accesses = []
        for name in self.readers:
            port = getattr(self, f"read_{name}")
            # Of all addresses taken the words have a place, and so have the addresses here: what
            # one reader does is no matter to another within the cycle.
            waiting = CreditQueue(WORD_ADDRESS_WIDTH, depth=latency.words_waiting(self.stages))
            m.submodules[f"addresses_{name}"] = waiting
            address = waiting.o.payload
            room = Signal(name=f"{name}_room")
            bank = address[: self._bank_bits]
            free = ~Cat(other & (bank == its) for other, its, _ in asking).any()
            m.d.comb += [
                port.address.ready.eq(room),
                waiting.i.valid.eq(port.address.valid & room),
                waiting.i.payload.eq(port.address.payload),
                waiting.o.ready.eq(free),
            ]
            asking.append((waiting.o.valid, bank, address[self._bank_bits :]))
            taken = waiting.o.valid & waiting.o.ready
            accesses.append(self._answer(m, name, taken, address, banks, room))
        for number, bank in enumerate(banks):
            wanted = Signal(len(asking), name=f"wanted_{number}")
            # A register: whose turn it is is long enough, and the blocks of a memory lie far apart.
            m.d.comb += wanted.eq(Cat(asks & (its == number) for asks, its, _ in asking))
            m.d.sync += [
                bank.read_en.eq(wanted.any()),
                bank.read_address.eq(pick(_first(wanted), [row for _, _, row in asking])),
            ]
        return accesses

    def _answer(
        self,
        m: Module,
        name: str,
        taken: Value,
        address: Value,
        banks: list[WordBank],
        room: Signal,
    ) -> tuple[Value, Value]:
        """Queue what is read for one reader at the address that is taken; `room` says that one more
        word has a place."""
        port = getattr(self, f"read_{name}")
        asked = delay(m, taken, 1, name=f"{name}_asked", reset_less=False)
        at = delay(m, address, 1, name=f"{name}_at")
        beyond = delay(m, address >= self.depth, 1, name=f"{name}_beyond")
        # With the word, behind the memory.
        behind = self.stages
        bank = delay(m, at[: self._bank_bits], behind, name=f"{name}_bank")
        nothing = delay(m, beyond, behind, name=f"{name}_nothing")
        arrives = delay(m, asked, behind, name=f"{name}_arrives", reset_less=False)
        stored = pick(bank, [each.word for each in banks])
        word, odd = self._checked(stored)
        if self.parity:
            its = delay(m, at, behind, name=f"{name}_its")
            self._odd.append((arrives & ~nothing & odd, its))
        queue = CreditQueue(self.word_width, depth=latency.words_waiting(self.stages))
        m.submodules[f"queue_{name}"] = queue
        connect(m, queue.o, flipped(port.word))
        m.d.comb += [
            queue.taken_stb.eq(port.address.valid & room),
            room.eq(queue.room),
            queue.i.valid.eq(arrives),
            # Zeros on the way in, where the choice between the banks leaves LUTs with a free input.
            queue.i.payload.eq(Mux(nothing, 0, word)),
        ]
        return asked & beyond, at

    def _write(self, m: Module, banks: list[WordBank]) -> tuple[Value, Value]:
        """Write for the first writer that offers; return, a cycle later, whether it does beyond the
        depth, and where."""
        streams = [getattr(self, f"write_{name}") for name in self.writers]
        offered = Signal(len(streams))
        m.d.comb += offered.eq(Cat(each.valid for each in streams))
        m.d.comb += [each.ready.eq(~offered[:index].any()) for index, each in enumerate(streams)]
        chosen = pick(_first(offered), [each.payload.as_value() for each in streams])
        # A register: an address that is accepted later has its turn later still.
        beat = Signal(streams[0].payload.shape(), reset_less=True)
        writes = Signal()
        m.d.sync += [beat.as_value().eq(chosen), writes.eq(offered.any())]
        within = beat.address < self.depth
        # And another: what decides upon the bank is far from its memory.
        stored = self._kept(beat.data)
        row = Signal.like(beat.address, reset_less=True)
        word = Signal(len(stored), reset_less=True)
        m.d.sync += [row.eq(beat.address >> self._bank_bits), word.eq(stored)]
        for number, bank in enumerate(banks):
            here = writes & within & (beat.address[: self._bank_bits] == number)
            m.d.comb += [bank.write_address.eq(row), bank.write_data.eq(word)]
            m.d.sync += bank.write_mask.eq(Mux(here, beat.mask, 0))
        return writes & ~within, beat.address

    def _kept(self, word: Value) -> Value:
        """What is kept of a word: with `parity`, a bit above each of its parts."""
        if not self.parity:
            return word
        return Cat(Cat(part, part.xor()) for part in self._parts(word))

    def _checked(self, stored: Value) -> tuple[Value, Value]:
        """The word of which that is kept, and whether a bit of it has changed."""
        if not self.parity:
            return stored, Const(0)
        parts = self._parts(stored)
        return Cat(part[:-1] for part in parts), Cat(part.xor() for part in parts).any()

    def _parts(self, word: Value) -> list[Value]:
        size = len(word) // self.parts
        return [word[first : first + size] for first in range(0, len(word), size)]


def _first(bits: Value) -> Value:
    """The number of the lowest bit that is set; that of the last bit where none of them is."""
    number: Value = Const(len(bits) - 1)
    for place in reversed(range(len(bits) - 1)):
        number = Mux(bits[place], place, number)
    return number


def _check_names(what: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{what} must be a sequence of names, not {names!r}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be names, not {name!r}")
        if not name.isidentifier():
            raise ValueError(f"{what} must be identifiers, not {name!r}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{what} must be one or more different names, not {names!r}")
    return tuple(names)
