"""All that writes the residual buffer: sums with branches, fetched words, means of rows."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..formats import RESIDUAL_WIDTH
from ..isa import WORD_ADDRESS_WIDTH
from .commands import COMMAND, is_opcode, operands
from .mean_pool import MeanPool
from .residual_update import ResidualUpdate
from .stream_fill import StreamFill


class ResidualStore(wiring.Component):
    """Executes EMBED and POOL, and adds branches, one of the three at a time.

    Parameters
    ----------
    lanes : int
        Values of a word, 1 to 256.
    bus_width : int
        Bits of a beat of the memory bus.

    Members
    -------
    command : In(COMMAND)
        Looked at with `start_stb`.
    start_stb : In(1)
        A command begins; those that are neither EMBED nor POOL are ignored.
    i : In(stream)
        As `ResidualUpdate.i`.
    shift : In(4)
        Of the `ResidualAdd`; holds while a branch is inside.
    clear_stb : In(1)
        Sets `saturated` to zero.
    embed : In(stream)
        Array of bus_width / 8 bytes: words of the buffer.
    read : Out(ReadPort)
        Words of `lanes` signed 16-bit values.
    write : Out(stream)
        Writes of whole words, as `write_stream` has them.
    drained : Out(1)
        As `ResidualUpdate`'s.
    done_stb : Out(1)
        The last word of EMBED or POOL is accepted in this cycle.
    pooling : Out(1)
        The mean is at work, and does not wait for a port.
    saturated : Out(32)
        Values clamped in sums.

    Latency: those of `ResidualUpdate`, `MeanPool` and `StreamFill`.
    Throughput: one word per cycle; means as `MeanPool` has them.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer or out of range.

    Source: `docs/accelerator.md`, store.
    """

    def __init__(self, *, lanes: int, bus_width: int) -> None:
        self.lanes, self.bus_width = lanes, bus_width
        self._update = ResidualUpdate(lanes=lanes)
        self._pool = MeanPool(lanes=lanes)
        self._words = StreamFill(
            bus_bytes=bus_width // 8,
            piece_bytes=lanes * RESIDUAL_WIDTH // 8,
            count_width=WORD_ADDRESS_WIDTH,
        )
        update = self._update.signature.members
        super().__init__(
            {
                "command": In(COMMAND),
                "start_stb": In(1),
                "i": update["i"],
                "shift": update["shift"],
                "clear_stb": In(1),
                "embed": self._words.signature.members["i"],
                "read": update["read"],
                "write": update["write"],
                "drained": Out(1),
                "done_stb": Out(1),
                "pooling": Out(1),
                "saturated": update["saturated"],
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.update = update = self._update
        m.submodules.pool = pool = self._pool
        m.submodules.words = words = self._words
        connect(m, flipped(self.i), update.i)
        connect(m, flipped(self.embed), words.i)
        for_embed, for_pool = (operands(name, self.command) for name in ("EMBED", "POOL"))
        word = Signal(WORD_ADDRESS_WIDTH)
        embeds = Signal()
        pools = Signal()
        with m.If(self.start_stb):
            m.d.sync += [
                word.eq(for_embed.base),
                embeds.eq(is_opcode("EMBED", self.command)),
                pools.eq(is_opcode("POOL", self.command)),
            ]
        with m.Elif(words.o.valid & words.o.ready):
            m.d.sync += word.eq(word + 1)
        for name in pool.command.payload.shape().members:
            m.d.comb += pool.command.payload[name].eq(for_pool[name])
        m.d.comb += [
            words.command.valid.eq(self.start_stb & is_opcode("EMBED", self.command)),
            words.command.payload.eq(for_embed.words),
            pool.command.valid.eq(self.start_stb & is_opcode("POOL", self.command)),
            update.shift.eq(self.shift),
            update.clear_stb.eq(self.clear_stb),
            self.saturated.eq(update.saturated),
            self.drained.eq(update.drained),
            self.done_stb.eq(words.done_stb | pool.done_stb),
            self.pooling.eq(pool.busy & ~pool.stall),
        ]

        # Who is not at work neither asks nor takes.
        write, port = self.write, self.read
        m.d.comb += [
            port.address.valid.eq(pool.read.address.valid | update.read.address.valid),
            port.word.ready.eq(pool.read.word.ready | update.read.word.ready),
            write.valid.eq(pool.write.valid | update.write.valid | words.o.valid),
        ]
        for reader in (pool.read, update.read):
            m.d.comb += [
                reader.address.ready.eq(port.address.ready),
                reader.word.valid.eq(port.word.valid),
                reader.word.payload.eq(port.word.payload),
            ]
        for writer in (pool.write, update.write, words.o):
            m.d.comb += writer.ready.eq(write.ready)
        with m.If(pools):
            m.d.comb += port.address.payload.eq(pool.read.address.payload)
            m.d.comb += write.payload.eq(pool.write.payload)
        with m.Else():
            m.d.comb += port.address.payload.eq(update.read.address.payload)
            m.d.comb += write.payload.eq(update.write.payload)
        with m.If(embeds):
            m.d.comb += [
                write.payload.address.eq(word),
                write.payload.data.eq(words.o.payload),
            ]
        return m
