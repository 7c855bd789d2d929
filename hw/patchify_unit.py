"""Executes PATCHIFY: the pixels of an image to the patch embedding's words in the code buffer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..formats import PIXEL_WIDTH
from ..isa import BY_NAME, WORD_ADDRESS_WIDTH
from ..latency import READER_BURSTS
from .axi import Axi4Read, check_addr_width, check_data_width, forward
from .axi_bursts import CAUSE_WIDTH
from .checks import check_integer
from .commands import COMMAND, operands
from .credit_queue import CreditQueue
from .read_dma import ReadDma
from .word_buffer import write_stream


class PatchifyUnit(wiring.Component):
    """Cuts an image's bytes, as they lie in memory, into words of codes, digit by digit.

    The whole image is asked for with the first of its commands; its later bytes wait where they are
    until a command takes them. A command that begins an image drops what the one before left. One
    that takes more bytes than its image has never ends. After an error response all bytes are zero.

    Parameters
    ----------
    rows : int
        Codes of a word, 1 to 256.
    activation_width : int
        Bits of a code, 1 to 8.
    lanes : int
        Codes of a part of a word; divides rows.
    bus_width : int
        Bits of a beat: 32, 64 or 128.
    addr_width : int
        Bits of a byte address, 32 to 64.
    outstanding : int
        Most bursts of 16 beats asked for and not yet answered in full, 2 to 64.

    Members
    -------
    command : In(stream)
        A `COMMAND`, PATCHIFY.
    base : In(addr_width)
        Address from which offsets count, a multiple of a beat's bytes.
    write : Out(stream)
        Words to the code buffer, as `write_stream`; always whole words.
    m_axi : Out(Axi4Read)
        The bus.
    done_stb : Out(1)
        The last word was accepted in the cycle before.
    busy : Out(1)
        A command is at work.
    stall : Out(1)
        Busy, and neither a byte nor a word moves: memory or the buffer is waited for.
    cause : Out(3)
        The `Cause` of the first failure since reset.
    address : Out(addr_width)
        Byte address of the beat that failed, or of the faulty command.

    Latency: 3 cycles from the acceptance of a command that begins an image to `arvalid`; from
    a beat of R to the word that it completes 5, if nothing waits before it.
    Throughput: with B bytes in a beat, a word of n bytes every max(digits, ceil(n / B)) cycles, as
    far as memory gives a beat for each B bytes.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range, or lanes do not divide rows.

    Source: `docs/accelerator.md`, patchify.
    """

    def __init__(
        self,
        *,
        rows: int,
        activation_width: int,
        lanes: int,
        bus_width: int,
        addr_width: int = 40,
        outstanding: int = READER_BURSTS,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, 256)
        self.activation_width = check_integer("activation_width", activation_width, 1, PIXEL_WIDTH)
        self.lanes = check_integer("lanes", lanes, 1, rows)
        if rows % lanes:
            raise ValueError(f"lanes must divide {rows} rows, not {lanes}")
        self.bus_width = check_data_width(bus_width)
        self.addr_width = check_addr_width(addr_width)
        self.outstanding = check_integer("outstanding", outstanding, 2, 64)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "base": In(addr_width),
                "write": Out(write_stream(rows * activation_width, rows // lanes)),
                "m_axi": Out(Axi4Read(addr_width=addr_width, data_width=bus_width)),
                "done_stb": Out(1),
                "busy": Out(1),
                "stall": Out(1),
                "cause": Out(CAUSE_WIDTH),
                "address": Out(addr_width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # The operands that last; the places of the others are not kept.
        given = operands("PATCHIFY", self.command.payload)
        kept = ("stride", "digit_stride", "digits", "run", "height", "across")
        shape = {name: given[name].shape() for name in kept}
        self._given = given
        self._held = Signal(data.StructLayout(shape), reset_less=True)
        self._start = Signal()
        self._filling = Signal()
        m.d.comb += [
            self.command.ready.eq(~self.busy),
            self._start.eq(self.command.valid & self.command.ready),
        ]
        self._takes = Signal()
        self._bytes_moved = Signal()
        self._word_moved = Signal()
        self._ending = Signal()
        chunk, ready, take = self._bytes(m)
        word, filled, emptied = self._words(m, chunk, ready, take)
        self._digits(m, word, filled, emptied)
        with m.If(self._start):
            m.d.sync += [self.busy.eq(1), self._filling.eq(1)]
            m.d.sync += [self._held[name].eq(given[name]) for name in kept]
        with m.Elif(self.done_stb):
            m.d.sync += self.busy.eq(0)
        m.d.sync += self.done_stb.eq(self._ending)
        moved = self._bytes_moved | self._word_moved
        m.d.comb += self.stall.eq(self.busy & ~moved & ~self.done_stb)
        return m

    def _bytes(self, m: Module) -> tuple[Value, Value, Value]:
        """The image's bytes: the next ones, whether as many as `take` are there, and `take`.

        Two beats side by side, the second still the reader's, and a place in the first.
        """
        beat_bytes = self.bus_width // 8
        chunk = min(beat_bytes, self.rows)
        m.submodules.reader = reader = ReadDma(
            addr_width=self.addr_width,
            data_width=self.bus_width,
            outstanding=self.outstanding,
            beats_width=BY_NAME["PATCHIFY"].places["beats"][1].width,
        )
        forward(m, self.m_axi, reader.m_axi)
        m.d.comb += [self.cause.eq(reader.cause), self.address.eq(reader.address)]
        # Tells the beats of an image from those that the image before left.
        image = Signal()
        begins = self._start & (self._given.beats != 0)
        order = reader.command
        m.d.comb += order.payload.tag.eq(image)
        with m.If(begins):
            m.d.sync += [
                order.valid.eq(1),
                order.payload.address.eq(self.base + self._given.offset),
                order.payload.beats.eq(self._given.beats),
                image.eq(~image),
            ]
        with m.Elif(order.ready):
            m.d.sync += order.valid.eq(0)

        first = Signal(self.bus_width, reset_less=True)
        first_valid = Signal()
        second_valid = Signal()
        place = Signal(range(beat_bytes))
        take = Signal(range(chunk + 1))
        end = Signal(range(2 * beat_bytes))
        ready = Signal()
        asked = Signal()
        leaves = Signal()
        second, stale = reader.o.payload, reader.o.payload.tag != image
        m.d.comb += [
            second_valid.eq(reader.o.valid & ~stale),
            end.eq(place + take),
            ready.eq(first_valid & ((end <= beat_bytes) | second_valid)),
            # The first beat leaves where the second is there or is not needed; so whether the
            # second is taken does not depend on what it is.
            asked.eq(~first_valid | (self._takes & (end >= beat_bytes))),
            leaves.eq(asked & (~first_valid | (end == beat_bytes) | second_valid)),
            reader.o.ready.eq(asked | stale),
        ]
        with m.If(leaves):
            m.d.sync += [first.eq(second.data), first_valid.eq(second_valid)]
        with m.If(self._bytes_moved):
            # Modulo the bytes of a beat, which are a power of two.
            m.d.sync += place.eq(end)
        with m.If(begins):
            m.d.sync += [first_valid.eq(0), place.eq(0)]
        shifted = Cat(first, second.data) >> (place << 3)
        return shifted[: chunk * 8], ready, take

    def _words(self, m: Module, chunk: Value, ready: Value, take: Value) -> tuple[Any, ...]:
        """Words of bytes with their addresses: the word, whether it is whole, and that it goes."""
        size = len(chunk) // 8
        parts = -(-self.rows // size)
        word = Signal(data.ArrayLayout(PIXEL_WIDTH, self.rows), reset_less=True)
        # Of the next piece what it takes and what it ends, and what the run, or the one after it,
        # has left behind it: all is known when the piece before it goes.
        run = Mux(self.busy, self._held.run, self._given.run)
        part = Signal(range(max(parts, 2)))
        rest = Signal(self._held.run.shape())
        filled = Signal()
        emptied = Signal()
        ends_run = Signal()
        ends_word = Signal()
        next_part = Signal.like(part)
        next_rest = Signal.like(rest)
        next_ends = Signal()
        room = Mux(next_part == parts - 1, self.rows - (parts - 1) * size, size)
        m.d.comb += [
            next_part.eq(Mux(~self.busy | ends_word, 0, part + 1)),
            next_rest.eq(Mux(self.busy, rest, self._given.run)),
            next_ends.eq(next_rest <= room),
            self._takes.eq(self._filling & (~filled | emptied)),
            self._bytes_moved.eq(self._takes & ready),
        ]
        with m.If(self._start | self._bytes_moved):
            m.d.sync += [
                part.eq(next_part),
                take.eq(Mux(next_ends, next_rest, room)),
                ends_run.eq(next_ends),
                ends_word.eq(next_ends | (next_part == parts - 1)),
                rest.eq(Mux(next_ends, run, next_rest - room)),
            ]
        with m.If(emptied):
            m.d.sync += filled.eq(0)
        with m.If(self._bytes_moved):
            m.d.sync += filled.eq(ends_word)
            for index in range(self.rows):
                at = index % size
                with m.If(part == index // size):
                    byte = chunk.word_select(at, 8)
                    m.d.sync += word[index].eq(Mux(at < take, byte, 0))
                if index >= size:
                    with m.Elif(part == 0):
                        m.d.sync += word[index].eq(0)
        self._walk(m, self._bytes_moved & ends_word, ends_run)
        return word, filled, emptied

    def _walk(self, m: Module, whole: Value, ends_run: Value) -> None:
        """Addresses: tile after tile, patch after patch, pixel row after pixel row, and so on."""
        held, given = self._held, self._given
        address, above, patch, below, token, word_address = (
            Signal(WORD_ADDRESS_WIDTH, name=name, reset_less=True)
            for name in ("next_address", "above", "patch", "below", "token", "word_address")
        )
        patches, lines, bands = (
            Signal(given[name].shape(), name=name) for name in ("across", "height", "down")
        )
        first = Signal()
        line = Signal.like(above)
        band = Signal.like(above)
        m.d.comb += [
            above.eq(address + held.stride),
            # The first patch's run ends where the next pixel row's begins.
            line.eq(Mux(first, above, below)),
            band.eq(token + held.across),
        ]
        self._word_address = word_address
        with m.If(whole):
            m.d.sync += [word_address.eq(address), address.eq(above)]
        with m.If(whole & ends_run):
            m.d.sync += [first.eq(0), below.eq(line), patches.eq(patches - 1)]
            m.d.sync += [patch.eq(patch + 1), address.eq(patch + 1)]
            with m.If(patches == 1):
                m.d.sync += [first.eq(1), patches.eq(held.across), lines.eq(lines - 1)]
                m.d.sync += [patch.eq(line), address.eq(line)]
                with m.If(lines == 1):
                    m.d.sync += [lines.eq(held.height), bands.eq(bands - 1)]
                    m.d.sync += [token.eq(band), patch.eq(band), address.eq(band)]
                    with m.If(bands == 1):
                        m.d.sync += self._filling.eq(0)
        with m.If(self._start):
            m.d.sync += [signal.eq(given.base) for signal in (address, patch, token)]
            m.d.sync += [patches.eq(given.across), lines.eq(given.height), bands.eq(given.down)]
            m.d.sync += first.eq(1)

    def _digits(self, m: Module, word: data.View, filled: Value, emptied: Value) -> None:
        """Each word to the buffer as `digits` words of codes."""
        write, width = self.write, self.activation_width
        # Who else writes is no matter here within the cycle.
        layout = data.StructLayout(
            {"address": WORD_ADDRESS_WIDTH, "codes": self.rows * width, "ends": 1}
        )
        m.submodules.digits = digits = CreditQueue(layout, depth=2)
        digit, offered = digits.i.payload, digits.o.payload
        pixels = Signal.like(word, name="pixels", reset_less=True)
        left = Signal(self._held.digits.shape())
        last = Signal()
        there = Signal()
        address = Signal(WORD_ADDRESS_WIDTH, name="digit_address", reset_less=True)
        m.d.comb += [
            digits.taken_stb.eq(there & digits.room),
            digits.i.valid.eq(digits.taken_stb),
            digit.address.eq(address),
            digit.codes.eq(Cat(pixel[:width] for pixel in pixels)),
            digit.ends.eq(last & ~filled & ~self._filling),
            emptied.eq(filled & (~there | (digits.room & last))),
            write.valid.eq(digits.o.valid),
            digits.o.ready.eq(write.ready),
            write.payload.address.eq(offered.address),
            write.payload.data.eq(offered.codes),
            write.payload.mask.eq(~0),
            self._word_moved.eq(write.valid & write.ready),
            self._ending.eq(self._word_moved & offered.ends),
        ]
        with m.If(emptied):
            m.d.sync += [
                there.eq(1),
                address.eq(self._word_address),
                pixels.eq(word),
                left.eq(self._held.digits),
                last.eq(self._held.digits == 1),
            ]
        with m.Elif(digits.taken_stb):
            m.d.sync += [
                there.eq(~last),
                address.eq(address + self._held.digit_stride),
                left.eq(left - 1),
                last.eq(left == 2),
            ]
            m.d.sync += [pixel.eq(pixel >> width) for pixel in pixels]
