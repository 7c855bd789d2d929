"""A unit under proof: its inputs are free, and rules are assumed of them and asserted of it."""

from collections.abc import Callable, Iterator
from itertools import count, takewhile
from typing import Any, NamedTuple

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Elaboratable,
    Fragment,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

OWED_WIDTH = 20
"""More words than a command asks for."""


class Channel(NamedTuple):
    """A handshake among a unit's members: a stream, or a channel of a bus."""

    name: str
    valid: Value
    ready: Value
    payload: Value
    driven: bool
    """Whether the unit is the one that offers."""

    @property
    def moves(self) -> Value:
        """A beat is accepted in this cycle."""
        return self.valid & self.ready


def channels(unit: Any) -> Iterator[Channel]:
    """The handshakes of a unit, or of an interface inside it, that know back-pressure.

    A stream has the members `valid`, `ready` and `payload`; a channel `x` of a bus has `xvalid`,
    `xready` and others that begin with `x`.
    """
    members = unit.signature.members
    for name, member in members.items():
        inner = getattr(unit, name)
        if member.is_signature:
            for channel in channels(inner):
                joined = f"{name}__{channel.name}" if channel.name else name
                yield channel._replace(name=joined)
        elif name.endswith("valid") and _pressed(unit, ready := name[:-5] + "ready"):
            rest = [
                other
                for other, its in members.items()
                if its.is_port and other.startswith(name[:-5]) and its.flow == member.flow
            ]
            payload = Cat(Value.cast(getattr(unit, other)) for other in rest if other != name)
            yield Channel(name[:-5], inner, getattr(unit, ready), payload, member.flow == Out)


def signals(unit: wiring.Component) -> Iterator[tuple[Signal, Any]]:
    """The ports of a unit and their directions; the `ready` of an always ready stream is none."""
    for _, member, value in unit.signature.flatten(unit):
        if isinstance(signal := Value.cast(value), Signal):
            yield signal, member.flow


def _pressed(unit: Any, ready: str) -> bool:
    """Whether a channel has a `ready` that may be low; an always ready stream's is a constant."""
    return isinstance(getattr(unit, ready, None), Signal)


class StreamRules(wiring.Component):
    """What the handshake demands from cycle to cycle, of any stream and of any bus's channel.

    Parameters
    ----------
    width : int
        Bits of the payload.

    Members
    -------
    payload, valid, ready : In
        The channel.
    kept : Out(1)
        An offer that was not accepted in the cycle before is still there, and is the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__({"payload": In(width), "valid": In(1), "ready": In(1), "kept": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        waits, offered = Signal(), Signal.like(self.payload)
        m.d.sync += [waits.eq(self.valid & ~self.ready), offered.eq(self.payload)]
        m.d.comb += self.kept.eq(~waits | (self.valid & (self.payload == offered)))
        return m


class Watch(wiring.Component):
    """Follows one of the things that pass through a unit in order; the solver picks which.

    What holds of the one that is watched holds of all.

    Parameters
    ----------
    most : int
        Things inside at a time, at most.

    Members
    -------
    put_stb, get_stb : In(1)
        One enters; one leaves, which entered in an earlier cycle.
    mark : In(1)
        Free: the first that enters with it is watched.
    taken_stb : Out(1)
        The watched one enters.
    now : Out(1)
        The watched one is the next to leave.
    inside : Out(range(most + 1))
        How many have entered and not left.
    """

    def __init__(self, most: int) -> None:
        super().__init__(
            {
                **dict.fromkeys(("put_stb", "get_stb", "mark"), In(1)),
                **dict.fromkeys(("taken_stb", "now"), Out(1)),
                "inside": Out(range(most + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        seen, gone, ahead = Signal(), Signal(), Signal.like(self.inside)
        m.d.sync += self.inside.eq(self.inside + self.put_stb - self.get_stb)
        m.d.comb += [
            self.taken_stb.eq(self.put_stb & self.mark & ~seen),
            self.now.eq(seen & ~gone & (ahead == 0)),
        ]
        with m.If(self.taken_stb):
            m.d.sync += [seen.eq(1), ahead.eq(self.inside - self.get_stb)]
        with m.Elif(self.now & self.get_stb):
            m.d.sync += gone.eq(1)
        with m.Elif(seen & ~gone & self.get_stb):
            m.d.sync += ahead.eq(ahead - 1)
        return m


class Bench(Elaboratable):
    """A unit, and the rules that a proof adds to it.

    Parameters
    ----------
    unit : wiring.Component
        Its inputs are free unless `rules` drives them.
    rules : callable
        Takes this bench, and adds logic to `m`, assumptions, checks and covers.
    reach : int, optional
        The number of a cover: nothing is checked but that it is never reached.

    Its `parts` are the unit and the units inside it, by the names of submodules, each with a dot
    behind it; the unit's own is empty. `owed` are the words that are owed to or by each port that
    reads a buffer, by its name, as soon as `streams` is called.
    """

    def __init__(
        self,
        unit: wiring.Component,
        rules: Callable[["Bench"], None],
        reach: int | None = None,
    ) -> None:
        self.unit, self.m, self._reach = unit, Module(), reach
        self.covers = 0
        self.owed: dict[str, Signal] = {}
        self.inputs = [signal for signal, flow in signals(unit) if flow == In]
        self._numbers = count()
        fragment = Fragment.get(unit, None)
        self._signals = dict(_driven(fragment))
        self.parts = {"": unit} | dict(_parts(fragment))
        self.m.submodules.unit = _Elaborated(fragment)
        self.assume(~ResetSignal())
        rules(self)

    def elaborate(self, platform: Any) -> Module:
        return self.m

    def rtlil(self) -> str:
        """The whole in the language of Yosys; its top is `top`."""
        return rtlil.convert(self, ports=self.inputs, name="top")

    def name(self, what: str) -> str:
        """A name that no other signal has."""
        return f"{what}_{next(self._numbers)}"

    def assume(self, condition: Value) -> None:
        self.m.d.comb += Assume(condition)

    def check(self, condition: Value) -> None:
        if self._reach is None:
            self.m.d.comb += Assert(condition, src_loc_at=1)

    def cover(self, condition: Value) -> None:
        """Ask for a run in which the condition holds at last, with all that is assumed."""
        if self._reach == self.covers:
            self.m.d.comb += Assert(~condition)
        self.covers += 1

    def free(self, shape: Any, name: str) -> Signal:
        """A signal that is anything in each cycle."""
        signal = Signal(shape, name=name)
        self.inputs.append(Value.cast(signal))
        return signal

    def constant(self, shape: Any, name: str) -> Signal:
        """A signal that is anything, and stays so."""
        signal = self.free(shape, name)
        begun = Signal(name=f"{name}_begun")
        self.m.d.sync += begun.eq(1)
        self.assume(~begun | (signal == self.past(signal)))
        return signal

    def past(self, value: Value) -> Signal:
        """A value as it was in the cycle before; 0 in the first one."""
        late = Signal(Value.cast(value).shape(), name=self.name("past"))
        self.m.d.sync += late.eq(value)
        return late

    def inside(self, path: str) -> Signal:
        """A register or wire of the unit, by the names of submodules and its own.

        Raises: KeyError where there is none.
        """
        return self._signals[path]

    def registers(self, path: str) -> list[Signal]:
        """Those of a shift register that `delay` makes, by the path of its name."""
        names = (f"{path}_{cycle}" for cycle in count(1))
        return [self._signals[name] for name in takewhile(self._signals.__contains__, names)]

    def streams(self) -> dict[str, Channel]:
        """Assert the rules of all channels that the unit offers on, and assume them of those that
        it takes from; return the channels by name."""
        found = {channel.name: channel for channel in channels(self.unit)}
        for channel in found.values():
            rules = StreamRules(len(channel.payload))
            self.m.submodules += rules
            self.m.d.comb += [
                rules.payload.eq(channel.payload),
                rules.valid.eq(channel.valid),
                rules.ready.eq(channel.ready),
            ]
            (self.check if channel.driven else self.assume)(rules.kept)
        self.owed = dict(self._answers(found))
        return found

    def _answers(self, found: dict[str, Channel]) -> Iterator[tuple[str, Signal]]:
        """The rule of ports that read a buffer: a word comes for each address that was taken, once
        and later; yield how many are owed."""
        for name, asks in found.items():
            port, _, member = name.rpartition("__")
            if member == "address" and (word := found.get(f"{port}__word")):
                owed = Signal(OWED_WIDTH, name=f"owed_{port}")
                self.m.d.sync += owed.eq(owed + asks.moves - word.moves)
                (self.check if word.driven else self.assume)(~word.valid | (owed != 0))
                yield port, owed

    def watch(self, put: Value, get: Value, most: int) -> Watch:
        """Follow one of what passes."""
        watch = Watch(most)
        self.m.submodules += watch
        mark = self.free(1, self.name("mark"))
        self.m.d.comb += [watch.put_stb.eq(put), watch.get_stb.eq(get), watch.mark.eq(mark)]
        return watch

    def held(self, event: Value) -> Signal:
        """Whether an event has been in an earlier cycle."""
        seen = Signal(name=self.name("seen"))
        self.m.d.sync += seen.eq(seen | event)
        return seen

    def keep(self, value: Value, when: Value) -> Signal:
        """A value as it was when `when` was high."""
        kept = Signal(Value.cast(value).shape(), name=self.name("kept"))
        with self.m.If(when):
            self.m.d.sync += kept.eq(value)
        return kept

    def in_order(self, put: Value, given: Value, get: Value, got: Value, most: int) -> Watch:
        """Check that what leaves is what entered: nothing is lost, doubled or overtaken."""
        watch = self.watch(put, get, most)
        kept = self.keep(given, watch.taken_stb)
        self.check(~get | (watch.inside != 0))
        self.check(~(get & watch.now) | (got == kept))
        self.cover(get & watch.now)
        return watch


class _Elaborated(Elaboratable):
    def __init__(self, fragment: Fragment) -> None:
        self._fragment = fragment

    def elaborate(self, platform: Any) -> Fragment:
        return self._fragment


def _parts(fragment: Fragment, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a unit's submodules were made from, by path."""
    for inner, name, _ in fragment.subfragments:
        path = f"{prefix}{name}."
        if inner.origins:
            yield path, inner.origins[0]
        yield from _parts(inner, path)


def _driven(fragment: Fragment, prefix: str = "") -> Iterator[tuple[str, Signal]]:
    """All signals that a unit drives, by path."""
    for statements in fragment.statements.values():
        for statement in statements:
            for signal in statement._lhs_signals():
                yield prefix + signal.name, signal
    for inner, name, _ in fragment.subfragments:
        yield from _driven(inner, f"{prefix}{name}.")
