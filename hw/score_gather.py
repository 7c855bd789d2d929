"""Scores of a key, from beats of a few lanes to all queries of a tile at once."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ARRAY_MAX
from ..formats import SCORE_WIDTH, ZERO_WIDTH
from .checks import check_integer


class ScoreGather(wiring.Component):
    """Gathers the parts of a key's scores, and keeps the softmax's offset with the scores.

    Parameters
    ----------
    lanes : int
        Scores of a part, 1 to 256.
    parts : int
        Parts of a key, 1 to 256.

    Members
    -------
    i : In(stream)
        Struct of `scores`, an array of `lanes` signed 24-bit scores, `key_end`, set on the last
        part of a key, and `last`, set on the last key of a row.
    start_stb : In(1)
        Scores of another command follow, and none is offered: `offset` is taken.
    offset : In(16)
        Signed offset that they go with.
    active : In(1)
        They are wanted.
    softmax_idle : In(1)
        No score is inside the softmax. Low from the cycle behind the acceptance of a score on,
        until its code has left.
    o : Out(stream)
        Struct of `scores`, an array of `lanes * parts`, and `last`.
    log2_scale : Out(16)
        Signed offset of the scores at `o` and of those inside the softmax. It changes while the
        softmax is idle, and scores of another offset wait for that.

    Latency: none from the last part of a key to `o`; 1 cycle where the offset changes.
    Throughput: one part per cycle.

    Raises
    ------
    TypeError, ValueError
        A parameter that is not an integer from 1 to 256.

    Source: `docs/accelerator.md`, store.
    """

    def __init__(self, *, lanes: int, parts: int) -> None:
        self.lanes = check_integer("lanes", lanes, 1, ARRAY_MAX)
        self.parts = check_integer("parts", parts, 1, ARRAY_MAX)
        part = data.ArrayLayout(signed(SCORE_WIDTH), lanes)
        whole = data.ArrayLayout(signed(SCORE_WIDTH), lanes * parts)
        into = data.StructLayout({"scores": part, "key_end": 1, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(into)),
                "start_stb": In(1),
                "offset": In(signed(ZERO_WIDTH)),
                "active": In(1),
                "softmax_idle": In(1),
                "o": Out(stream.Signature(data.StructLayout({"scores": whole, "last": 1}))),
                "log2_scale": Out(signed(ZERO_WIDTH)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, part = self.i.payload, self.lanes * SCORE_WIDTH
        # Whether the softmax has the offset is a register: who takes an output depends on it.
        wanted = Signal.like(self.offset)
        agreed = Signal()
        gathered = Signal((self.parts - 1) * part)
        whole = Cat(gathered, beat.scores.as_value())
        m.d.comb += [
            self.o.valid.eq(self.i.valid & beat.key_end & agreed),
            self.o.payload.scores.as_value().eq(whole),
            self.o.payload.last.eq(beat.last),
            self.i.ready.eq(~beat.key_end | (agreed & self.o.ready)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += gathered.eq(whole >> part)
        with m.If(self.active & ~agreed & self.softmax_idle):
            m.d.sync += [self.log2_scale.eq(wanted), agreed.eq(1)]
        with m.If(self.start_stb):
            m.d.sync += [wanted.eq(self.offset), agreed.eq(self.log2_scale == self.offset)]
        return m
