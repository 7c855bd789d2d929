"""The on-chip scratchpad of words, and the ports by which units read and write it."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa import WORD_ADDRESS_WIDTH
from ..latency import WORD_BUFFER, WORDS_WAITING
from .checks import check_integer


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

    Word a lies in bank `a % banks`. A bank reads one word per cycle, for the first of `readers`
    that asks for it; the others wait. One word per cycle is written in all, for the first of
    `writers` that offers one. A read accepted after a write gives what was written; accepted in the
    same cycle it may give the word as it was before. Reset leaves the words as they are.

    An access at `depth` or beyond is accepted and does nothing, a read gives zeros.

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

    Members
    -------
    read_x : In(ReadPort)
        For each x of `readers`: `address`, In(stream), and `word`, Out(stream), which may be left
        waiting at any time.
    write_x : In(stream)
        For each x of `writers`: struct of `address`, `data` and `mask`, as `write_stream` says.
    fault_stb : Out(1)
        An access at `depth` or beyond was accepted in the cycle before.
    fault_address : Out(20)
        Its address, with `fault_stb`. Of several in one cycle that of the first reader, else of
        the writer.

    Latency: 2 cycles from the acceptance of an address to the word.
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

    LATENCY = WORD_BUFFER

    def __init__(
        self,
        *,
        depth: int,
        word_width: int,
        parts: int,
        banks: int,
        readers: Sequence[str],
        writers: Sequence[str],
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
        ports = {f"read_{name}": In(ReadPort(word_width)) for name in self.readers}
        ports |= {f"write_{name}": In(write_stream(word_width, parts)) for name in self.writers}
        super().__init__(ports | {"fault_stb": Out(1), "fault_address": Out(WORD_ADDRESS_WIDTH)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._bank_bits = self.banks.bit_length() - 1
        rows = -(-self.depth // self.banks)
        banks = [Memory(shape=self.word_width, depth=rows, init=[]) for _ in range(self.banks)]
        for number, memory in enumerate(banks):
            m.submodules[f"bank_{number}"] = memory
        granularity = self.word_width // self.parts
        accesses = [
            *self._read(m, [memory.read_port() for memory in banks]),
            self._write(m, [memory.write_port(granularity=granularity) for memory in banks]),
        ]
        faults = Signal(len(accesses))
        m.d.comb += faults.eq(Cat(taken & (address >= self.depth) for taken, address in accesses))
        m.d.sync += [
            self.fault_stb.eq(faults.any()),
            self.fault_address.eq(_pick(_first(faults), [address for _, address in accesses])),
        ]
        return m

    def _read(self, m: Module, banks: list[Any]) -> list[tuple[Value, Value]]:
        """Give the banks to the readers; return, of each, whether an address is taken, and it."""
        asking: list[tuple[Value, Value, Value]] = []
        accesses = []
        for name in self.readers:
            port = getattr(self, f"read_{name}")
            address = port.address.payload
            bank = address[: self._bank_bits]
            room, asks, free = (Signal(name=f"{name}_{w}") for w in ("room", "asks", "free"))
            m.d.comb += [
                asks.eq(port.address.valid & room),
                free.eq(~Cat(other & (bank == its) for other, its, _ in asking).any()),
                port.address.ready.eq(room & free),
            ]
            asking.append((asks, bank, address[self._bank_bits :]))
            accesses.append((asks & free, address))
            self._answer(m, name, asks & free, banks, room)
        for number, read in enumerate(banks):
            wanted = Signal(len(asking), name=f"wanted_{number}")
            m.d.comb += [
                wanted.eq(Cat(asks & (bank == number) for asks, bank, _ in asking)),
                read.en.eq(wanted.any()),
                read.addr.eq(_pick(_first(wanted), [row for _, _, row in asking])),
            ]
        return accesses

    def _answer(self, m: Module, name: str, taken: Value, banks: list[Any], room: Signal) -> None:
        """Queue what is read for one reader; `room` says that one more word has a place."""
        port = getattr(self, f"read_{name}")
        address, word = port.address.payload, port.word
        bank = Signal(self._bank_bits, name=f"{name}_bank", reset_less=True)
        beyond = Signal(name=f"{name}_beyond", reset_less=True)
        arrives = Signal(name=f"{name}_arrives")
        # Words that were asked for, and those of them in the queue.
        owed = Signal(range(WORDS_WAITING + 1), name=f"{name}_owed")
        there = Signal(range(WORDS_WAITING + 1), name=f"{name}_there")
        queue = Memory(shape=self.word_width, depth=WORDS_WAITING, init=[])
        m.submodules[f"queue_{name}"] = queue
        put, get = queue.write_port(), queue.read_port(domain="comb")
        leaves = word.valid & word.ready
        m.d.comb += [
            room.eq(owed != WORDS_WAITING),
            put.en.eq(arrives),
            # Zeros on the way in, where the choice between the banks leaves LUTs with a free input.
            put.data.eq(Mux(beyond, 0, _pick(bank, [read.data for read in banks]))),
            word.valid.eq(there != 0),
            word.payload.eq(get.data),
        ]
        m.d.sync += [
            bank.eq(address[: self._bank_bits]),
            beyond.eq(address >= self.depth),
            arrives.eq(taken),
            owed.eq(owed + taken - leaves),
            there.eq(there + arrives - leaves),
            put.addr.eq(put.addr + arrives),
            get.addr.eq(get.addr + leaves),
        ]

    def _write(self, m: Module, banks: list[Any]) -> tuple[Value, Value]:
        """Write for the first writer that offers; return whether one does, and the address."""
        streams = [getattr(self, f"write_{name}") for name in self.writers]
        offered = Signal(len(streams))
        m.d.comb += offered.eq(Cat(each.valid for each in streams))
        m.d.comb += [each.ready.eq(~offered[:index].any()) for index, each in enumerate(streams)]
        beat = Signal(streams[0].payload.shape())
        chosen = _pick(_first(offered), [each.payload.as_value() for each in streams])
        m.d.comb += beat.as_value().eq(chosen)
        within = offered.any() & (beat.address < self.depth)
        for number, write in enumerate(banks):
            here = within & (beat.address[: self._bank_bits] == number)
            m.d.comb += [
                write.addr.eq(beat.address >> self._bank_bits),
                write.data.eq(beat.data),
                write.en.eq(Mux(here, beat.mask, 0)),
            ]
        return offered.any(), beat.address


def _first(bits: Value) -> Value:
    """The number of the lowest bit that is set; that of the last bit where none of them is."""
    number: Value = Const(len(bits) - 1)
    for place in reversed(range(len(bits) - 1)):
        number = Mux(bits[place], place, number)
    return number


def _pick(index: Value, values: Sequence[Value]) -> Value:
    """The value of that number, by its bits: fewer gates than a chain of comparisons."""
    if len(values) == 1:
        return values[0]
    half = 1 << (len(values) - 1).bit_length() - 1
    low, high = values[:half], values[half:]
    return Mux(index[half.bit_length() - 1], _pick(index, high), _pick(index, low))


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
