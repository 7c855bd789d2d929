"""Where the outputs of the array go: the addresses of the beats of a STORE."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ARRAY_MAX
from ..isa import GROUPS_WIDTH, TOKENS_WIDTH, WORD_ADDRESS_WIDTH
from .checks import check_integer

CHUNKS_WIDTH = 16


class OutputSteps(wiring.Component):
    """Counts beats in the order group, token, part, and tells where each one goes.

    Chunk n = `group * parts + part` goes to place `n % places` of word
    `base + (n // places) * stride + token`, or, by rows, to word `base + token * stride + n`.

    Parameters
    ----------
    parts : int
        Beats of a token in a group, 1 to 256.
    places : int
        Chunks of a word, 1 to 256.

    Members
    -------
    command : In(struct)
        `tokens`, `groups`, `chunks` (1 or more each), `base`, `stride` and `by_rows`.
    start_stb : In(1)
        Takes the command; the first beat is told from the next cycle on.
    step_stb : In(1)
        Goes on to the next beat.
    address : Out(20)
        Word of the beat.
    place : Out(range(places))
        Place in the word; means nothing by rows.
    keep : Out(1)
        The chunk is one of the first `chunks`.
    token_end : Out(1)
        The beat is the last of its token in its group.
    group_end : Out(1)
        The token is the last of its group.
    command_end : Out(1)
        The beat is the last of the command.

    Latency: 1 cycle from a strobe to the outputs.
    Throughput: one beat per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer from 1 to 256.

    Source: `docs/accelerator.md`, store.
    """

    LATENCY = 1

    def __init__(self, *, parts: int, places: int) -> None:
        self.parts = check_integer("parts", parts, 1, ARRAY_MAX)
        self.places = check_integer("places", places, 1, ARRAY_MAX)
        command = data.StructLayout(
            {
                "tokens": TOKENS_WIDTH,
                "groups": GROUPS_WIDTH,
                "chunks": CHUNKS_WIDTH,
                "base": WORD_ADDRESS_WIDTH,
                "stride": WORD_ADDRESS_WIDTH,
                "by_rows": 1,
            }
        )
        super().__init__(
            {
                "command": In(command),
                "start_stb": In(1),
                "step_stb": In(1),
                "address": Out(WORD_ADDRESS_WIDTH),
                "place": Out(range(places)),
                "keep": Out(1),
                "token_end": Out(1),
                "group_end": Out(1),
                "command_end": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        tokens = Signal(TOKENS_WIDTH)
        stride = Signal(WORD_ADDRESS_WIDTH)
        by_rows = Signal()
        part = Signal(range(self.parts))
        # Beats of this token and of this group that are left, the present one counted.
        tokens_left = Signal(TOKENS_WIDTH)
        groups_left = Signal(GROUPS_WIDTH)
        # Whether any chunk is left is a register, since who takes an output depends on it.
        chunks_left = Signal(CHUNKS_WIDTH)
        group_keep = Signal()
        # Where the present token and the present group began, and the next group begins: the first
        # token of a group ends where the first of the next begins.
        token_address = Signal(WORD_ADDRESS_WIDTH)
        next_group = Signal(WORD_ADDRESS_WIDTH)
        group_place = Signal.like(self.place)
        group_chunks = Signal(CHUNKS_WIDTH)
        group_start = Signal()

        wrap = Signal()
        next_keep = Signal()
        next_address = Signal(WORD_ADDRESS_WIDTH)
        next_token = Signal(WORD_ADDRESS_WIDTH)
        next_place = Signal.like(self.place)
        next_chunks = Signal(CHUNKS_WIDTH)
        start = Signal(WORD_ADDRESS_WIDTH)
        m.d.comb += [
            wrap.eq(self.place == self.places - 1),
            next_place.eq(Mux(wrap, 0, self.place + 1)),
            next_address.eq(self.address + Mux(by_rows, 1, Mux(wrap, stride, 0))),
            next_token.eq(token_address + Mux(by_rows, stride, 1)),
            next_chunks.eq(chunks_left - self.keep),
            next_keep.eq(chunks_left > 1),
            self.token_end.eq(part == self.parts - 1),
            self.group_end.eq(tokens_left == 1),
            self.command_end.eq(self.token_end & self.group_end & (groups_left == 1)),
        ]
        with m.If(self.start_stb):
            command = self.command
            m.d.comb += start.eq(command.base)
            m.d.sync += [
                tokens.eq(command.tokens),
                stride.eq(command.stride),
                by_rows.eq(command.by_rows),
                part.eq(0),
                tokens_left.eq(command.tokens),
                groups_left.eq(command.groups),
                chunks_left.eq(command.chunks),
                self.keep.eq(command.chunks != 0),
                group_chunks.eq(command.chunks),
                group_keep.eq(command.chunks != 0),
                self.place.eq(0),
                group_place.eq(0),
                group_start.eq(1),
                self.address.eq(start),
                token_address.eq(start),
            ]
        with m.Elif(self.step_stb & ~self.token_end):
            m.d.sync += [
                part.eq(part + 1),
                self.address.eq(next_address),
                self.place.eq(next_place),
                chunks_left.eq(next_chunks),
                self.keep.eq(next_keep),
            ]
        with m.Elif(self.step_stb):
            m.d.sync += [
                part.eq(0),
                tokens_left.eq(tokens_left - 1),
                group_start.eq(0),
                self.place.eq(group_place),
                chunks_left.eq(group_chunks),
                self.keep.eq(group_keep),
                self.address.eq(start),
                token_address.eq(start),
            ]
            m.d.comb += start.eq(next_token)
            with m.If(group_start):
                m.d.sync += next_group.eq(next_address)
            with m.If(self.group_end):
                m.d.comb += start.eq(Mux(group_start, next_address, next_group))
                m.d.sync += [
                    tokens_left.eq(tokens),
                    groups_left.eq(groups_left - 1),
                    group_start.eq(1),
                    self.place.eq(next_place),
                    group_place.eq(next_place),
                    chunks_left.eq(next_chunks),
                    self.keep.eq(next_keep),
                    group_chunks.eq(next_chunks),
                    group_keep.eq(next_keep),
                ]
        return m
