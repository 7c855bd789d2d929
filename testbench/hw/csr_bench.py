"""An AXI4-Lite master, and a model of the registers made from their table, in step cycle by cycle.

The model knows nothing of when the bank acts but what `docs/csr.md` says: one cycle before an
answer is offered. So the bench sees a new answer, and steps the model over the cycle before it.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge

from rootshift.csr import REGISTERS, WORD, Access, Field, Register

from .harness import Bench
from .patterns import pattern
from .streams import Checker, ProtocolError

OKAY, SLVERR = 0, 2
ANSWERS = {"b": ("bresp",), "r": ("rdata", "rresp")}
INPUTS = ("status", "error", "interrupt_stb", "cycles", "gemm_stall", "busy", "stall", "saturated")
OUTPUTS = ("control_stb", "entry", "watchdog", "interrupt_enable", "irq")
FEW = {32: 150, 64: 300}
"""Events from the start of a counter, by its width, to where it carries or ends."""
STARTS = ("near their end", "near a carry", "as shipped")
"""Where counters start."""


@dataclass(frozen=True)
class Write:
    """One write; `strobes` has a bit per byte."""

    address: int
    data: int
    strobes: int = 15


@dataclass(frozen=True)
class Read:
    """One read."""

    address: int


def table(starts: str) -> tuple[Register, ...]:
    """The table with counters that start as one of `STARTS` says."""
    if starts == "as shipped":
        return REGISTERS
    generator = random.Random(starts)

    def start(field: Field) -> int:
        # No wide one comes to its end: it carries into its highest bit.
        carry = field.width if field.width == WORD else field.width - 1
        above = 0
        if starts == "near a carry":
            carry = generator.randrange(8 if field.width == WORD else WORD, field.width - 1)
            above = generator.getrandbits(field.width - 1 - carry) << carry + 1
        return above + (1 << carry) - FEW[field.width]

    return tuple(
        replace(r, fields=tuple(replace(field, reset=start(field)) for field in r.fields))
        if r.access is Access.COUNTER
        else r
        for r in REGISTERS
    )


class Model:
    """What the registers hold, by (register, field)."""

    def __init__(self, registers: Sequence[Register], config: Mapping[str, int]) -> None:
        self.registers, self.config = registers, config
        self.words = {o: (r, i) for r in registers for i, o in enumerate(r.offsets)}
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        self.state = {
            (r.name, f.name): self.config[f.name] if f.reset is None else f.reset
            for r in self.registers
            for f in r.fields
        }
        self.kept = dict.fromkeys(self.state, 0)
        self.inputs: Mapping[str, int] | None = None
        """Of the last cycle that was looked at, over which the next step goes."""

    def step(self, inputs: Mapping[str, int], write: Write | None, read: Read | None) -> Any:
        """One cycle; returns the response to the write, and data and response of the read."""
        got = self._read(inputs, read) if read else None
        cleared = self.state["CONTROL", "clear_counters"]
        response, words = OKAY, {}
        if write:
            register, index = self.words.get(write.address & ~3, (None, 0))
            if register is None or not register.access.writable:
                response = SLVERR
            else:
                lanes = sum(0xFF << 8 * i for i in range(4) if write.strobes >> i & 1)
                words = {register.name: (lanes << 32 * index, write.data << 32 * index)}
        for register in self.registers:
            chosen, data = words.get(register.name, (0, 0))
            for number, field in enumerate(register.fields):
                mask = (1 << field.width) - 1
                picked, ones = chosen >> field.bit & mask, data >> field.bit & mask
                key, event = (register.name, field.name), 0
                before = self.state[key]
                match register.access:
                    case Access.READ_WRITE:
                        after = before & ~picked | ones & picked
                    case Access.CLEAR:
                        event = inputs["interrupt_stb"] >> number & 1
                        after = before & ~(ones & picked) | event
                    case Access.STROBE:
                        after = ones & picked
                    case Access.COUNTER:
                        event = inputs[register.name.lower()] >> number & 1
                        after = 0 if cleared else min(before + event, mask)
                    case _:
                        after = before
                self.state[key] = after
        return response, got

    def outputs(self) -> dict[str, int]:
        """What the outputs other than the bus are now."""
        state = self.state
        pending = [state["INTERRUPT", f] & state["INTERRUPT_ENABLE", f] for f in ("done", "error")]
        return {
            "control_stb": state["CONTROL", "start"] | state["CONTROL", "clear_counters"] << 1,
            "entry": state["ENTRY", "address"],
            "watchdog": state["WATCHDOG", "limit"],
            "interrupt_enable": state["INTERRUPT_ENABLE", "done"]
            | state["INTERRUPT_ENABLE", "error"] << 1,
            "irq": int(any(pending)),
        }

    def _read(self, inputs: Mapping[str, int], read: Read) -> tuple[int, int]:
        register, index = self.words.get(read.address & ~3, (None, 0))
        if register is None:
            return 0, SLVERR
        image, position = 0, 0
        for field in register.fields:
            value = self._value(inputs, register, field, position)
            position += field.width
            if field.width == 64 and not register.access.writable:
                key = (register.name, field.name)
                if index == field.bit // 32:
                    self.kept[key] = value >> 32
                value = value & 0xFFFFFFFF | self.kept[key] << 32
            image |= value << field.bit
        return image >> 32 * index & 0xFFFFFFFF, OKAY

    def _value(self, inputs: Mapping[str, int], register: Register, field: Field, at: int) -> int:
        if register.access is Access.STATUS:
            return inputs[register.name.lower()] >> at & (1 << field.width) - 1
        return 0 if register.access is Access.STROBE else self.state[register.name, field.name]


class Master:
    """Drives the bus and holds the bank to the rules of AXI."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.load([], [])

    def load(
        self,
        writes: Sequence[Write],
        reads: Sequence[Read],
        idle: str = "always",
        pressure: str = "always",
        seed: int = 0,
    ) -> None:
        """Queue accesses; each channel has the pattern, and a seed of its own."""
        self.queues = {
            "aw": deque({"awaddr": w.address} for w in writes),
            "w": deque({"wdata": w.data, "wstrb": w.strobes} for w in writes),
            "ar": deque({"araddr": r.address} for r in reads),
        }
        self.unanswered = {"b": deque(writes), "r": deque(reads)}
        self.accepted = dict.fromkeys(self.queues, 0)
        self.answers = dict.fromkeys(ANSWERS, 0)
        self.accepted_at: dict[str, list[int]] = {name: [] for name in self.queues}
        self.answered_at: dict[str, list[int]] = {name: [] for name in ANSWERS}
        self._offered = dict.fromkeys(self.queues, False)
        self._seen = dict.fromkeys(ANSWERS, False)
        self._ready = dict.fromkeys(ANSWERS, False)
        self._checkers = {name: Checker(f"s_axil {name}", False) for name in ANSWERS}
        patterns = {**dict.fromkeys(self.queues, idle), **dict.fromkeys(ANSWERS, pressure)}
        self._patterns: dict[str, Iterator[bool]] = {
            name: pattern("random:0.3" if spec.startswith("lazy") else spec, seed * 8 + i)
            for i, (name, spec) in enumerate(patterns.items())
        }

    @property
    def busy(self) -> bool:
        """Whether an access has not been answered, or its answer not been taken."""
        return any(self.unanswered.values()) or any(self._seen.values())

    def drive(self) -> None:
        """Set the wires for the next cycle."""
        for name, queue in self.queues.items():
            if not self._offered[name]:
                self._offered[name] = bool(queue) and next(self._patterns[name])
                for field, value in (queue[0] if queue else {}).items():
                    # What an idle channel carries means nothing.
                    self._set(field, value if self._offered[name] else ~value)
                self._set(f"{name}valid", self._offered[name])
        for name in ANSWERS:
            self._ready[name] = next(self._patterns[name])
            self._set(f"{name}ready", self._ready[name])

    def sample(self) -> dict[str, Any]:
        """Look at the settled wires; returns the access whose answer is new, and the answer."""
        new: dict[str, Any] = dict.fromkeys(ANSWERS)
        for name, parts in ANSWERS.items():
            valid = bool(self._get(f"{name}valid"))
            payload = tuple(self._get(part) for part in parts) if valid else None
            checker = self._checkers[name]
            checker.observe(self.bench.cycle, valid, self._ready[name], repr(payload))
            if valid and not self._seen[name]:
                self._check_asked(name)
                new[name] = (self.unanswered[name].popleft(), payload)
                self.answers[name] += 1
                self.answered_at[name].append(self.bench.cycle)
            self._seen[name] = valid and not self._ready[name]
        for name, queue in self.queues.items():
            if self._offered[name] and self._get(f"{name}ready"):
                queue.popleft()
                self._offered[name] = False
                self.accepted[name] += 1
                self.accepted_at[name].append(self.bench.cycle)
        return new

    def _check_asked(self, name: str) -> None:
        asked = min(self.accepted[c] for c in (("aw", "w") if name == "b" else ("ar",)))
        if self.answers[name] >= asked:
            raise ProtocolError(f"s_axil {name}: an answer to nothing at cycle {self.bench.cycle}")

    def _get(self, port: str) -> int:
        return self.bench.get(f"s_axil__{port}")

    def _set(self, port: str, value: int) -> None:
        self.bench.set(f"s_axil__{port}", value)


async def run(
    bench: Bench,
    master: Master,
    model: Model,
    stimulus: Callable[[], Mapping[str, int]],
    cycles: int | None = None,
    after: int = 3,
) -> list[tuple[Any, Any]]:
    """Step all three until every access is answered (or for so many cycles), then compare.

    `stimulus` gives, each cycle, the inputs of `INPUTS` that are not 0. Returns the accesses with
    what was answered, writes as their response and reads as data and response, in order of answer.
    """
    fall = FallingEdge(bench.dut.clk)
    ports: dict[str, list[tuple[int, int]]] = {name: [] for name in OUTPUTS}
    answers, log, idle, began = [], [], 0, bench.cycle
    inputs = _apply(bench, stimulus())
    master.drive()
    while idle < after if cycles is None else bench.cycle - began < cycles:
        await fall
        new = master.sample()
        if model.inputs is not None:
            write, read = (new[name][0] if new[name] else None for name in ("b", "r"))
            response, data = model.step(model.inputs, write, read)
            if write:
                answers.append((new["b"][1], (response,)))
                log.append((write, new["b"][1][0]))
            if read:
                answers.append((new["r"][1], data))
                log.append((read, new["r"][1]))
        for name, value in model.outputs().items():
            ports[name].append((bench.get(name), value))
        model.inputs = inputs
        idle = 0 if master.busy else idle + 1
        if bench.cycle - began > 100_000:
            raise ProtocolError("s_axil: accesses are not answered")
        await bench.step()
        inputs = _apply(bench, stimulus())
        master.drive()
    for name, pairs in ports.items():
        bench.compare(name, *np.array(pairs, np.uint64).reshape(-1, 2).T)
    for got, expected in answers:
        bench.compare("answer", np.array(got), np.array(expected))
    return log


async def reset(bench: Bench, master: Master, model: Model) -> None:
    """Reset all three, whatever is under way."""
    master.load([], [])
    bench.set("rst", 1)
    await bench.step()
    _apply(bench, {})
    master.drive()
    await bench.reset()
    model.reset()


def _apply(bench: Bench, given: Mapping[str, int]) -> dict[str, int]:
    inputs = {name: given.get(name, 0) for name in INPUTS}
    for name, value in inputs.items():
        bench.set(name, value)
    return inputs
