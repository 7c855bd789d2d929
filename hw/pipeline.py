"""The handshake of a stream pipeline that stalls as one, written once."""

from typing import Any

from amaranth.hdl import EnableInserter, Module, Signal, Value
from amaranth.lib import wiring


def delay(m: Module, value: Value, cycles: int, *, name: str, reset_less: bool = True) -> Value:
    """Return `value` as it was so many clock cycles of `m` ago; `name` is for the registers.

    Data needs no reset, and shift registers without one are cheap; what says that data is valid
    does need it.
    """
    for cycle in range(cycles):
        late = Signal.like(value, name=f"{name}_{cycle + 1}", reset_less=reset_less)
        m.d.sync += late.eq(value)
        value = late
    return value


class Pipeline(wiring.Component):
    """Base of units that turn each beat of `i` into one beat of `o`, `LATENCY` cycles later.

    A subclass sets `LATENCY`, declares streams `i` and `o` among its members, and writes
    `datapath`. All registers of the datapath advance together, in each cycle in which the last
    stage is empty or accepted; so the datapath is written as if it never stalled.

    Latency: `LATENCY` cycles from the acceptance of a beat to the cycle in which it is offered.
    Throughput: one beat per cycle.
    """

    LATENCY: int

    def datapath(self, m: Module, payload: Any) -> Any:
        """Return the output payload, exactly `LATENCY` clocked stages behind `payload`.

        `m` is a module of its own whose domain `sync` stands still while the pipeline stalls; what
        must not stand still (a parameter load, a counter's clear) goes into `always`.
        """
        raise NotImplementedError

    def always(self, m: Module) -> None:
        """Add logic that runs in every cycle; `self.stage_valid` and `self.advance` are there."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        core = Module()
        # Bit k is the validity of stage k + 1; the last is the output's.
        self.stage_valid = Signal(self.LATENCY)
        self.advance = Signal()
        m.d.comb += [
            self.advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(self.advance),
            self.o.valid.eq(self.stage_valid[-1]),
        ]
        core.d.sync += self.stage_valid.eq((self.stage_valid << 1) | self.i.valid)
        m.d.comb += self.o.payload.eq(self.datapath(core, self.i.payload))
        m.submodules.core = EnableInserter(self.advance)(core)
        self.always(m)
        return m
