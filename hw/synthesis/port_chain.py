"""A design whose ports are registers between two pins, so that it can be routed by itself."""

from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    DomainRenamer,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

INNER, PORTS = "inner", "ports"
"""Paths of the component inside, and of the registers."""


class PortChain(wiring.Component):
    """`component` with a register at each bit of its ports, all in one chain from pin to pin.

    A part has fewer pins than an accelerator has ports. So all paths begin and end in registers,
    as they do in a design around it, and the clock goes over the global network, on which nextpnr
    puts it only in a design with pins.

    Members
    -------
    i, o : In(1), Out(1)
        Ends of the chain.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Its reset comes from a register, as it does from those that end a reset of a board.
        m.domains.inner = domain = ClockDomain(local=True)
        m.d.comb += domain.clk.eq(ClockSignal())
        m.d.sync += domain.rst.eq(ResetSignal())
        inner = self.component
        m.submodules[INNER] = DomainRenamer("inner")(inner)
        ends: dict[wiring.Flow, list[Value]] = {wiring.In: [], wiring.Out: []}
        for _, member, value in inner.signature.flatten(inner):
            if not isinstance(Value.cast(value), Const):
                ends[member.flow].append(Value.cast(value))
        driven, watched = Cat(ends[wiring.In]), Cat(ends[wiring.Out])
        m.submodules[PORTS] = chain = _Chain(len(driven), len(watched))
        m.d.comb += [
            chain.i.eq(self.i),
            driven.eq(chain.drives),
            chain.watches.eq(watched),
            self.o.eq(chain.o),
        ]
        return m


class _Chain(wiring.Component):
    """So many registers that drive, then as many as watch, each added to the one before."""

    def __init__(self, driven: int, watched: int) -> None:
        super().__init__({"i": In(1), "drives": Out(driven), "watches": In(watched), "o": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        driven = len(self.drives)
        chain = Signal(1 + driven + len(self.watches), reset_less=True)
        m.d.sync += chain.eq(Cat(self.i, chain[:-1]) ^ Cat(Const(0, 1 + driven), self.watches))
        m.d.comb += [self.drives.eq(chain[1 : 1 + driven]), self.o.eq(chain[-1])]
        return m
